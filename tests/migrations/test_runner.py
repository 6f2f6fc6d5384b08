from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from constellation_pipelines.domain.errors import ServiceUnavailable
from migrations.runner import migrate
from tests.conftest import PostgresServer, scratch_database


@pytest.fixture
def empty_url(postgres: PostgresServer) -> Iterator[str]:
    with scratch_database(postgres) as name:
        yield postgres.url_of(name)


@pytest.fixture
def poor_url(postgres: PostgresServer) -> Iterator[str]:
    """URL of an empty database whose owner may not add PostGIS."""
    with scratch_database(postgres) as name:
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute(f"create role owner_of_{name} login password 's3cret'")
            connection.execute(f"alter database {name} owner to owner_of_{name}")
        parts = urlsplit(postgres.url_of(name))
        host = parts.netloc.rpartition("@")[2]
        tail = urlunsplit(("", "", parts.path, parts.query, ""))
        yield f"{parts.scheme}://owner_of_{name}:s3cret@{host}{tail}"
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute(f"alter database {name} owner to current_user")
            connection.execute(f"drop role owner_of_{name}")


def test_an_empty_database_is_brought_to_the_newest_schema(empty_url: str) -> None:
    migrate(empty_url)
    with psycopg.connect(empty_url) as connection:
        tables = connection.execute(
            "select table_name from information_schema.tables where table_schema = 'constellation'"
        ).fetchall()
    assert {("jobs",), ("runs",), ("gpus",), ("events",), ("areas",), ("tiles",)} <= set(tables)


def test_several_may_migrate_at_once(empty_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(migrate, [empty_url] * 4))
    with psycopg.connect(empty_url) as connection:
        count = connection.execute("select count(*) from constellation.alembic_version").fetchone()
    assert count == (1,)


def test_a_database_that_cannot_have_postgis_is_refused_and_left_empty(poor_url: str) -> None:
    with pytest.raises(
        ServiceUnavailable, match="lacks the extension postgis and it could"
    ) as raised:
        migrate(poor_url)
    assert "s3cret" not in raised.value.message
    with psycopg.connect(poor_url) as connection:
        schemas = connection.execute(
            "select 1 from information_schema.schemata where schema_name = 'constellation'"
        ).fetchall()
    assert schemas == []


def test_a_database_of_a_newer_version_is_refused(empty_url: str) -> None:
    migrate(empty_url)
    with psycopg.connect(empty_url) as connection:
        connection.execute("update constellation.alembic_version set version_num = '9999'")
    with pytest.raises(ServiceUnavailable, match="newer version of Constellation"):
        migrate(empty_url)


def test_a_database_that_does_not_answer_is_named_without_its_password() -> None:
    with pytest.raises(ServiceUnavailable, match="the database does not answer") as raised:
        migrate("postgresql://ann:s3cret@127.0.0.1:1/eo?connect_timeout=2")
    assert "s3cret" not in raised.value.message
