"""The processes that are measured: PostgreSQL, NATS, the API as it is served, the relay."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from constellation_pipelines.stack.nats import EmbeddedNats
from constellation_pipelines.stack.ports import claim_any
from constellation_pipelines.stack.postgres import EmbeddedPostgres
from constellation_pipelines.stack.schema import prepare_database

START_S = 120.0


@dataclass(frozen=True, slots=True)
class Services:
    """Where they are. `api` and `relay` are processes of their own."""

    database_url: str
    nats_url: str
    api_url: str
    folder: Path
    api: psutil.Process
    relay: psutil.Process

    @property
    def socket_url(self) -> str:
        """Of the live stream."""
        return self.api_url.replace("http", "ws", 1) + "/api/v1/stream"


@contextmanager
def services() -> Iterator[Services]:
    """All of them, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "scenes").mkdir()
        postgres, nats = EmbeddedPostgres(folder / "postgres"), EmbeddedNats(folder / "nats")
        try:
            with postgres, nats:
                prepare_database(postgres.url)
                with serving(folder, postgres.url, nats.url) as served:
                    yield served
        finally:
            nats.remove()
            postgres.remove()


@contextmanager
def serving(folder: Path, database_url: str, nats_url: str) -> Iterator[Services]:
    """The API by the command that the stack starts it with, and the dispatcher's relay."""
    claim = claim_any()  # it holds the port until the block ends
    port = claim.port
    environment = os.environ | {
        "CONSTELLATION_DATABASE_URL": database_url,
        "CONSTELLATION_NATS_URL": nats_url,
        "CONSTELLATION_DATA_DIR": str(folder),
        "CONSTELLATION_SCENE_ROOTS": json.dumps([str(folder / "scenes")]),
        "CONSTELLATION_API_PORT": str(port),
    }
    command = [sys.executable, "-m", "constellation_pipelines.cli", "api"]
    with (folder / "api.log").open("wb") as log:
        api = subprocess.Popen(command, env=environment, stderr=log)
        relay = python(
            "from benchmarks.streams.services import relay as work", [database_url, nats_url]
        )
        try:
            url = f"http://127.0.0.1:{port}"
            until_ready(url, api)
            yield Services(
                database_url,
                nats_url,
                url,
                folder,
                psutil.Process(api.pid),
                psutil.Process(relay.pid),
            )
        finally:
            for process in (api, relay):
                end(process)
            claim.release()


def python(source: str, args: list[str]) -> "subprocess.Popen[str]":
    """A process that calls `work(*args)`; it is told to end by the end of its input."""
    command = [sys.executable, "-c", f"import sys\n{source}\nwork(*sys.argv[1:])", *args]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def end(process: "subprocess.Popen[str] | subprocess.Popen[bytes]") -> None:
    """Ask a process to end, and wait."""
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def until_ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    """Wait until the API hears NATS and the database."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError("the API did not start")
        try:
            facts = httpx.get(f"{url}/readyz", timeout=5).json()["parts"]
            if facts["postgres"]["ok"] and facts["nats"]["ok"]:
                return
        except (httpx.TransportError, KeyError, ValueError, TypeError):
            pass
        time.sleep(0.2)
    raise RuntimeError("the API is not ready")


def relay(database_url: str, nats_url: str) -> None:
    """Relay events until killed, as the dispatcher does."""
    import asyncio

    from constellation_pipelines.dispatcher.relay import run_relay

    asyncio.run(run_relay(database_url, nats_url, asyncio.Event()))
