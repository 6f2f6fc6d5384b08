"""Tile predictions: one asset per model, one partition per scene."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import dagster as dg
from pydantic import Field

from assets import adoption, checks
from assets.begun import BegunRun, Log, Tools, leave
from assets.committer import Committer
from assets.conclusion import conclude
from assets.crew import Hand
from assets.names import REGISTERED_SCENE, predictions_key
from assets.partitions import scenes
from assets.pixels import localised
from assets.plan import Options, Plan, make_plan
from assets.predicting import Prediction
from constellation_pipelines.domain.errors import (
    ConstellationError,
    LeaseLost,
    ServiceUnavailable,
)
from constellation_pipelines.domain.model import ModelCard
from constellation_pipelines.domain.names import identifier
from constellation_pipelines.lake.files import remove_work
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

    max_cloud_fraction: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Skip tiles of which more than this is clouded, by the scene's quality mask.",
    )

    def options(self) -> Options:
        """As the plan wants them."""
        return Options(
            self.accept_gsd_mismatch,
            self.reuse,
            self.max_failed_tile_ratio,
            self.max_cloud_fraction,
        )


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
            remove_work(plan.files)  # one that fails keeps it for its retry
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
        done = progress.done
        if time.monotonic() - reported_at >= REPORT_S or done == progress.planned:
            reported_at = time.monotonic()
            failed = f", {progress.failed} failed" if progress.failed else ""
            skipped = f", {progress.skipped} skipped for clouds" if progress.skipped else ""
            log.info(f"{done} of {progress.planned} tiles{failed}{skipped}")

    return report
