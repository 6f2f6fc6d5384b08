"""Positions counted in the bytes of GeoJSON as they pass."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.vertices import Vertices
from tests.api.areas import polygon, ring

CIRCLE = ring(9)  # ten positions
HEIGHTS = [[-1.5, 45, 10], [1, 45, 10], [1, 46, 1e300], [-1.5, 45, 10]]
MANY = {"type": "MultiPolygon", "coordinates": [[CIRCLE], [HEIGHTS, HEIGHTS]]}
FEATURES = {
    "type": "FeatureCollection",
    "features": [
        {"type": "Feature", "properties": {"tags": ["a", "b"], "of": {}}, "geometry": MANY},
        {"type": "Feature", "properties": None, "geometry": polygon(CIRCLE)},
    ],
}


def counted(*parts: bytes) -> int:
    vertices = Vertices()
    for part in parts:
        vertices.take(part)
    return vertices.count


@pytest.mark.parametrize("how", [{}, {"separators": (",", ":")}, {"indent": 3}])
@pytest.mark.parametrize(
    ("area", "count"), [(polygon(CIRCLE), 10), (polygon(HEIGHTS), 4), (MANY, 18), (FEATURES, 28)]
)
def test_each_position_counts_however_it_is_written(
    area: dict[str, Any], count: int, how: dict[str, Any]
) -> None:
    assert counted(json.dumps({"model": "m", "aoi": area}, **how).encode()) == count


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[" * 1000,
        b'{"model": "' + b"x" * 1000 + b'", "scenes": ["a", "b"]}',
        b'[[], [[]], {"a": [null, true, "1"]}, [ ',
        b"1, -2, 3] " * 100,
        bytes(range(256)) * 4,
    ],
)
def test_what_is_no_position_counts_nothing(body: bytes) -> None:
    assert counted(body) == counted(*[bytes([one]) for one in body]) == 0


@given(cuts=st.lists(st.integers(0, 3000)), indent=st.sampled_from([None, 0, 2]))
def test_it_does_not_matter_where_a_body_is_cut(cuts: list[int], indent: int | None) -> None:
    body = json.dumps(FEATURES, indent=indent).encode()
    ends = [0, *sorted(cuts), len(body)]
    parts = [body[start:end] for start, end in pairwise(ends)]
    assert b"".join(parts) == body
    assert counted(*parts) == 28
