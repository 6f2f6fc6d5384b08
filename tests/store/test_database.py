"""The door to PostgreSQL."""

import gc

import psycopg
import pytest

from constellation_pipelines.store.database import Database


def test_a_connection_that_cannot_listen_is_closed(database: Database) -> None:
    """One that is left open for the garbage collector warns, and fails the test."""
    with pytest.raises(psycopg.errors.SyntaxError):
        database.listen('no "channel')
    gc.collect()
