import numpy as np
import pytest
import shapely
from shapely import MultiPolygon

from constellation_pipelines.geo import dateline


def test_longitudes_go_on_across_180() -> None:
    lon = np.array([[170.0, -170.0, -160.0, 175.0], [10.0, 20.0, 30.0, 10.0]])
    expected = [[170.0, 190.0, 200.0, 175.0], [10.0, 20.0, 30.0, 10.0]]
    assert dateline.continuous(lon).tolist() == expected


@pytest.mark.parametrize("turns", [-1, 0, 1])
def test_a_polygon_in_one_turn_is_moved_and_not_cut(turns: int) -> None:
    (part,) = dateline.split_at_180(shapely.box(10 + 360 * turns, 0, 20 + 360 * turns, 5))
    assert part.equals(shapely.box(10, 0, 20, 5))


def test_a_polygon_across_180_is_cut_there() -> None:
    parts = dateline.split_at_180(shapely.box(170, 0, 190, 5))
    assert MultiPolygon(parts).equals(
        MultiPolygon([shapely.box(170, 0, 180, 5), shapely.box(-180, 0, -170, 5)])
    )


def test_a_polygon_that_touches_180_stays_whole() -> None:
    assert [p.bounds for p in dateline.split_at_180(shapely.box(170, 0, 180, 5))] == [
        (170, 0, 180, 5)
    ]
    assert [p.bounds for p in dateline.split_at_180(shapely.box(180, 0, 185, 5))] == [
        (-180, 0, -175, 5)
    ]


def test_what_goes_all_round_is_one_valid_polygon() -> None:
    parts = dateline.split_at_180(shapely.box(0, 10, 360, 20))
    assert [part.bounds for part in parts] == [(-180, 10, 180, 20)]


@pytest.mark.parametrize(("lat", "pole"), [(70.0, 90.0), (-70.0, -90.0)])
@pytest.mark.parametrize("start", [-180.0, -100.0, 0.0, 77.0, 500.0])
@pytest.mark.parametrize("direction", [1, -1])
def test_a_ring_round_the_globe_encloses_its_own_pole(
    lat: float, pole: float, start: float, direction: int
) -> None:
    lon_deg = start + direction * np.arange(0.0, 361.0, 30.0)
    parts = dateline.split_ring(lon_deg, np.full(lon_deg.size, lat))
    west, east = sorted((lat, pole))
    assert MultiPolygon(parts).is_valid
    assert MultiPolygon(parts).equals(shapely.box(-180, west, 180, east))


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([(10, 20)], (10, 0, 20, 1)),
        ([(170, 180), (-180, -170)], (170, 0, -170, 1)),
        ([(170, 180), (-180, -170), (-100, -90)], (170, 0, -90, 1)),
        ([(-180, 180)], (-180, 0, 180, 1)),
        ([(-180, -170), (0, 10)], (-180, 0, 10, 1)),
        ([(-180, 20 - dateline.GAP_DEG), (20, 180)], (-180, 0, 180, 1)),
    ],
)
def test_bounds_run_across_180_where_that_is_shorter(
    parts: list[tuple[float, float]], expected: tuple[float, float, float, float]
) -> None:
    footprint = MultiPolygon([shapely.box(west, 0, east, 1) for west, east in parts])
    assert dateline.bounds(footprint) == expected


def test_slices_add_up_to_what_they_were_cut_from() -> None:
    whole = shapely.box(-150, -10, 170, 10)
    slices = dateline.slices(whole)
    assert all(part.bounds[2] - part.bounds[0] <= 90 for part in slices)
    assert sum(part.area for part in slices) == pytest.approx(whole.area)


def test_what_is_wider_than_half_the_globe_is_cut_into_valid_parts() -> None:
    parts = dateline.unmistakable([shapely.box(-180, -90, 180, 90)])
    whole = MultiPolygon(parts)
    assert whole.is_valid
    assert len(parts) == 4
    assert all(part.bounds[2] - part.bounds[0] < 100 for part in parts)
    assert whole.area == pytest.approx(360 * 180, rel=1e-9)
    for part in parts:
        steps = np.abs(np.diff(shapely.get_coordinates(part), axis=0))
        assert steps.max() <= 60


@pytest.mark.parametrize(
    "box", [(-180, -90, 180, -10), (-180, 10, 180, 90), (-90, -80, 90, 80), (5, 5, 6, 6)]
)
def test_caps_and_narrow_polygons_stay_whole(box: tuple[float, float, float, float]) -> None:
    (part,) = dateline.unmistakable([shapely.box(*box)])
    assert part.equals(shapely.box(*box))
