"""A stock Dagster: web server with a code server, its immediate coordinator, its launcher."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import httpx
import psycopg
import yaml

from constellation_pipelines.stack.ports import claim_any

STATUS = "query Status($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }"
LEAVE_S = 1.0  # for its process to end after its last event
LAUNCH = """
mutation Launch($p: ExecutionParams!) { launchRun(executionParams: $p) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
"""
SELECTOR = {
    "repositoryLocationName": "benchmarks.stock.definitions",
    "repositoryName": "__repository__",
    "jobName": "__ASSET_JOB",
    "assetSelection": [{"path": ["first_tile"]}],
    "assetCheckSelection": [],
}
# Launches at once. The one that comes with 1.13 waits for the daemon, seconds more.
IMMEDIATE = {
    "module": "dagster._core.run_coordinator.default_run_coordinator",
    "class": "DefaultRunCoordinator",
}
READY_S = 60.0


class StockDagster:
    """Starts on entry, ends on exit. Its runs live in a database of their own."""

    def __init__(self, folder: Path, database_url: str, scene: Path) -> None:
        self._home = folder / "stock"
        self._marks = self._home / "marks"
        self._database_url = database_url
        self._scene = scene
        self._claim = claim_any()
        self._port = self._claim.port
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._marks.mkdir(parents=True)
        with psycopg.connect(self._database_url, autocommit=True) as connection:
            connection.execute("create database stock")
        url = self._database_url.replace("/constellation?", "/stock?", 1)
        storage = {"postgres": {"postgres_url": url.replace("postgresql:", "postgresql+psycopg2:")}}
        config = {
            "storage": storage,
            "run_coordinator": IMMEDIATE,
            "telemetry": {"enabled": False},
        }
        (self._home / "dagster.yaml").write_text(yaml.safe_dump(config))
        command = [sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1"]
        command += ["-p", str(self._port), "-m", "benchmarks.stock.definitions"]
        log = (self._home / "webserver.log").open("wb")
        self._process = subprocess.Popen(
            command, env=self._environment(), stdout=log, stderr=log, start_new_session=True
        )
        self._wait_until_ready()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)

    def run(self) -> float:
        """Seconds from submission to the end of the tile; returns once the run is over.

        A run process goes on for half a second after the tile. Whoever is measured next must not
        share the processor with it.
        """
        began = time.time()
        params = {"selector": SELECTOR, "runConfigData": {}, "mode": "default"}
        body = {"query": LAUNCH, "variables": {"p": params}}
        reply = httpx.post(self._url("graphql"), json=body, timeout=60).json()
        run_id = reply["data"]["launchRun"]["run"]["runId"]
        mark = self._marks / run_id
        while not mark.exists() or not mark.read_text():
            if time.time() - began > READY_S:
                raise TimeoutError(f"the stock run wrote no mark: {self._log_tail()}")
            time.sleep(0.02)
        self._wait_until_over(run_id)
        return float(mark.read_text()) - began

    def _wait_until_over(self, run_id: str) -> None:
        deadline = time.monotonic() + READY_S
        body = {"query": STATUS, "variables": {"run": run_id}}
        while time.monotonic() < deadline:
            reply = httpx.post(self._url("graphql"), json=body, timeout=60).json()
            if reply["data"]["runOrError"].get("status") == "SUCCESS":
                time.sleep(LEAVE_S)
                return
            time.sleep(0.1)
        raise TimeoutError(f"the stock run did not end: {self._log_tail()}")

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            try:
                if httpx.get(self._url("server_info"), timeout=5).is_success:
                    return
            except httpx.HTTPError:
                time.sleep(0.5)
        raise TimeoutError(f"the stock web server did not start: {self._log_tail()}")

    def _log_tail(self) -> str:
        return (self._home / "webserver.log").read_text()[-2000:]

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._port}/{path}"

    def _environment(self) -> dict[str, str]:
        package = Path(__file__).parent.parent.parent / "models" / "eurosat-landcover" / "1"
        return {
            **os.environ,
            "DAGSTER_HOME": str(self._home),
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "STOCK_MARKS": str(self._marks),
            "STOCK_MODEL": str(package),
            "STOCK_SCENE": str(self._scene),
        }
