"""The band of pixels that moves down a scene: chips are what the whole scene would give."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from constellation_pipelines.domain.errors import ReadFailed
from constellation_pipelines.domain.window import Window
from constellation_pipelines.geo.stitch import Axis
from constellation_pipelines.inference.canvas import Canvas, Edged, mirror


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 30),
    st.integers(0, 30),
    st.integers(0, 30),
    st.integers(0, 2**32 - 1),
)
def test_what_lies_beyond_is_mirrored_as_numpy_does(
    height: int, width: int, above: int, left: int, more: int, seed: int
) -> None:
    side = max(above + height, left + width) + more
    seen = np.random.default_rng(seed).integers(0, 9999, (2, height, width), np.uint16)
    below, right = side - above - height, side - left - width
    chip = np.full((2, side, side), 7, np.uint16)
    chip[:, above : above + height, left : left + width] = seen
    mirror(chip, above, left, Window(0, 0, height, width))
    expected = np.pad(seen, ((0, 0), (above, below), (left, right)), mode="symmetric")
    assert (chip == expected).all()


class Scene:
    """An array as a source; some windows cannot be read."""

    def __init__(self, pixels: NDArray[Any], valid: NDArray[np.bool_], bad: set[Window]) -> None:
        self._pixels, self._valid, self._bad = pixels, valid, bad

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        if window in self._bad:
            raise ReadFailed("bad")
        rows = slice(window.row_off_px, window.row_end_px)
        columns = slice(window.col_off_px, window.col_end_px)
        return self._pixels[:, rows, columns], self._valid[rows, columns]


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Axis, Axis, int]:
    chip_px = draw(st.integers(1, 40))
    halo_px = draw(st.integers(0, (chip_px - 1) // 2))
    rows, columns = (Axis(draw(st.integers(1, 150)), chip_px, halo_px) for _ in range(2))
    return rows, columns, draw(st.integers(1, 60))


@given(
    scenes(), st.integers(0, 2**32 - 1), st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9)))
)
@settings(deadline=None)
def test_chips_are_those_of_the_whole_scene(
    scene: tuple[Axis, Axis, int], seed: int, bad_cells: set[tuple[int, int]]
) -> None:
    """Read step by step, cell by cell, with holes and cells that fail."""
    rows, columns, step = scene
    dice = np.random.default_rng(seed)
    pixels = dice.integers(1, 99, (2, rows.length_px, columns.length_px), np.uint16)
    valid = dice.random(pixels.shape[1:]) < dice.choice([0.02, 0.5, 1.0])
    cells = [
        Window(top, left, min(step, rows.length_px - top), min(step, columns.length_px - left))
        for top in range(0, rows.length_px, step)
        for left in range(0, columns.length_px, step)
    ]
    bad = {one for one in cells if (one.row_off_px // step, one.col_off_px // step) in bad_cells}
    canvas = Canvas(2, np.uint16, step, rows.chip_px)
    source: Any = Scene(pixels, valid, bad)
    done, there = 0, valid.copy()
    for one in bad:
        there[one.row_off_px : one.row_end_px, one.col_off_px : one.col_end_px] = False
    for top in range(0, rows.length_px, step):
        bottom = min(top + step, rows.length_px)
        for cell in (one for one in cells if one.row_off_px == top):
            try:
                canvas.paint(cell, source)
            except ReadFailed:
                assert cell in bad
        while done < rows.count and rows.inside(done)[1] <= bottom:
            compare(canvas, rows, columns, done, pixels, there)
            done += 1
    assert done == rows.count


def compare(
    canvas: Canvas,
    rows: Axis,
    columns: Axis,
    row: int,
    pixels: NDArray[Any],
    there: NDArray[np.bool_],
) -> None:
    edged: list[Edged] = []
    top, bottom = rows.inside(row)
    for column in range(columns.count):
        left, right = columns.inside(column)
        inside = Window(top, left, bottom - top, right - left)
        edged.append((inside, top - rows.seen(row)[0], left - columns.seen(column)[0]))
        part = there[top:bottom, left:right]
        assert canvas.any_valid(inside) == part.any()
        assert canvas.all_valid(inside) == part.all()
    chips, holes = (cut(edged, rows.chip_px) for cut in (canvas.chips, canvas.holes))
    for chip, hole, (inside, above, before) in zip(chips, holes, edged, strict=True):
        place = (slice(top, bottom), slice(inside.col_off_px, inside.col_end_px))
        below, after = (
            rows.chip_px - above - inside.height_px,
            rows.chip_px - before - inside.width_px,
        )
        edges = ((above, below), (before, after))
        assert (hole == np.pad(there[place], edges, mode="symmetric")).all()
        expected = np.pad(pixels[:, *place], ((0, 0), *edges), mode="symmetric")
        assert (chip == expected)[:, hole].all()
