"""The end of a prediction run: its outputs written, checked and reported."""

from typing import Any

import dagster as dg

from assets import adoption, checks, preview, reuse
from assets.outputs import write_outputs
from assets.plan import Options, Plan
from assets.products import existing, products_of
from assets.summary import Summary, summarise
from constellation_pipelines.domain.errors import RunFailed
from constellation_pipelines.store import plans, queue, tiles
from constellation_pipelines.store.database import Database


def conclude(
    database: Database,
    plan: Plan,
    options: Options,
    device: dict[str, Any],
    lease: queue.Lease,
) -> dg.MaterializeResult:  # type: ignore[type-arg]  # Dagster reads the bare class
    """Write the outputs, check them, and report. Raises RunFailed when too many tiles failed."""
    plan = adoption.settle(database, lease, plan)
    with database.transaction() as connection:
        queue.guard(connection, lease)
        rows = tiles.of_run(connection, plan.run_id)
        earlier = tiles.sources_of(connection, plan.reused_digests())
    reuse.copy_tiles(plan, earlier)
    summary = summarise(plan, rows)
    write_outputs(plan, rows, summary)
    with database.transaction() as connection:
        queue.guard(connection, lease)
        plans.record_metrics(connection, plan.run_id, run_metrics(plan, summary, device))
        verdicts = checks.run_checks(connection, plan, len(rows))
    if summary.failed > options.max_failed_tile_ratio * plan.planned:
        raise RunFailed(
            f"{summary.failed} of {plan.planned} tiles failed: {'; '.join(summary.errors)}"
        )
    return dg.MaterializeResult(
        metadata=asset_metadata(plan, summary, device),
        check_results=[checks.result(plan.model.card.name, verdict) for verdict in verdicts],
        data_version=dg.DataVersion(plan.model.digest[:12] + plan.scene.digest[:12]),
    )


def run_metrics(plan: Plan, summary: Summary, device: dict[str, Any]) -> dict[str, Any]:
    """What the run's row keeps. `class_counts_unit` says what was counted."""
    card = plan.model.card
    return {
        **device,
        "task": card.task.value,
        "area_km2": summary.area_km2,
        "infer_s": summary.infer_s,
        "read_s": summary.read_s,
        "class_counts": summary.class_counts,
        "class_counts_unit": "pixel" if card.dense else "chip",
        "statistics": summary.statistics,
        "unit": card.unit,
        "errors": summary.errors,
        "gsd_mismatch": plan.fit.gsd_mismatch,
        "resampled": plan.fit.resampled,
        "outputs": existing(card, plan.files),
    }


def asset_metadata(plan: Plan, summary: Summary, device: dict[str, Any]) -> dict[str, Any]:
    """What Dagster's UI shows of a materialization."""
    card, files = plan.model.card, plan.files
    metadata: dict[str, Any] = {
        "dagster/row_count": summary.rows,
        "tiles_planned": plan.planned,
        "tiles_reused": len(plan.reused),
        "tiles_failed": summary.failed,
        "tiles_skipped": summary.skipped,
        "area_km2": summary.area_km2,
        "gsd_m": plan.scene.gsd_m,
        "gsd_mismatch": plan.fit.gsd_mismatch,
        "device_s": device["device_s"],
        "model": card.reference,
        "job_id": str(plan.job_id),
        "predictions": dg.MetadataValue.path(str(files.predictions)),
    }
    if card.classes:
        counted = "class_counts_px" if card.dense else "class_counts"
        metadata[counted] = dg.MetadataValue.json(summary.class_counts)
    if summary.statistics is not None:
        named = {**summary.statistics, "unit": card.unit}
        metadata["statistics"] = dg.MetadataValue.json(named)
    if device["device"] is not None:  # none was needed when every tile was there already
        metadata |= {"device": device["device"], "simulated": device["simulated"]}
    for name, path in products_of(card, files).items():
        if path.exists():
            metadata[name] = dg.MetadataValue.path(str(path))
    if files.preview.exists():
        metadata["preview"] = dg.MetadataValue.md(preview.markdown(files.preview))
    if summary.errors:
        metadata["errors"] = dg.MetadataValue.json(summary.errors)
    return metadata
