"""Chips in memory that a GPU copies from by itself, while the processor goes on."""

import math
from collections.abc import Sequence

import numpy as np
import torch  # noqa: TID253 - only the engine imports this module
from numpy.typing import DTypeLike, NDArray
from torch import Tensor  # noqa: TID253

from constellation_pipelines.inference.batch import Batch


class Pinned:
    """Room for the batches of one thread, one after the other: what it holds is valid until the
    next one. It grows to the largest batch and is kept, since pinning takes milliseconds.
    """

    def __init__(self, *, pin: bool = True) -> None:
        """Without `pin` it is plain memory, for where there is no GPU."""
        self._pin = pin
        self._rooms: dict[str, Tensor] = {}

    def hold(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """A batch's pixels as stored (n, bands, px, px), and which hold data (n, px, px); None
        where all do. Copied once, from where they were read.
        """
        pieces = list(batch.pieces())
        first = pieces[0][0]
        pixels = self._room("pixels", (len(batch), *first.shape[1:]), first.dtype)
        fill(pixels.numpy(), [part for part, _ in pieces])
        if all(holes is None for _, holes in pieces):
            return pixels, None
        valid = self._room("valid", (len(batch), *first.shape[2:]), np.bool_)
        fill(valid.numpy(), [all_of(part) if holes is None else holes for part, holes in pieces])
        return pixels, valid

    def _room(self, use: str, shape: tuple[int, ...], dtype: DTypeLike) -> Tensor:
        kind = torch.from_numpy(np.empty(0, dtype)).dtype
        needed = math.prod(shape) * kind.itemsize
        room = self._rooms.get(use)
        if room is None or len(room) < needed:
            self._rooms.pop(use, None)  # before the larger one is made
            room = torch.empty(needed, dtype=torch.uint8, pin_memory=self._pin)
            self._rooms[use] = room
        return room[:needed].view(kind).view(shape)


def fill(room: NDArray[np.generic], parts: Sequence[NDArray[np.generic]]) -> None:
    """Set chips one part after the other."""
    passed = 0
    for part in parts:
        room[passed : passed + len(part)] = part
        passed += len(part)


def all_of(pixels: NDArray[np.generic]) -> NDArray[np.bool_]:
    """That every pixel of these chips holds data (n, px, px)."""
    return np.broadcast_to(np.True_, (len(pixels), *pixels.shape[2:]))
