"""A mirror: a sparse local file as long as the remote object, holding what was fetched of it.

    <staging>/<digest>/<name>.tif   header and fetched blocks, each at its own offset
                       blocks       the journal: one byte for each block, 1 once it is on disk
                       tables.npz   where the object's blocks lie
                       about.json   URL and version of the object; its mtime is the last use

Everything downstream opens it as an ordinary GeoTIFF. In its table of offsets a block that is not
there yet points beyond any file, so that reading it is an error and never silently zeros. Order of
writing: data, on disk before anything points to it; the table; the journal, which readers believe.
A stop at any moment loses at most what was on its way; a table that the disk lost is mended from
the journal.
"""

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from constellation_pipelines.remote.ranges import FIRST_BYTES, Version
from constellation_pipelines.remote.tiff import Directory, Layout, Numbers, Piece

ABOUT, JOURNAL, TABLES = "about.json", "blocks", "tables.npz"
DRAFT = ".draft-"
NOWHERE = {4: 0xFFFFFFFF, 8: 1 << 62}  # by bytes of an offset; of 2 bytes there is no nowhere


@dataclass(frozen=True, slots=True)
class Content:
    """What an object is, as far as that can be known without reading all of it."""

    url: str
    version: Version
    header_digest: str

    @property
    def digest(self) -> str:
        """Stands for the content in a scene's digest."""
        parts = [self.url, self.version.size, self.version.etag, self.version.modified]
        text = json.dumps([*parts, self.header_digest])
        return hashlib.sha256(text.encode()).hexdigest()


class Mirror:
    """One mirror. Any number of processes may read it; writers of different blocks do not meet."""

    def __init__(self, folder: Path) -> None:
        about = json.loads((folder / ABOUT).read_text())
        self.folder = folder
        self.path = folder / about["name"]
        version = Version(**about["version"])
        self.content = Content(about["url"], version, about["header_digest"])
        self._byte_order: str = about["byte_order"]
        with np.load(folder / TABLES, allow_pickle=False) as tables:
            self.offsets: Numbers = tables["offsets"]
            self.counts: Numbers = tables["counts"]
        self.directories = directories_of(about["directories"], self.offsets, self.counts)

    @property
    def size(self) -> int:
        """Bytes of the object."""
        return self.content.version.size

    def staged(self) -> NDArray[np.bool_]:
        """Which blocks are there, by index: those of the image, then those of its mask."""
        return np.asarray(np.fromfile(self.folder / JOURNAL, np.uint8) == 1)

    def used(self) -> None:
        """Note that it is in use."""
        os.utime(self.folder / ABOUT)

    def store(self, blocks: Sequence[int] | Numbers, start: int, data: bytes) -> None:
        """Write blocks that lie within `data`, which begins at `start` of the object.

        Of a block that begins before `start` the rest has been written already.
        """
        handle = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            for block in blocks:
                first, last = self.extent(int(block))
                first = max(first, start)
                write_all(handle, data[first - start : last - start], first)
            os.fdatasync(handle)
            self._patch(handle, blocks)  # before the journal: who believes it finds the table so
            self._note(blocks)
        finally:
            os.close(handle)

    def write(self, start: int, data: bytes) -> None:
        """Write a part of a block that is fetched in several; `store` follows with its last one."""
        handle = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            write_all(handle, data, start)
        finally:
            os.close(handle)

    def extent(self, block: int) -> tuple[int, int]:
        """First byte of a block and the one after its last, within the object."""
        first = min(int(self.offsets[block]), self.size)
        return first, min(first + int(self.counts[block]), self.size)

    def repair(self) -> None:
        """Point the table at every block that the journal knows; after a stop some may be behind.

        Blocks without bytes, as sparse files have them, need none.
        """
        empty = (self.offsets == 0) | (self.counts == 0)
        blocks = np.flatnonzero(self.staged() | empty)
        handle = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            self._patch(handle, blocks)
            self._note(blocks[~self.staged()[blocks]])
        finally:
            os.close(handle)

    def _note(self, blocks: Sequence[int] | Numbers) -> None:
        handle = os.open(self.folder / JOURNAL, os.O_WRONLY | os.O_CLOEXEC)
        try:
            for block in blocks:
                os.pwrite(handle, b"\x01", int(block))
            os.fdatasync(handle)
        finally:
            os.close(handle)

    def _patch(self, handle: int, blocks: Sequence[int] | Numbers) -> None:
        order: Literal["little", "big"] = "little" if self._byte_order == "<" else "big"
        start = 0
        for directory in self.directories:
            end = start + len(directory.offsets)
            for block in blocks:
                if start <= block < end and directory.table_bytes in NOWHERE:
                    at = directory.table_at + (int(block) - start) * directory.table_bytes
                    value = int(self.offsets[block]).to_bytes(directory.table_bytes, order)
                    os.pwrite(handle, value, at)
            start = end


