"""From the EuroSAT archive to a model package."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

from constellation_pipelines.domain.errors import Conflict, InvalidInput
from constellation_pipelines.domain.model import Model
from constellation_pipelines.inference import eurosat
from constellation_pipelines.inference.eurosat_card import describe
from constellation_pipelines.inference.loading import load_module
from constellation_pipelines.inference.package import CARD_FILE, file_sha256, load_package
from constellation_pipelines.inference.publish import publish_weights
from constellation_pipelines.inference.train import Progress, Start, Trained, train
from constellation_pipelines.inference.training_plan import TrainingPlan


def train_package(
    data: Path,
    folder: Path,
    *,
    version: str,
    plan: TrainingPlan,
    progress: Progress,
    start: Path | None = None,
    checkpoints: Path | None = None,
) -> tuple[Model, Trained]:
    """Train on the archive and write the package. An existing package is never overwritten.

    With the folder of another package of the same architecture as `start`, training goes on from
    its weights and is taught by it.

    Where a folder for checkpoints is given, a training that was interrupted goes on there when
    plan and archive are the same; the checkpoint goes when the package stands.

    Raises InvalidInput for an archive that is not EuroSAT's and for a start with other bands or
    classes, ModelRefused for one that is broken, Conflict where a package stands.
    """
    if (folder / CARD_FILE).exists():
        raise Conflict(f"there is a model package in {folder} already; give another version")
    data_sha256 = file_sha256(data)
    began = load_package(start) if start else None
    named = checkpoint_name(plan, data_sha256, began.digest if began else None)
    checkpoint = checkpoints and checkpoints / named
    beginning = start_of(began) if began else None
    if beginning:
        plan = replace(plan, architecture=beginning.architecture, width=beginning.width)
    training, validation = eurosat.load(data)
    trained = train(
        training,
        validation,
        plan,
        classes=len(eurosat.CLASSES),
        progress=progress,
        start=beginning,
        checkpoint=checkpoint,
    )
    model = publish(trained, folder, version=version, data_sha256=data_sha256)
    if checkpoint:
        checkpoint.unlink(missing_ok=True)
    return model, trained


def start_of(model: Model) -> Start:
    """The package's network. Raises InvalidInput where it cannot learn these chips."""
    card = model.card
    bands, classes = (tuple(one.name for one in many) for many in (card.bands, card.classes))
    width = card.architecture_options.get("width")
    if width is None or bands != eurosat.BANDS or classes != eurosat.CLASSES:
        raise InvalidInput(
            f"{card.reference} cannot be trained further: a compact network is needed that names "
            "EuroSAT's ten classes from red, green and blue",
            field="start",
        )
    network = load_module(Path(model.folder), card)
    return Start(card.reference, network, card.architecture or "", width, card.mean, card.std)


def checkpoint_name(plan: TrainingPlan, data_sha256: str, start_digest: str | None) -> str:
    """A file name for what this plan makes of this archive and start, and nothing else."""
    told = json.dumps([asdict(plan), data_sha256, start_digest], sort_keys=True)
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
