"""What 0010 makes of areas that someone wrote into the table by hand."""

import psycopg
import pytest

from migrations import runner
from tests.migrations.test_accounts import empty_url as empty_url
from tests.migrations.test_accounts import migrate_to

SQUARE = "SRID=4326;MULTIPOLYGON(((15 45, 15.1 45, 15.1 45.1, 15 45.1, 15 45)))"


def test_an_area_of_before_is_measured(empty_url: str) -> None:
    migrate_to(empty_url, "0009")
    with psycopg.connect(empty_url) as connection:
        connection.execute(
            "insert into constellation.areas (id, account, name, geom)"
            " values (gen_random_uuid(), 'local', 'old', %s)",
            (SQUARE,),
        )
    runner.migrate(empty_url)
    with psycopg.connect(empty_url) as connection:
        row = connection.execute("select km2, bbox from constellation.areas").fetchone()
    assert row is not None
    assert row[0] == pytest.approx(7.88 * 11.11, rel=0.01)
    assert row[1] == [15, 45, 15.1, 45.1]