def folder_of(staging: Path, url: str, digest: str) -> Path:
    """Where the mirror of a scene lies, by its URL and digest."""
    return staging / hashlib.sha256(f"{url}\n{digest}".encode()).hexdigest()[:40]


def find(staging: Path, url: str, digest: str) -> Mirror | None:
    """The mirror of a scene, if this host has one that is whole."""
    try:
        return Mirror(folder_of(staging, url, digest))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def make_draft(
    staging: Path, content: Content, layout: Layout, first: bytes, modified_s: float | None
) -> Path:
    """Write a new mirror, without blocks, under a name of its own; return its folder."""
    folder = staging / f"{DRAFT}{uuid4().hex}"
    folder.mkdir(parents=True)
    name = file_name_of(content.url)
    path = folder / name
    with path.open("wb") as file:
        file.truncate(content.version.size)
        write_pieces(file.fileno(), [Piece(0, first[:FIRST_BYTES]), *layout.pieces])
        write_pieces(file.fileno(), [nowhere(one, layout) for one in layout.directories])
        os.fsync(file.fileno())
    if modified_s is not None:
        os.utime(path, (modified_s, modified_s))
    offsets = np.concatenate([one.offsets for one in layout.directories])
    counts = np.concatenate([one.counts for one in layout.directories])
    np.savez(folder / TABLES, offsets=offsets, counts=counts)
    (folder / JOURNAL).write_bytes(bytes(len(offsets)))
    about = {
        "name": name,
        "url": content.url,
        "version": asdict(content.version),
        "header_digest": content.header_digest,
        "byte_order": layout.byte_order,
        "directories": [shape_of(one) for one in layout.directories],
    }
    (folder / ABOUT).write_text(json.dumps(about))
    return folder


def keep(draft: Path, folder: Path) -> Mirror:
    """Give a draft its final name, or drop it where another process was first."""
    if folder.exists() and not (folder / ABOUT).exists():  # half of one that was being removed
        folder.rename(folder.with_name(f"{DRAFT}{uuid4().hex}"))
    try:
        draft.rename(folder)
    except OSError:
        if not (folder / ABOUT).exists():
            raise
        shutil.rmtree(draft, ignore_errors=True)
    made = Mirror(folder)
    made.repair()
    return made


def nowhere(directory: Directory, layout: Layout) -> Piece:
    """The table of block offsets with every block beyond the file, save those without bytes."""
    if directory.table_bytes not in NOWHERE:
        return Piece(directory.table_at, b"")
    kind = np.dtype(f"{layout.byte_order}u{directory.table_bytes}")
    sparse = (directory.offsets == 0) | (directory.counts == 0)
    values = np.where(sparse, directory.offsets, NOWHERE[directory.table_bytes]).astype(kind)
    return Piece(directory.table_at, values.tobytes())


def shape_of(directory: Directory) -> dict[str, int]:
    """A directory without its tables, for JSON."""
    names = [name for name in Directory.__slots__ if name not in ("offsets", "counts")]
    return {**{name: getattr(directory, name) for name in names}, "blocks": len(directory.offsets)}


def directories_of(
    shapes: list[dict[str, int]], offsets: Numbers, counts: Numbers
) -> tuple[Directory, ...]:
    """The directories back from their shapes and joined tables."""
    found, start = [], 0
    for shape in shapes:
        rest = dict(shape)
        part = slice(start, start + rest.pop("blocks"))
        found.append(Directory(**rest, offsets=offsets[part], counts=counts[part]))
        start = part.stop
    return tuple(found)


def file_name_of(url: str) -> str:
    """A harmless file name that people recognise the object by."""
    stem = re.sub(r"\.tiff?$", "", url.rsplit("/", 1)[-1], flags=re.IGNORECASE)
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip(".-")[:100]
    return f"{stem or 'scene'}.tif"


def write_pieces(handle: int, pieces: Sequence[Piece]) -> None:
    """Write each at its place."""
    for piece in pieces:
        write_all(handle, piece.data, piece.offset)


def write_all(handle: int, data: bytes, offset: int) -> None:
    """Write all of it, however many writes that takes."""
    view = memoryview(data)
    while view:
        written = os.pwrite(handle, view, offset)
        view, offset = view[written:], offset + written


def clear_drafts(staging: Path, older_s: float = 3600.0) -> None:
    """Remove what a process left that was stopped while it made a mirror."""
    for folder in staging.glob(f"{DRAFT}*"):
        try:
            if time.time() - folder.stat().st_mtime > older_s:
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue
