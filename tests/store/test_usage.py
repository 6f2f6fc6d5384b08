"""What is counted as used: every lease and every tile once, and the same as a count by hand."""

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from random import Random
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.domain.usage import Usage, by_account, by_day, by_model
from constellation_pipelines.store import leases, usage
from constellation_pipelines.store.database import Database
from constellation_pipelines.store.leases import Lease
from constellation_pipelines.store.tenancy import Tenancy
from tests.store import fleet

FIRST, LAST = date(2026, 3, 1), date(2026, 3, 5)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
SQUARE = "MULTIPOLYGON(((15 45, 15.1 45, 15.1 45.1, 15 45)))"
MERCATOR = "SRID=3857;MULTIPOLYGON(((0 0, 1 0, 1 1, 0 0)))"


@pytest.fixture
def device(database: Database) -> UUID:
    fleet.host(database, fleet.gpu("G", slots=8))
    row = database.fetch_one("select id from constellation.gpus where uuid = 'G'")
    assert row is not None
    return UUID(str(row["id"]))


def model(database: Database, name: str) -> UUID:
    model_id = new_id()
    database.execute(
        "insert into constellation.models (id, name, version, digest, folder, document) "
        "values (%s, %s, '1', %s, '/m', %s)",
        (model_id, name, name, Jsonb({})),
    )
    return model_id


def scene(database: Database) -> UUID:
    scene_id = new_id()
    database.execute(
        "insert into constellation.scenes (id, key, uri, digest, grid, bands, gsd_m, footprint, "
        "area_km2, item) "
        "values (%(id)s, %(key)s, '/s', %(key)s, '{}', '[]', 10, %(place)s, 1, '{}')",
        {"id": scene_id, "key": str(scene_id), "place": SQUARE},
    )
    return scene_id


def run_of(database: Database, account: str, model_id: UUID) -> UUID:
    return fleet.run_of(database, fleet.job(database, account=account), model_id=model_id)


def lease(
    database: Database, device: UUID, run: UUID, since: datetime, until: datetime | None, slot: int
) -> int:
    row = database.fetch_one(
        "insert into constellation.leases (fence, gpu_id, worker_id, run_id, account, slot, "
        "acquired_at, expires_at, released_at) "
        "select nextval('constellation.fence'), %(gpu)s, g.worker_id, %(run)s, r.account, "
        "%(slot)s, %(since)s, %(expires)s, %(until)s "
        "from constellation.gpus g, constellation.runs r "
        "where g.id = %(gpu)s and r.id = %(run)s returning fence",
        {
            "gpu": device,
            "run": run,
            "slot": slot,
            "since": since,
            "until": until,
            "expires": (until or since) + timedelta(seconds=15),
        },
    )
    assert row is not None
    return int(row["fence"])


def tile(
    database: Database,
    run: UUID,
    scene_id: UUID,
    at: datetime,
    km2: float,
    state: str = "COMPLETED",
) -> None:
    error = "broken" if state == "FAILED" else None
    database.execute(
        "insert into constellation.tiles (id, digest, scene_id, model_id, run_id, job_id, "
        "row_off_px, col_off_px, height_px, width_px, state, footprint, geom_3857, area_km2, "
        "class_counts, valid_fraction, read_ms, infer_ms, error, created_at) "
        "select %(id)s, %(id)s::text, %(scene)s, r.model_id, r.id, r.job_id, 0, 0, 512, 512, "
        "%(state)s, %(square)s, %(mercator)s, %(km2)s, '{}', 1, 1, 1, %(error)s, %(at)s "
        "from constellation.runs r where r.id = %(run)s",
        {
            "id": new_id(),
            "scene": scene_id,
            "run": run,
            "state": state,
            "square": SQUARE,
            "mercator": MERCATOR,
            "km2": km2,
            "error": error,
            "at": at,
        },
    )


def used(database: Database, account: str, first: date = FIRST, last: date = LAST) -> list[Usage]:
    with database.transaction() as connection:
        return usage.of_account(connection, account, first, last)


def test_a_lease_counts_for_as_long_as_it_held_its_slot(database: Database, device: UUID) -> None:
    run = run_of(database, "ann", model(database, "water"))
    lease(database, device, run, NOON, NOON + timedelta(seconds=90), 0)
    (row,) = used(database, "ann")
    assert (row.day, row.model, row.gpu_s, row.energy_j) == (NOON.date(), "water@1", 90.0, None)
    assert used(database, "ben") == []


