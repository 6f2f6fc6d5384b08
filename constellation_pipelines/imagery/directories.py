"""Whether a TIFF's directories are all there.

A file that was cut off behind its pixels still opens: GDAL passes over a directory or a value that
lies beyond the end, and a mask, a nodata value or a scale are gone without a word. Pixels that are
cut off need no care here, for reading them is an error.
"""

import os
import struct

MOST_DIRECTORIES = 1000  # nobody keeps a mask behind more overviews
MOST_ENTRIES = 4096
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
SIZES |= {16: 8, 17: 8, 18: 8}  # BigTIFF's
# Where the pixels lie. Of the first directory's other tags all that are large must be there.
BLOCKS = frozenset({273, 279, 324, 325})


def is_cut_off(handle: int) -> bool:
    """Whether a directory of an open TIFF, or a value of one, lies beyond the file's end."""
    return Chain(handle).is_cut_off()


class Chain:
    """The directories of an open file, each naming the next."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._size = os.fstat(handle).st_size
        head = os.pread(handle, 16, 0).ljust(16, b"\0")
        order = ">" if head[:2] == b"MM" else "<"
        big = struct.unpack(f"{order}H", head[2:4])[0] == 43
        self._count = struct.Struct(f"{order}{'Q' if big else 'H'}")
        self._entry = struct.Struct(f"{order}HH{'Q8s' if big else 'I4s'}")
        self._offset = struct.Struct(f"{order}{'Q' if big else 'I'}")
        self._first: int = self._offset.unpack_from(head, 8 if big else 4)[0]

    def is_cut_off(self) -> bool:
        """Walk along until the end, or until it goes in a circle."""
        at, seen = self._first, set[int]()
        while at and at not in seen and len(seen) < MOST_DIRECTORIES:
            found = self._directory(at)
            if found is None:
                return True
            entries, following = found
            spared = BLOCKS if not seen else frozenset()
            if any(self._lies_beyond(*entry, spared) for entry in entries):
                return True
            seen.add(at)
            at = following
        return False

    def _directory(self, at: int) -> tuple[list[tuple[int, int, int, bytes]], int] | None:
        """Entries - tag, type, count, value or place - and where the next one is."""
        head = self._read(at, self._count.size)
        if head is None:
            return None
        (count,) = self._count.unpack(head)
        if count > MOST_ENTRIES:
            return None
        length = count * self._entry.size
        body = self._read(at + len(head), length + self._offset.size)
        if body is None:
            return None
        (following,) = self._offset.unpack_from(body, length)
        return list(self._entry.iter_unpack(body[:length])), following

    def _lies_beyond(
        self, tag: int, kind: int, count: int, value: bytes, spared: frozenset[int]
    ) -> bool:
        length = SIZES.get(kind, 0) * count
        if length <= len(value) or tag in spared:
            return False
        return int(self._offset.unpack(value)[0]) + length > self._size

    def _read(self, at: int, length: int) -> bytes | None:
        """These bytes; None where the file does not have them."""
        if at + length > self._size:
            return None
        data = os.pread(self._handle, length, at)
        return data if len(data) == length else None
