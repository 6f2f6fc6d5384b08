"""A model that is added to a running stack is there at once: for jobs, and in Dagster."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from constellation_pipelines.demo.scenes import generate
from tests.e2e.conftest import Stack, running_stack
from tests.inference.exports import export, tiny
from tests.inference.packages import write_card

ASSETS = """{ assetNodes { assetKey { path } } }"""


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with nothing in it yet."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def empty_stack(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Stack]:
    """A stack that knows no model."""
    data_dir = tmp_path_factory.mktemp("stack")
    (data_dir / "scenes").mkdir()
    settings = {"CONSTELLATION_MODELS_DIR": str(models_dir)}
    with running_stack(data_dir, settings) as started:
        yield started


def package(folder: Path, **said: Any) -> Path:
    folder.mkdir()
    export(tiny(), folder / "model.pt2")
    return write_card(folder, weights="model.pt2", **said)


def models_add(stack: Stack, path: Path) -> "subprocess.CompletedProcess[str]":
    """`constellation models add --json` beside the running stack."""
    return stack.run("models", "add", str(path), "--json")


def asset_paths(stack: Stack) -> set[str]:
    """Dagster's assets as a/b; none while its code server starts anew."""
    nodes = (stack.graphql(ASSETS) or {}).get("assetNodes") or []
    return {"/".join(node["assetKey"]["path"]) for node in nodes}


def test_a_job_can_name_a_model_the_moment_it_is_added(
    empty_stack: Stack, models_dir: Path, tmp_path: Path
) -> None:
    stack = empty_stack
    assert stack.http.get("/models").json()["items"] == []
    before = asset_paths(stack)
    assert "registered_scene" in before
    scene = stack.register(generate(stack.data_dir / "scenes" / "one.tif", 512))["key"]
    done = models_add(stack, package(tmp_path / "p", name="tiny-cover"))
    assert done.returncode == 0, done.stderr
    added = json.loads(done.stdout)
    assert added["registered"] is True
    assert [model["reference"] for model in stack.http.get("/models").json()["items"]] == [
        "tiny-cover@1"
    ]
    job = stack.finished(stack.submit(scene, model="tiny-cover")["id"], timeout_s=150)
    assert job["state"] == "COMPLETED", job
    assert job["tiles_completed"] == job["tiles_planned"] > 0
    (run,) = job["runs"]
    assert set(run["metrics"]["class_counts"]) <= {f"class {value}" for value in range(4)}
    new = {"predictions/tiny_cover", "coverage/tiny_cover"}
    seen = stack.wait(lambda: asset_paths(stack), lambda paths: paths >= new, timeout_s=120)
    assert seen == before | new


def test_a_refused_package_is_one_line_and_changes_nothing(
    empty_stack: Stack, models_dir: Path, tmp_path: Path
) -> None:
    before = sorted(models_dir.rglob("*"))
    done = models_add(empty_stack, package(tmp_path / "p", name="liar", classes=7))
    assert done.returncode == 1
    assert "gives [2, 4] for 2 chips, and its card says [-1, 7]" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(models_dir.rglob("*")) == before
    assert len(empty_stack.http.get("/models").json()["items"]) <= 1
