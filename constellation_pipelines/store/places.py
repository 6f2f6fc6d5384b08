"""Jobs at a place: those of whose tiles, planned or done, one lies there.

Scenes are asked for first. They are shared, so no policy keeps their index from being used, and
most jobs run over all of their scenes; what an area touched of a scene is kept with the run. Tiles
themselves are not looked at: there are too many.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from constellation_pipelines.store.database import Connection

MOST_SCENES = 1_000  # that are looked up before the jobs are
FEW_RUNS = 300  # whose jobs are read one by one and sorted
MANY_RUNS = 5_000  # more are not even listed


@dataclass(frozen=True, slots=True)
class Region:
    """A test of shapes. `footprint` and `ground` are SQL about those of a scene and of a run."""

    name: str
    footprint: str
    ground: str
    args: dict[str, Any]


# How many scenes lie there, and how many runs they have, as far as it matters.
REACHED = f"""
with reached as materialized (
  select s.id from constellation.scenes s where {{footprint}} limit {MOST_SCENES} + 1
)
select array(select id from reached) as scenes,
       (select count(*) from (
          select 1 from constellation.runs r
           where r.scene_id in (select id from reached) limit {MANY_RUNS} + 1) counted) as runs
"""

# Few runs: all their jobs, to be sorted.
OF_FEW = """
j.id = any(array(select r.job_id from constellation.runs r
                  where r.scene_id = any(%({name})s) and (r.ground is null or {ground})))
"""

# Otherwise jobs are walked in their order until there are enough. What is not written as a join
# stays a test of each job that is met: of a list that is made once, or of the job's own runs.
OF_MANY = """
coalesce(j.id in (select r.job_id from constellation.runs r
                   where r.scene_id = any(%({name})s) and (r.ground is null or {ground})), false)
"""

OF_MORE = """
coalesce((select true from constellation.runs r
           where r.job_id = j.id and r.scene_id = any(%({name})s)
             and (r.ground is null or {ground}) limit 1), false)
"""

# Where almost everything lies there it is soon met, and no list of scenes is made.
OF_MOST = """
coalesce((select true
            from constellation.runs r join constellation.scenes s on s.id = r.scene_id
           where r.job_id = j.id and {footprint} and (r.ground is null or {ground}) limit 1), false)
"""


def regions_of(
    bbox: tuple[float, float, float, float] | None,
    near: tuple[float, float] | None,
    radius_m: float | None,
) -> Iterator[Region]:
    """The regions that a filter names: west, south, east, north in degrees; lon, lat and metres."""
    if bbox is not None:
        yield box(*map(float, bbox))
    if near is not None:
        yield circle(float(near[0]), float(near[1]), float(radius_m or 0))


def box(west: float, south: float, east: float, north: float) -> Region:
    """What lies in a box; across 180 degrees where west is greater than east."""
    spans = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    parts = {f"box_{at}": [a, south, b, north] for at, (a, b) in enumerate(spans)}

    def meets(shape: str) -> str:
        tests = (
            f"st_intersects({shape}::geometry, st_makeenvelope("
            + ", ".join(f"(%({name})s::float8[])[{at}]" for at in (1, 2, 3, 4))
            + ", 4326))"
            for name in parts
        )
        return "(" + " or ".join(tests) + ")"

    return Region("in_box", meets("s.footprint"), meets("r.ground"), dict(parts))


def circle(lon: float, lat: float, radius_m: float) -> Region:
    """What comes within a distance of a point, on the ellipsoid."""
    point = (
        "st_setsrid(st_makepoint((%(near)s::float8[])[1], (%(near)s::float8[])[2]), 4326)"
        "::geography"
    )

    def reaches(shape: str) -> str:
        return f"st_dwithin({shape}, {point}, %(radius_m)s::float8)"

    args = {"near": [lon, lat], "radius_m": radius_m}
    return Region("in_reach", reaches("s.footprint"), reaches("r.ground"), args)


def condition(connection: Connection, region: Region) -> tuple[str | None, dict[str, Any]]:
    """A condition on jobs `j` that lie there, with its arguments; None where none can."""
    statement = REACHED.format(footprint=region.footprint)
    row = connection.execute(statement, region.args, prepare=False).fetchone()
    assert row is not None
    scenes, runs = row["scenes"], row["runs"]
    if not runs:
        return None, {}
    if len(scenes) > MOST_SCENES:
        text = OF_MOST.format(footprint=region.footprint, ground=region.ground)
        return text, region.args
    shape = OF_FEW if runs <= FEW_RUNS else OF_MANY if runs <= MANY_RUNS else OF_MORE
    return shape.format(name=region.name, ground=region.ground), region.args | {region.name: scenes}
