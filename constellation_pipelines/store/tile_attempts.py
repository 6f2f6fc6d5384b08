"""How often a run has failed at a tile. It outlives the run's process."""

from collections.abc import Iterable
from uuid import UUID

from constellation_pipelines.domain.window import Window
from constellation_pipelines.store.database import Connection

COUNT = """
insert into constellation.tile_attempts as a (run_id, row_off_px, col_off_px, error)
select %(run_id)s, place.row_off_px, place.col_off_px, %(error)s
  from unnest(%(rows)s::int[], %(cols)s::int[]) as place (row_off_px, col_off_px)
on conflict (run_id, row_off_px, col_off_px) do update
   set attempts = a.attempts + 1, error = excluded.error
returning row_off_px, col_off_px, attempts
"""

OF_RUN = """
select row_off_px, col_off_px, attempts, error from constellation.tile_attempts
 where run_id = %(run_id)s
"""

Place = tuple[int, int]  # row and column offset, in pixels


def count(
    connection: Connection, run_id: UUID, windows: Iterable[Window], error: str
) -> dict[Window, int]:
    """Count one more failed attempt of each tile; how many that makes. Each may be named once."""
    by_place = {place_of(window): window for window in windows}
    args = {
        "run_id": run_id,
        "rows": [row for row, _ in by_place],
        "cols": [col for _, col in by_place],
        "error": error,
    }
    counted = connection.execute(COUNT, args).fetchall()
    return {by_place[row["row_off_px"], row["col_off_px"]]: row["attempts"] for row in counted}


def of_run(connection: Connection, run_id: UUID) -> dict[Place, tuple[int, str]]:
    """Failed attempts of a run's tiles by place, each with the last reason."""
    rows = connection.execute(OF_RUN, {"run_id": run_id}).fetchall()
    return {(row["row_off_px"], row["col_off_px"]): (row["attempts"], row["error"]) for row in rows}


def place_of(window: Window) -> Place:
    """Where a tile begins."""
    return window.row_off_px, window.col_off_px
