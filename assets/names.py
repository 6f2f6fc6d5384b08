"""Asset keys, made from the names that every room shares."""

from dagster import AssetKey

from constellation_pipelines.domain import names

REGISTERED_SCENE = AssetKey(names.REGISTERED_SCENE)


def predictions_key(model_name: str) -> AssetKey:
    """Key of a model's tile predictions."""
    return AssetKey(names.predictions_path(model_name))


def coverage_key(model_name: str) -> AssetKey:
    """Key of a model's coverage."""
    return AssetKey(names.coverage_path(model_name))
