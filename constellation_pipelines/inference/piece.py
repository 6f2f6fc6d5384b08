"""What the reader's thread hands on, and what is done with it: the two ways tiles are made."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor  # noqa: TID253 - only the engine imports this module

from constellation_pipelines.domain.tile import TileResult
from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.batch import Cut
from constellation_pipelines.inference.source import Source


@dataclass(frozen=True, slots=True)
class Piece:
    """Chips that can be inferred now. `tiles` is whatever their maker has to know beside; `done`
    are results of tiles that need no chip.
    """

    cuts: list[Cut]
    tiles: list[Any] = field(default_factory=list)
    done: list[TileResult] = field(default_factory=list)


class Work(Protocol):
    """Tiles of one order, from pixels to results."""

    def read(
        self,
        source: Source,
        windows: Sequence[Window],
        began: Callable[[tuple[Window, ...]], None],
        spoils: Callable[[Window], bool],
    ) -> Iterator[Piece]:
        """Pieces of these tiles, in the reader's thread."""

    def begin(self, piece: Piece) -> None:
        """A piece arrives; its chips are settled next, in their order."""

    def settle(self, cut: Cut, start: int, end: int, answer: Tensor, ms_each: float) -> None:
        """The network's answer for chips [start, end) of a cut, and what each took."""

    def take_completed(self) -> list[TileResult]:
        """Results of the tiles that are complete, in reading order; their rasters are written."""
