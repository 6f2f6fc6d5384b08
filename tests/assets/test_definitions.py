"""The definitions that Dagster loads."""

import json
import shutil
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
        "training/eurosat_landcover_large",
        "predictions/landcover_unet",
        "coverage/landcover_unet",
        "training/landcover_unet",
    }
    assert {"predict_eurosat_landcover", "predict_landcover_unet"} <= set(repository.job_names)
    assert len(repository.asset_graph.asset_check_keys) == 2 * 4  # of each model


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


def renamed(models_dir: Path, name: str, version: str = "1") -> None:
    """The committed package under another name."""
    folder = models_dir / name / version
    shutil.copytree(CHECKOUT / "models" / "eurosat-landcover" / "1", folder)
    card = json.loads((folder / "model.json").read_text())
    card["properties"].update({"mlm:name": name, "version": version})
    (folder / "model.json").write_text(json.dumps(card))


def test_names_that_dagster_cannot_tell_apart_do_not_break_the_others(tmp_path: Path) -> None:
    from constellation_pipelines.definitions import build

    for name in ("land-cover", "land_cover", "roads"):
        renamed(tmp_path, name)
    repository = build(Settings(models_dir=tmp_path)).get_repository_def()
    assert {"predict_land_cover", "predict_roads"} <= set(repository.job_names)


def test_the_highest_version_speaks_for_a_model(tmp_path: Path) -> None:
    from constellation_pipelines.definitions import newest_cards

    for version in ("9", "10", "2"):
        renamed(tmp_path, "land-cover", version)
    assert [card.reference for card in newest_cards(tmp_path)] == ["land-cover@10"]


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
