"""From multi-band scenes to the package of a segmenter."""

from collections.abc import Sequence
from pathlib import Path

from constellation_pipelines.domain.errors import Conflict, InvalidInput, SceneRefused
from constellation_pipelines.domain.model import Model
from constellation_pipelines.imagery.describe import describe_scene
from constellation_pipelines.inference.package import CARD_FILE
from constellation_pipelines.inference.publish import publish_weights
from constellation_pipelines.inference.segmenter import (
    Progress,
    Segmenter,
    SegmenterPlan,
    train_segmenter,
)
from constellation_pipelines.inference.segmenter_card import REFLECTANCE_WHITE, describe
from constellation_pipelines.inference.weak_labels import LabelledScene, read_scene, wanted

SUFFIXES = (".tif", ".tiff", ".jp2")


def train_package(
    paths: Sequence[Path], folder: Path, *, version: str, plan: SegmenterPlan, progress: Progress
) -> tuple[Model, Segmenter]:
    """Train on the scenes and write the package. An existing package is never overwritten.

    Raises InvalidInput where no scene can be used, Conflict where a package stands.
    """
    if (folder / CARD_FILE).exists():
        raise Conflict(f"there is a model package in {folder} already; give another version")
    trained = train_segmenter(load(paths), plan, progress=progress)
    model = publish_weights(
        folder,
        trained.network.state_dict(),
        lambda size_bytes, sha256: describe(
            trained, version=version, weights_bytes=size_bytes, weights_sha256=sha256
        ),
    )
    return model, trained


def find(roots: Sequence[Path]) -> list[Path]:
    """Rasters under the folders, by name."""
    found = (path for root in roots for path in root.rglob("*") if path.suffix in SUFFIXES)
    return sorted(set(found), key=lambda path: path.name)


def load(paths: Sequence[Path]) -> list[LabelledScene]:
    """Those of the rasters that have the bands, labelled.

    A raster that is refused or lacks a band is left out. Raises InvalidInput when none is left.
    """
    scenes = []
    for path in paths:
        try:
            scene = describe_scene(path)
        except SceneRefused:
            continue
        if wanted(scene) is not None:
            scenes.append(read_scene(scene, REFLECTANCE_WHITE))
    if not scenes:
        raise InvalidInput(
            "no scene with red, green, blue and near infrared among the rasters; put some into a "
            "scene root, with STAC Items beside them that name their bands",
            field="scenes",
        )
    return scenes
