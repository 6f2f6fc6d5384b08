"""A remote scene: described from its header, read from its mirror."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from constellation_pipelines.domain.quality import QualityMask
from constellation_pipelines.domain.scene import Scene
from constellation_pipelines.imagery.describe import describe_scene
from constellation_pipelines.remote import mirror
from constellation_pipelines.remote.errors import RemoteRefused
from constellation_pipelines.remote.mirror import Content, Mirror
from constellation_pipelines.remote.opening import fetch_header
from constellation_pipelines.remote.ranges import CHANGED_WORDS, Ranges

CONTENT = "constellation:content"


@dataclass(frozen=True, slots=True)
class Description:
    """What a person tells of a scene; see `describe_scene`."""

    bands: Sequence[str] | None = None
    scale: float | None = None
    offset: float | None = None
    key: str | None = None
    quality: QualityMask | None = None


def describe_remote(ranges: Ranges, url: str, staging: Path, told: Description) -> Scene:
    """Describe the GeoTIFF behind a URL from its header, which stays here as a mirror.

    Its digest covers URL, size, ETag, time of change and header: all that can be known without
    reading it. Raises RemoteRefused, SceneRefused, InvalidInput or RemoteAway.
    """
    draft, content = fetch_header(ranges, url, staging)
    try:
        path = draft / mirror.file_name_of(url)
        found = describe_scene(
            path,
            bands=told.bands,
            scale=told.scale,
            offset=told.offset,
            key=told.key,
            quality=told.quality,
            content_digest=content.digest,
        )
        scene = with_source(moved(found, str(path), url), content)
        mirror.keep(draft, mirror.folder_of(staging, url, scene.digest))
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return scene


def open_mirror(ranges: Ranges, scene: Scene, staging: Path) -> Mirror:
    """The mirror of a registered scene; its header is fetched where this host has none.

    Raises RemoteRefused where the object is another one than was registered, or RemoteAway.
    """
    known = mirror.find(staging, scene.uri, scene.digest)
    if known is not None:
        known.repair()
        return known
    draft, content = fetch_header(ranges, scene.uri, staging)
    try:
        if content.digest != content_digest_of(scene):
            raise RemoteRefused(f"{scene.uri} {CHANGED_WORDS}")
        return mirror.keep(draft, mirror.folder_of(staging, scene.uri, scene.digest))
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def moved(scene: Scene, before: str, now: str) -> Scene:
    """The scene with its raster elsewhere, and a quality mask that is in the raster with it."""
    quality = scene.quality
    if quality is not None and quality.uri == before:
        quality = replace(quality, uri=now)
    return replace(scene, uri=now, quality=quality)


def with_source(scene: Scene, content: Content) -> Scene:
    """The scene with an Item whose asset says where the object is, and which version of it."""
    asset = {
        **scene.item["assets"]["data"],
        "href": content.url,
        "file:size": content.version.size,
        CONTENT: content.digest,
    }
    return replace(scene, item={**scene.item, "assets": {**scene.item["assets"], "data": asset}})


def content_digest_of(scene: Scene) -> str | None:
    """The digest of the version that was registered."""
    asset = scene.item.get("assets", {}).get("data", {})
    found = asset.get(CONTENT)
    return found if isinstance(found, str) else None
