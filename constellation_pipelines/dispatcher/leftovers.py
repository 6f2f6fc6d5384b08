"""Half-written files of runs that have ended, and will have no attempt that clears them away."""

import time
from pathlib import Path
from uuid import UUID

from constellation_pipelines.lake.files import clear_drafts, files_of_run
from constellation_pipelines.store.database import Database

SWEEP_S = 10.0
WITHIN_S = 3600.0  # longer than any dispatcher is away; what is older was swept when it was new

# A run that is still leased has a process, which may be writing.
ENDED = """
select r.id, m.name || '@' || m.version as model,
       to_char(r.created_at at time zone 'utc', 'YYYY-MM-DD') as date
  from constellation.runs r join constellation.models m on m.id = r.model_id
 where r.state in ('FAILED', 'CANCELLED')
   and r.finished_at > clock_timestamp() - make_interval(secs => %(within_s)s)
   and not exists (select 1 from constellation.run_queue q
                    where q.run_id = r.id and q.state = 'leased')
"""


class Leftovers:
    """Clears the drafts of failed and cancelled runs out of the lake."""

    def __init__(self, database: Database, lake: Path) -> None:
        self._database = database
        self._lake = lake
        self._swept: set[UUID] = set()
        self._next_at = 0.0

    def sweep(self) -> None:
        """Look now and then. Raises ServiceUnavailable without a database."""
        if time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + SWEEP_S
        ended = self._database.fetch_all(ENDED, {"within_s": WITHIN_S})
        for run in ended:
            if run["id"] not in self._swept:
                clear_drafts(
                    files_of_run(
                        self._lake, run_id=str(run["id"]), model=run["model"], date=run["date"]
                    )
                )
        self._swept = {run["id"] for run in ended}
