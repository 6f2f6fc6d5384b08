"""The benchmark of the coverage map, made small: what it fills, and that it asks right."""

from pathlib import Path

import pytest

from benchmarks import coverage
from constellation_pipelines.domain.account import Scope
from tests.api.people import make_key
from tests.api.service import save_model, serving
from tests.store.test_coverage import check

SMALL = {"TILES": 20_000, "ZOOMS": (0, 9, 15), "ASKED": 1, "DENSEST": 2, "BY_CHANCE": 3}


def test_it_fills_and_asks(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SMALL.items():
        monkeypatch.setattr(coverage, name, value)
    with serving(database_url, None, tmp_path, auth="required", rate_reads_per_s=1e5) as service:
        model = save_model(service.database)
        coverage.fill(service.database)
        assert len(check(service.database)) > 1_000, "the cells are those of a recount"
        indexes = service.database.fetch_all(
            "select indexname from pg_indexes where tablename = 'tiles'"
        )
        assert {"indexname": coverage.MAP_INDEX} in indexes
        rows = "select account, count(*)::int as n from constellation.tiles group by 1"
        tiles = {row["account"]: row["n"] for row in service.database.fetch_all(rows)}
        assert tiles["few"] == 500 < tiles["most"] < sum(tiles.values())
        scopes = {coverage.ALL: Scope.ADMIN}
        keys = {
            who: make_key(service.database, who, scopes.get(who, Scope.VIEWER)).text
            for who in coverage.WHOSE
        }
        found = [*coverage.measured(service.url, service.database, model, keys)]
        found.append(coverage.raw(service.database, model))
    named = {one.metric: one for one in found}
    assert len(named) == len(found)
    assert named["map tile, zoom 0, p95"].conditions["most_tiles_in_a_map_tile"] == tiles["most"]
    assert 0 < named["largest map tile, few"].value < named["largest map tile, everybody"].value
