"""Pixels of a remote scene on this host: its mirror, and which tiles can be read from it by now."""

from dataclasses import replace
from pathlib import Path

from assets.plan import Plan
from constellation_pipelines.domain.errors import PixelsLate
from constellation_pipelines.domain.window import Window
from constellation_pipelines.remote import mirror
from constellation_pipelines.remote.mirror import Mirror
from constellation_pipelines.remote.needs import Needs
from constellation_pipelines.remote.scenes import moved


class MirrorPixels:
    """Tiles that can be read from a mirror. It is read again only when more has come."""

    def __init__(self, found: Mirror, needs: Needs) -> None:
        self._mirror = found
        self._needs = needs
        self._staged = found.staged()
        self._here: set[Window] = set()
        self._late: set[Window] = set()

    def look(self) -> None:
        """See what has come."""
        staged = self._mirror.staged()
        if staged.sum() != self._staged.sum():
            self._staged = staged
            self._late.clear()

    def has(self, window: Window) -> bool:
        """Whether all blocks of this tile are here."""
        if window in self._here or window in self._late:
            return window in self._here
        found = bool(self._staged[self._needs.of(window)].all())
        (self._here if found else self._late).add(window)
        return found


def localised(plan: Plan, staging: Path) -> tuple[Plan, MirrorPixels]:
    """The plan of a run that reads from the scene's mirror, and what is there of it.

    Raises PixelsLate where this host has none.
    """
    scene = plan.scene
    found = mirror.find(staging, scene.uri, scene.digest)
    if found is None:
        raise PixelsLate(f"no pixel of {scene.key} is on this host yet; the run waits for them")
    found.used()
    needs = Needs(found, scene.grid, plan.fit.grid, plan.model.card.halo_px)
    here = moved(scene, scene.uri, str(found.path))
    return replace(plan, scene=here), MirrorPixels(found, needs)
