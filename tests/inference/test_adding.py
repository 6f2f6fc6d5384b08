"""A package is checked, run dry, and then there all at once; or nothing of it is."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from constellation_pipelines.domain.errors import Conflict, ConstellationError, ModelRefused
from constellation_pipelines.inference.adding import add_package, check_package
from constellation_pipelines.inference.architectures import build
from constellation_pipelines.inference.package import CARD_FILE, discover
from constellation_pipelines.inference.trial import try_package
from tests.inference.exports import export, tiny
from tests.inference.packages import write_card


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """An exported network and its card."""
    folder = tmp_path / "package"
    folder.mkdir()
    export(tiny(), folder / "model.pt2")
    return write_card(folder, weights="model.pt2")


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_package_in_order_is_added_whole(package: Path, models_dir: Path) -> None:
    (package / "notes.txt").write_text("mine")
    checked = add_package(package, models_dir)
    assert files(models_dir) == ["small", "small/1", "small/1/model.json", "small/1/model.pt2"]
    assert [model.card.reference for model in discover(models_dir)] == ["small@1"]
    assert checked.model.folder == str(models_dir / "small" / "1")
    assert checked.trial.output_shape == (-1, 4)
    folded = sum(value.numel() for value in tiny().parameters()) - 8  # gain and shift became a bias
    assert checked.trial.parameters == folded + 3 + 1  # the buffer, the constant
    assert checked.trial.chips_per_s > 0


def test_adding_the_same_again_changes_nothing(package: Path, models_dir: Path) -> None:
    first = add_package(package, models_dir)
    assert add_package(package, models_dir).model.digest == first.model.digest
    assert len(files(models_dir)) == 4


def test_another_package_under_the_same_version_is_refused(package: Path, models_dir: Path) -> None:
    before = add_package(package, models_dir).model.digest
    write_card(package, weights="model.pt2", **{"constellation:gsd_max_m": 10})
    with pytest.raises(Conflict, match="another version"):
        add_package(package, models_dir)
    assert [model.digest for model in discover(models_dir)] == [before]
    assert len(files(models_dir)) == 4


def test_a_name_that_dagster_takes_for_another_is_refused(package: Path, models_dir: Path) -> None:
    write_card(package, weights="model.pt2", name="land-cover")
    add_package(package, models_dir)
    write_card(package, weights="model.pt2", name="land_cover")
    with pytest.raises(Conflict, match="land-cover is there already"):
        add_package(package, models_dir)
    assert not (models_dir / "land_cover").exists()


def test_checking_changes_nothing(package: Path, tmp_path: Path) -> None:
    before = files(tmp_path)
    assert check_package(package).model.card.reference == "small@1"
    assert files(tmp_path) == before


def wrong_digest(package: Path) -> None:
    with (package / "model.pt2").open("ab") as file:
        file.write(b"\0")


def no_card(package: Path) -> None:
    (package / CARD_FILE).unlink()


def link_out(package: Path) -> None:
    (package / "model.pt2").rename(package.parent / "elsewhere.pt2")
    (package / "model.pt2").symlink_to(package.parent / "elsewhere.pt2")


def more_classes(package: Path) -> None:
    write_card(package, weights="model.pt2", classes=5)


def other_bands(package: Path) -> None:
    write_card(package, weights="model.pt2", bands=2)


def other_task(package: Path) -> None:
    write_card(package, weights="model.pt2", task="semantic-segmentation")


def not_dense(package: Path) -> None:
    write_card(package, weights="model.pt2", task="regression", classes=1)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (wrong_digest, "no archive|sha256 differs"),
        (no_card, "no readable"),
        (link_out, "no file"),
        (more_classes, r"gives \[2, 4\] for 2 chips"),
        (other_bands, "exported for input"),
        (other_task, "its card says"),
        (not_dense, "its card says"),
    ],
)
def test_a_card_that_lies_leaves_nothing_behind(
    package: Path, models_dir: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    spoil(package)
    with pytest.raises(ModelRefused, match=reason):
        add_package(package, models_dir)
    assert not models_dir.exists() or files(models_dir) == []


class Nothing(nn.Module):
    """Divides nothing by nothing."""

    def forward(self, x: Tensor) -> Tensor:
        zero = x.mean((2, 3))[:, :1] * 0
        return (zero / zero).expand(-1, 4).contiguous()


class Endless(nn.Module):
    """Takes for ever."""

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for _ in range(60):
            y = torch.nn.functional.conv2d(y.repeat(1, 40, 20, 20), torch.ones(3, 120, 9, 9))
            y = y[:, :, :16, :16]
        return y.mean((2, 3)).repeat(1, 2)[:, :4]


class Greedy(nn.Module):
    """Asks for 16 GiB."""

    def forward(self, x: Tensor) -> Tensor:
        big = x.mean((2, 3))[:, :1].repeat(1, 2**31)
        return big[:, :4]


def package_of(network: nn.Module, folder: Path) -> Path:
    folder.mkdir()
    export(network.eval(), folder / "model.pt2")
    return write_card(folder, weights="model.pt2")


def test_results_that_are_no_numbers_are_refused(tmp_path: Path, models_dir: Path) -> None:
    with pytest.raises(ModelRefused, match="no finite numbers"):
        add_package(package_of(Nothing(), tmp_path / "p"), models_dir)
    assert files(models_dir) == []


def test_what_does_not_end_is_refused(tmp_path: Path, models_dir: Path) -> None:
    folder = package_of(Endless(), tmp_path / "p")
    with pytest.raises(ModelRefused, match="did not end within 4 s"):
        add_package(folder, models_dir, lambda draft: try_package(draft, timeout_s=4))
    assert files(models_dir) == []


def test_what_takes_too_much_memory_is_refused(tmp_path: Path, models_dir: Path) -> None:
    folder = package_of(Greedy(), tmp_path / "p")
    with pytest.raises(ModelRefused, match="memory"):
        add_package(folder, models_dir, lambda draft: try_package(draft, memory_mb=4096))
    assert files(models_dir) == []


NAMED: list[tuple[dict[str, Any], list[int]]] = [
    ({"task": "scene-classification", "classes": 4}, [-1, 4]),
    ({"task": "similarity-search", "classes": 512, "options": {"classes": 0}}, [-1, 512]),
    ({"task": "similarity-search", "classes": 32}, [-1, 32]),
]


@pytest.mark.parametrize(("said", "shape"), NAMED)
def test_named_architectures_are_tried_as_well(
    tmp_path: Path, models_dir: Path, said: dict[str, Any], shape: list[int]
) -> None:
    said = dict(said)
    options = {"bands": 4, "classes": said["classes"], **said.pop("options", {})}
    folder = tmp_path / "p"
    folder.mkdir()
    save_file(build("resnet18", options).state_dict(), folder / "w.safetensors")
    write_card(
        folder,
        weights="w.safetensors",
        bands=4,
        chip_px=32,
        **said,
        **{"constellation:architecture_options": options},
    )
    assert list(add_package(folder, models_dir).trial.output_shape) == shape


@pytest.mark.parametrize(("task", "classes"), [("semantic-segmentation", 3), ("regression", 1)])
def test_a_unet_answers_per_pixel(
    tmp_path: Path, models_dir: Path, task: str, classes: int
) -> None:
    options = {"bands": 3, "classes": classes, "width": 8, "depth": 3}
    folder = tmp_path / "p"
    folder.mkdir()
    save_file(build("unet", options).state_dict(), folder / "w.safetensors")
    said = {"mlm:architecture": "unet", "constellation:architecture_options": options}
    write_card(
        folder, weights="w.safetensors", task=task, classes=classes, chip_px=32, halo_px=8, **said
    )
    assert add_package(folder, models_dir).trial.output_shape == (-1, classes, 32, 32)


def test_weights_of_another_architecture_are_refused_with_the_first_difference(
    tmp_path: Path, models_dir: Path
) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    save_file(build("resnet34", {"bands": 3, "classes": 4}).state_dict(), folder / "w.safetensors")
    write_card(folder, weights="w.safetensors", chip_px=32)
    with pytest.raises(ModelRefused, match=r"do not fit resnet18.*layer1\.2") as refusal:
        add_package(folder, models_dir)
    assert "Traceback" not in refusal.value.message


def test_a_models_folder_that_cannot_be_written_is_one_line(package: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConstellationError, match="cannot be copied"):
        add_package(package, tmp_path / "file")


def test_the_package_of_the_checkout_passes(tmp_path: Path) -> None:
    committed = Path(__file__).parent.parent.parent / "models" / "eurosat-landcover" / "1"
    copied = shutil.copytree(committed, tmp_path / "eurosat")
    assert check_package(copied).trial.parameters == 2_797_610
