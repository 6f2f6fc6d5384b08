"""Tile predictions: one asset per model, one partition per scene."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import dagster as dg
from pydantic import Field

from assets import adoption, checks, outputs, reuse
from assets.begun import BegunRun, Log, Tools, leave
from assets.committer import Committer
from assets.crew import Hand
from assets.names import REGISTERED_SCENE, predictions_key
from assets.partitions import scenes
from assets.pixels import localised
from assets.plan import Options, Plan, make_plan
from assets.predicting import Prediction
from constellation_pipelines.domain.errors import (
    ConstellationError,
    LeaseLost,
    RunFailed,
    ServiceUnavailable,
)
from constellation_pipelines.domain.model import ModelCard
from constellation_pipelines.domain.names import identifier
from constellation_pipelines.remote.hosts import is_remote
from constellation_pipelines.store import plans, profiles, queue, tile_attempts, tiles
from constellation_pipelines.store.database import Database
from resources.database import DatabaseResource
from resources.engines import EnginesResource
from resources.lake import LakeResource

REPORT_S = 2.0

begun: dict[UUID, BegunRun] = {}  # runs of this process that began before their step


class PredictionConfig(dg.Config):
    """How a model treats a scene."""

    accept_gsd_mismatch: bool = Field(
        default=False, description="Run although the scene's resolution is outside the model's."
    )
    reuse: bool = Field(default=True, description="Skip tiles that already have a valid result.")
    max_failed_tile_ratio: float = Field(
        default=0.5, ge=0, le=1, description="Fail the run when more of its tiles failed than this."
    )

    def options(self) -> Options:
        """As the plan wants them."""
        return Options(self.accept_gsd_mismatch, self.reuse, self.max_failed_tile_ratio)


def predictions_asset(card: ModelCard, dashboard_url: str) -> dg.AssetsDefinition:
    """The asset of one model's predictions; its metadata links to jobs in the dashboard."""

    @dg.asset(
        key=predictions_key(card.name),
        deps=[REGISTERED_SCENE],
        partitions_def=scenes,
        check_specs=checks.specs(card.name),
        group_name="predictions",
        kinds={"pytorch", "postgres", "parquet"},
        tags={"constellation/model": identifier(card.name)},
        code_version=card.weights_sha256[:12],
        description=f"Every tile of a scene through {card.name}: PostGIS, GeoParquet, COG.",
    )
    def predictions(
        context: dg.AssetExecutionContext,
        config: PredictionConfig,
        database: DatabaseResource,
        lake: LakeResource,
        engines: EnginesResource,
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]  # Dagster reads the bare class
        run_id = UUID(context.run.run_id)
        with ExitStack() as stack:
            work = begun.pop(run_id, None)
            if work is None:
                tools = Tools(stack.enter_context(database.open()), lake, engines)
                scene_key = context.partition_key
                work = begin_work(tools, run_id, scene_key, card.name, config.options())
            opened = work.tools.database
            stack.enter_context(recorded(opened, run_id))
            plan, lease = work.plan(), work.tools.engines.lease(run_id)
            context.log.info(describe(plan))
            with held(opened, lease):
                device = work.follow(context.log)
                result = conclude(opened, plan, config.options(), device, lease)
            shutil.rmtree(
                plan.files.work, ignore_errors=True
            )  # one that fails keeps it for its retry
            if plan.retried:
                adoption.forget_earlier(opened, lease, plan, lake)
            job_url = f"{dashboard_url}/job/?id={plan.job_id}"
            return result._replace(
                metadata={**(result.metadata or {}), "job": dg.MetadataValue.url(job_url)}
            )

    return predictions


@contextmanager
def recorded(database: Database, run_id: UUID) -> Iterator[None]:
    """Keep the reason of a failure on the run's row, and give Dagster one clear line of it."""
    try:
        yield
    except (LeaseLost, ServiceUnavailable) as error:
        leave(error)
    except ConstellationError as error:
        with database.transaction() as connection:
            plans.record_error(connection, run_id, error.message)
        raise dg.Failure(error.message, allow_retries=False) from None


@contextmanager
def held(database: Database, lease: queue.Lease) -> Iterator[None]:
    """Whatever goes wrong in a run whose lease has passed on is LeaseLost, and not told as failure.

    Its successor may have cleared away files that it was writing.
    """
    try:
        yield
    except LeaseLost:
        raise
    except Exception:
        with suppress(ServiceUnavailable), database.transaction() as connection:
            queue.guard(connection, lease)
        raise


def describe(plan: Plan) -> str:
    """A plan in one line."""
    kept = plan.planned - len(plan.reused) - len(plan.todo)
    return (
        f"{plan.model.card.reference} on {plan.scene.key}: {plan.planned} tiles planned, "
        f"{len(plan.reused)} already valid, {kept} kept from before, {len(plan.todo)} to run"
    )


