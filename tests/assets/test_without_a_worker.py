"""A prediction that somebody runs without a worker, from a notebook or `dagster dev`."""

import dagster as dg
import pytest

from assets.partitions import scenes
from assets.predictions import predictions_asset
from assets.scenes import registered_scene
from constellation_pipelines.inference.package import discover
from resources.database import DatabaseResource
from resources.engines import EnginesResource
from resources.lake import LakeResource
from tests.conftest import CHECKOUT


def test_it_fails_with_one_line_that_says_what_to_do(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CONSTELLATION_FENCE", raising=False)
    card = next(iter(discover(CHECKOUT / "models"))).card
    predictions = predictions_asset(card, "http://127.0.0.1:8080")
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(str(scenes.name), ["coast"])
        done = dg.materialize(
            [registered_scene, predictions],
            selection=[predictions],
            partition_key="coast",
            instance=instance,
            raise_on_error=False,
            resources={
                "database": DatabaseResource(url=database_url),
                "lake": LakeResource(root="/nowhere"),
                "engines": EnginesResource(),
            },
        )
    assert not done.success
    (failure,) = done.get_step_failure_events()
    error = failure.step_failure_data.error
    assert error is not None
    assert error.cls_name == "Failure"
    assert "not started by a Constellation worker" in error.message
