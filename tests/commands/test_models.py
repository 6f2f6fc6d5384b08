"""`constellation models` without a stack: writing cards, checking and adding packages."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pystac
import pytest
import torch
from safetensors.torch import save_file

from constellation_pipelines import cli
from constellation_pipelines.domain.card import parse_card
from constellation_pipelines.inference.architectures import build
from constellation_pipelines.inference.package import discover

CHECKOUT = Path(__file__).parent.parent.parent
BLOCKS = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run(*arguments: str) -> int:
    return cli.run(["models", *arguments])


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of a person who has no stack."""
    monkeypatch.setenv("CONSTELLATION_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CONSTELLATION_MODELS_DIR", str(tmp_path / "models"))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A folder that holds weights and no card."""
    folder = tmp_path / "mine"
    folder.mkdir()
    options = {"bands": 2, "classes": 3}
    save_file(build("resnet18", options).state_dict(), folder / "weights.safetensors")
    return folder


OPTIONS = [
    *("--name", "mine", "--architecture", "resnet18", "--bands", "red,nir", "--chip-px", "32"),
    *("--gsd-m", "5,20"),
]
CLASSES = ["--classes", "water,open land,cloud"]


def test_the_walk_through_of_the_page_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (CHECKOUT / "docs" / "models.md").read_text()
    blocks = BLOCKS.findall(page)
    assert [kind for kind, _ in blocks] == ["python", "sh", "python", "sh"]
    folder = tmp_path / "walk"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    program = f'constellation() {{ "{sys.executable}" -m constellation_pipelines.cli "$@"; }}'
    for kind, text in blocks:
        shell = ["bash", "-euc", f"{program}\n{text}"]
        command = [sys.executable, "-c", text] if kind == "python" else shell
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
    found = discover(tmp_path / "models")
    assert [model.card.reference for model in found] == ["edges@1", "water@1"]


def test_a_card_that_was_written_is_in_order(weights: Path) -> None:
    assert run("init", str(weights), *OPTIONS, *CLASSES, "--mean", "0.3,0.4", "--std", "0.2") == 0
    document = json.loads((weights / "model.json").read_text())
    card = parse_card(document)
    assert card.mean == (0.3, 0.4)
    assert card.std == (0.2, 0.2)
    assert [found.name for found in card.classes] == ["water", "open land", "cloud"]
    assert run("check", str(weights)) == 0


def test_a_card_that_was_written_is_an_item_with_mlm(weights: Path) -> None:
    from pystac.extensions.mlm import MLMExtension

    assert run("init", str(weights), *OPTIONS, *CLASSES) == 0
    item = pystac.Item.from_dict(json.loads((weights / "model.json").read_text()))
    mlm = MLMExtension.ext(item)
    assert mlm.mlm_name == "mine"
    assert list(mlm.tasks) == ["scene-classification"]
    (taken,) = mlm.input
    assert taken.input.shape == [-1, 2, 32, 32]
    (given,) = mlm.output
    assert given.result.shape == [-1, 3]


def test_features_of_a_named_network_need_no_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "features"
    folder.mkdir()
    state = build("resnet18", {"bands": 2, "classes": 0}).state_dict()
    save_file(state, folder / "weights.safetensors")
    asked = ["--task", "similarity-search", "--length", "512"]
    assert run("init", str(folder), *OPTIONS, *asked) == 0
    capsys.readouterr()
    assert run("check", str(folder), "--json") == 0
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (said["output"], said["task"]) == ([-1, 512], "similarity-search")
    assert said["parameters"] == 11_173_376


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ([], "--classes"),
        (["--classes", "one"], "must be a list of 2 to 255"),
        ([*CLASSES, "--options", "width"], "name=number"),
        ([*CLASSES, "--mean", "x"], "--mean must be numbers"),
        ([*CLASSES, "--mean", "0.1,0.2,0.3"], "2: one per band"),
        ([*CLASSES, "--halo-px", "3"], "halo_px must be 0"),
        ([*CLASSES, "--name", "../x"], "mlm:name"),
        ([*CLASSES, "--gsd-m", "20,5"], "gsd_max_m"),
        (["--task", "similarity-search"], "--length"),
    ],
)
def test_what_makes_no_card_is_refused_and_nothing_is_written(
    weights: Path, capsys: pytest.CaptureFixture[str], change: list[str], reason: str
) -> None:
    assert run("init", str(weights), *OPTIONS, *change) == 1
    assert reason in capsys.readouterr().err
    assert not (weights / "model.json").exists()


def test_a_card_is_not_overwritten(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (weights / "model.json").write_text("{}")
    assert run("init", str(weights), *OPTIONS, *CLASSES) == 1
    assert "--force" in capsys.readouterr().err
    assert (weights / "model.json").read_text() == "{}"


def test_a_refusal_is_one_line_and_status_1(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("init", str(weights), *OPTIONS, "--classes", "water,land") == 0
    capsys.readouterr()
    assert run("add", str(weights)) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert "do not fit resnet18" in lines[0]
    assert not list((tmp_path / "models").glob("**/*"))


@pytest.mark.parametrize("command", ["add", "check"])
def test_what_is_no_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    torch.save({}, tmp_path / "model.pt")
    assert run(command, str(tmp_path / "model.pt")) == 1
    assert "is no folder" in capsys.readouterr().err
