"""From the EuroSAT archive to a model package."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from constellation_pipelines.domain.errors import Conflict
from constellation_pipelines.domain.model import Model
from constellation_pipelines.inference import eurosat
from constellation_pipelines.inference.eurosat_card import describe
from constellation_pipelines.inference.package import CARD_FILE, file_sha256
from constellation_pipelines.inference.publish import publish_weights
from constellation_pipelines.inference.train import Progress, Trained, TrainingPlan, train


def train_package(
    data: Path,
    folder: Path,
    *,
    version: str,
    plan: TrainingPlan,
    progress: Progress,
    checkpoints: Path | None = None,
) -> tuple[Model, Trained]:
    """Train on the archive and write the package. An existing package is never overwritten.

    Where a folder for checkpoints is given, a training that was interrupted goes on there when
    plan and archive are the same; the checkpoint goes when the package stands.

    Raises InvalidInput for an archive that is not EuroSAT's, Conflict where a package stands.
    """
    if (folder / CARD_FILE).exists():
        raise Conflict(f"there is a model package in {folder} already; give another version")
    data_sha256 = file_sha256(data)
    checkpoint = checkpoints and checkpoints / checkpoint_name(plan, data_sha256)
    training, validation = eurosat.load(data)
    trained = train(
        training,
        validation,
        plan,
        classes=len(eurosat.CLASSES),
        progress=progress,
        checkpoint=checkpoint,
    )
    model = publish(trained, folder, version=version, data_sha256=data_sha256)
    if checkpoint:
        checkpoint.unlink(missing_ok=True)
    return model, trained


def checkpoint_name(plan: TrainingPlan, data_sha256: str) -> str:
    """A file name for what this plan makes of this archive, and nothing else."""
    told = json.dumps([asdict(plan), data_sha256], sort_keys=True)
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
