"""Model packages on disk."""

import hashlib
import json
import logging
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from constellation_pipelines.domain.errors import ModelRefused
from constellation_pipelines.domain.model import Model
from constellation_pipelines.inference.package import CARD_FILE, discover, load_package
from tests.inference.conftest import PACKAGE

WEIGHTS = "weights.safetensors"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the committed package, in a models folder."""
    return Path(shutil.copytree(PACKAGE, tmp_path / "models" / "eurosat-landcover" / "1"))


def edit(package: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads((package / CARD_FILE).read_text())
    change(document)
    (package / CARD_FILE).write_text(json.dumps(document))


def put_weights(package: Path, content: bytes) -> None:
    """Replace the weights, and let the card name them truthfully."""
    (package / WEIGHTS).write_bytes(content)
    checksum = "1220" + hashlib.sha256(content).hexdigest()
    edit(package, lambda card: card["assets"]["weights"].update({"file:checksum": checksum}))


def test_the_committed_package_loads(model: Model) -> None:
    assert model.card.reference == "eurosat-landcover@1"
    assert Path(model.folder).is_absolute()
    assert len(model.digest) == 64
    assert sum(path.stat().st_size for path in PACKAGE.iterdir()) <= 25_000_000


def test_the_digest_follows_card_and_weights_and_not_the_folder(package: Path) -> None:
    original = load_package(PACKAGE)
    copied = load_package(package)
    assert copied.digest == original.digest
    assert copied.id != original.id
    edit(package, lambda card: card["properties"].update(title="another"))
    assert load_package(package).digest != original.digest


def test_weights_other_than_those_the_card_names_are_refused(package: Path) -> None:
    with (package / WEIGHTS).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    with pytest.raises(ModelRefused, match="sha256 differs"):
        load_package(package)


class Marker:
    """A pickle of this writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (str(self.path),)


def test_a_pickle_is_refused_unread_even_under_another_name(package: Path, tmp_path: Path) -> None:
    put_weights(package, pickle.dumps(Marker(tmp_path / "marker")))
    with pytest.raises(ModelRefused, match="can run code"):
        load_package(package)
    assert not (tmp_path / "marker").exists()


def test_a_torch_checkpoint_is_refused(package: Path, tmp_path: Path) -> None:
    import torch

    torch.save({"weight": torch.zeros(3)}, tmp_path / "checkpoint.pt")
    put_weights(package, (tmp_path / "checkpoint.pt").read_bytes())
    with pytest.raises(ModelRefused, match="can run code"):
        load_package(package)


@pytest.mark.parametrize("name", ["weights.pt2", "weights.onnx", "weights.safetensors"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_no_name_makes_a_pickle_welcome(
    package: Path, tmp_path: Path, name: str, wrapped: bool
) -> None:
    import torch

    content = pickle.dumps(Marker(tmp_path / "marker"))
    if wrapped:  # a zip of pickles
        torch.save(Marker(tmp_path / "marker"), tmp_path / "checkpoint.pt")
        content = (tmp_path / "checkpoint.pt").read_bytes()
    put_weights(package, content)
    (package / WEIGHTS).rename(package / name)
    edit(package, lambda card: card["assets"]["weights"].update({"href": name}))
    with pytest.raises(ModelRefused, match=r"can run code|no archive|holds"):
        load_package(package)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 8,
        b"\xff" * 8 + b"{}",
        (2).to_bytes(8, "little"),
        (10**6).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
    ],
)
def test_weights_that_are_no_safetensors_are_refused(package: Path, content: bytes) -> None:
    put_weights(package, content)
    with pytest.raises(ModelRefused, match="not a safetensors file"):
        load_package(package)


def test_a_package_without_weights_is_refused(package: Path) -> None:
    (package / WEIGHTS).unlink()
    with pytest.raises(ModelRefused, match="no file"):
        load_package(package)


def test_weights_that_are_a_link_out_of_the_package_are_refused(package: Path) -> None:
    (package / WEIGHTS).unlink()
    (package / WEIGHTS).symlink_to(PACKAGE / WEIGHTS)
    with pytest.raises(ModelRefused, match="no file"):
        load_package(package)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{",
        b'{"type": NaN}',
        b'{"type": Infinity}',
        b"[" * 100_000,
        b" " * 1_000_001,
    ],
)
def test_a_card_that_is_no_json_object_is_refused(package: Path, content: bytes) -> None:
    (package / CARD_FILE).write_bytes(content)
    with pytest.raises(ModelRefused, match=r"model\.json"):
        load_package(package)


def test_a_folder_without_a_card_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match=r"no readable model\.json"):
        load_package(tmp_path)


def test_discovery_finds_each_package_by_name_and_version(package: Path) -> None:
    second = shutil.copytree(package, package.parent / "2")
    edit(second, lambda card: card["properties"].update(version="2"))
    found = discover(package.parent.parent)
    assert [found.card.reference for found in found] == [
        "eurosat-landcover@1",
        "eurosat-landcover@2",
    ]


def test_discovery_leaves_a_bad_package_out_and_says_so(
    package: Path, caplog: pytest.LogCaptureFixture
) -> None:
    misnamed = shutil.copytree(package, package.parent / "9")
    broken = shutil.copytree(package, package.parent / "3")
    (broken / CARD_FILE).write_text("{")
    with caplog.at_level(logging.WARNING):
        found = discover(package.parent.parent)
    assert [Path(model.folder) for model in found] == [package]
    assert len(caplog.records) == 2
    assert f"eurosat-landcover/{misnamed.name}" in caplog.text
    assert f"eurosat-landcover/{broken.name}" in caplog.text


def test_there_need_be_no_models_folder(tmp_path: Path) -> None:
    assert discover(tmp_path / "none") == []
