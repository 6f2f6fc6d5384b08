"""Training of the larger land cover model, which teaches the smaller one."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from assets.training import PackageConfig, archive, describe_epoch, destination, metadata
from constellation_pipelines.domain.errors import ConstellationError, InvalidInput
from constellation_pipelines.settings import Settings

if TYPE_CHECKING:
    from constellation_pipelines.inference.training_plan import EpochReport

KEY = dg.AssetKey(["training", "eurosat_landcover_large"])
MODEL = "eurosat-landcover-large"
ARCHITECTURE = "timm:tf_efficientnet_lite0"


class FineTuningConfig(PackageConfig):
    """What to go on from, what to train on, and for how long."""

    weights: str = Field(
        description="A safetensors file with weights of the architecture, as timm names them."
    )
    architecture: str = Field(
        default=ARCHITECTURE, description="`timm:` and a name. timm has to be installed."
    )
    data: str = Field(
        default="", description="EuroSAT zip. Empty: what CONSTELLATION_TRAINING_DATA names."
    )
    epochs: int = Field(default=9, ge=1, le=1000, description="Passes over the chips.")
    seed: int = Field(default=17, ge=0, description="Seed of the last layer, order and variation.")


@dg.asset(
    key=KEY,
    group_name="training",
    kinds={"pytorch"},
    description="A network of timm's that has seen millions of photographs, fitted to the EuroSAT "
    "chips: a model package of card and exported network. Takes about an hour of one processor "
    "core; a run that was interrupted goes on where it was.",
)
def eurosat_landcover_large_training(
    context: dg.AssetExecutionContext, config: FineTuningConfig
) -> dg.MaterializeResult[Any]:
    """Train, measure on the validation split, write the package."""
    from constellation_pipelines.inference.fine_tuning import fine_tune
    from constellation_pipelines.inference.training_plan import FINE_TUNING

    settings = Settings()

    def report(epoch: "EpochReport") -> None:
        context.log.info(describe_epoch(epoch))

    try:
        version, folder = destination(config.version, settings, context.run.run_id, MODEL)
        model, trained = fine_tune(
            archive(config.data, settings),
            weights_file(config.weights),
            folder,
            version=version,
            plan=replace(
                FINE_TUNING,
                architecture=config.architecture,
                epochs=config.epochs,
                seed=config.seed,
            ),
            progress=report,
            checkpoints=settings.data_dir / "training" / MODEL / "checkpoints",
        )
    except ConstellationError as error:
        raise dg.Failure(error.message, allow_retries=False) from None
    return dg.MaterializeResult(
        metadata=metadata(model, trained), data_version=dg.DataVersion(model.digest[:12])
    )


def weights_file(named: str) -> Path:
    """The weights to go on from. Raises InvalidInput when they are not there."""
    path = Path(named)
    if not path.is_file():
        raise InvalidInput(f"there are no weights at {path}", field="weights")
    return path
