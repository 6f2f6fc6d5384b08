"""From the EuroSAT archive to a model package."""

from pathlib import Path

from constellation_pipelines.domain.errors import Conflict
from constellation_pipelines.domain.model import Model
from constellation_pipelines.inference import eurosat
from constellation_pipelines.inference.eurosat_card import WEIGHTS_FILE, describe
from constellation_pipelines.inference.package import CARD_FILE, file_sha256, write_package
from constellation_pipelines.inference.train import Progress, Trained, TrainingPlan, train


def train_package(
    data: Path,
    folder: Path,
    *,
    version: str,
    plan: TrainingPlan,
    progress: Progress,
    checkpoint: Path | None = None,
) -> tuple[Model, Trained]:
    """Train on the archive and write the package. An existing package is never overwritten.

    Raises InvalidInput for an archive that is not EuroSAT's, Conflict where a package stands.
    """
    if (folder / CARD_FILE).exists():
        raise Conflict(f"there is a model package in {folder} already; give another version")
    training, validation = eurosat.load(data)
    trained = train(
        training,
        validation,
        plan,
        classes=len(eurosat.CLASSES),
        progress=progress,
        checkpoint=checkpoint,
    )
    return publish(trained, data, folder, version=version), trained


def publish(trained: Trained, data: Path, folder: Path, *, version: str) -> Model:
    """Write a trained network as a package."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{WEIGHTS_FILE}.draft"
    state = trained.network.state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, draft)
    document = describe(
        trained,
        version=version,
        weights_bytes=draft.stat().st_size,
        weights_sha256=file_sha256(draft),
        data_sha256=file_sha256(data),
    )
    draft.chmod(0o644)  # the library makes it private
    return write_package(folder, document, draft)
