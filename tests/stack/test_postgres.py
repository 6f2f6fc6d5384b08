import os
import pwd
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from constellation_pipelines.stack.account import service_account
from constellation_pipelines.stack.postgres import LONGEST_SOCKET_PATH_BYTES, EmbeddedPostgres


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    folder = tmp_path_factory.mktemp("a" * 100) / ("b" * 30)  # no room for a socket in there
    server = EmbeddedPostgres(folder, fsync=False)
    with server:
        yield server
    server.remove()


def test_it_has_postgis(cluster: EmbeddedPostgres) -> None:
    with psycopg.connect(cluster.url) as connection:
        connection.execute("create extension postgis")
        area = connection.execute("select st_area('polygon((0 0,2 0,2 2,0 0))'::geometry)")
        assert area.fetchone() == (2.0,)


def test_it_listens_on_no_network(cluster: EmbeddedPostgres) -> None:
    pid = int((cluster.data / "postmaster.pid").read_text().splitlines()[0])
    kinds = {connection.family.name for connection in psutil.Process(pid).net_connections("all")}
    assert kinds <= {"AF_UNIX"}


def test_it_does_not_run_as_the_superuser(cluster: EmbeddedPostgres) -> None:
    pid = int((cluster.data / "postmaster.pid").read_text().splitlines()[0])
    process = psutil.Process(pid)
    assert set(process.uids()) == {service_account().uid}
    assert 0 not in process.uids()
    if os.geteuid() == 0:
        supplementary = Path(f"/proc/{pid}/status").read_text().split("Groups:")[1].split("\n")[0]
        assert supplementary.split() == []


def test_only_its_owner_may_enter_the_folder_of_the_socket(cluster: EmbeddedPostgres) -> None:
    assert stat.S_IMODE(cluster.sockets.stat().st_mode) == 0o700
    assert stat.S_IMODE(cluster.data.stat().st_mode) == 0o700


def test_a_long_path_gets_a_short_socket(cluster: EmbeddedPostgres) -> None:
    assert len(str(cluster.folder)) > LONGEST_SOCKET_PATH_BYTES
    assert len(str(cluster.sockets)) < 60


def test_what_was_committed_is_there_after_a_restart(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path, fsync=False) as server:
        with psycopg.connect(server.url) as connection:
            connection.execute("create table kept as select 42 as value")
    again = EmbeddedPostgres(tmp_path, fsync=False)
    try:
        with again, psycopg.connect(again.url) as connection:
            assert connection.execute("select value from kept").fetchone() == (42,)
    finally:
        again.remove()
    assert not again.home.exists()
    assert not again.sockets.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only a superuser starts servers for others")
def test_a_folder_the_account_can_reach_is_used_but_for_a_socket_with_too_long_a_path() -> None:
    folder = Path("/tmp") / f"constellation-test-{os.getpid()}-{'long' * 25}"
    folder.mkdir(mode=0o755)
    try:
        server = EmbeddedPostgres(folder / "postgres", fsync=False)
        assert server.home == folder / "postgres" / "cluster"
        assert server.sockets.parent == Path("/var/tmp")
        assert server.home.owner() == pwd.getpwuid(service_account().uid).pw_name
    finally:
        server.remove()
        shutil.rmtree(folder)
