"""What 0012 makes of tiles that were there: cells, as if each had been noted when it came."""

from random import Random

from constellation_pipelines.store.database import Database
from migrations import runner
from tests.migrations.test_accounts import empty_url as empty_url
from tests.migrations.test_accounts import migrate_to
from tests.store.test_coverage import INSERT, check, land_of, some_tiles


def test_tiles_of_before_are_counted(empty_url: str) -> None:
    migrate_to(empty_url, "0011")
    database = Database(empty_url)
    try:
        land, random = land_of(database), Random(7)
        for number, run in enumerate(land.runs):
            args = some_tiles(random, land, [*range(number * 50, number * 50 + 50)])
            database.execute(INSERT, args | {"run": run})
        runner.migrate(empty_url)
        found = check(database)
        assert {row["account"] for row in found if isinstance(row, dict)} == {"ann", "ben", "cid"}
        unsettled = "select count(*)::int as n from constellation.coverage_changes"
        assert database.fetch_one(unsettled) == {"n": 0}
        args = some_tiles(random, land, [*range(1000, 1040)])
        database.execute(INSERT, args)
        assert len(check(database)) > len(found), "and from then on those that come"
    finally:
        database.close()
