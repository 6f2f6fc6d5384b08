"""The asset that trains the larger network."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from safetensors.torch import save_file

from assets.fine_tuning import ARCHITECTURE, MODEL, eurosat_landcover_large_training
from constellation_pipelines.inference.architectures import build
from constellation_pipelines.inference.fine_tuning import NAME
from constellation_pipelines.inference.package import load_package
from constellation_pipelines.inference.training_plan import FINE_TUNING
from tests.assets.test_training import archive, failure_of, folders  # noqa: F401 - fixtures
from tests.inference.test_timm_networks import timm  # noqa: F401 - skips where it is missing


def materialize(**config: Any) -> dg.ExecuteInProcessResult:
    run_config = {"ops": {"training__eurosat_landcover_large": {"config": {"epochs": 1, **config}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            [eurosat_landcover_large_training],
            run_config=run_config,
            instance=instance,
            raise_on_error=False,
        )


def test_its_defaults_are_the_plans_own() -> None:
    assert (ARCHITECTURE, MODEL) == (FINE_TUNING.architecture, NAME)


def test_it_makes_a_package_of_weights_from_elsewhere(archive: Path, tmp_path: Path) -> None:  # noqa: F811
    weights = tmp_path / "imagenet.safetensors"
    save_file(build("timm:mobilenetv3_small_050", {"bands": 3, "classes": 7}).state_dict(), weights)
    result = materialize(
        data=str(archive), weights=str(weights), architecture="timm:mobilenetv3_small_050"
    )
    assert result.success
    (made,) = result.asset_materializations_for_node("training__eurosat_landcover_large")
    folder = Path(str(made.metadata["package"].value))
    assert folder.is_relative_to(tmp_path / "data" / "training" / MODEL)
    assert load_package(folder).digest == made.metadata["digest"].value


def test_weights_that_are_not_there_are_refused(archive: Path, tmp_path: Path) -> None:  # noqa: F811
    refused = failure_of(materialize(data=str(archive), weights=str(tmp_path / "gone")))
    assert "there are no weights at" in refused


@pytest.mark.parametrize("name", ["timm:nothing_such", "timm:../x", "resnet18"])
def test_an_architecture_that_timm_does_not_know_is_refused(
    archive: Path,  # noqa: F811
    tmp_path: Path,
    name: str,
) -> None:
    weights = tmp_path / "x.safetensors"
    weights.write_bytes(b"")
    refused = failure_of(materialize(data=str(archive), weights=str(weights), architecture=name))
    assert "knows no" in refused or "timm:<name>" in refused
