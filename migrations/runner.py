"""Brings a database to the newest schema, then ties Dagster's run table to ours."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from constellation_pipelines.domain.errors import ServiceUnavailable

FOLDER = Path(__file__).parent
LOCK = 0x636F6E7374656C6C  # any number, the same for all who migrate


def sqlalchemy_url(database_url: str) -> str:
    """The URL with SQLAlchemy's name of the psycopg 3 driver."""
    _, _, rest = database_url.partition("://")
    return f"postgresql+psycopg://{rest}"


def migrate(database_url: str) -> None:
    """Run every migration that has not run yet. Safe to call from several processes at once.

    Raises ServiceUnavailable when the database does not answer or lacks PostGIS.
    """
    engine = create_engine(sqlalchemy_url(database_url))
    try:
        with engine.begin() as connection:
            connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": LOCK})
            connection.execute(text("create schema if not exists constellation"))
            connection.execute(text("create schema if not exists dagster"))
            ensure_postgis(connection)
            config = Config()
            config.set_main_option("script_location", str(FOLDER))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        raise ServiceUnavailable(
            f"the database was made by a newer version of Constellation: upgrade this one ({error})"
        ) from error
    except OperationalError as error:
        raise ServiceUnavailable(f"the database does not answer: {error.orig}") from error
    finally:
        engine.dispose()


def ensure_postgis(connection: Connection) -> None:
    """Create the extension where it is missing and may be created; say what to do where not."""
    present = text("select 1 from pg_extension where extname = 'postgis'")
    if connection.execute(present).first():
        return
    try:
        connection.execute(text("create extension postgis with schema public"))
    except (ProgrammingError, OperationalError) as error:
        raise ServiceUnavailable(
            "the database lacks PostGIS and it could not be added: install PostGIS on the server "
            "and run `create extension postgis` as a superuser"
        ) from error


def attach_dagster(database_url: str) -> None:
    """Project Dagster's run statuses into our tables, once Dagster has made its own."""
    engine = create_engine(sqlalchemy_url(database_url))
    with engine.begin() as connection:
        connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": LOCK})
        connection.execute(text("select constellation.attach_dagster()"))
    engine.dispose()
