"""Chips of a tile."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.chips import (
    chip_windows,
    cut,
    paint,
    valid_fractions,
)
from constellation_pipelines.inference.work_raster import NOTHING

sizes = st.integers(1, 200)
tiles = st.builds(Window, st.integers(0, 500), st.integers(0, 500), sizes, sizes)
chip_sizes = st.sampled_from([8, 16, 64])


@given(tiles, chip_sizes)
def test_every_pixel_belongs_to_exactly_one_chip(tile: Window, chip_px: int) -> None:
    owners = np.zeros((tile.height_px, tile.width_px), int)
    for chip in chip_windows(tile, chip_px):
        top, left = chip.row_off_px - tile.row_off_px, chip.col_off_px - tile.col_off_px
        assert min(top, left) >= 0
        owners[top : top + chip.height_px, left : left + chip.width_px] += 1
    assert (owners == 1).all()


@given(tiles, chip_sizes)
def test_a_chip_lies_in_one_cell_of_the_scene_wide_grid(tile: Window, chip_px: int) -> None:
    for chip in chip_windows(tile, chip_px):
        assert chip.row_off_px // chip_px == (chip.row_end_px - 1) // chip_px
        assert chip.col_off_px // chip_px == (chip.col_end_px - 1) // chip_px


@given(tiles, chip_sizes)
def test_each_chip_shows_the_pixels_it_owns_where_they_lie_in_its_cell(
    tile: Window, chip_px: int
) -> None:
    pixels = np.arange(2 * tile.height_px * tile.width_px).reshape(2, tile.height_px, tile.width_px)
    chips = cut(pixels, tile, chip_px)
    windows = chip_windows(tile, chip_px)
    assert chips.shape == (len(windows), 2, chip_px, chip_px)
    for chip, window in zip(chips, windows, strict=True):
        top, left = window.row_off_px % chip_px, window.col_off_px % chip_px
        seen = chip[:, top : top + window.height_px, left : left + window.width_px]
        row, col = window.row_off_px - tile.row_off_px, window.col_off_px - tile.col_off_px
        own = pixels[:, row : row + window.height_px, col : col + window.width_px]
        assert (seen == own).all()


def test_an_edge_chip_is_filled_up_by_mirroring() -> None:
    pixels = np.array([[[1, 2, 3]]])
    (chip,) = cut(pixels, Window(0, 0, 1, 3), 8)[:, 0]
    assert chip[0].tolist() == [1, 2, 3, 3, 2, 1, 1, 2]
    assert (chip == chip[0]).all()


def test_a_chip_is_the_same_whichever_tile_it_is_cut_from() -> None:
    scene = np.random.default_rng(1).integers(0, 255, (3, 128, 192), np.uint8)
    whole = cut(scene, Window(0, 0, 128, 192), 64)
    part = cut(scene[:, 64:, 64:], Window(64, 64, 64, 128), 64)
    assert (whole[[4, 5]] == part).all()


@given(tiles, chip_sizes, st.integers(0, 2**32 - 1))
def test_valid_fractions_count_only_the_pixels_a_chip_owns(
    tile: Window, chip_px: int, seed: int
) -> None:
    valid = np.random.default_rng(seed).random((tile.height_px, tile.width_px)) < 0.5
    fractions = valid_fractions(valid, tile, chip_px)
    for fraction, chip in zip(fractions, chip_windows(tile, chip_px), strict=True):
        row, col = chip.row_off_px - tile.row_off_px, chip.col_off_px - tile.col_off_px
        own = valid[row : row + chip.height_px, col : col + chip.width_px]
        assert np.isclose(fraction, own.mean())


@given(tiles, chip_sizes)
def test_no_mask_is_one_of_which_all_is_true(tile: Window, chip_px: int) -> None:
    whole = np.ones((tile.height_px, tile.width_px), np.bool_)
    fractions = valid_fractions(None, tile, chip_px)
    assert (fractions == valid_fractions(whole, tile, chip_px)).all()
    values = (np.arange(len(fractions)) % 250).astype(np.uint8)
    assert (paint(values, None, tile, chip_px) == paint(values, whole, tile, chip_px)).all()


@given(tiles, chip_sizes)
def test_painting_gives_each_chips_pixels_its_value(tile: Window, chip_px: int) -> None:
    windows = chip_windows(tile, chip_px)
    values = (np.arange(len(windows)) % 250).astype(np.uint8)
    valid = np.ones((tile.height_px, tile.width_px), np.bool_)
    valid[0, 0] = False
    painted = paint(values, valid, tile, chip_px)
    assert painted.shape == valid.shape
    assert painted[0, 0] == NOTHING
    for value, chip in zip(values, windows, strict=True):
        row, col = chip.row_end_px - 1 - tile.row_off_px, chip.col_end_px - 1 - tile.col_off_px
        assert painted[row, col] == (value if valid[row, col] else NOTHING)
