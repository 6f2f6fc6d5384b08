"""The route of what this installation is."""

from importlib.metadata import version

from fastapi import APIRouter

from api.deps import SettingsPart
from api.routing import Route
from api.schemas.about import About

router = APIRouter(prefix="/api/v1/about", tags=["about"], route_class=Route)

PACKAGE = "constellation-eo"


@router.get("", summary="Show what this is")
def show_about(settings: SettingsPart) -> About:
    """The version, and where Dagster's own pages are."""
    return About(version=version(PACKAGE), dagster_url=settings.dagster_url)
