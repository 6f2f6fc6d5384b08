"""Coverage: where a model has been, scene by scene."""

from uuid import UUID

import dagster as dg

from assets.names import coverage_key, predictions_key
from assets.partitions import scenes
from assets.predictions import recorded
from constellation_pipelines.domain.model import ModelCard
from constellation_pipelines.store import coverage, models
from constellation_pipelines.store import scenes as scene_store
from resources.database import DatabaseResource


def coverage_asset(card: ModelCard) -> dg.AssetsDefinition:
    """The asset of one model's coverage."""

    @dg.asset(
        key=coverage_key(card.name),
        deps=[predictions_key(card.name)],
        partitions_def=scenes,
        group_name="coverage",
        kinds={"postgres"},
        description=f"What {card.name} has covered of a scene.",
    )
    def covered(
        context: dg.AssetExecutionContext, database: DatabaseResource
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]  # Dagster reads the bare class
        run_id = UUID(context.run.run_id)
        with (
            database.open() as opened,
            recorded(opened, run_id),
            opened.transaction() as connection,
        ):
            scene = scene_store.find(connection, context.partition_key)
            model = models.find(connection, card.name)
            summary = coverage.of_scene(connection, model_id=model.id, scene_id=scene.id)
        return dg.MaterializeResult(
            metadata={
                "tiles": summary["tiles"],
                "area_km2": summary["area_km2"],
                "valid_area_km2": summary["valid_area_km2"],
                "share_of_scene": summary["area_km2"] / scene.area_km2,
                "footprint": dg.MetadataValue.json(summary["footprint"]),
            }
        )

    return covered
