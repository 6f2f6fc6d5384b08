"""The directories of a TIFF, classic or big: where its blocks lie.

Read from untrusted bytes before GDAL sees any of them, so that just these bytes need to be fetched.
Only the first directory and its mask are kept: overviews are not read, and pages are no scene.
"""

import hashlib
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from constellation_pipelines.remote.errors import RemoteRefused

Numbers = NDArray[np.int64]

MAX_TAGS = 4096
MAX_DIRECTORIES = 64
MAX_HEADER_BYTES = 64 * 2**20
MAX_BLOCKS = 4_000_000
MAX_BLOCK_BYTES = 512 * 2**20  # encoded; open_raster has a limit of its own for what it holds

TYPE_BYTES = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
    16: 8, 17: 8, 18: 8,
}  # fmt: skip
INTEGERS = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}

SUBFILE, WIDTH, HEIGHT, ROWS_PER_STRIP = 254, 256, 257, 278
STRIP_OFFSETS, STRIP_BYTES, SAMPLES, PLANAR = 273, 279, 277, 284
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES = 322, 323, 324, 325
REDUCED, MASK = 1, 4  # bits of SUBFILE
SEPARATE = 2  # planes: a block has one band

Read = Callable[[int, int], bytes]
"""Bytes of the object: offset, length. The range lies within it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of the header at their place."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Directory:
    """One image: its size, its blocks in the order of the file's tables.

    `table_at` is where the block offsets are written, `table_bytes` the bytes of each.
    """

    width_px: int
    height_px: int
    block_width_px: int
    block_height_px: int
    planes: int
    offsets: Numbers
    counts: Numbers
    table_at: int
    table_bytes: int

    @property
    def across(self) -> int:
        """Blocks in a row."""
        return -(-self.width_px // self.block_width_px)

    @property
    def down(self) -> int:
        """Rows of blocks."""
        return -(-self.height_px // self.block_height_px)


@dataclass(frozen=True, slots=True)
class Layout:
    """A TIFF's first image and its mask, if it has one.

    `pieces` is every header byte that GDAL reads of them, with a chain of directories that leads to
    no other; `digest` is over those bytes as the file has them.
    """

    byte_order: str  # "<" or ">"
    directories: tuple[Directory, ...]
    pieces: tuple[Piece, ...]
    digest: str


@dataclass(slots=True)
class Entry:
    """A tag: its values lie at `at`."""

    kind: int
    count: int
    at: int

    @property
    def size(self) -> int:
        """Bytes of the values."""
        return TYPE_BYTES.get(self.kind, 0) * self.count


@dataclass(slots=True)
class Draft:
    """A directory as it is found."""

    at: int
    tags: dict[int, Entry]
    next_at: int  # where the offset of the next one is written
    next: int


@dataclass(slots=True)
class Parser:
    """Reads one file's directories."""

    read: Read
    size: int
    order: str = "<"
    big: bool = False
    pieces: list[Piece] = field(default_factory=list)
    taken_bytes: int = 0

    def parse(self) -> Layout:
        """The layout. Raises RemoteRefused for what is no TIFF or makes no sense."""
        first = self._head()
        drafts = list(self._chain(first))
        kept = drafts[:1] + [draft for draft in drafts[1:] if self._is_mask(draft, drafts[0])][:1]
        directories = tuple(self._directory(draft) for draft in kept)
        digest = hashlib.sha256(b"".join(piece.data for piece in self.pieces)).hexdigest()
        following = [draft.at for draft in kept[1:]] + [0]
        links = [
            Piece(draft.next_at, self._pack_offset(next))
            for draft, next in zip(kept, following, strict=True)
        ]
        return Layout(self.order, directories, (*self.pieces, *links), digest)

    def _head(self) -> int:
        head = self._take(0, min(16, self.size))
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        if order is None or len(head) < 16:
            raise RemoteRefused(
                "it is no GeoTIFF; of scenes behind URLs only GeoTIFFs are taken: copy others here"
            )
        self.order = order
        version, offset_bytes, zero = struct.unpack(order + "HHH", head[2:8])
        self.big = version == 43
        if version == 42:
            return int(struct.unpack(order + "I", head[4:8])[0])
        if self.big and (offset_bytes, zero) == (8, 0):
            return int(struct.unpack(order + "Q", head[8:16])[0])
        raise RemoteRefused("it is no GeoTIFF")

    def _chain(self, at: int) -> Iterator[Draft]:
        seen: set[int] = set()
        while at:
            if at in seen or len(seen) >= MAX_DIRECTORIES:
                raise RemoteRefused("its header is damaged: its directories make no chain")
            seen.add(at)
            draft = self._draft(at)
            yield draft
            at = draft.next
        if not seen:
            raise RemoteRefused("its header is damaged: it has no directory")

    def _draft(self, at: int) -> Draft:
        head_bytes, entry_bytes, link_bytes = (8, 20, 8) if self.big else (2, 12, 4)
        count = self._integer(self._peek(at, head_bytes))
        if not 1 <= count <= MAX_TAGS:
            raise RemoteRefused(f"its header is damaged: a directory of {count} entries")
        first_at = at + head_bytes
        entries = self._peek(first_at, count * entry_bytes)
        tags: dict[int, Entry] = {}
        for index in range(count):
            entry = entries[index * entry_bytes : (index + 1) * entry_bytes]
            tag, kind = struct.unpack(self.order + "HH", entry[:4])
            middle = 4 + link_bytes
            values = self._integer(entry[4:middle])
            found = Entry(kind, values, first_at + index * entry_bytes + middle)
            if found.size > link_bytes:
                found.at = self._integer(entry[middle:])
            tags.setdefault(tag, found)
        next_at = first_at + count * entry_bytes
        return Draft(at, tags, next_at, self._integer(self._peek(next_at, link_bytes)))

    def _is_mask(self, draft: Draft, main: Draft) -> bool:
        kind = self._number(draft, SUBFILE, 0)
        same = all(
            self._number(draft, tag, 0) == self._number(main, tag, 0) for tag in (WIDTH, HEIGHT)
        )
        return bool(kind & MASK) and not kind & REDUCED and same

    def _directory(self, draft: Draft) -> Directory:
        self._keep(draft)
        width, height = self._number(draft, WIDTH, 0), self._number(draft, HEIGHT, 0)
        tiled = TILE_OFFSETS in draft.tags
        if tiled:
            block_width = self._number(draft, TILE_WIDTH, 0)
            block_height = self._number(draft, TILE_HEIGHT, 0)
        else:
            block_width = width
            block_height = min(self._number(draft, ROWS_PER_STRIP, height), height)
        planes = 1
        if self._number(draft, PLANAR, 1) == SEPARATE:
            planes = self._number(draft, SAMPLES, 1)
        if min(width, height, block_width, block_height, planes) < 1:
            raise RemoteRefused("its header is damaged: it has no pixels")
        expected = planes * -(-width // block_width) * -(-height // block_height)
        if expected > MAX_BLOCKS:
            raise RemoteRefused(f"it claims {expected} blocks; {MAX_BLOCKS} is the limit")
        table = draft.tags.get(TILE_OFFSETS if tiled else STRIP_OFFSETS)
        offsets = self._numbers(table, expected)
        counts = self._numbers(draft.tags.get(TILE_BYTES if tiled else STRIP_BYTES), expected)
        if counts.size and counts.max() > MAX_BLOCK_BYTES:
            raise RemoteRefused(f"it claims a block of {counts.max()} bytes: it is damaged")
        assert table is not None  # or it had been refused
        return Directory(
            width, height, block_width, block_height, planes, offsets, counts,
            table.at, TYPE_BYTES[table.kind],
        )  # fmt: skip

    def _keep(self, draft: Draft) -> None:
        """Take over all bytes of a directory, and of the values that lie elsewhere."""
        length = draft.next_at + (8 if self.big else 4) - draft.at
        self._take(draft.at, length)
        for entry in draft.tags.values():
            inside = draft.at <= entry.at and entry.at + entry.size <= draft.at + length
            if entry.size and not inside:
                self._take(entry.at, entry.size)

    def _numbers(self, entry: Entry | None, expected: int) -> Numbers:
        if entry is None or entry.count < expected or entry.kind not in INTEGERS:
            raise RemoteRefused("its header is damaged: its table of blocks is incomplete")
        kind = np.dtype(self.order + INTEGERS[entry.kind])
        values = np.frombuffer(self._peek(entry.at, expected * kind.itemsize), kind)
        if values.size and values.max() > np.iinfo(np.int64).max // 2:
            raise RemoteRefused("its header is damaged: a block lies nowhere")
        return values.astype(np.int64)

    def _number(self, draft: Draft, tag: int, default: int) -> int:
        entry = draft.tags.get(tag)
        if entry is None or entry.kind not in INTEGERS or entry.count < 1:
            return default
        return self._integer(self._peek(entry.at, TYPE_BYTES[entry.kind]))

    def _integer(self, data: bytes) -> int:
        return int.from_bytes(data, "little" if self.order == "<" else "big")

    def _pack_offset(self, value: int) -> bytes:
        return struct.pack(self.order + ("Q" if self.big else "I"), value)

    def _take(self, offset: int, length: int) -> bytes:
        """Bytes that belong to the header."""
        self.taken_bytes += length
        if self.taken_bytes > MAX_HEADER_BYTES:
            raise RemoteRefused(f"its header has more than {MAX_HEADER_BYTES >> 20} MB")
        data = self._peek(offset, length)
        self.pieces.append(Piece(offset, data))
        return data

    def _peek(self, offset: int, length: int) -> bytes:
        if length > MAX_HEADER_BYTES or offset + length > self.size:
            raise RemoteRefused("its header is damaged or cut off; copy it again")
        return self.read(offset, length)


def read_layout(read: Read, size: int) -> Layout:
    """Where the blocks of a TIFF of `size` bytes lie. Raises RemoteRefused."""
    return Parser(read, size).parse()


def blocks_of(directory: Directory, rows: slice, columns: slice) -> Numbers:
    """Indices of the blocks that hold these pixels, in all planes."""
    down = np.arange(
        max(0, rows.start) // directory.block_height_px,
        min(-(-rows.stop // directory.block_height_px), directory.down),
    )
    across = np.arange(
        max(0, columns.start) // directory.block_width_px,
        min(-(-columns.stop // directory.block_width_px), directory.across),
    )
    plane = down[:, None] * directory.across + across[None, :]
    every = np.arange(directory.planes)[:, None] * (directory.across * directory.down)
    return np.asarray((every + plane.reshape(1, -1)).ravel(), np.int64)
