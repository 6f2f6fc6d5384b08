"""Training of the land cover model that comes with Constellation."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from constellation_pipelines.domain.card import NAME, VERSION
from constellation_pipelines.domain.errors import ConstellationError, InvalidInput
from constellation_pipelines.domain.model import Model
from constellation_pipelines.settings import Settings

if TYPE_CHECKING:
    from constellation_pipelines.inference.train import Trained
    from constellation_pipelines.inference.training_plan import EpochReport, TrainingPlan

KEY = dg.AssetKey(["training", "eurosat_landcover"])
MODEL = "eurosat-landcover"
EPOCHS = 64
FURTHER_EPOCHS = 56
TAUGHT_EPOCHS = 40
SEED = 17


class PackageConfig(dg.Config):
    """Where the package of a trained model goes."""

    version: str = Field(
        default="",
        description="Version of the package in the models folder, which must be new. Empty: the "
        "package goes to `training/` in the data directory and no model changes.",
    )


class TrainingConfig(PackageConfig):
    """What to train on, and for how long."""

    data: str = Field(
        default="", description="EuroSAT zip. Empty: what CONSTELLATION_TRAINING_DATA names."
    )
    start: str = Field(
        default="",
        description="A package to go on from, as name@version. Empty: the network begins with "
        "random weights.",
    )
    teacher: str = Field(
        default="",
        description="A package that teaches, as name@version: a larger network of the same bands "
        "and classes. Empty: the start teaches, if there is one.",
    )
    epochs: int = Field(
        default=0,
        ge=0,
        le=1000,
        description=f"Passes over the chips. 0: {EPOCHS}; with a start {FURTHER_EPOCHS}, with a "
        f"start and a teacher {TAUGHT_EPOCHS}.",
    )
    seed: int = Field(default=SEED, ge=0, description="Seed of weights, order and augmentation.")


@dg.asset(
    key=KEY,
    group_name="training",
    kinds={"pytorch", "safetensors"},
    description="The land cover model, trained from random weights on the EuroSAT chips: a model "
    "package of card and weights; or trained further from an earlier package. Takes about an hour "
    "of one processor core; a run that was interrupted goes on where it was.",
)
def eurosat_landcover_training(
    context: dg.AssetExecutionContext, config: TrainingConfig
) -> dg.MaterializeResult[Any]:
    """Train, measure on the validation split, write the package."""
    from constellation_pipelines.inference.eurosat_package import train_package

    settings, plan = Settings(), plan_of(config)

    def report(epoch: "EpochReport") -> None:
        context.log.info(describe_epoch(epoch))

    try:
        version, folder = destination(config.version, settings, context.run.run_id, MODEL)
        model, trained = train_package(
            archive(config.data, settings),
            folder,
            version=version,
            plan=replace(plan, epochs=config.epochs or plan.epochs, seed=config.seed),
            progress=report,
            start=package_folder("start", config.start, settings),
            teacher=package_folder("teacher", config.teacher, settings),
            checkpoints=settings.data_dir / "training" / MODEL / "checkpoints",
        )
    except ConstellationError as error:
        raise dg.Failure(error.message, allow_retries=False) from None
    return dg.MaterializeResult(
        metadata=metadata(model, trained), data_version=dg.DataVersion(model.digest[:12])
    )


def archive(named: str, settings: Settings) -> Path:
    """The EuroSAT zip to use. Raises InvalidInput when none is named or it is not there."""
    path = Path(named) if named else settings.training_data
    if path is None:
        raise InvalidInput(
            "no training data: give `data` in the run's config or set CONSTELLATION_TRAINING_DATA "
            "to the EuroSAT zip",
            field="data",
        )
    if not path.is_file():
        raise InvalidInput(f"there is no training data at {path}", field="data")
    return path


def plan_of(config: TrainingConfig) -> "TrainingPlan":
    """What is known to suit the beginning and the teacher."""
    from constellation_pipelines.inference.training_plan import FURTHER, TAUGHT, TrainingPlan

    if not config.start:
        return TrainingPlan()
    return TAUGHT if config.teacher else FURTHER


def package_folder(field: str, reference: str, settings: Settings) -> Path | None:
    """Where the package name@version lies; None where none is named. Raises InvalidInput when it is
    not there.
    """
    if not reference:
        return None
    name, _, version = reference.partition("@")
    folder = settings.models_dir / name / version
    if not (NAME.fullmatch(name) and VERSION.fullmatch(version) and folder.is_dir()):
        raise InvalidInput(f"there is no model package {reference!r}", field=field)
    return folder


def destination(version: str, settings: Settings, run_id: str, model: str) -> tuple[str, Path]:
    """Version and folder of the package to write."""
    if not version:
        return f"draft-{run_id[:8]}", settings.data_dir / "training" / model / run_id
    if not VERSION.fullmatch(version):
        raise InvalidInput("a version is letters, digits, dots and hyphens", field="version")
    return version, settings.models_dir / model / version


def describe_epoch(epoch: "EpochReport") -> str:
    """An epoch in one line."""
    accuracy = "" if epoch.accuracy is None else f"validation accuracy {epoch.accuracy:.2%}, "
    return (
        f"epoch {epoch.epoch} of {epoch.epochs}: loss {epoch.loss:.3f}, "
        f"{accuracy}{epoch.elapsed_s:.0f} s"
    )


def metadata(model: Model, trained: "Trained") -> dict[str, Any]:
    """What Dagster's UI shows of a training."""
    names = [found.name for found in model.card.classes]
    lines = [
        f"| {name} | {recall:.2%} | {' | '.join(str(count) for count in row)} |"
        for name, recall, row in zip(names, trained.recall, trained.confusion, strict=True)
    ]
    head = f"| true class | recall | {' | '.join(names)} |"
    table = "\n".join([head, "|" + " --- |" * (len(names) + 2), *lines])
    return {
        "accuracy": trained.accuracy,
        "confusion": dg.MetadataValue.md(table),
        "training_chips": trained.training_chips,
        "validation_chips": trained.validation_chips,
        "epochs": trained.plan.epochs,
        "seed": trained.plan.seed,
        "training_s": trained.elapsed_s,
        "hardware": trained.device,
        "model": model.card.reference,
        "digest": model.digest,
        "weights_sha256": model.card.weights_sha256,
        "package": dg.MetadataValue.path(model.folder),
    }
