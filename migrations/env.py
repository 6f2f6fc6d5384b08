"""Alembic's entry: runs the migrations on the connection that `migrations.runner` hands over."""

from alembic import context
from sqlalchemy import Connection


def run(connection: Connection) -> None:
    """Run within the caller's connection; versions are kept in our own schema."""
    context.configure(
        connection=connection, version_table="alembic_version", version_table_schema="constellation"
    )
    with context.begin_transaction():
        context.run_migrations()


run(context.config.attributes["connection"])
