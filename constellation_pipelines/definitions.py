"""The composition root that Dagster loads: assets, jobs and resources, tied together.

Only here are settings read for Dagster's processes. Every model package in the models folder
becomes assets and a job of its own.
"""

from pathlib import Path

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from assets.coverage import coverage_asset
from assets.early import EarlyStart
from assets.fine_tuning import eurosat_landcover_large_training
from assets.names import coverage_key, predictions_key
from assets.predictions import predictions_asset
from assets.scenes import registered_scene
from assets.segmenter_training import landcover_unet_training
from assets.training import eurosat_landcover_training
from constellation_pipelines.domain import names
from constellation_pipelines.domain.model import ModelCard
from constellation_pipelines.inference.package import discover
from constellation_pipelines.settings import Settings
from constellation_pipelines.store.models import newest
from resources.database import DatabaseResource
from resources.engines import EnginesResource
from resources.lake import LakeResource


def build(settings: Settings) -> dg.Definitions:
    """Definitions for the model packages that are there now."""
    cards = newest_cards(settings.models_dir)
    return dg.Definitions(
        assets=[
            registered_scene,
            eurosat_landcover_training,
            eurosat_landcover_large_training,
            landcover_unet_training,
            *(predictions_asset(card, dashboard_url(settings)) for card in cards),
            *(coverage_asset(card) for card in cards),
        ],
        jobs=[prediction_job(card) for card in cards],
        resources={
            "database": DatabaseResource(url=dg.EnvVar("CONSTELLATION_DATABASE_URL")),
            "lake": lake_of(settings),
            "engines": engines_of(settings),
        },
        # One process per run: the default executor would start another and import all again.
        executor=dg.in_process_executor,
    )


def newest_cards(models_dir: Path) -> list[ModelCard]:
    """The highest version of each model, by name."""
    cards = (model.card for model in newest(discover(models_dir)))
    return sorted(cards, key=lambda card: card.name)


def dashboard_url(settings: Settings) -> str:
    """Where people look at jobs."""
    return settings.api_url or f"http://{settings.api_host}:{settings.api_port}"


def prediction_job(card: ModelCard) -> UnresolvedAssetJobDefinition:
    """The Dagster job behind a run of this model: predictions, their checks, coverage."""
    selection = dg.AssetSelection.assets(predictions_key(card.name), coverage_key(card.name))
    return dg.define_asset_job(
        names.dagster_job(card.name),
        selection=selection,
        description=f"Run {card.name} over one scene and update its coverage.",
    )


def lake_of(settings: Settings) -> LakeResource:
    """Where results lie."""
    return LakeResource(root=str(settings.lake_dir))


def engines_of(settings: Settings) -> EnginesResource:
    """The devices of a run, and the pixels that its worker stages for it."""
    return EnginesResource(staging=str(settings.staging_dir))


def early_start(settings: Settings) -> EarlyStart | None:
    """For the run processes of a worker; None where there is no database yet."""
    if settings.database_url is None:
        return None
    cards = newest_cards(settings.models_dir)
    return EarlyStart(
        {names.dagster_job(card.name): card.name for card in cards},
        database_url=settings.database_url,
        lake=lake_of(settings),
        engines=engines_of(settings),
    )


defs = build(Settings())
early = early_start(Settings())
