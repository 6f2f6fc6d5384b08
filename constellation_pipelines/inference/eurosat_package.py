"""From the EuroSAT archive to a model package."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from constellation_pipelines.domain.errors import Conflict, InvalidInput
from constellation_pipelines.domain.model import InputUnit, Model, ModelCard
from constellation_pipelines.inference import eurosat
from constellation_pipelines.inference.eurosat_card import describe
from constellation_pipelines.inference.loading import load_module
from constellation_pipelines.inference.package import CARD_FILE, file_sha256, load_package
from constellation_pipelines.inference.publish import publish_weights
from constellation_pipelines.inference.teacher import Teacher, Together
from constellation_pipelines.inference.train import (
    Progress,
    Start,
    Trained,
    device_for_training,
    train,
)
from constellation_pipelines.inference.training_plan import TrainingPlan


def train_package(
    data: Path,
    folder: Path,
    *,
    version: str,
    plan: TrainingPlan,
    progress: Progress,
    start: Path | None = None,
    teacher: Path | None = None,
    checkpoints: Path | None = None,
) -> tuple[Model, Trained]:
    """Train on the archive and write the package. An existing package is never overwritten.

    With the folder of another package as `start`, training goes on from its weights and is taught
    by it. The package in the folder `teacher` teaches too.

    Where a folder for checkpoints is given, a training that was interrupted goes on there when
    plan and archive are the same; the checkpoint goes when the package stands.

    Raises InvalidInput for an archive that is not EuroSAT's and for a start or teacher with other
    bands or classes, ModelRefused for one that is broken, Conflict where a package stands.
    """
    check_free(folder)
    began = load_package(start) if start else None
    teach = [model for model in (load_package(teacher) if teacher else None, began) if model]
    beginning = start_of(began) if began else None
    if beginning:
        plan = replace(plan, architecture=beginning.architecture, width=beginning.width)
    taught_by = Together(*(teacher_of(model) for model in teach)) if teach else None
    return learn(
        data,
        plan,
        origins=[began.digest if began else None, *(model.digest for model in teach)],
        start=beginning,
        teacher=taught_by,
        progress=progress,
        checkpoints=checkpoints,
        write=lambda trained, sha256: publish(trained, folder, version=version, data_sha256=sha256),
    )


def learn(
    data: Path,
    plan: TrainingPlan,
    *,
    origins: Sequence[str | None],
    start: Start | None,
    teacher: Together | None,
    progress: Progress,
    checkpoints: Path | None,
    write: Callable[[Trained, str], Model],
) -> tuple[Model, Trained]:
    """Train on the archive, or go on from the checkpoint; `write` makes a package of what came out
    and the archive's sha256. `origins` are the digests of whatever it begins from.
    """
    data_sha256 = file_sha256(data)
    checkpoint = checkpoints and checkpoints / checkpoint_name(plan, [data_sha256, *origins])
    training, validation = eurosat.load(data)
    trained = train(
        training,
        validation,
        plan,
        classes=len(eurosat.CLASSES),
        progress=progress,
        start=start,
        teacher=teacher,
        checkpoint=checkpoint,
    )
    model = write(trained, data_sha256)
    if checkpoint:
        checkpoint.unlink(missing_ok=True)
    return model, trained


def check_free(folder: Path) -> None:
    """Raises Conflict where a package stands."""
    if (folder / CARD_FILE).exists():
        raise Conflict(f"there is a model package in {folder} already; give another version")


def start_of(model: Model) -> Start:
    """The package's network. Raises InvalidInput where it cannot learn these chips."""
    card = model.card
    width = card.architecture_options.get("width")
    if width is None or not names_eurosat(card):
        raise InvalidInput(
            f"{card.reference} cannot be trained further: a compact network is needed that names "
            "EuroSAT's ten classes from red, green and blue",
            field="start",
        )
    network = load_module(Path(model.folder), card)
    return Start(card.reference, network, card.architecture or "", width, card.mean, card.std)


def teacher_of(model: Model) -> Teacher:
    """The package as a teacher. Raises InvalidInput where it names other classes."""
    if not names_eurosat(model.card):
        raise InvalidInput(
            f"{model.card.reference} cannot teach: it has to name EuroSAT's ten classes, in their "
            "order, from red, green and blue as display values",
            field="teacher",
        )
    return Teacher(model, device_for_training())


def names_eurosat(card: ModelCard) -> bool:
    """Whether a model takes EuroSAT's chips and names its classes."""
    bands, classes = (tuple(one.name for one in many) for many in (card.bands, card.classes))
    shown = card.input_unit is InputUnit.DISPLAY
    return shown and bands == eurosat.BANDS and classes == eurosat.CLASSES


def checkpoint_name(plan: TrainingPlan, digests: Sequence[str | None]) -> str:
    """A file name for what this plan makes of archive, start and teacher, and nothing else."""
    told = json.dumps([asdict(plan), *digests], sort_keys=True)
    return f"{hashlib.sha256(told.encode()).hexdigest()[:16]}.checkpoint"


def publish(trained: Trained, folder: Path, *, version: str, data_sha256: str) -> Model:
    """Write a trained network as a package."""
    return publish_weights(
        folder,
        trained.network.state_dict(),
        lambda size_bytes, sha256: describe(
            trained,
            version=version,
            weights_bytes=size_bytes,
            weights_sha256=sha256,
            data_sha256=data_sha256,
        ),
    )
