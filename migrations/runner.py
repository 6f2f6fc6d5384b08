"""Brings a database to the newest schema, then ties Dagster's run table to ours."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from constellation_pipelines.domain.errors import ServiceUnavailable
from constellation_pipelines.store.tenancy import API_ROLES

FOLDER = Path(__file__).parent
# Each with what brings it. The second comes with PostgreSQL, on some systems in a package apart.
EXTENSIONS = {"postgis": "PostGIS", "btree_gist": "PostgreSQL's contrib modules"}
LOCK = 0x636F6E7374656C6C  # any number, the same for all who migrate


def sqlalchemy_url(database_url: str) -> str:
    """The URL with SQLAlchemy's name of the psycopg 3 driver."""
    _, _, rest = database_url.partition("://")
    return f"postgresql+psycopg://{rest}"


def migrate(database_url: str) -> None:
    """Run every migration that has not run yet. Safe to call from several processes at once.

    Raises ServiceUnavailable when the database does not answer or lacks an extension.
    """
    engine = create_engine(sqlalchemy_url(database_url))
    try:
        with engine.begin() as connection:
            connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": LOCK})
            connection.execute(text("create schema if not exists constellation"))
            connection.execute(text("create schema if not exists dagster"))
            ensure_extensions(connection)
            ensure_roles(connection)
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


def ensure_extensions(connection: Connection) -> None:
    """Create the extensions that are missing and may be created; say what to do where not."""
    for name, package in EXTENSIONS.items():
        present = text("select 1 from pg_extension where extname = :name")
        if connection.execute(present, {"name": name}).first():
            continue
        try:
            connection.execute(text(f"create extension {name} with schema public"))
        except (ProgrammingError, OperationalError) as error:
            raise ServiceUnavailable(
                f"the database lacks the extension {name} and it could not be added: install "
                f"{package} on the server and run `create extension {name}` as a superuser"
            ) from error


def ensure_roles(connection: Connection) -> None:
    """Make the roles that the API works under, and let the owner take them; say what to do where
    that may not be. Roles are of the whole server: another database's stack may have made them.
    """
    taken = text(
        "select coalesce(bool_and(pg_has_role(rolname, 'member')), false) and count(*) = 2"
        " from pg_roles where rolname = any(:roles)"
    )
    if connection.execute(taken, {"roles": list(API_ROLES)}).scalar():
        return
    try:
        with connection.begin_nested():
            for role in API_ROLES:
                known = text("select 1 from pg_roles where rolname = :role")
                if not connection.execute(known, {"role": role}).first():
                    connection.execute(text(f"create role {role} nologin"))
                connection.execute(text(f"grant {role} to current_user"))
    except DBAPIError as error:
        if connection.execute(taken, {"roles": list(API_ROLES)}).scalar():
            return  # another stack on this server was as far at the same moment
        owner = connection.execute(text("select current_user")).scalar()
        to_run = [f"create role {role} nologin; grant {role} to {owner}" for role in API_ROLES]
        raise ServiceUnavailable(
            "the roles that keep accounts apart could not be made: run as a superuser "
            + "; ".join(to_run)
        ) from error


def attach_dagster(database_url: str) -> None:
    """Project Dagster's run statuses into our tables, once Dagster has made its own."""
    engine = create_engine(sqlalchemy_url(database_url))
    with engine.begin() as connection:
        connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": LOCK})
        connection.execute(text("select constellation.attach_dagster()"))
    engine.dispose()
