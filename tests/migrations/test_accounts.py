"""What 0004 makes of a database that had work in it, and of a server that lets it make no roles."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text

from constellation_pipelines.domain.errors import ServiceUnavailable
from migrations import runner
from tests.conftest import PostgresServer, scratch_database

BEFORE = "0002"

WORK = """
insert into constellation.jobs (id, name, params, state, submitted_by)
values (%(job)s, 'x', '{}', 'RUNNING', 'ann');
insert into constellation.runs (id, job_id, state) values (%(run)s, %(job)s, 'RUNNING');
insert into constellation.run_queue (run_id, instance_ref, state, account)
values (%(run)s, '{}', 'leased', 'ann');
insert into constellation.workers (id, host, pid) values (%(worker)s, 'h', 1);
insert into constellation.gpus (id, uuid, host, idx, name, total_mem_mb, simulated)
values (%(gpu)s, 'G', 'h', 0, 'CPU', 1, true);
insert into constellation.leases (fence, gpu_id, worker_id, run_id, expires_at)
values (1, %(gpu)s, %(worker)s, %(run)s, now());
insert into constellation.accounts (id, name, max_running_runs)
values (%(run)s, 'a name of before', 3)
"""


@pytest.fixture
def empty_url(postgres: PostgresServer) -> Iterator[str]:
    with scratch_database(postgres) as name:
        yield postgres.url_of(name)


def migrate_to(url: str, revision: str) -> None:
    engine = create_engine(runner.sqlalchemy_url(url))
    with engine.begin() as connection:
        connection.execute(text("create schema if not exists constellation"))
        connection.execute(text("create schema if not exists dagster"))
        runner.ensure_extensions(connection)
        runner.ensure_roles(connection)
        config = Config()
        config.set_main_option("script_location", str(Path(runner.__file__).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def test_rows_that_were_there_are_their_accounts(empty_url: str) -> None:
    migrate_to(empty_url, BEFORE)
    ids = {name: uuid4() for name in ("job", "run", "worker", "gpu")}
    with psycopg.connect(empty_url) as connection:
        for statement in WORK.split(";"):
            connection.execute(statement.encode(), ids)
    runner.migrate(empty_url)
    with psycopg.connect(empty_url) as connection:
        owners = connection.execute(
            "select r.account, l.account from constellation.runs r, constellation.leases l"
        ).fetchall()
        assert owners == [("ann", "ann")]
        names = connection.execute("select name from constellation.accounts order by name")
        assert names.fetchall() == [("a name of before",), ("local",)]


def test_a_name_that_no_account_may_have_is_refused(empty_url: str) -> None:
    runner.migrate(empty_url)
    with (
        psycopg.connect(empty_url) as connection,
        pytest.raises(psycopg.errors.CheckViolation, match="accounts_name_is_plain"),
    ):
        connection.execute(
            "insert into constellation.accounts (id, name) values (%s, 'a b')", (uuid4(),)
        )


def test_an_owner_that_may_not_take_the_roles_is_told_what_to_run(
    postgres: PostgresServer, empty_url: str
) -> None:
    with psycopg.connect(postgres.url, autocommit=True) as admin:
        name = f"poor_{uuid4().hex}"
        admin.execute(f"create role {name} login password 's3cret'")
        database = urlsplit(empty_url).path.lstrip("/")
        with psycopg.connect(empty_url, autocommit=True) as connection:
            connection.execute("create extension postgis with schema public")
        admin.execute(f"alter database {database} owner to {name}")
        parts = urlsplit(empty_url)
        host = parts.netloc.rpartition("@")[2]
        tail = urlunsplit(("", "", parts.path, parts.query, ""))
        url = f"{parts.scheme}://{name}:s3cret@{host}{tail}"
        try:
            with pytest.raises(ServiceUnavailable) as refused:
                runner.migrate(url)
            assert f"grant constellation_api to {name}" in refused.value.message
            assert "s3cret" not in refused.value.message
            for role in ("constellation_api", "constellation_api_all"):
                admin.execute(f"grant {role} to {name}")
            runner.migrate(url)
        finally:
            admin.execute(f"alter database {database} owner to current_user")
            with psycopg.connect(empty_url, autocommit=True) as connection:
                connection.execute(f"reassign owned by {name} to current_user")
                connection.execute(f"drop owned by {name}")
            admin.execute(f"drop role {name}")
