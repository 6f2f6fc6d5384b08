"""What the lake answers: the same as a count by hand, from the files named and no other."""

import re
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

import duckdb
import pytest
import shapely

from constellation_pipelines.domain.analytics import Box, Findings, boxes_of
from constellation_pipelines.domain.errors import (
    InvalidInput,
    ServiceUnavailable,
    TooManyRequests,
)
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.lake.analytics import (
    Analyst,
    Limits,
    Period,
    Question,
    RunFile,
    confine,
)
from tests.conftest import CHECKOUT
from tests.lake import results
from tests.lake.results import START, Tile, any_tiles, recount, tile

OVER_THE_CAPE = results.footprint(shapely.box(-76.6, 34.55, -76.5, 34.6))
PATIENT = Limits(timeout_s=60)


class Lake:
    """Files of runs in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[UUID, Path] = {}
        self.scenes: dict[UUID, str] = {}

    def add(self, tiles: list[Tile], scene: str = "coast") -> UUID:
        run = new_id()
        self.files[run] = self.folder / f"{run}.parquet"
        self.scenes[run] = scene
        results.write(self.files[run], run, tiles, scene)
        return run

    @property
    def runs(self) -> list[RunFile]:
        return [
            RunFile(run, uuid5(NAMESPACE_OID, self.scenes[run]), path)
            for run, path in self.files.items()
        ]

    def ask(
        self,
        period: Period = "all",
        *,
        dense: bool = False,
        bbox: Box | None = None,
        first: date | None = None,
        last: date | None = None,
    ) -> Findings:
        boxes = None if bbox is None else boxes_of(bbox)
        question = Question(period, dense, boxes, first, last)
        return Analyst(PATIENT).find(self.runs, question)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


def told(found: Findings) -> dict[tuple[date | None, int | None], Any]:
    return {
        (one.period, one.value): (
            one.tiles,
            one.units,
            pytest.approx(one.area_km2),
            one.confidence if one.confidence is None else pytest.approx(one.confidence),
        )
        for one in found.classes + found.periods
    }


@pytest.mark.parametrize("dense", [False, True], ids=["chips", "pixels"])
@pytest.mark.parametrize("by", ["all", "day", "month"])
def test_answers_are_those_of_a_count_by_hand(lake: Lake, by: Period, dense: bool) -> None:
    random = Random(f"{by} {dense}")
    files: dict[str, list[list[Tile]]] = {"coast": [], "valley": []}
    for scene in ("coast", "coast", "valley", "coast"):
        files[scene].append(any_tiles(random, random.sample(range(60), 40)))
        lake.add(files[scene][-1], scene)
    assert told(lake.ask(by, dense=dense)) == recount(files, dense=dense, by=by)
    first, last = date(2026, 3, 10), date(2026, 4, 20)
    cut = lake.ask(by, dense=dense, first=first, last=last)
    assert told(cut) == recount(files, dense=dense, by=by, first=first, last=last)
    assert len(cut.classes) >= 4


def test_shares_are_of_the_area_of_the_period_and_add_up_to_one(lake: Lake) -> None:
    lake.add(any_tiles(Random(1), range(200)))
    found = lake.ask("month")
    months = {one.period for one in found.periods}
    assert len(months) == 3
    for month in months:
        shares = [found.share(one) for one in found.classes if one.period == month]
        assert sum(shares) == pytest.approx(1.0)


# ---- each tile once ----


def test_a_window_that_several_runs_computed_counts_once_as_computed_last(lake: Lake) -> None:
    lake.add([tile(0, {1: 64}), tile(1, {1: 64})])
    lake.add([tile(0, {2: 64}, at=START + timedelta(days=40), digest="other treatment")])
    found = lake.ask()
    assert found.total().tiles == 2
    assert {one.value: one.units for one in found.classes} == {1: 64, 2: 64}
    march = lake.ask(last=date(2026, 3, 31))
    assert march.total().tiles == 1, "the first result of tile 0 is no result any more"


def test_a_later_failure_hides_no_result(lake: Lake) -> None:
    lake.add([tile(0, {1: 64})])
    later = START + timedelta(days=1)
    lake.add([tile(0, {}, at=later, state="FAILED", error="the block cannot be read")])
    lake.add([tile(0, {}, at=later, state="SKIPPED", cloud_fraction=1.0)])
    assert lake.ask().total().units == 64


def test_the_same_window_of_two_scenes_is_two_tiles(lake: Lake) -> None:
    lake.add([tile(0, {1: 64})], "coast")
    lake.add([tile(0, {1: 64})], "valley")
    assert lake.ask().total().tiles == 2


def test_days_end_at_midnight_utc(lake: Lake) -> None:
    midnight = datetime(2026, 3, 2, tzinfo=UTC)
    moments = (midnight - timedelta(microseconds=1), midnight)
    lake.add([tile(n, {1: 1}, at=at) for n, at in enumerate(moments)])
    found = lake.ask("day")
    assert sorted(str(one.period) for one in found.periods) == ["2026-03-01", "2026-03-02"]
    assert lake.ask(last=date(2026, 3, 1)).total().tiles == 1
    assert lake.ask(first=date(2026, 3, 2)).total().tiles == 1


def test_the_count_by_hand_that_the_docs_show_is_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "model=eurosat-landcover@4" / "date=2026-03-01"
    lake = Lake(folder)
    random = Random(3)
    for scene in ("coast", "coast", "valley"):
        lake.add(
            [one | {"footprint": OVER_THE_CAPE} for one in any_tiles(random, range(20))], scene
        )
    page = (CHECKOUT / "docs" / "analytics.md").read_text()
    (sql,) = re.findall(r'duckdb.sql\("""(.*?)"""\)', page, re.DOTALL)
    with duckdb.connect() as connection:
        shown = connection.execute(sql.replace(".constellation/lake/predictions", str(tmp_path)))
        by_hand = {value: (tiles, chips, km2) for value, tiles, chips, km2 in shown.fetchall()}
    found = lake.ask(bbox=(-76.7, 34.5, -76.4, 34.7))
    assert by_hand == {
        one.value: (one.tiles, one.units, pytest.approx(one.area_km2, abs=0.05001))
        for one in found.classes
    }
    assert len(by_hand) == 4


# ---- places ----


def columns_in(lake: Lake, bbox: Box) -> int:
    return lake.ask(bbox=bbox).total().tiles


def test_tiles_count_whole_where_their_bounds_touch_the_box(lake: Lake) -> None:
    lake.add([tile(column, {1: 64}) for column in range(10)])
    assert columns_in(lake, (15.05, 45.05, 15.25, 45.06)) == 3
    assert columns_in(lake, (15.05, 45.05, 15.05, 45.05)) == 1
    assert columns_in(lake, (15.05, 46.0, 15.25, 47.0)) == 0
    assert columns_in(lake, (-180.0, -90.0, 180.0, 90.0)) == 10
    found = lake.ask(bbox=(15.05, 45.05, 15.06, 45.06))
    assert (found.total().area_km2, found.total().units) == (25.0, 64)


@pytest.fixture(params=[1, 2], ids=["one run", "two runs"])
def fiji(lake: Lake, request: pytest.FixtureRequest) -> Lake:
    """Five tiles from 179.75 to -179.75, the third of which 180 degrees cuts in two; computed once,
    or a day before as well.
    """
    boxes = [
        (shapely.box(179.75, 45, 179.85, 45.1),),
        (shapely.box(179.85, 45, 179.95, 45.1),),
        (shapely.box(179.95, 45, 180, 45.1), shapely.box(-180, 45, -179.95, 45.1)),
        (shapely.box(-179.95, 45, -179.85, 45.1),),
        (shapely.box(-179.85, 45, -179.75, 45.1),),
    ]
    for run in range(request.param):
        lake.add(
            [
                tile(
                    n,
                    {n if run == 0 else 9: 1},
                    at=START - timedelta(days=run),
                    footprint=results.footprint(*parts),
                )
                for n, parts in enumerate(boxes)
            ]
        )
    return lake


@pytest.mark.parametrize(
    ("bbox", "expected"),
    [
        ((179.9, 45.0, -179.9, 45.1), {1, 2, 3}),
        ((179.0, 45.0, 180.0, 45.1), {0, 1, 2}),
        ((-180.0, 45.0, -179.0, 45.1), {2, 3, 4}),
        ((179.96, 45.05, 179.97, 45.06), {2}),
        ((-179.97, 45.05, -179.96, 45.06), {2}),
        ((0.0, 45.0, 10.0, 45.1), set()),  # the bounds of the third go round the globe
        ((-179.8, 45.0, 179.8, 45.1), {0, 4}),
        ((180.0, 45.0, -180.0, 45.1), {2}),
        ((170.0, -90.0, -170.0, 90.0), {0, 1, 2, 3, 4}),
    ],
)
def test_a_box_may_cross_180_degrees_and_so_may_a_tile(
    fiji: Lake, bbox: Box, expected: set[int]
) -> None:
    found = fiji.ask(bbox=bbox)
    assert {one.value for one in found.classes} == expected
    assert found.total().tiles == len(expected), "none is counted on both sides"


# ---- files ----


def test_nothing_is_found_in_no_files_and_in_empty_ones(lake: Lake) -> None:
    for n in range(2):
        found = lake.ask("month", bbox=(0.0, 0.0, 1.0, 1.0))
        assert (found.runs, found.classes, found.total().tiles) == (n, [], 0)
        assert found.total().confidence is None
        lake.add([])


def test_missing_and_damaged_files_are_told_and_the_others_counted(lake: Lake) -> None:
    lake.add([tile(0, {1: 64})])
    spoilt = {why: lake.add([tile(n, {1: 64}) for n in range(1, 400)]) for why in "abcdef"}
    lake.files[spoilt["a"]].unlink()
    for why, keep in (("b", 0), ("c", 3), ("d", 2_000)):
        path = lake.files[spoilt[why]]
        path.write_bytes(path.read_bytes()[:keep])
    for why, place in (("e", slice(200, 1_500)), ("f", slice(-400, -8))):
        path = lake.files[spoilt[why]]
        content = bytearray(path.read_bytes())
        content[place] = b"\xa5" * len(content[place])
        path.write_bytes(content)
    found = lake.ask()
    assert found.runs == 1
    assert (found.total().tiles, found.total().units) == (1, 64)
    reasons = {one.run_id: one.reason for one in found.unread}
    assert reasons.pop(spoilt["a"]) == "missing"
    assert reasons == {run: "damaged" for why, run in spoilt.items() if why != "a"}


def test_a_folder_in_the_place_of_a_file_is_damage(lake: Lake) -> None:
    run = lake.add([])
    lake.files[run].unlink()
    lake.files[run].mkdir()
    assert [one.reason for one in lake.ask().unread] == ["damaged"]


# ---- what a question may do ----


@pytest.mark.parametrize(
    "statement",
    [
        "select * from read_text('/etc/passwd')",
        "select * from read_parquet('{other}')",
        "select * from read_parquet('{folder}/*.parquet')",
        "copy (select 1) to '{folder}/out.csv'",
        "attach '{folder}/other.db'",
        "set enable_external_access = true",
        "set allowed_paths = ['/etc/passwd']",
        "install spatial",
    ],
)
def test_no_other_file_can_be_opened(lake: Lake, statement: str) -> None:
    mine, other = lake.add([tile(0, {1: 1})]), lake.add([tile(1, {1: 1})])
    with duckdb.connect() as connection:
        confine(connection, [lake.files[mine]])
        rows = connection.execute("select count(*) from read_parquet(?)", [str(lake.files[mine])])
        assert rows.fetchall() == [(1,)]
        names = {"other": str(lake.files[other]), "folder": str(lake.folder)}
        with pytest.raises((duckdb.PermissionException, duckdb.InvalidInputException)):
            connection.execute(statement.format(**names))


def many(lake: Lake) -> None:
    random = Random(2)
    for n in range(20):
        lake.add(any_tiles(random, range(1000 * n, 1000 * n + 1000)))


def test_an_answer_that_takes_too_long_is_given_up(lake: Lake) -> None:
    many(lake)
    analyst = Analyst(Limits(timeout_s=0.001))
    with pytest.raises(ServiceUnavailable, match="longer than"):
        analyst.find(lake.runs, Question("day", False))
    with pytest.raises(ServiceUnavailable):  # and gives its seat back
        Analyst(Limits(timeout_s=0.001, at_once=1)).find(lake.runs, Question("day", False))


def test_an_answer_that_takes_too_much_memory_is_refused(lake: Lake) -> None:
    many(lake)
    with pytest.raises(InvalidInput, match="of memory"):
        Analyst(Limits(timeout_s=60, memory_mb=2)).find(lake.runs, Question("day", False))


def test_only_so_many_questions_are_answered_at_once(lake: Lake) -> None:
    many(lake)
    analyst = Analyst(Limits(timeout_s=60, at_once=1))
    begin, refused, answered = threading.Barrier(4), [], []

    def ask() -> None:
        begin.wait(30)
        try:
            answered.append(analyst.find(lake.runs, Question("day", False)).total().tiles)
        except TooManyRequests as error:
            refused.append(error.retry_after_s)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(answered) + len(refused) == 4
    assert refused, "they were asked at once"
    assert analyst.find(lake.runs, Question("day", False)).total().tiles == answered[0]


@pytest.mark.parametrize("name", ["[a]", "a*", "a?b", "a{b,c}", "it's", "day=1", "wörld", "a\\b"])
def test_a_lake_may_lie_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    lake = Lake(tmp_path / name)
    lake.add([tile(0, {1: 5})])
    lake.add([tile(0, {1: 5})], scene="a")
    found = lake.ask()
    assert (found.runs, found.unread) == (2, [])
    assert [one.tiles for one in found.periods] == [2]
