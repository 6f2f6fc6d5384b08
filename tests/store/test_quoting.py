"""What past tiles say, from the database."""

from uuid import UUID

import pytest

from constellation_pipelines.domain.card import parse_card
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.domain.job import JobParams
from constellation_pipelines.domain.model import Model
from constellation_pipelines.domain.quote import Cost
from constellation_pipelines.store import models, quoting
from constellation_pipelines.store.database import Database
from tests.api.service import card
from tests.store.fleet import GPU, gpu, host, job, profile, run_of

SCENE = """
insert into constellation.scenes
       (id, key, uri, digest, grid, bands, gsd_m, footprint, area_km2, item)
values (%s, 'scene', '/x', 'x', '{}', '[]', 10,
        'MULTIPOLYGON(((15 45, 15.1 45, 15.1 45.1, 15 45)))', 1, '{}')
"""

TILES = """
insert into constellation.tiles
       (id, digest, scene_id, model_id, run_id, job_id, row_off_px, col_off_px, height_px, width_px,
        state, footprint, geom_3857, area_km2, class_counts, valid_fraction, read_ms, infer_ms)
select gen_random_uuid(), %(run)s::text || n, scene_id, model_id, r.id, job_id, n, 0, 64, 64,
       'COMPLETED', 'MULTIPOLYGON(((15 45, 15.1 45, 15.1 45.1, 15 45)))',
       'SRID=3857;MULTIPOLYGON(((0 0, 1 0, 1 1, 0 0)))', 1, '{}', 1, 100, n
  from constellation.runs r, generate_series(1, %(count)s) n where r.id = %(run)s
"""


@pytest.fixture
def known(database: Database) -> Model:
    document = card("landcover")
    found = Model(new_id(), "d" * 64, "/models/none", parse_card(document), document)
    with database.transaction() as connection:
        return models.save(connection, found)


def ran(database: Database, model: Model, *, tiles: int, state: str = "COMPLETED") -> UUID:
    """A run of this model, on the first device, with tiles of 101, 102, ... ms."""
    run_id = run_of(database, job(database), model_id=model.id)
    scene = database.fetch_one("select id from constellation.scenes")
    if scene is None:
        database.execute(SCENE, (new_id(),))
        scene = database.fetch_one("select id from constellation.scenes")
    assert scene is not None
    database.execute("delete from constellation.run_queue")
    database.execute(
        "update constellation.runs set state = %s, scene_id = %s, "
        "gpu_id = (select id from constellation.gpus order by idx limit 1) where id = %s",
        (state, scene["id"], run_id),
    )
    database.execute(TILES, {"run": run_id, "count": tiles})
    return run_id


def quoted(database: Database, model: Model, *tiles: int, **params: object) -> Cost:
    with database.transaction() as connection:
        return quoting.quote(
            connection,
            model,
            JobParams(model.card.reference, ("scene",), **params),  # type: ignore[arg-type]
            tiles,
            priority=0,
            account="ann",
        )


def test_a_quote_learns_from_the_tiles_of_completed_runs(database: Database, known: Model) -> None:
    host(database, gpu("A"))
    assert quoted(database, known, 10).device_s.expected is None
    profile(database, known.digest, 100, tile_s=0.5)
    alone = quoted(database, known, 10)
    assert (alone.device_s.low, alone.device_s.expected) == (None, 5.0)
    ran(database, known, tiles=99)
    ran(database, known, tiles=50, state="FAILED")
    found = quoted(database, known, 10)
    (kind,) = found.kinds
    assert (kind.name, kind.devices, kind.tiles_seen) == (GPU, 1, 99)
    # 101 to 199 ms: mean 150, the deciles 110.8 and 189.2
    assert found.device_s.low == pytest.approx(5.0 * 110.8 / 150)
    assert found.device_s.high == pytest.approx(5.0 * 189.2 / 150)
    assert found.finish_at.low is not None
    assert found.finish_at.high is not None
    assert found.finish_at.low < found.finish_at.high
    assert found.finish_reason is None


def test_only_so_many_tiles_of_a_run_are_looked_at(database: Database, known: Model) -> None:
    host(database, gpu("A"))
    ran(database, known, tiles=quoting.TILES_OF_A_RUN + 50)
    (kind,) = quoted(database, known, 1).kinds
    assert kind.tiles_seen == quoting.TILES_OF_A_RUN


def test_a_quote_writes_nothing(database: Database, known: Model) -> None:
    host(database, gpu("A"))
    before = database.fetch_one("select count(*) from constellation.run_queue")
    quoted(database, known, 3, 4, mode="serial")
    assert database.fetch_one("select count(*) from constellation.run_queue") == before
