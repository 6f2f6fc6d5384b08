"""Scenes of several sizes, as many different ones as are asked for."""

import random
import shutil
from pathlib import Path

from constellation_pipelines.demo.scenes import generate


class SceneShelf:
    """Generates one scene of each size, then copies them.

    Some bytes after the end of a copy give it another digest, so that no job finds its tiles done
    and every run owns the rows of its tiles.
    """

    def __init__(self, folder: Path, sizes_px: tuple[int, ...], chance: random.Random) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._chance = chance
        self._sources = [generate(folder / f"source_{size}.tif", size) for size in sizes_px]
        self._made = 0

    def next(self) -> Path:
        """A scene that has not been there before."""
        self._made += 1
        source = self._chance.choice(self._sources)
        path = self._folder / f"scene_{self._made:04}_{source.stem.rpartition('_')[2]}.tif"
        shutil.copyfile(source, path)
        with path.open("ab") as file:
            file.write(self._made.to_bytes(8, "big"))
        return path
