"""The database as a Dagster resource."""

from collections.abc import Iterator
from contextlib import contextmanager

from dagster import ConfigurableResource
from pydantic import Field

from constellation_pipelines.store.database import Database


class DatabaseResource(ConfigurableResource):  # type: ignore[type-arg]  # Dagster's generic is unbound
    """Opens Constellation's database for the length of a step."""

    url: str = Field(description="postgresql:// URL of Constellation's database.")

    @contextmanager
    def open(self) -> Iterator[Database]:
        """A pool of its own, closed afterwards: run processes are forked and must not share one."""
        database = Database(self.url, max_size=4, timeout_s=30)
        try:
            yield database
        finally:
            database.close()
