"""From scenes to the package of a segmenter, and what the committed one promises."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import torch
from pystac.extensions.mlm import MLMExtension

from constellation_pipelines.domain.errors import Conflict, InvalidInput
from constellation_pipelines.domain.model import Model, Task
from constellation_pipelines.domain.scene import Band
from constellation_pipelines.inference.loading import load_module
from constellation_pipelines.inference.network import Network
from constellation_pipelines.inference.package import load_package
from constellation_pipelines.inference.segmenter import (
    Segmenter,
    SegmenterPlan,
    eastern,
    figures,
    measure,
    standardise,
)
from constellation_pipelines.inference.segmenter_package import find, load, train_package
from constellation_pipelines.inference.weak_labels import CLASSES
from tests.inference.conftest import CHECKOUT
from tests.inference.networks import CPU, order_of
from tests.inference.test_dense_tiles import classes_of, run

COMMITTED = CHECKOUT / "models" / "landcover-unet" / "1"
PLAN = SegmenterPlan(steps=2, batch_size=2, chip_px=64, width=4, depth=3, threads=1)
NAIP = "naip_2018_nd_26914_rgbn.tif"


@pytest.fixture(scope="module")
def made(
    sample_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Model, Segmenter, Path]:
    """A package trained for a moment."""
    package = tmp_path_factory.mktemp("models") / "landcover-unet" / "7"
    scenes = [sample_data / "scenes" / NAIP]
    model, trained = train_package(
        scenes, package, version="7", plan=PLAN, progress=lambda step: None
    )
    return model, trained, package


def test_the_package_loads_and_fits_its_architecture(made: tuple[Model, Segmenter, Path]) -> None:
    model, trained, package = made
    assert load_package(package).digest == model.digest
    assert model.card.reference == "landcover-unet@7"
    assert model.card.task is Task.SEGMENTATION
    assert (model.card.chip_px, model.card.stride_px) == (256, 224)
    loaded = load_module(package, model.card).state_dict()
    for name, value in trained.network.state_dict().items():
        assert torch.equal(loaded[name], value)


def test_the_card_names_its_scenes_and_how_it_was_measured(
    made: tuple[Model, Segmenter, Path],
) -> None:
    model, trained, _ = made
    properties = model.document["properties"]
    (scene,) = properties["constellation:training_data"]["scenes"]
    assert (scene["name"], scene["gsd_m"]) == (Path(NAIP).stem, 5.0)
    evaluation = properties["constellation:evaluation"]
    assert "not ground truth" in evaluation["against"]
    assert np.array(evaluation["confusion"]).sum() == trained.confusion.sum()


def test_a_package_is_never_overwritten(made: tuple[Model, Segmenter, Path]) -> None:
    with pytest.raises(Conflict, match="another version"):
        train_package([], made[2], version="7", plan=PLAN, progress=lambda step: None)


def test_rasters_that_cannot_be_used_are_left_out(sample_data: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no raster")
    (tmp_path / "broken.tif").write_bytes(b"II*\0 not really")
    for name in (NAIP, NAIP.replace(".tif", ".json")):
        shutil.copy(sample_data / "scenes" / name, tmp_path)
    paths = find([tmp_path])
    assert [path.name for path in paths] == ["broken.tif", NAIP]
    assert [scene.name for scene in load(paths)] == [Path(NAIP).stem]


def test_without_a_usable_scene_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="put some into a scene root"):
        load(find([tmp_path]))


def committed() -> dict[str, Any]:
    return dict(json.loads((COMMITTED / "model.json").read_text()))


def test_the_committed_card_is_a_stac_item_with_the_mlm_extension() -> None:
    card = MLMExtension.ext(pystac.Item.from_dict(committed()))
    assert card.mlm_name == "landcover-unet"
    assert [str(task) for task in card.tasks] == ["semantic-segmentation"]
    assert [found.name for found in card.output[0].classes or []] == list(CLASSES)


def test_the_committed_card_says_in_plain_words_that_nothing_was_checked_on_the_ground() -> None:
    properties = committed()["properties"]
    assert "never against a map that people made" in " ".join(properties["constellation:not_for"])
    assert "not ground truth" in properties["constellation:evaluation"]["caveat"]
    assert "no ground truth" in properties["description"]


def test_the_committed_network_agrees_with_weak_labels_as_its_card_says(sample_data: Path) -> None:
    """The whole validation, as it was measured: the eastern part of every scene of the card."""
    model = load_package(COMMITTED)
    network = load_module(COMMITTED, model.card)
    properties = model.document["properties"]
    used = properties["constellation:training_data"]["scenes"]
    scenes = load([sample_data / "scenes" / f"{scene['name']}.tif" for scene in used])
    assert [scene.sha256 for scene in scenes] == [scene["sha256"] for scene in used]
    cpu = torch.device("cpu")
    confusion = sum(measure(network, eastern(scene), cpu) for scene in scenes)
    claimed = properties["constellation:evaluation"]
    assert figures(np.asarray(confusion))["mean_iou"] == pytest.approx(
        claimed["mean_iou"], abs=0.005
    )
    assert claimed["mean_iou"] > 0.5


def test_an_engines_map_is_that_of_the_network_run_in_one_piece(
    sample_data: Path, tmp_path: Path
) -> None:
    """Few pixels depend on where chips end, or on the precision of the engine."""
    model = load_package(COMMITTED)
    path = sample_data / "scenes" / NAIP
    order = order_of(path, tmp_path / "work", tile_px=512)
    bands = tuple(
        Band(i, name, name, "uint8") for i, name in enumerate(("red", "green", "blue"), 1)
    )
    order = replace(order, bands=bands)
    network = Network(load_module(COMMITTED, model.card), model.card, CPU)
    results = run(order, network)
    assert all(result.error is None for result in results)
    found = classes_of(order, model.card)
    (scene,) = load([path])
    _, height, width = scene.values.shape
    padded = np.pad(scene.values, ((0, 0), (0, -height % 8), (0, -width % 8)), mode="reflect")
    with torch.inference_mode():
        scores = load_module(COMMITTED, model.card)(standardise(torch.from_numpy(padded[None])))
    whole = scores[0, :, :height, :width].argmax(0).numpy()
    assert (found == whole).mean() > 0.99  # 99.6 % in bfloat16
