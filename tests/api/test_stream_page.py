"""The program of docs/streams.md misses nothing, as the page says."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import uvicorn

from api.live.sockets import SERVING
from api.main import create_app
from constellation_pipelines.settings import Settings
from constellation_pipelines.stack.ports import claim_any
from constellation_pipelines.store import events
from constellation_pipelines.store.database import Database
from tests.api.service import relaying

PAGE = (Path(__file__).parent.parent.parent / "docs" / "streams.md").read_text()


def program() -> str:
    found = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None, "docs/streams.md has no program any more"
    return found.group(1)


@contextmanager
def served(database_url: str, nats_url: str, folder: Path, port: int) -> Iterator[None]:
    """The API at this port."""
    app = create_app(Settings(database_url=database_url, nats_url=nats_url, data_dir=folder))
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            port=port,
            log_level="warning",
            timeout_graceful_shutdown=1,
            **SERVING,
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        thread.join(60)


def test_the_program_of_the_page_prints_each_event_once_through_a_restart(
    database_url: str, nats_url: str, tmp_path: Path
) -> None:
    claim = claim_any()
    port = claim.port
    job, database = uuid4(), Database(database_url)

    def emit(count: int) -> None:
        for _ in range(count):
            with database.transaction() as connection:
                events.emit(connection, "job.noted", job, None, {})

    reader = subprocess.Popen(
        [sys.executable, "-c", program()],
        env=os.environ | {"API": f"http://127.0.0.1:{port}/api/v1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    said: list[str] = []
    assert reader.stdout is not None
    listening = threading.Thread(target=said.extend, args=(reader.stdout,))
    listening.start()

    def until(count: int) -> None:
        deadline = time.monotonic() + 60
        while len(said) < count:
            assert reader.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.02)

    try:
        with relaying(database_url, nats_url):
            with served(database_url, nats_url, tmp_path, port):
                while not said:  # it hears of what comes once it is there
                    emit(1)
                    time.sleep(0.1)
                emit(5)
                until(6)
            emit(5)
            with served(database_url, nats_url, tmp_path, port):
                emit(5)
                rows = database.fetch_all("select id from constellation.events order by id")
                first = int(said[0].split()[0])
                expected = [row["id"] for row in rows if row["id"] >= first]
                until(len(expected))
    finally:
        reader.kill()
        reader.wait()
        listening.join()
        reader.stdout.close()
        database.close()
    assert [int(line.split()[0]) for line in said] == expected
    assert {line.split()[1] for line in said} == {"job.noted"}
