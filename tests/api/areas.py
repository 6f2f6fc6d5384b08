"""Areas that cost a server much before it can say what is wrong with them, or that nothing is."""

import json
from math import cos, pi, sin
from typing import Any


def polygon(*rings: Any) -> dict[str, Any]:
    """A GeoJSON Polygon."""
    return {"type": "Polygon", "coordinates": list(rings)}


def ring(count: int) -> list[list[float]]:
    """A circle of so many vertices."""
    points = [
        [15 + 0.1 * cos(2 * pi * n / count), 45.1 + 0.1 * sin(2 * pi * n / count)]
        for n in range(count)
    ]
    return [*points, points[0]]


def rounded(of: list[list[float]], digits: int) -> list[list[float]]:
    """A ring whose coordinates take less room."""
    return [[round(x, digits), round(y, digits)] for x, y in of]


def comb(teeth: int) -> dict[str, Any]:
    """A ring with two vertices a tooth, none of whose edges cross."""
    top = [[round(15 + 2e-5 * n, 5), 45.1 if n % 2 else 45.05] for n in range(2 * teeth)]
    return polygon([*top, [15.9, 44.9], [15, 44.9], top[0]])


def tangle(count: int) -> dict[str, Any]:
    """A ring whose edges cross everywhere."""
    return polygon([[15 + n * 7919 % 1000 / 1e4, 45 + n * 7 % 997 / 1e4] for n in range(count)])


def nested(levels: int) -> str:
    """A deep area, as JSON."""
    return f'{{"type": "Polygon", "coordinates": {"[" * levels}{"]" * levels}}}'


# By name: the area as JSON, and the status that it is answered with.
COSTLY: dict[str, tuple[str, int]] = {
    name: (area if isinstance(area, str) else json.dumps(area, separators=(",", ":")), status)
    for name, area, status in (
        ("a comb of 40,000 vertices", comb(20_000), 200),
        ("99,999 vertices whose edges cross", polygon(rounded(ring(99_999), 4)), 422),
        ("100,001 vertices", polygon(rounded(ring(100_001), 3)), 422),
        ("1,000,000 vertices", polygon(ring(1_000_000)), 422),
        (
            "5,000 polygons on one another",
            {"type": "MultiPolygon", "coordinates": [[ring(4)] for _ in range(5_000)]},
            422,
        ),
        ("a tangle of 9,999 edges", tangle(9_999), 422),
        ("a deep area", nested(500), 422),
        ("a bottomless area", nested(20_000), 422),
    )
}


def submission(area: str, model: str, scene: str) -> str:
    """A request for this area, as JSON."""
    return f'{{"model": "{model}", "scenes": ["{scene}"], "aoi": {area}}}'
