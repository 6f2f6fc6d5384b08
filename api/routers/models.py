"""Routes of models."""

from typing import Annotated

from fastapi import APIRouter, Path

from api.deps import DatabasePart
from api.routing import Route
from api.schemas.base import NO_CONTROLS
from api.schemas.model import ModelList, ModelReply
from constellation_pipelines.store import models

router = APIRouter(prefix="/api/v1/models", tags=["models"], route_class=Route)


@router.get("", summary="List models")
def list_models(database: DatabasePart) -> ModelList:
    """Every registered model."""
    with database.transaction() as connection:
        found = models.list_all(connection)
    return ModelList(items=[ModelReply.of(model) for model in found])


@router.get("/{reference}", summary="Show a model")
def show_model(
    reference: Annotated[str, Path(max_length=300, pattern=NO_CONTROLS)], database: DatabasePart
) -> ModelReply:
    """A model by `name@version`, or by name: the newest version."""
    with database.transaction() as connection:
        return ModelReply.of(models.find(connection, reference))
