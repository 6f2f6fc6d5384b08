"""Names that a model's assets and its Dagster job go by."""

import re

SCENES = "scenes"  # the dynamic partitions definition
REGISTERED_SCENE = ("registered_scene",)


def identifier(model_name: str) -> str:
    """A model's name as Dagster allows it: letters, digits, underscores."""
    return re.sub(r"\W", "_", model_name)


def predictions_path(model_name: str) -> tuple[str, str]:
    """Path of the asset key of a model's tile predictions."""
    return ("predictions", identifier(model_name))


def coverage_path(model_name: str) -> tuple[str, str]:
    """Path of the asset key of a model's coverage."""
    return ("coverage", identifier(model_name))


def predictions_op(model_name: str) -> str:
    """The op behind a model's predictions, as run config names it."""
    return "__".join(predictions_path(model_name))


def dagster_job(model_name: str) -> str:
    """The Dagster job that runs a model over a scene."""
    return f"predict_{identifier(model_name)}"
