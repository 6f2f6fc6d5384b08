"""Where scenes may come from: a reference from a user -> a file under an allowed root."""

import os
import re
import stat
from pathlib import Path

from constellation_pipelines.domain.errors import SceneRefused

MAX_REFERENCE_CHARS = 4096
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
VIRTUAL = re.compile(r"[./\\]*vsi", re.IGNORECASE)  # GDAL's virtual file systems: /vsicurl/ ...
OUTSIDE = "lies outside the folders scenes may come from, or does not exist"


def resolve_scene_path(reference: str, roots: tuple[Path, ...]) -> Path:
    """The real path of a regular file under one of the roots.

    A relative reference is looked for under each root in turn. Links are followed, but must not
    lead out of the roots. Raises SceneRefused, which tells nothing about files elsewhere.
    """
    _check_text(reference)
    real_roots = [Path(os.path.realpath(root)) for root in roots]
    for root in real_roots:
        path = _real_path(root / reference)
        if path is not None and any(path.is_relative_to(allowed) for allowed in real_roots):
            _check_file(path)
            return path
    raise SceneRefused(
        f"this path {OUTSIDE}; put the file under one of the folders in CONSTELLATION_SCENE_ROOTS",
        field="path",
    )


def _check_text(reference: str) -> None:
    if not reference or len(reference) > MAX_REFERENCE_CHARS:
        raise SceneRefused("a scene's path must have 1 to 4096 characters", field="path")
    if UNPRINTABLE.search(reference):
        raise SceneRefused("a scene's path must not hold control characters", field="path")
    if SCHEME.match(reference) or VIRTUAL.match(reference):
        raise SceneRefused(
            "a scene must be a file of this host: URLs and virtual file systems are not opened",
            field="path",
        )


def _real_path(path: Path) -> Path | None:
    try:
        return path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError):  # RuntimeError: links in a circle
        return None


def _check_file(path: Path) -> None:
    if UNPRINTABLE.search(str(path)):
        raise SceneRefused("a scene's path must not hold control characters", field="path")
    if not stat.S_ISREG(path.stat().st_mode):
        raise SceneRefused("this path is not a file; name a GeoTIFF or JPEG2000", field="path")
    if not os.access(path, os.R_OK):
        raise SceneRefused("this file may not be read by the service", field="path")
