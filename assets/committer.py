"""Everything that a prediction run writes while it goes on, under its lease."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from assets.plan import Plan
from constellation_pipelines.domain.errors import ServiceUnavailable
from constellation_pipelines.domain.fault import Fault
from constellation_pipelines.domain.tile import TileResult, sound
from constellation_pipelines.domain.window import Window
from constellation_pipelines.store import faults, profiles, queue, tile_attempts, tiles
from constellation_pipelines.store.database import Connection, Database

DATABASE_RETURN_S = 60.0

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Tried:
    """A tile's result, and the attempts that it took."""

    result: TileResult
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Committer:
    """Writes under the run's lease, waiting for a database that is away for a moment.

    Each method raises LeaseLost when the run has passed to another process, ServiceUnavailable
    when the database stays away.
    """

    database: Database
    lease: queue.Lease
    plan: Plan

    def commit(self, tried: list[Tried]) -> tiles.Progress:
        """Write results. Writing the same tiles again leaves one row of each."""
        rows = self._rows(tried)
        replace = not self.plan.reuse
        return self._patiently(
            lambda connection: tiles.commit(connection, self.lease, rows, replace=replace)
        )

    def count(self, windows: Iterable[Window], error: str) -> dict[Window, int]:
        """Count a failed attempt of each tile; how many that makes."""
        windows = list(windows)

        def write(connection: Connection) -> dict[Window, int]:
            queue.guard(connection, self.lease)
            return tile_attempts.count(connection, self.lease.run_id, windows, error)

        return self._patiently(write) if windows else {}

    def record(self, fault: Fault) -> None:
        """Keep a fault of this run with what was decided."""

        def write(connection: Connection) -> None:
            tiles.lock_job(connection, self.lease.run_id)
            queue.guard(connection, self.lease)
            faults.record(connection, fault)

        self._patiently(write)

    def note(self, device_name: str, seen: profiles.Profile) -> None:
        """Add to what is known of the model on a kind of device."""
        model = self.plan.model
        place = profiles.Place(model.digest, device_name, model.card.chip_px)
        self._patiently(lambda connection: profiles.note(connection, place, seen))

    def _patiently(self, write: Callable[[Connection], Answer]) -> Answer:
        deadline = time.monotonic() + DATABASE_RETURN_S
        while True:
            try:
                with self.database.transaction() as connection:
                    return write(connection)
            except ServiceUnavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def _rows(self, tried: list[Tried]) -> list[tiles.TileRow]:
        places = self.plan.places.of([one.result.window for one in tried])
        return [
            tiles.TileRow(
                digest=self.plan.digests[one.result.window],
                result=sound(one.result),
                footprint=place.footprint,
                mercator=place.mercator,
                area_km2=place.area_km2,
                gsd_mismatch=self.plan.fit.gsd_mismatch,
                attempts=one.attempts,
            )
            for one, place in zip(tried, places, strict=True)
        ]
