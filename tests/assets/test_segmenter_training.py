"""The asset that trains the segmenter."""

import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.segmenter_training import KEY, landcover_unet_training
from constellation_pipelines.inference.package import load_package

SCENE = "l7_etm_olinda_31985_6band"
NODE = "training__landcover_unet"


@pytest.fixture
def scenes(sample_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scene root with one small scene, where settings look for it."""
    root = tmp_path / "scenes"
    root.mkdir()
    for suffix in (".tif", ".json"):
        shutil.copy(sample_data / "scenes" / f"{SCENE}{suffix}", root)
    monkeypatch.setenv("CONSTELLATION_SCENE_ROOTS", str(root))
    return root


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSTELLATION_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CONSTELLATION_MODELS_DIR", str(tmp_path / "models"))


def materialize(**config: Any) -> dg.ExecuteInProcessResult:
    run_config = {"ops": {NODE: {"config": {"steps": 1, **config}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            [landcover_unet_training],
            run_config=run_config,
            instance=instance,
            raise_on_error=False,
        )


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    assert not result.success
    (event,) = result.get_step_failure_events()
    return str(event.step_failure_data.user_failure_data)


def test_it_trains_on_what_lies_under_the_scene_roots(scenes: Path, tmp_path: Path) -> None:
    result = materialize()
    assert result.success
    assert not (tmp_path / "models").exists()  # without a version no model changes
    (materialization,) = result.asset_materializations_for_node(NODE)
    assert materialization.asset_key == KEY
    metadata = materialization.metadata
    folder = Path(str(metadata["package"].value))
    assert folder.is_relative_to(tmp_path / "data" / "training")
    assert load_package(folder).digest == metadata["digest"].value
    assert metadata["scenes"].value == [SCENE]


def test_with_a_version_it_makes_a_package(scenes: Path, tmp_path: Path) -> None:
    assert materialize(version="2", scenes=[f"{SCENE}.tif"]).success
    package = tmp_path / "models" / "landcover-unet" / "2"
    assert load_package(package).card.reference == "landcover-unet@2"
    assert "another version" in failure_of(materialize(version="2"))


def test_a_scene_outside_the_roots_is_refused(scenes: Path) -> None:
    assert "outside the folders" in failure_of(materialize(scenes=["/etc/passwd"]))


def test_without_scenes_it_says_what_to_do(tmp_path: Path) -> None:
    assert "scene root" in failure_of(materialize())
