"""The definitions that Dagster loads."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from constellation_pipelines.settings import Settings

CHECKOUT = Path(__file__).parent.parent.parent
HEAVY = ("torch", "rasterio", "duckdb", "geopandas")


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    from constellation_pipelines.definitions import build

    return build(Settings(models_dir=CHECKOUT / "models"))


def test_every_model_package_has_assets_checks_and_a_job(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    keys = {key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()}
    assert keys >= {
        "registered_scene",
        "predictions/eurosat_landcover",
        "coverage/eurosat_landcover",
        "training/eurosat_landcover",
    }
    assert "predict_eurosat_landcover" in repository.job_names
    assert len(repository.asset_graph.asset_check_keys) == 4


def test_lineage_goes_from_scene_to_predictions_to_coverage(definitions: dg.Definitions) -> None:
    graph = definitions.get_repository_def().asset_graph
    predictions = graph.get(dg.AssetKey(["predictions", "eurosat_landcover"]))
    coverage = graph.get(dg.AssetKey(["coverage", "eurosat_landcover"]))
    assert predictions.parent_keys == {dg.AssetKey(["registered_scene"])}
    assert coverage.parent_keys == {predictions.key}


def test_without_models_there_are_still_definitions(tmp_path: Path) -> None:
    from constellation_pipelines.definitions import build

    repository = build(Settings(models_dir=tmp_path)).get_repository_def()
    assert repository.job_names == ["__ASSET_JOB"]


def test_loading_the_definitions_loads_nothing_heavy() -> None:
    code = "import constellation_pipelines.definitions, sys; print([m for m in "
    code += f"{HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=CHECKOUT,
        env={"CONSTELLATION_DATABASE_URL": "unused", "PATH": ""},
    )
    assert done.stdout.strip() == "[]"