def test_a_lease_over_midnight_is_cut_between_the_days_and_its_energy_with_it(
    database: Database, device: UUID
) -> None:
    run = run_of(database, "ann", model(database, "water"))
    midnight = datetime(2026, 3, 3, tzinfo=UTC)
    since, until = midnight - timedelta(seconds=30), midnight + timedelta(seconds=10)
    fence = lease(database, device, run, since, until, 0)
    with database.transaction() as connection:
        leases.note_energy(connection, Lease(run, fence), {"G": 300.0, "unknown": 5.0})
        leases.note_energy(connection, Lease(run, fence), {"G": 100.0})
    before, after = used(database, "ann")
    assert (before.day, before.gpu_s, before.energy_j) == (date(2026, 3, 2), 30.0, 300.0)
    assert (after.day, after.gpu_s, after.energy_j) == (date(2026, 3, 3), 10.0, 100.0)
    assert [row.gpu_s for row in used(database, "ann", last=date(2026, 3, 2))] == [30.0]


def test_a_lease_of_a_dead_worker_counts_up_to_its_expiry(database: Database, device: UUID) -> None:
    run = run_of(database, "ann", model(database, "water"))
    lease(database, device, run, NOON, None, 0)
    (row,) = used(database, "ann")
    assert row.gpu_s == 15.0


def test_tiles_count_once_and_only_if_they_are_done(database: Database) -> None:
    run, place = run_of(database, "ann", model(database, "water")), scene(database)
    tile(database, run, place, NOON, 2.5)
    tile(database, run, place, NOON, 1.5)
    tile(database, run, place, NOON, 9.0, "FAILED")
    (row,) = used(database, "ann")
    assert (row.tiles, row.area_km2, row.gpu_s) == (2, 4.0, 0.0)


def test_an_account_sees_its_own_and_the_sums_of_all(database: Database) -> None:
    place, water = scene(database), model(database, "water")
    for account in ("ann", "ben"):
        tile(database, run_of(database, account, water), place, NOON, 1.0)
    bens = database.bound(Tenancy("ben"))
    assert used(bens, "ann") == []
    assert len(used(bens, "ben")) == 1
    with bens.transaction() as connection:
        everyone = usage.of_everyone(connection, FIRST, LAST)
    assert {row.account for row in by_account(everyone)} == {"ann", "ben"}


def test_sums_equal_a_recount_of_the_rows(database: Database, device: UUID) -> None:
    """Some days of random work, counted by hand from what was written: account, day and model."""
    chance, place = Random(11), scene(database)
    models = {model(database, name): f"{name}@1" for name in ("water", "roads")}
    seconds: dict[tuple[str, date, str], float] = defaultdict(float)
    joules: dict[tuple[str, date, str], float] = defaultdict(float)
    tiles: dict[tuple[str, date, str], int] = defaultdict(int)
    area: dict[tuple[str, date, str], float] = defaultdict(float)
    for slot in range(8):
        account, model_id = chance.choice(("ann", "ben")), chance.choice([*models])
        run, name = run_of(database, account, model_id), models[model_id]
        at = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=chance.uniform(0, 3 * 86400))
        length = timedelta(seconds=chance.uniform(1, 86400))
        fence, energy_j = (
            lease(database, device, run, at, at + length, slot),
            chance.uniform(0, 9e6),
        )
        with database.transaction() as connection:
            leases.note_energy(connection, Lease(run, fence), {"G": energy_j})
        for day in {at.date(), (at + length).date()}:
            midnight = datetime.combine(day, datetime.min.time(), UTC)
            part = min(at + length, midnight + timedelta(days=1)) - max(at, midnight)
            seconds[account, day, name] += part.total_seconds()
            joules[account, day, name] += energy_j * (part / length)
        for _ in range(chance.randrange(12)):
            km2, when = chance.uniform(0, 30), at + length * chance.random()
            tile(database, run, place, when, km2)
            tiles[account, when.date(), name] += 1
            area[account, when.date(), name] += km2
    with database.transaction() as connection:
        everyone = usage.of_everyone(connection, FIRST, LAST)
    found = {(row.account, row.day, row.model): row for row in everyone if row.day}
    assert found.keys() == seconds.keys()
    assert used(database, "ann") == [row for row in everyone if row.account == "ann"]
    for place_of, row in found.items():
        assert row.gpu_s == pytest.approx(seconds[place_of], abs=1e-3)
        assert row.energy_j == pytest.approx(joules[place_of], abs=1)
        assert row.tiles == tiles[place_of]
        assert row.area_km2 == pytest.approx(area[place_of])
    for sums in (by_day, by_model, by_account):
        told = sums(everyone)
        assert sum(row.tiles for row in told) == sum(tiles.values())
        assert sum(row.energy_j or 0 for row in told) == pytest.approx(sum(joules.values()))
