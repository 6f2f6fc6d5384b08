"""A run that ends without a process leaves nothing half written."""

from pathlib import Path
from uuid import UUID

import pytest

from constellation_pipelines.dispatcher import leftovers as module
from constellation_pipelines.dispatcher.leftovers import Leftovers
from constellation_pipelines.lake.files import RunFiles, files_of_run
from constellation_pipelines.store.database import Database
from tests.dispatcher.test_planner import submit
from tests.store.test_queue import claimed, worker


@pytest.fixture
def leftovers(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Leftovers:
    monkeypatch.setattr(module, "SWEEP_S", 0.0)
    return Leftovers(database, tmp_path)


def files_of(database: Database, lake: Path, run_id: UUID) -> RunFiles:
    row = database.fetch_one(
        "select r.created_at, m.name || '@' || m.version as model from constellation.runs r "
        "join constellation.models m on m.id = r.model_id where r.id = %s",
        (run_id,),
    )
    assert row is not None
    date = row["created_at"].strftime("%Y-%m-%d")
    return files_of_run(lake, run_id=str(run_id), model=row["model"], date=date)


def half_written(files: RunFiles) -> list[Path]:
    """What a run leaves that is killed while it writes its outputs, and its working raster."""
    drafts = [
        files.classes.with_name(".0a.cog.tif"),
        files.predictions.with_name(f".{files.predictions.name}.17.partial"),
    ]
    for path in (*drafts, files.work / "class.raw"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    return drafts


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED"])
def test_drafts_of_an_ended_run_go_and_what_a_retry_needs_stays(
    database: Database, leftovers: Leftovers, tmp_path: Path, state: str
) -> None:
    files = files_of(database, tmp_path, run_id := submit(database))
    drafts = half_written(files)
    leftovers.sweep()
    assert all(draft.exists() for draft in drafts), "it may go on"
    database.execute(
        "update constellation.runs set state = %s, finished_at = now() where id = %s",
        (state, run_id),
    )
    leftovers.sweep()
    assert not any(draft.exists() for draft in drafts)
    assert files.work.exists()


def test_a_run_that_still_has_a_process_is_left_alone(
    database: Database, leftovers: Leftovers, tmp_path: Path
) -> None:
    run_id = submit(database)
    database.execute(
        "insert into constellation.run_queue (run_id, instance_ref) values (%s, '{}')", (run_id,)
    )
    claimed(database, worker(database))
    database.execute("update constellation.runs set state = 'CANCELLED', finished_at = now()")
    drafts = half_written(files_of(database, tmp_path, run_id))
    leftovers.sweep()
    assert all(draft.exists() for draft in drafts)
