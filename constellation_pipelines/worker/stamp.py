"""A stamp of what a zygote has loaded: it differs once code or model packages have changed."""

import hashlib
import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path

PACKAGES = ("constellation_pipelines", "assets", "resources")
PACKAGE_FILES = "*/*/*"  # <name>/<version>/<file>; weights may still be on their way


def stamp(definitions: str, models_dir: Path) -> str:
    """Equal while names, sizes and times of all source files and model packages are the same."""
    return stamp_of({*sources(definitions), *models_dir.glob(PACKAGE_FILES)})


def models_stamp(models_dir: Path) -> str:
    """Equal while names, sizes and times of the model packages' files are the same."""
    return stamp_of(models_dir.glob(PACKAGE_FILES))


def stamp_of(paths: Iterable[Path]) -> str:
    """Equal while names, sizes and times of these files are the same."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        try:
            status = path.stat()
        except FileNotFoundError:  # it went between our look and our question
            continue
        digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def sources(definitions: str) -> Iterator[Path]:
    """Python files of our rooms and of the module that holds the definitions."""
    for name in {*PACKAGES, definitions.partition(".")[0]}:
        spec = importlib.util.find_spec(name)
        if spec is None:
            continue
        if spec.origin is not None:
            yield Path(spec.origin)
        for folder in spec.submodule_search_locations or ():
            yield from Path(folder).rglob("*.py")
