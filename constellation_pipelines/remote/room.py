"""The staging folder's bound on disk: what was used longest ago, and no run needs, goes first."""

import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from constellation_pipelines.remote.errors import RemoteAway, RemoteRefused
from constellation_pipelines.remote.mirror import ABOUT, clear_drafts

DISK_BLOCK_BYTES = 512  # what st_blocks counts, whatever the file system's own blocks are


@dataclass(frozen=True, slots=True)
class Kept:
    """A mirror on disk: bytes that it takes, and when it was last used."""

    folder: Path
    bytes: int
    used_at_s: float


def make_room(
    staging: Path,
    wanted_bytes: int,
    most_bytes: int,
    in_use: Collection[Path],
    reserved_bytes: int = 0,
) -> None:
    """Remove mirrors until `wanted_bytes` fit beside what is reserved for others.

    Raises RemoteAway while others are in use, RemoteRefused when they would never fit.
    """
    if wanted_bytes > most_bytes:
        raise RemoteRefused(
            f"its pixels take {wanted_bytes >> 20} MB here; the limit is {most_bytes >> 20} MB: "
            "raise CONSTELLATION_STAGING_MB"
        )
    clear_drafts(staging)
    every = list(mirrors(staging))
    taken = sum(one.bytes for one in every) + reserved_bytes
    for one in sorted(every, key=lambda one: one.used_at_s):
        if taken + wanted_bytes <= most_bytes:
            return
        if one.folder not in in_use:
            forget(one.folder)
            taken -= one.bytes
    if taken + wanted_bytes > most_bytes:
        raise RemoteAway("the staging folder is full of scenes that other runs need")


def mirrors(staging: Path) -> Iterator[Kept]:
    """The mirrors that are there."""
    for about in staging.glob(f"*/{ABOUT}"):
        folder = about.parent
        try:
            taken = sum(file.stat().st_blocks for file in folder.iterdir()) * DISK_BLOCK_BYTES
            yield Kept(folder, taken, about.stat().st_mtime)
        except OSError:  # another process has just removed it
            continue


def forget(folder: Path) -> None:
    """Remove a mirror; what says that it is one goes first, so that nobody opens half of it."""
    (folder / ABOUT).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
