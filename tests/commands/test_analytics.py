"""`constellation analytics` against a real API and files in its lake."""

import csv
import io

import pytest

from tests.api.results import completed
from tests.api.service import MODEL, Service
from tests.commands.test_nouns import Command, as_json
from tests.commands.test_nouns import constellation as constellation
from tests.commands.test_nouns import service as service
from tests.lake.results import tile


@pytest.fixture(scope="module")
def job(service: Service) -> str:
    """A job that found water and land in two of its three tiles, and reused a fourth."""
    tiles = [tile(0, {0: 48, 1: 16}), tile(1, {1: 64}), tile(2, {})]
    lake = service.scenes.parent / "lake"
    return str(completed(service.database, lake, "local", tiles, reused=1)[0])


def test_classes_are_a_table_for_people(constellation: Command, job: str) -> None:
    code, out, _ = constellation("analytics", "classes", "landcover")
    assert code == 0
    lines = [line.split() for line in out.splitlines() if line.strip()]
    assert lines[0] == [*("CLASS", "NAME", "TILES", "CHIPS", "KM2", "SHARE", "%", "CONFIDENCE")]
    assert lines[2:5] == [
        ["1", "land", "2", "80", "31.2", "62.5", "0.800"],
        ["0", "water", "1", "48", "18.8", "37.5", "0.800"],
        ["all", "-", "3", "128", "50.0", "100.0", "0.800"],
    ]
    assert "1 reused tiles count in the runs that computed them" in out


def test_a_series_is_by_day_or_month(constellation: Command, job: str) -> None:
    _, out, _ = constellation("analytics", "series", MODEL, "--by", "month")
    assert "MONTH" in out
    assert "2026-03-01" in out
    found = as_json(constellation("analytics", "series", MODEL, "--job", job, "--json"))
    assert (found["by"], len(found["items"])) == ("day", 2)
    code, _, err = constellation("analytics", "series", MODEL, "--by", "hour")
    assert code == 1
    assert "by" in err


def test_every_filter_is_passed_on(constellation: Command, job: str) -> None:
    def tiles(*options: str) -> int:
        found = as_json(constellation("analytics", "classes", MODEL, "--json", *options))
        return int(found["total"]["tiles"])

    assert tiles("--bbox", "15.01,45.01,15.02,45.02") == 1
    assert tiles("--from", "2026-03-02") == tiles("--to", "2026-02-28") == 0
    assert tiles("--from", "2026-03-01", "--to", "2026-03-01", "-s", "coast", "--job", job) == 3
    code, _, err = constellation("analytics", "classes", MODEL, "--scene", "nowhere")
    assert code == 1
    assert "no scene" in err
    _, out, _ = constellation("analytics", "classes", MODEL, "--from", "2027-01-01")
    assert "nothing was found" in out


def test_csv_is_printed_as_the_api_tells_it(constellation: Command, job: str) -> None:
    for what in ("classes", "series"):
        code, out, _ = constellation("analytics", what, MODEL, "--csv")
        assert code == 0
        assert [row["name"] for row in csv.DictReader(io.StringIO(out))] == ["land", "water"]
        assert constellation("analytics", what, MODEL, "--csv", "--json")[0] == 1


def test_a_run_whose_file_is_gone_is_told(constellation: Command, service: Service) -> None:
    lake = service.scenes.parent / "lake"
    _, _, path = completed(service.database, lake, "local", [tile(0, {1: 1})], scene="gone")
    path.unlink()
    _, out, _ = constellation("analytics", "classes", MODEL, "-s", "gone")
    assert "nothing was found" in out
    assert "not counted: 1 runs whose files are missing or damaged" in out
