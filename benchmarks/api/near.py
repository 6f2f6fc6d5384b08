"""Questions by place: how long they take, and whether the answers are those of the tiles."""

import asyncio
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any
from urllib.parse import urlencode

import httpx
import psycopg

from benchmarks.api.load import ask, opened, request_bytes

Spot = tuple[float, float]  # longitude, latitude

JOBS = "/api/v1/jobs"
WARM_UP = 10
MOST = 500  # jobs of a page, where answers are compared
# Between the corners of a tile and of a job's ground edges are drawn with other points.
SLACK = 0.005


@dataclass(frozen=True, slots=True)
class Reach:
    """How far from a place is asked for, how often, and how many answers are compared."""

    name: str
    radius_m: float
    queries: int
    compared: int


# In reach are no or some hundreds of jobs, some thousands, and all of them.
REACHES = (
    Reach("100 km", 100_000, 300, 8),
    Reach("1,000 km", 1_000_000, 100, 2),
    Reach("the whole Earth", 20_100_000, 50, 0),
)


@dataclass(frozen=True, slots=True)
class Near:
    """Seconds of each answer, one after the other; the share of questions that found a job, and how
    many answers were compared with the tiles.
    """

    reach: Reach
    times_s: list[float]
    found: float
    compared: int


def near_figures(url: str, database_url: str) -> list[Near]:
    """Ask for the jobs near places drawn anew each time, not far from a scene. Raises RuntimeError
    for an answer that is not that of the tiles.
    """
    with psycopg.connect(database_url, autocommit=True) as connection:
        spots = places(connection, random.Random(7))
        return [figures(url, connection, reach, spots) for reach in REACHES]


def figures(
    url: str, connection: psycopg.Connection[Any], reach: Reach, spots: Iterator[Spot]
) -> Near:
    """What came of one reach."""
    times = asyncio.run(times_of(url, reach, spots))
    asked = list(islice(spots, 20))
    answers = [answer(url, spot, reach) for spot in asked]
    found = [(spot, ids) for spot, ids in zip(asked, answers, strict=True) if ids]
    for spot, ids in found[: reach.compared]:
        compare(connection, spot, reach.radius_m, ids)
    return Near(reach, times, len(found) / len(asked), min(reach.compared, len(found)))


def places(connection: psycopg.Connection[Any], chance: random.Random) -> Iterator[Spot]:
    """Places without end: corners of scenes, moved by up to a degree."""
    corners = connection.execute(
        "select st_xmin(footprint::geometry), st_ymin(footprint::geometry)"
        " from constellation.scenes order by key"
    ).fetchall()
    while True:
        lon, lat = chance.choice(corners)
        yield round(lon + chance.uniform(-1, 1), 3), round(lat + chance.uniform(-1, 1), 3)


async def times_of(url: str, reach: Reach, spots: Iterator[Spot]) -> list[float]:
    """Seconds of each question, over one connection."""
    reader, writer = await opened(url)
    times = []
    for _ in range(WARM_UP + reach.queries):
        query = query_of(next(spots), reach.radius_m)
        began = time.perf_counter()
        if not await ask(reader, writer, request_bytes(url, "GET", f"{JOBS}?{query}")):
            raise RuntimeError(f"no answer for {query}")
        times.append(time.perf_counter() - began)
    writer.close()
    return times[WARM_UP:]


def query_of(spot: Spot, radius_m: float, limit: int = 50) -> str:
    """The question as it is asked."""
    return urlencode({"near": f"{spot[0]},{spot[1]}", "radius_m": radius_m, "limit": limit})


def answer(url: str, spot: Spot, reach: Reach) -> list[str]:
    """The ids of the newest jobs near a place."""
    reply = httpx.get(f"{url}{JOBS}?{query_of(spot, reach.radius_m, MOST)}", timeout=60)
    reply.raise_for_status()
    return [job["id"] for job in reply.json()["items"]]


# The newest jobs with a tile in reach, by the tiles' own index.
OF_TILES = """
select j.id::text from constellation.jobs j
 where j.id in (select t.job_id from constellation.tiles t
                 where st_dwithin(t.footprint, st_setsrid(st_makepoint(%(lon)s, %(lat)s), 4326)
                                  ::geography, %(radius_m)s))
 order by j.created_at desc, j.id desc limit %(limit)s
"""


def compare(
    connection: psycopg.Connection[Any], spot: Spot, radius_m: float, ids: list[str]
) -> None:
    """Raise RuntimeError unless these are the newest jobs with a tile in reach, give or take what
    lies at its very edge.
    """
    args = {"lon": spot[0], "lat": spot[1], "limit": 10 * MOST}
    wide = of_tiles(connection, args | {"radius_m": radius_m * (1 + SLACK)})
    narrow = of_tiles(connection, args | {"radius_m": radius_m * (1 - SLACK)})
    order = {id: at for at, id in enumerate(wide)}
    last = order.get(ids[-1], 0) if len(ids) == MOST else len(wide)
    missing = [id for id in narrow if order.get(id, len(wide)) < last and id not in ids]
    if missing or not set(ids) <= order.keys():
        raise RuntimeError(f"near {spot} within {radius_m:g} m: not the jobs of the tiles there")


def of_tiles(connection: psycopg.Connection[Any], args: Mapping[str, object]) -> list[str]:
    """Ids, newest first."""
    return [row[0] for row in connection.execute(OF_TILES, args)]
