"""A private PostgreSQL cluster with PostGIS, on a Unix socket only."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from constellation_pipelines.domain.errors import ServiceUnavailable
from constellation_pipelines.stack import account as accounts
from constellation_pipelines.stack import child as children
from constellation_pipelines.stack.waiting import wait_until

BIN_VARIABLE = "CONSTELLATION_POSTGRES_BIN"
SUPPORTED = range(15, 19)
PORT = 5432  # names the socket file; nothing listens on a network
LONGEST_SOCKET_PATH_BYTES = 107
ROLE = DATABASE = "constellation"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
INSTALL_HINT = (
    "install PostgreSQL 15 to 18 with PostGIS (Debian and Ubuntu: apt install "
    f"postgresql-15-postgis-3 or newer), or name its programs' folder in {BIN_VARIABLE}, or name "
    "an existing database in CONSTELLATION_DATABASE_URL"
)


@dataclass(frozen=True)
class ServerPrograms:
    """One installation of PostgreSQL's server programs."""

    folder: Path
    major: int

    @property
    def has_postgis(self) -> bool:
        """Whether PostGIS's control file lies in this installation's shared folder."""
        return any((share / "extension/postgis.control").exists() for share in self._shares())

    def _shares(self) -> Iterator[Path]:
        yield Path("/usr/share/postgresql") / str(self.major)  # Debian's layout
        yield self.folder.parent / "share"
        yield self.folder.parent / "share/postgresql"
        config = self.folder / "pg_config"
        if config.exists():
            yield Path(_output(str(config), "--sharedir"))

    def path(self, program: str) -> str:
        """The full path of one program."""
        return str(self.folder / program)


def installed_programs(environment: Mapping[str, str] = os.environ) -> list[ServerPrograms]:
    """Every installation of a supported major version, newest first."""
    found: dict[Path, ServerPrograms] = {}
    for folder in _candidate_folders(environment):
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            words = re.search(r"(\d+)", _output(str(folder / "postgres"), "--version"))
            if words and int(words[1]) in SUPPORTED:
                found.setdefault(folder.resolve(), ServerPrograms(folder, int(words[1])))
    return sorted(found.values(), key=lambda programs: -programs.major)


def _candidate_folders(environment: Mapping[str, str]) -> Iterator[Path]:
    named = environment.get(BIN_VARIABLE)
    if named:
        yield Path(named)
        return
    yield from Path("/usr/lib/postgresql").glob("*/bin")
    yield from Path("/usr").glob("pgsql-*/bin")
    if config := shutil.which("pg_config"):
        yield Path(_output(config, "--bindir"))
    if server := shutil.which("postgres"):
        yield Path(server).resolve().parent


def choose_programs(found: list[ServerPrograms], major: int | None) -> ServerPrograms:
    """The newest installation with PostGIS, of this major version where a cluster exists already.

    Raises ServiceUnavailable, naming what to install.
    """
    if not found:
        raise ServiceUnavailable(f"no PostgreSQL server programs were found: {INSTALL_HINT}")
    complete = [programs for programs in found if programs.has_postgis]
    if not complete:
        folders = ", ".join(str(programs.folder) for programs in found)
        raise ServiceUnavailable(f"PostgreSQL in {folders} has no PostGIS: {INSTALL_HINT}")
    for programs in complete:
        if major in (None, programs.major):
            return programs
    raise ServiceUnavailable(
        f"the existing cluster needs PostgreSQL {major} with PostGIS, which is not installed: "
        "install it, or move the data directory aside to begin with an empty one"
    )


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
            raise ServiceUnavailable(f"{program} failed in {self.home}; its output is in {log}")


CREATE_DATABASE = f"create database {DATABASE} template template0\n"


def _output(*command: str) -> str:
    """The first line a program prints, or an empty one where it cannot run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def main() -> int:
    """Say on stderr what is missing; 0 where a cluster could be started."""
    try:
        choose_programs(installed_programs(), None)
    except ServiceUnavailable as error:
        print(error.message, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
