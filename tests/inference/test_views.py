"""A tile's chips without copying them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.chips import cut
from constellation_pipelines.inference.views import chosen, rows_of_chips

sides = st.integers(1, 70)
offsets = st.integers(0, 40)


@given(row=offsets, column=offsets, height=sides, width=sides, chip_px=st.sampled_from([8, 16]))
def test_they_are_the_chips_that_cutting_copies(
    row: int, column: int, height: int, width: int, chip_px: int
) -> None:
    pixels = np.random.default_rng(1).integers(0, 99, (2, height, width), np.uint16)
    tile = Window(row, column, height, width)
    rows = rows_of_chips(pixels, tile, chip_px)
    assert np.array_equal(np.concatenate(rows), cut(pixels, tile, chip_px))
    wanted = np.random.default_rng(2).random(sum(map(len, rows))) < 0.6
    kept = chosen(rows, wanted)
    assert sum(map(len, kept)) == wanted.sum()
    if wanted.any():
        assert np.array_equal(np.concatenate(kept), cut(pixels, tile, chip_px)[wanted])


def test_chips_of_a_whole_tile_are_views() -> None:
    pixels = np.zeros((3, 64, 128), np.uint8)
    rows = rows_of_chips(pixels, Window(0, 0, 64, 128), 32)
    assert [row.shape for row in rows] == [(4, 3, 32, 32)] * 2
    assert all(np.shares_memory(row, pixels) for row in rows)
    assert chosen(rows, np.ones(8, np.bool_))[1] is rows[1]
