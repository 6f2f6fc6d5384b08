"""Asset checks of a model's predictions: nothing missing, nothing infinite, nothing off the map."""

from dataclasses import dataclass

import dagster as dg

from assets.names import predictions_key
from assets.plan import Plan
from constellation_pipelines.lake import predictions
from constellation_pipelines.store.database import Connection

# Tile edges are drawn with fewer points than the scene's, so their areas differ a little.
AREA_TOLERANCE = 0.01

PRESENT = "select count(*) as n from constellation.tiles where digest = any(%(digests)s)"

AREA = """
select coalesce(sum(t.area_km2), 0) as tiles_km2, s.area_km2 as scene_km2,
       count(*) filter (where not st_intersects(t.footprint, s.footprint)) as outside
  from constellation.scenes s left join constellation.tiles t on t.scene_id = s.id
   and t.digest = any(%(digests)s)
 where s.id = %(scene_id)s group by s.area_km2
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one check."""

    name: str
    passed: bool
    metadata: dict[str, int | float | str]


NAMES = {
    "every_tile_is_present": "Tiles in PostGIS = tiles planned.",
    "files_match_the_database": "Rows in GeoParquet = rows in PostGIS.",
    "no_nan": "No number in the GeoParquet file is NaN or infinite.",
    "area_is_within_the_footprint": "The tiles lie on the scene and are not larger than it.",
}


def specs(model_name: str) -> list[dg.AssetCheckSpec]:
    """The checks of a model's predictions, as Dagster lists them."""
    key = predictions_key(model_name)
    return [dg.AssetCheckSpec(name, asset=key, description=text) for name, text in NAMES.items()]


def run_checks(connection: Connection, plan: Plan, rows: int) -> list[Verdict]:
    """Check a finished run. `rows` is the count of tiles this run wrote."""
    digests = list(plan.digests.values())
    present = connection.execute(PRESENT, {"digests": digests}).fetchone() or {"n": 0}
    area = connection.execute(AREA, {"digests": digests, "scene_id": plan.scene.id}).fetchone()
    tiles_km2, scene_km2, outside = (area or {}).values()
    in_file = predictions.count(plan.files.predictions)
    bad = predictions.not_finite(plan.files.predictions)
    limit_km2 = scene_km2 * (1 + AREA_TOLERANCE)
    found = (
        (present["n"] == plan.planned, {"planned": plan.planned, "present": present["n"]}),
        (in_file == rows, {"rows_in_postgis": rows, "rows_in_parquet": in_file}),
        (bad == 0, {"rows_with_nan": bad}),
        (
            outside == 0 and tiles_km2 <= limit_km2,
            {"tiles_km2": tiles_km2, "scene_km2": scene_km2, "tiles_outside": outside},
        ),
    )
    return [
        Verdict(name, bool(passed), dict(metadata))
        for name, (passed, metadata) in zip(NAMES, found, strict=True)
    ]


def result(model_name: str, verdict: Verdict) -> dg.AssetCheckResult:
    """A verdict in Dagster's words."""
    return dg.AssetCheckResult(
        check_name=verdict.name,
        asset_key=predictions_key(model_name),
        passed=verdict.passed,
        metadata=verdict.metadata,
    )
