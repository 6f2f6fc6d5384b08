"""The training asset."""

import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.training import (
    EPOCHS,
    FURTHER_EPOCHS,
    KEY,
    SEED,
    TAUGHT_EPOCHS,
    eurosat_landcover_training,
)
from constellation_pipelines.inference.package import load_package
from tests.inference.archives import small_rows, write_archive


@pytest.fixture
def archive(sample_data: Path, tmp_path: Path) -> Path:
    return write_archive(tmp_path / "small.zip", small_rows(sample_data))


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSTELLATION_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CONSTELLATION_MODELS_DIR", str(tmp_path / "models"))


def materialize(**config: Any) -> dg.ExecuteInProcessResult:
    run_config = {"ops": {"training__eurosat_landcover": {"config": {"epochs": 1, **config}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            [eurosat_landcover_training],
            run_config=run_config,
            instance=instance,
            raise_on_error=False,
        )


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    assert not result.success
    (event,) = result.get_step_failure_events()
    return str(event.step_failure_data.user_failure_data)


def test_its_defaults_are_the_plans_own() -> None:
    """Stated twice, because a definition must not import torch."""
    from constellation_pipelines.inference.training_plan import FURTHER, TAUGHT, TrainingPlan

    plans = (TrainingPlan(), FURTHER, TAUGHT)
    assert (EPOCHS, FURTHER_EPOCHS, TAUGHT_EPOCHS) == tuple(plan.epochs for plan in plans)
    assert {plan.seed for plan in plans} == {SEED}


def test_without_a_version_it_leaves_the_models_folder_alone(archive: Path, tmp_path: Path) -> None:
    result = materialize(data=str(archive))
    assert result.success
    assert not (tmp_path / "models").exists()
    (materialization,) = result.asset_materializations_for_node("training__eurosat_landcover")
    assert materialization.asset_key == KEY
    metadata = materialization.metadata
    folder = Path(str(metadata["package"].value))
    assert folder.is_relative_to(tmp_path / "data" / "training")
    assert load_package(folder).digest == metadata["digest"].value
    assert metadata["validation_chips"].value == 10
    assert "SeaLake" in str(metadata["confusion"].value)


def test_with_a_version_it_makes_a_package_that_is_never_overwritten(
    archive: Path, tmp_path: Path
) -> None:
    assert materialize(data=str(archive), version="2").success
    package = tmp_path / "models" / "eurosat-landcover" / "2"
    assert load_package(package).card.reference == "eurosat-landcover@2"
    assert "another version" in failure_of(materialize(data=str(archive), version="2"))


@pytest.mark.parametrize("version", ["../x", "a/b", " ", "1\n"])
def test_a_version_that_is_no_folder_name_is_refused(archive: Path, version: str) -> None:
    assert "a version is" in failure_of(materialize(data=str(archive), version=version))


def test_without_data_it_says_how_to_name_it(tmp_path: Path) -> None:
    assert "CONSTELLATION_TRAINING_DATA" in failure_of(materialize())
    assert "no training data at" in failure_of(materialize(data=str(tmp_path / "gone.zip")))


def test_it_goes_on_from_a_package(archive: Path) -> None:
    assert materialize(data=str(archive), version="2").success
    result = materialize(data=str(archive), version="3", start="eurosat-landcover@2")
    assert result.success
    (materialization,) = result.asset_materializations_for_node("training__eurosat_landcover")
    package = load_package(Path(str(materialization.metadata["package"].value)))
    hyperparameters = package.document["properties"]["mlm:hyperparameters"]
    assert hyperparameters["start"] == "eurosat-landcover@2"
    assert package.card.architecture == "resnet-d-compact"


@pytest.mark.parametrize("field", ["start", "teacher"])
@pytest.mark.parametrize("named", ["eurosat-landcover@9", "../models@2", "eurosat-landcover", "@"])
def test_what_is_no_package_is_refused(archive: Path, named: str, field: str) -> None:
    refused = failure_of(materialize(data=str(archive), **{field: named}))
    assert "there is no model package" in refused


def test_a_start_of_another_kind_is_refused(archive: Path, tmp_path: Path) -> None:
    ours = Path(__file__).parents[2] / "models" / "landcover-unet"
    shutil.copytree(ours, tmp_path / "models" / "landcover-unet")
    refused = failure_of(materialize(data=str(archive), start="landcover-unet@1"))
    assert "cannot be trained further" in refused
