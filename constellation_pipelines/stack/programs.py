"""PostgreSQL's server programs on this machine, and whether they come with PostGIS."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from constellation_pipelines.domain.errors import ServiceUnavailable

BIN_VARIABLE = "CONSTELLATION_POSTGRES_BIN"
SUPPORTED = range(15, 19)
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
