"""The whole stack, started once: `constellation up` as a user would have it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row
from websockets.sync.client import connect

from constellation_pipelines.demo.scenes import generate
from constellation_pipelines.stack import status
from constellation_pipelines.stack.account import forget_folders

CHECKOUT = Path(__file__).parent.parent.parent
FINAL = ("COMPLETED", "FAILED", "CANCELLED")
MODEL = "eurosat-landcover"
LARGE_PX = 6144


@dataclass(frozen=True)
class Stack:
    """A running stack and what tests ask of it."""

    data_dir: Path
    urls: dict[str, str]
    http: httpx.Client
    environment: dict[str, str]  # of whoever works with it: nothing of it is in that of the tests

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run the command as a user would."""
        return run(self.environment, *arguments)

    def command(self, *arguments: str) -> str:
        """The same, which has to succeed; what it prints."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def register(self, path: Path, **options: Any) -> dict[str, Any]:
        """Register a scene."""
        reply = self.http.post("/scenes", json={"path": str(path), **options})
        assert reply.status_code in (200, 201), reply.text
        return dict(reply.json())

    def submit(self, scene: str, **options: Any) -> dict[str, Any]:
        """Submit a job for one scene."""
        body = {"model": MODEL, "scenes": [scene], "accept_gsd_mismatch": True, **options}
        reply = self.http.post("/jobs", json=body)
        assert reply.status_code == 202, reply.text
        return dict(reply.json())

    def job(self, job_id: str) -> dict[str, Any]:
        """A job with its runs."""
        return dict(self.http.get(f"/jobs/{job_id}").raise_for_status().json())

    def finished(self, job_id: str, timeout_s: float = 90) -> dict[str, Any]:
        """The job once it has ended."""
        ended = self.wait(lambda: self.job(job_id), lambda job: job["state"] in FINAL, timeout_s)
        return dict(ended)

    def wait(
        self, look: Callable[[], Any], enough: Callable[[Any], bool], timeout_s: float = 60
    ) -> Any:
        """Look until it is enough; fail with the last look when it never is."""
        deadline = time.monotonic() + timeout_s
        while not enough(seen := look()):
            assert time.monotonic() < deadline, f"still {seen}"
            time.sleep(0.05)
        return seen

    def rows(self, sql: str, *args: object) -> list[dict[str, Any]]:
        """Rows straight from the database."""
        with psycopg.connect(self.urls["database"], row_factory=dict_row) as connection:
            return connection.execute(sql, args).fetchall()

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        """Ask Dagster."""
        body = {"query": query, "variables": variables}
        reply = httpx.post(f"{self.urls['dagster']}/graphql", json=body, timeout=60)
        return dict(reply.raise_for_status().json()["data"])

    def events(self, until: str, job_id: str | None = None) -> Iterator[dict[str, Any]]:
        """Events from the live stream, up to one of type `until`."""
        url = self.urls["api"].replace("http", "ws", 1) + "/api/v1/stream"
        with connect(url) as socket:
            while True:
                for event in json.loads(socket.recv(timeout=60)):
                    if job_id is None or event.get("job_id") == job_id:
                        yield event
                        if event["type"] == until:
                            return


def run(environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command in this environment."""
    command = [sys.executable, "-m", "constellation_pipelines.cli", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=180, check=False, env=environment
    )


@contextmanager
def running_stack(data_dir: Path, settings: dict[str, str], *options: str) -> Iterator[Stack]:
    """`constellation up` with these settings and options on a data directory of its own."""
    environment = {
        **os.environ,
        "CONSTELLATION_DATA_DIR": str(data_dir),
        "CONSTELLATION_MODELS_DIR": str(CHECKOUT / "models"),
        "CONSTELLATION_API_PORT": "0",
        **settings,
    }
    done = run(environment, "up", "--detach", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    running = status.read(data_dir)
    assert running is not None
    try:
        with httpx.Client(base_url=f"{running.urls['api']}/api/v1", timeout=30) as http:
            yield Stack(data_dir, dict(running.urls), http, environment)
    finally:
        ended = run(environment, "down")
        forget_folders(data_dir)
        assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.fixture(scope="session")
def stack(sample_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything `constellation up` starts, on a data directory of its own."""
    data_dir = tmp_path_factory.mktemp("stack")
    roots = [sample_data / "scenes", sample_data / "odd", data_dir / "scenes"]
    settings = {
        "CONSTELLATION_SCENE_ROOTS": os.pathsep.join(map(str, roots)),
        "CONSTELLATION_WEBHOOK_PRIVATE_HOSTS": "127.0.0.1",
    }
    with running_stack(data_dir, settings) as started:
        yield started


@pytest.fixture(scope="session")
def large_scene(stack: Stack) -> str:
    """Key of a generated scene that keeps an engine busy for some seconds."""
    folder = stack.data_dir / "scenes"
    folder.mkdir(exist_ok=True)
    return str(stack.register(generate(folder / "large.tif", LARGE_PX))["key"])
