"""A network of timm's, fitted to EuroSAT's chips."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from constellation_pipelines.domain.errors import Conflict, InvalidInput
from constellation_pipelines.domain.model import Model, WeightsFormat
from constellation_pipelines.inference import eurosat
from constellation_pipelines.inference.architectures import build
from constellation_pipelines.inference.eurosat_package import train_package
from constellation_pipelines.inference.fine_tuning import NAME, fine_tune, plain, start_from
from constellation_pipelines.inference.loading import load_module
from constellation_pipelines.inference.package import load_package
from constellation_pipelines.inference.train import Trained
from constellation_pipelines.inference.training_plan import FINE_TUNING, TAUGHT, Phase
from tests.inference.archives import small_rows, write_archive
from tests.inference.test_timm_networks import timm  # noqa: F401 - skips where it is missing

ARCHITECTURE = "timm:tf_efficientnet_lite0"
PLAN = replace(
    FINE_TUNING, epochs=1, batch_size=8, phases=(Phase(1, 64, mixed=False, enlarged_px=96),)
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As if of ImageNet: another count of classes in the last layer."""
    torch.manual_seed(4)
    network = build(ARCHITECTURE, {"bands": 3, "classes": 1000})
    path = tmp_path_factory.mktemp("weights") / "imagenet.safetensors"
    save_file(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def data(sample_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("data") / "small.zip", small_rows(sample_data))


@pytest.fixture(scope="module")
def made(
    weights: Path, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Model, Trained]:
    folder = tmp_path_factory.mktemp("packages") / NAME / "1"
    return fine_tune(data, weights, folder, version="1", plan=PLAN, progress=lambda report: None)


def test_it_begins_as_the_weights_say_but_for_the_last_layer(weights: Path) -> None:
    start = start_from(weights, ARCHITECTURE)
    theirs = build(ARCHITECTURE, {"bands": 3, "classes": 1000}).state_dict()
    own = start.network.state_dict()
    assert own.keys() == theirs.keys()
    assert [name for name in own if own[name].shape != theirs[name].shape] == [
        "classifier.weight",
        "classifier.bias",
    ]
    assert start.mean == start.std == (0.5, 0.5, 0.5)


def test_the_package_is_what_was_trained_and_needs_no_timm(made: tuple[Model, Trained]) -> None:
    model, trained = made
    assert model.card.reference == f"{NAME}@1"
    assert model.card.weights_format is WeightsFormat.EXPORTED
    assert [one.name for one in model.card.classes] == list(eurosat.CLASSES)
    loaded = load_module(Path(model.folder), load_package(Path(model.folder)).card)
    chips = torch.randn(5, 3, 64, 64)
    enlarged = torch.nn.functional.interpolate(chips, (96, 96), mode="bilinear")
    with torch.inference_mode():
        assert torch.allclose(loaded(chips), plain(trained)(enlarged), rtol=1e-3, atol=1e-3)


def test_its_card_says_where_it_comes_from(made: tuple[Model, Trained]) -> None:
    said = made[0].document["properties"]["mlm:hyperparameters"]
    assert said["start"].startswith("timm:tf_efficientnet_lite0 with weights ")
    assert said["optimizer"].startswith("AdamW")
    assert said["phases"] == [
        {"epochs": 1, "chip_px": 64, "mixed": False, "colour": 0.5, "enlarged_px": 96}
    ]
    assert "teacher" not in said


def test_it_teaches_a_network_that_begins_as_another(
    made: tuple[Model, Trained], data: Path, tmp_path: Path
) -> None:
    small = replace(TAUGHT, epochs=1)
    ours = Path(__file__).parents[2] / "models" / "eurosat-landcover" / "2"
    model, trained = train_package(
        data,
        tmp_path / "taught",
        version="3",
        plan=small,
        progress=lambda report: None,
        start=ours,
        teacher=Path(made[0].folder),
    )
    said = model.document["properties"]["mlm:hyperparameters"]
    assert said["start"] == "eurosat-landcover@2"
    assert said["teacher"] == f"{NAME}@1 and eurosat-landcover@2"
    assert said["teacher_share"] == small.teacher_share
    assert trained.plan.architecture == "resnet-d-compact"


def test_who_names_other_classes_cannot_teach(data: Path, tmp_path: Path) -> None:
    unet = Path(__file__).parents[2] / "models" / "landcover-unet" / "1"
    with pytest.raises(InvalidInput, match="cannot teach") as refused:
        train_package(
            data,
            tmp_path / "x",
            version="3",
            plan=TAUGHT,
            progress=lambda report: None,
            teacher=unet,
        )
    assert refused.value.field == "teacher"


def test_a_package_is_never_overwritten(made: tuple[Model, Trained], data: Path) -> None:
    folder = Path(made[0].folder)
    with pytest.raises(Conflict, match="another version"):
        fine_tune(data, Path("x"), folder, version="1", plan=PLAN, progress=lambda report: None)


def spoilt(weights: Path, how: str, path: Path) -> Path:
    from safetensors.torch import load_file

    values = load_file(weights)
    if how == "missing":
        del values["bn1.weight"]
    if how == "shape":
        values["bn1.weight"] = torch.zeros(7)
    if how == "nan":
        values["bn1.weight"][0] = float("nan")
    save_file(values, path)
    if how == "pickle":
        torch.save(values, path)
    if how == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    return path


@pytest.mark.parametrize("how", ["missing", "shape", "nan", "pickle", "cut"])
def test_weights_that_do_not_fit_are_refused(weights: Path, how: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as refused:
        start_from(spoilt(weights, how, tmp_path / "bad.safetensors"), ARCHITECTURE)
    assert refused.value.field == "weights"
    assert "bad.safetensors" in refused.value.message


def test_a_network_of_our_own_is_no_start(weights: Path) -> None:
    with pytest.raises(InvalidInput, match="timm:<name>"):
        start_from(weights, "resnet-d-compact")
