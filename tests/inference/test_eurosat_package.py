"""From the EuroSAT archive to a model package, and what the committed one promises."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import torch
from pystac.extensions.mlm import MLMExtension

from constellation_pipelines.domain.errors import Conflict
from constellation_pipelines.domain.model import Model
from constellation_pipelines.domain.scene import Band
from constellation_pipelines.inference import eurosat
from constellation_pipelines.inference.eurosat_package import train_package
from constellation_pipelines.inference.loading import load_module
from constellation_pipelines.inference.network import Network
from constellation_pipelines.inference.normalise import Normaliser
from constellation_pipelines.inference.package import load_package
from constellation_pipelines.inference.train import Trained
from constellation_pipelines.inference.training_plan import TrainingPlan
from tests.inference.archives import small_rows, write_archive
from tests.inference.conftest import PACKAGE
from tests.inference.networks import classify

PLAN = TrainingPlan(epochs=2, seed=3, width=4, threads=1)


@pytest.fixture(scope="module")
def made(
    sample_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Model, Trained, Path]:
    """A package trained for a moment on fifty chips."""
    folder = tmp_path_factory.mktemp("trained")
    data = write_archive(folder / "small.zip", small_rows(sample_data))
    package = folder / "eurosat-landcover" / "7"
    model, trained = train_package(
        data, package, version="7", plan=PLAN, progress=lambda report: None
    )
    return model, trained, package


def test_the_package_loads_and_fits_its_architecture(made: tuple[Model, Trained, Path]) -> None:
    model, trained, package = made
    assert load_package(package).digest == model.digest
    assert model.card.reference == "eurosat-landcover@7"
    assert sorted(path.name for path in package.iterdir()) == ["model.json", "weights.safetensors"]
    loaded = load_module(package, model.card).state_dict()
    for name, value in trained.network.state_dict().items():
        assert torch.equal(loaded[name], value)


def test_the_card_says_how_it_was_measured(made: tuple[Model, Trained, Path]) -> None:
    model, trained, _ = made
    properties = model.document["properties"]
    evaluation = properties["constellation:evaluation"]
    assert evaluation["accuracy"] == pytest.approx(trained.accuracy, abs=1e-4)
    assert set(evaluation["recall"]) == set(eurosat.CLASSES)
    assert evaluation["validation_chips"] == 10
    assert properties["mlm:hyperparameters"]["seed"] == 3
    assert properties["mlm:framework_version"] == str(torch.__version__)


def test_a_package_is_never_overwritten(made: tuple[Model, Trained, Path]) -> None:
    model, _, package = made
    with pytest.raises(Conflict, match="another version"):
        train_package(Path("x"), package, version="7", plan=PLAN, progress=lambda report: None)
    assert load_package(package).digest == model.digest


COMMITTED = sorted(path.parent for path in PACKAGE.parent.glob("*/model.json"))
MADE_OF = {
    "1": ("resnet18-compact", 2_797_610),
    "2": ("resnet-d-compact", 1_951_946),
    "3": ("resnet-d-compact", 1_951_946),
    "4": ("resnet-d-compact", 1_951_946),
}
every_version = pytest.mark.parametrize(
    "package", COMMITTED, ids=lambda path: f"version {path.name}"
)


def card_of(package: Path) -> dict[str, Any]:
    return dict(json.loads((package / "model.json").read_text()))


@every_version
def test_a_committed_card_is_a_stac_item_with_the_mlm_extension(package: Path) -> None:
    item = pystac.Item.from_dict(card_of(package))
    card = MLMExtension.ext(item)
    assert card.mlm_name == "eurosat-landcover"
    assert (card.architecture, card.total_parameters) == MADE_OF[package.name]
    assert [str(task) for task in card.tasks] == ["scene-classification"]
    assert card.input[0].bands == ["red", "green", "blue"]
    assert [found.name for found in card.output[0].classes or []] == list(eurosat.CLASSES)


@every_version
def test_a_committed_card_claims_at_least_95_percent_and_names_its_limits(package: Path) -> None:
    properties = card_of(package)["properties"]
    assert properties["constellation:evaluation"]["accuracy"] >= 0.95
    limits = " ".join(properties["constellation:not_for"])
    for word in ("ice", "desert", "Europe", "Boundaries"):
        assert word in limits
    assert "Optimistic" in properties["constellation:evaluation"]["caveat"]


@every_version
def test_a_committed_network_is_as_good_as_its_card_says(sample_data: Path, package: Path) -> None:
    """Every fourth validation chip, through the network as an engine holds it."""
    import zipfile

    with zipfile.ZipFile(sample_data / "eurosat_rgb_train.zip") as archive:
        _, validation = eurosat.split(eurosat.read_entries(archive))
        chips = eurosat.read_chips(archive, validation[::4])
    model = load_package(package)
    network = Network(load_module(package, model.card), model.card, torch.device("cpu"))
    bands = tuple(Band(i, b.name, b.name, "uint8") for i, b in enumerate(model.card.bands, 1))
    normaliser = Normaliser(model.card, bands, torch.device("cpu"))
    found = [
        classify(network, normaliser(torch.from_numpy(chips.chips[start : start + 64]), None))
        for start in range(0, len(chips), 64)
    ]
    accuracy = float((np.concatenate(found) == chips.labels).mean())
    claimed = card_of(package)["properties"]["constellation:evaluation"]["accuracy"]
    assert accuracy >= 0.95
    assert accuracy == pytest.approx(claimed, abs=0.015)  # three standard errors of 1,080 chips
