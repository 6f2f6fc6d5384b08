"""The bytes of a TIFF file: the tags of a small one, and the layout of a cloud-optimised one."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 12: 8, 16: 8}  # bytes of a value, by the number of its type
SHORT, LONG, LONG8 = 3, 4, 16
NEW_SUBFILE, WIDTH, LENGTH = 254, 256, 257
STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES = 273, 279, 324, 325
OF_THE_WHOLE = (33550, 33922, 34264, 34735, 34736, 34737, 42112)  # place on Earth, GDAL's metadata
LARGEST_CLASSIC_BYTES = 4_000_000_000
# GDAL reads this, calls the layout COG, and gets a block and its size in one request.
LAYOUT = (
    b"LAYOUT=IFDS_BEFORE_DATA\nBLOCK_ORDER=ROW_MAJOR\nBLOCK_LEADER=SIZE_AS_UINT4\n"
    b"BLOCK_TRAILER=LAST_4_BYTES_REPEATED\nKNOWN_INCOMPATIBLE_EDITION=NO\n "
)
LEADER_BYTES, TRAILER_BYTES = 4, 4
GHOST = b"GDAL_STRUCTURAL_METADATA_SIZE=%06d bytes\n" % len(LAYOUT) + LAYOUT


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag's type, count of values, and their bytes, little-endian."""

    kind: int
    count: int
    data: bytes


Tags = Mapping[int, Tag]


@dataclass(frozen=True, slots=True)
class Image:
    """One resolution of a file: its size in pixels, and the bytes of its blocks, row-major."""

    width_px: int
    height_px: int
    block_bytes: Sequence[int]


def tags_of(file: bytes) -> dict[int, Tag]:
    """The tags of the first image of a classic little-endian TIFF file."""
    magic, version, at = struct.unpack_from("<2sHI", file)
    if (magic, version) != (b"II", 42):
        raise ValueError("not a classic little-endian TIFF file")
    (entries,) = struct.unpack_from("<H", file, at)
    found = {}
    for entry in range(at + 2, at + 2 + 12 * entries, 12):
        number, kind, count = struct.unpack_from("<HHI", file, entry)
        length = count * SIZES[kind]
        begin = entry + 8 if length <= 4 else struct.unpack_from("<I", file, entry + 8)[0]
        found[number] = Tag(kind, count, file[begin : begin + length])
    return found


def framed(block: bytes) -> bytes:
    """A compressed block as it stands in the file: behind its size, before its end once more."""
    return struct.pack("<I", len(block)) + block + block[-TRAILER_BYTES:]


def head(template: Tags, images: Sequence[Image]) -> bytes:
    """What a file begins with, all that is not pixels: the blocks of its images follow, each
    framed, those of the last image first.

    `images` are the largest first; `template` has the tags that say what their pixels are. The file
    is a BigTIFF where it needs to be.
    """
    room_bytes = sum(_room(image) + 16 * len(image.block_bytes) for image in images)
    small = room_bytes < LARGEST_CLASSIC_BYTES
    form: Form = CLASSIC if small else BIG
    # The length does not depend on the offsets in it, so it is laid out twice.
    length = len(_directories(form, template, images, [[0] * len(i.block_bytes) for i in images]))
    offsets: list[list[int]] = []
    for image in reversed(images):
        offsets.insert(0, list(_running(length, image.block_bytes)))
        length += _room(image)
    return _directories(form, template, images, offsets)


@dataclass(frozen=True, slots=True)
class Form:
    """What tells a classic TIFF and a BigTIFF apart."""

    header: bytes
    count: Literal["<H", "<Q"]
    entry: Literal["<HHI", "<HHQ"]
    offset: Literal["<I", "<Q"]
    offset_kind: int


CLASSIC = Form(b"II" + struct.pack("<H", 42), "<H", "<HHI", "<I", LONG)
BIG = Form(b"II" + struct.pack("<HHH", 43, 8, 0), "<Q", "<HHQ", "<Q", LONG8)


def _room(image: Image) -> int:
    """Bytes of an image's framed blocks."""
    return sum(image.block_bytes) + (LEADER_BYTES + TRAILER_BYTES) * len(image.block_bytes)


def _running(start: int, sizes: Sequence[int]) -> Iterator[int]:
    """Where each block begins, behind its leader."""
    for size in sizes:
        yield start + LEADER_BYTES
        start += LEADER_BYTES + size + TRAILER_BYTES


def _directories(
    form: Form, template: Tags, images: Sequence[Image], offsets: Sequence[Sequence[int]]
) -> bytes:
    first = len(form.header) + struct.calcsize(form.offset) + len(GHOST)
    first += first % 2
    out = form.header + struct.pack(form.offset, first) + GHOST
    out += b"\0" * (first - len(out))
    for index, (image, places) in enumerate(zip(images, offsets, strict=True)):
        tags = _tags(form, template, image, places, overview=index > 0)
        out += _directory(form, tags, len(out), last=index == len(images) - 1)
    return out


def _tags(
    form: Form, template: Tags, image: Image, offsets: Sequence[int], *, overview: bool
) -> dict[int, Tag]:
    """The tags of one image; those of an overview leave out what is said of the whole."""
    left_out = {STRIP_OFFSETS, STRIP_BYTES, NEW_SUBFILE, *(OF_THE_WHOLE if overview else ())}
    tags = {number: tag for number, tag in template.items() if number not in left_out}
    if overview:
        tags[NEW_SUBFILE] = Tag(LONG, 1, struct.pack("<I", 1))
    count, letter = len(offsets), form.offset[1]
    tags[WIDTH] = Tag(LONG, 1, struct.pack("<I", image.width_px))
    tags[LENGTH] = Tag(LONG, 1, struct.pack("<I", image.height_px))
    tags[TILE_OFFSETS] = Tag(form.offset_kind, count, struct.pack(f"<{count}{letter}", *offsets))
    tags[TILE_BYTES] = Tag(LONG, count, struct.pack(f"<{count}I", *image.block_bytes))
    return tags


def _directory(form: Form, tags: Tags, at: int, *, last: bool) -> bytes:
    """A directory that stands at this offset, with its values behind it and the next one after."""
    room = struct.calcsize(form.offset)
    entries, values = struct.pack(form.count, len(tags)), b""
    behind = at + len(entries) + len(tags) * (struct.calcsize(form.entry) + room) + room
    for number, tag in sorted(tags.items()):
        entries += struct.pack(form.entry, number, tag.kind, tag.count)
        if len(tag.data) <= room:
            entries += tag.data.ljust(room, b"\0")
        else:
            entries += struct.pack(form.offset, behind + len(values))
            values += tag.data + b"\0" * (len(tag.data) % 2)
    following = behind + len(values)
    padding = b"\0" * (following % 2)
    return (
        entries
        + struct.pack(form.offset, 0 if last else following + len(padding))
        + values
        + padding
    )
