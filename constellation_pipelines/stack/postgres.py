"""A private PostgreSQL cluster with PostGIS, on a Unix socket only."""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from constellation_pipelines.domain.errors import ServiceUnavailable
from constellation_pipelines.stack import account as accounts
from constellation_pipelines.stack import child as children
from constellation_pipelines.stack.log import complaint
from constellation_pipelines.stack.programs import choose_programs, installed_programs
from constellation_pipelines.stack.waiting import wait_until

PORT = 5432  # names the socket file; nothing listens on a network
LONGEST_SOCKET_PATH_BYTES = 107
ROLE = DATABASE = "constellation"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0


class EmbeddedPostgres:
    """A cluster in `folder`: role and database `constellation`, reached by a socket its owner sees.

    Where the caller is root the server runs as `postgres` or `nobody`. Where that account cannot
    reach `folder`, the cluster lives in a private folder below /var/tmp, which `folder` remembers.
    `fsync=False` is for tests: faster, and a crash of the machine destroys the cluster.
    """

    def __init__(self, folder: Path, *, fsync: bool = True) -> None:
        self.folder = folder.absolute()
        self.fsync = fsync
        self.account = accounts.service_account()
        self.home = accounts.reachable_folder(self.account, self.folder, "cluster")
        self.data = self.home / "data"
        self.sockets = self._socket_folder()
        self.programs = choose_programs(installed_programs(), self._existing_major())
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """URL of the database `constellation`."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """URL of a database of this cluster."""
        return f"postgresql://{ROLE}@/{database}?host={quote(str(self.sockets))}&port={PORT}"

    @property
    def command(self) -> list[str]:
        """The command that runs the server in the foreground; `prepare` first. SIGINT stops it."""
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.sockets),
            "unix_socket_permissions": "0700",
            "port": str(PORT),
            "max_connections": "200",
            "fsync": "on" if self.fsync else "off",
            "synchronous_commit": "on" if self.fsync else "off",
            "full_page_writes": "on" if self.fsync else "off",
            "timezone": "UTC",
        }
        flags = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        return [self.programs.path("postgres"), "-D", str(self.data), *flags]

    def prepare(self) -> None:
        """Make the cluster and its database if they are not there yet."""
        if self._existing_major() is None:
            fresh = self.home / "fresh"
            shutil.rmtree(fresh, ignore_errors=True)  # left by an attempt that was cut short
            self._run("initdb", "-D", str(fresh), "-U", ROLE, "--auth=trust", *self._initdb_flags())
            self._run("postgres", "--single", "-D", str(fresh), "postgres", text=CREATE_DATABASE)
            fresh.rename(self.data)

    def start(self) -> Self:
        """Start the server as a child of this thread and wait until it answers."""
        self.prepare()
        log_path = self.folder / "postgres.log"
        with log_path.open("ab") as log:
            self._child = children.spawn(
                self.command,
                log=log,
                account=self.account,
                folder=self.home,
                death_signal=signal.SIGINT,
            )
        child = self._child
        try:
            wait_until(lambda: child.poll() is not None or self.is_ready(), START_TIMEOUT_S)
            if child.poll() is not None:
                raise ServiceUnavailable(f"PostgreSQL did not start; its log is {log_path}")
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server; open connections are cut, committed work is kept."""
        if self._child is not None:
            children.stop(self._child, signal.SIGINT, STOP_TIMEOUT_S)
            self._child = None

    def is_ready(self) -> bool:
        """Whether the server answers."""
        import psycopg

        try:
            with psycopg.connect(self.url, connect_timeout=2) as connection:
                connection.execute("select 1")
        except psycopg.OperationalError:
            return False
        return True

    def remove(self) -> None:
        """Delete the cluster, wherever it lies. Stop it first."""
        for name in ("cluster.path", "sockets.path"):
            accounts.forget_folder(self.folder / name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _existing_major(self) -> int | None:
        version = self.data / "PG_VERSION"
        return int(version.read_text()) if version.exists() else None

    def _socket_folder(self) -> Path:
        usual = self.home / "sockets"
        if len(os.fsencode(usual / f".s.PGSQL.{PORT}")) <= LONGEST_SOCKET_PATH_BYTES:
            return accounts.own_folder(self.account, usual)
        return accounts.remembered_folder(self.account, self.folder / "sockets.path")

    def _initdb_flags(self) -> list[str]:
        # Collation C does not change when the system's C library does, so indexes stay valid.
        return ["--encoding=UTF8", "--no-locale", *([] if self.fsync else ["--no-sync"])]

    def _run(self, program: str, *args: str, text: str = "") -> None:
        # "C" keeps messages and month names as they are, whatever the caller's language.
        environment: dict[str, Any] = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
        done = subprocess.run(
            [self.programs.path(program), *args],
            input=text.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.home,
            env=environment,
            **self.account.popen_options,
        )
        if done.returncode != 0 or b"ERROR:" in done.stdout or b"FATAL:" in done.stdout:
            log = self.folder / "postgres.log"
            log.write_bytes(done.stdout)
            raise ServiceUnavailable(f"{program} failed: {complaint(log)} (all it said: {log})")


CREATE_DATABASE = f"create database {DATABASE} template template0\n"
