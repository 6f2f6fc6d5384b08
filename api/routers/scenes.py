"""Routes of scenes."""

from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from api.deps import DatabasePart, SettingsPart
from api.routing import Route
from api.schemas.base import NO_CONTROLS
from api.schemas.scene import QualityRequest, SceneDetail, ScenePage, SceneReply, SceneRequest
from constellation_pipelines.domain.errors import SceneRefused
from constellation_pipelines.domain.quality import QualityMask
from constellation_pipelines.domain.scene import Scene
from constellation_pipelines.imagery.describe import describe_scene
from constellation_pipelines.imagery.roots import resolve_scene_path
from constellation_pipelines.remote.hosts import allowed_by
from constellation_pipelines.remote.ranges import Ranges
from constellation_pipelines.remote.scenes import Description, describe_remote
from constellation_pipelines.settings import Settings
from constellation_pipelines.store import audit, scenes

router = APIRouter(prefix="/api/v1/scenes", tags=["scenes"], route_class=Route)


@router.post(
    "",
    status_code=201,
    summary="Register a scene",
    responses={
        200: {
            "model": SceneDetail,
            "description": "It was registered already; it is described as asked for now.",
        }
    },
)
def add_scene(
    request: SceneRequest, response: Response, database: DatabasePart, settings: SettingsPart
) -> SceneDetail:
    """Read a raster's header and register it. The raster stays where it is; behind a URL it must
    be a GeoTIFF whose server answers range requests.

    Registering it again with other bands or another calibration describes it anew, until a job
    has used it; from then on that takes a new key.
    """
    described = describe(request, settings)
    with database.transaction() as connection:
        scene = scenes.add(connection, described)
        audit.record(connection, "scene.registered", scene.key)
    response.status_code = 201 if scene.id == described.id else 200
    response.headers["Location"] = f"{router.prefix}/{scene.key}"
    return SceneDetail.of(scene)


def describe(request: SceneRequest, settings: Settings) -> Scene:
    """The scene at the request's path or URL."""
    roots = settings.allowed_scene_roots
    mask = None if request.quality is None else quality_mask(request.quality, roots)
    told = Description(request.bands, request.scale, request.offset, request.key, mask)
    if request.url is not None:
        with Ranges(allowed_by(settings), connections=2) as ranges:
            return describe_remote(ranges, request.url, settings.staging_dir, told)
    path = resolve_scene_path(str(request.path), roots)
    return describe_scene(
        path,
        bands=told.bands,
        scale=told.scale,
        offset=told.offset,
        key=told.key,
        quality=told.quality,
    )


def quality_mask(request: QualityRequest, roots: tuple[FilePath, ...]) -> QualityMask:
    """The mask asked for; its file comes from the same folders as scenes do."""
    try:
        path = resolve_scene_path(request.path, roots)
    except SceneRefused as error:
        raise SceneRefused(f"its quality mask: {error.message}", field="quality.path") from error
    return QualityMask(request.kind, str(path), request.index)


@router.get("", summary="List scenes")
def list_scenes(
    database: DatabasePart,
    cursor: Annotated[str | None, Query(max_length=500, pattern=NO_CONTROLS)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> ScenePage:
    """Registered scenes by key."""
    with database.transaction() as connection:
        found = scenes.list_page(connection, after=cursor, limit=limit + 1)
    page = found[:limit]
    return ScenePage(
        items=[SceneReply.of(scene) for scene in page],
        next=page[-1].key if len(found) > limit else None,
    )


@router.get("/{reference}", summary="Show a scene")
def show_scene(
    reference: Annotated[str, Path(max_length=300, pattern=NO_CONTROLS)], database: DatabasePart
) -> SceneDetail:
    """A scene by key or id, with its STAC Item."""
    with database.transaction() as connection:
        return SceneDetail.of(scenes.find(connection, reference))