def begin_work(
    tools: Tools, run_id: UUID, scene_key: str, model_name: str, options: Options
) -> BegunRun:
    """Plan a run under its lease and begin to run its tiles. Raises nothing."""

    def plan() -> Plan:
        lease = tools.engines.lease(run_id)
        with tools.database.transaction() as connection:
            plans.begin(connection, run_id)
            queue.guard(connection, lease)
            made = make_plan(
                connection,
                run_id,
                scene_key=scene_key,
                model_name=model_name,
                options=options,
                lake=tools.lake,
            )
        return adoption.adopt(tools.database, lease, made, tools.lake) if made.retried else made

    def carry(plan: Plan, log: Log) -> dict[str, Any]:
        return run_tiles(log, tools.database, tools.engines, plan, tools.engines.lease(run_id))

    return BegunRun(tools, plan, carry)


def run_tiles(
    log: Log,
    database: Database,
    engines: EnginesResource,
    plan: Plan,
    lease: queue.Lease,
) -> dict[str, Any]:
    """Run the missing tiles on the leased devices; return what is to be said of them.

    Raises PixelsLate where those of a remote scene do not come.
    """
    hands: list[Hand] = []
    if plan.todo:
        pixels = None
        if is_remote(plan.scene.uri):
            plan, pixels = localised(plan, Path(engines.staging))
        clients = engines.clients()
        model = plan.model
        with database.transaction() as connection:
            devices = profiles.of_devices(
                connection, list(clients), model.digest, model.card.chip_px
            )
            known = tile_attempts.of_run(connection, plan.run_id)
        hands = [Hand(one, clients[one.uuid], one.profile.safe_batch) for one in devices]
        committer = Committer(database, lease, plan)
        prediction = Prediction(committer, hands, reporter(log), log.warning, pixels)
        prediction.run(plan.files.work, known)
    return device_facts(hands)


def device_facts(hands: list[Hand]) -> dict[str, Any]:
    """What is kept of the devices. Memory of a simulated one is declared, not measured."""
    measured = [hand.mem_mb for hand in hands if hand.mem_mb is not None]
    return {
        "device": hands[0].device.uuid if hands else None,
        "simulated": any(hand.device.simulated for hand in hands) if hands else None,
        "device_s": round(sum(hand.device_s for hand in hands), 3),
        "mem_mb": max(measured, default=None),
        "devices": [
            {
                "uuid": hand.device.uuid,
                "simulated": hand.device.simulated,
                "tiles": hand.tiles,
                "device_s": round(hand.device_s, 3),
                "mem_mb": hand.mem_mb,
                "batch": hand.batch,
            }
            for hand in hands
        ],
    }


def reporter(log: Log) -> Callable[[tiles.Progress], None]:
    """Logs progress now and then."""
    reported_at = 0.0

    def report(progress: tiles.Progress) -> None:
        nonlocal reported_at
        done = progress.completed + progress.failed + progress.reused
        if time.monotonic() - reported_at >= REPORT_S or done == progress.planned:
            reported_at = time.monotonic()
            failed = f", {progress.failed} failed" if progress.failed else ""
            log.info(f"{done} of {progress.planned} tiles{failed}")

    return report


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
        earlier = tiles.rasters_of(connection, plan.reused_digests())
    reuse.copy_classes(plan, earlier)
    outputs.write_outputs(plan, rows)
    summary = outputs.summarise(plan, rows)
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


def run_metrics(plan: Plan, summary: outputs.Summary, device: dict[str, Any]) -> dict[str, Any]:
    """What the run's row keeps."""
    return {
        **device,
        "area_km2": summary.area_km2,
        "infer_s": summary.infer_s,
        "read_s": summary.read_s,
        "class_counts": summary.class_counts,
        "errors": summary.errors,
        "gsd_mismatch": plan.fit.gsd_mismatch,
        "outputs": {
            "predictions": str(plan.files.predictions),
            "raster": existing(plan.files.raster),
            "item": str(plan.files.item),
        },
    }


def existing(path: Path) -> str | None:
    """The path as text, or None where nothing was written."""
    return str(path) if path.exists() else None


def asset_metadata(plan: Plan, summary: outputs.Summary, device: dict[str, Any]) -> dict[str, Any]:
    """What Dagster's UI shows of a materialization."""
    metadata: dict[str, Any] = {
        "dagster/row_count": summary.rows,
        "tiles_planned": plan.planned,
        "tiles_reused": len(plan.reused),
        "tiles_failed": summary.failed,
        "area_km2": summary.area_km2,
        "class_counts": dg.MetadataValue.json(summary.class_counts),
        "gsd_m": plan.scene.gsd_m,
        "gsd_mismatch": plan.fit.gsd_mismatch,
        "device_s": device["device_s"],
        "model": plan.model.card.reference,
        "job_id": str(plan.job_id),
        "predictions": dg.MetadataValue.path(str(plan.files.predictions)),
    }
    if device["device"] is not None:  # none was needed when every tile was there already
        metadata |= {"device": device["device"], "simulated": device["simulated"]}
    if plan.files.raster.exists():
        metadata["raster"] = dg.MetadataValue.path(str(plan.files.raster))
    png = outputs.preview(plan)
    if png is not None:
        metadata["preview"] = dg.MetadataValue.md(outputs.preview_markdown(png))
    if summary.errors:
        metadata["errors"] = dg.MetadataValue.json(summary.errors)
    return metadata
