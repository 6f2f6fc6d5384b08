"""Training of the segmenter that comes with Constellation."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from assets.training import PackageConfig, destination
from constellation_pipelines.domain.errors import ConstellationError
from constellation_pipelines.domain.model import Model
from constellation_pipelines.imagery.roots import resolve_scene_path
from constellation_pipelines.settings import Settings

if TYPE_CHECKING:
    from constellation_pipelines.inference.segmenter import Segmenter, StepReport

KEY = dg.AssetKey(["training", "landcover_unet"])
MODEL = "landcover-unet"
STEPS = 900
SEED = 17


class SegmenterConfig(PackageConfig):
    """What to train on, and for how long."""

    scenes: list[str] = Field(
        default=[],
        description="Rasters under the scene roots. Empty: all there that have red, green, blue "
        "and near infrared.",
    )
    steps: int = Field(default=STEPS, ge=1, le=100_000, description="Batches to train on.")
    seed: int = Field(default=SEED, ge=0, description="Seed of weights, chips and augmentation.")


@dg.asset(
    key=KEY,
    group_name="training",
    kinds={"pytorch", "safetensors"},
    description="A U-Net that names land cover by pixel from red, green and blue, trained on weak "
    "labels: what spectral indices say of the multi-band scenes under the scene roots.",
)
def landcover_unet_training(
    context: dg.AssetExecutionContext, config: SegmenterConfig
) -> dg.MaterializeResult[Any]:
    """Label, train, measure on the eastern part of every scene, write the package."""
    from constellation_pipelines.inference.segmenter import SegmenterPlan
    from constellation_pipelines.inference.segmenter_package import train_package

    settings = Settings()

    def report(step: "StepReport") -> None:
        context.log.info(describe_step(step))

    try:
        version, folder = destination(config.version, settings, context.run.run_id, MODEL)
        model, trained = train_package(
            rasters(config.scenes, settings),
            folder,
            version=version,
            plan=SegmenterPlan(steps=config.steps, seed=config.seed),
            progress=report,
        )
    except ConstellationError as error:
        raise dg.Failure(error.message, allow_retries=False) from None
    return dg.MaterializeResult(
        metadata=metadata(model, trained), data_version=dg.DataVersion(model.digest[:12])
    )


def rasters(named: list[str], settings: Settings) -> list[Path]:
    """The rasters to look at: those named, else all under the scene roots."""
    from constellation_pipelines.inference.segmenter_package import find

    roots = settings.allowed_scene_roots
    return [resolve_scene_path(name, roots) for name in named] if named else find(roots)


def describe_step(step: "StepReport") -> str:
    """Where the training stands, in one line."""
    return f"step {step.step} of {step.steps}: loss {step.loss:.3f}, {step.elapsed_s:.0f} s"


def metadata(model: Model, trained: "Segmenter") -> dict[str, Any]:
    """What Dagster's UI shows of a training."""
    from constellation_pipelines.inference.segmenter import figures

    found = figures(trained.confusion)
    rows = [f"| {name} | {value:.2%} |" for name, value in found["iou"].items()]
    return {
        "mean_iou_against_weak_labels": found["mean_iou"],
        "iou": dg.MetadataValue.md("\n".join(["| class | IoU |", "| --- | --- |", *rows])),
        "scenes": [scene.name for scene in trained.scenes],
        "steps": trained.plan.steps,
        "seed": trained.plan.seed,
        "training_s": trained.elapsed_s,
        "hardware": trained.device,
        "model": model.card.reference,
        "digest": model.digest,
        "package": dg.MetadataValue.path(model.folder),
    }
