"""The servers that are measured: each a process of its own, pinned to one core."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import psutil

from constellation_pipelines.stack.ports import claim_any

START = "import sys; from benchmarks.api.server import main; main(sys.argv[1], int(sys.argv[2]))"


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. Its processor time is that of the process."""

    url: str
    pid: int

    def cpu_s(self) -> float:
        """Seconds of processor time so far."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def memory_mb(self) -> float:
        """Resident memory."""
        return float(psutil.Process(self.pid).memory_info().rss) / 1e6


@contextmanager
def serving(kind: str, environment: dict[str, str], core: int) -> Iterator[Server]:
    """Serve `api` or `bare` on one core until the block ends."""
    claim = claim_any()  # it holds the port until the block ends
    port = claim.port
    command = ["taskset", "-c", str(core), sys.executable, "-c", START]
    process = subprocess.Popen(
        [*command, kind, str(port)], env=os.environ | environment, start_new_session=True
    )
    url = f"http://127.0.0.1:{port}"
    try:
        until_up(url, process)
        yield Server(url, process.pid)
    finally:
        process.terminate()
        process.wait(30)
        claim.release()


def until_up(url: str, process: "subprocess.Popen[bytes]") -> None:
    """Wait until the server answers."""
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError("the server did not start")
        try:
            httpx.get(f"{url}/healthz", timeout=5)
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise RuntimeError("the server does not answer")


def main(kind: str, port: int) -> None:
    """Serve, as `constellation api` does."""
    import uvicorn
    from fastapi import FastAPI

    from api import pauses
    from api.live.sockets import SERVING
    from api.main import create_app
    from constellation_pipelines.settings import Settings

    app = FastAPI() if kind == "bare" else create_app(Settings())
    if kind == "bare":

        @app.get("/healthz")
        def bare() -> dict[str, str]:
            return {"status": "ok"}

    pauses.shorten()
    uvicorn.run(app, port=port, log_level="warning", access_log=False, **SERVING)
