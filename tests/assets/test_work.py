"""Tiles are shared out so that none is lost, none is done twice and no engine idles for long."""

import threading
import time

import pytest

from assets.work import SMALLEST_PIECE, Work
from constellation_pipelines.domain.errors import PixelsLate
from constellation_pipelines.domain.window import Window

TILES = [Window(row, col, 1, 1) for row in range(10) for col in range(10)]


def test_one_engine_gets_everything_at_once_in_reading_order() -> None:
    assert Work(reversed(TILES), hands=1).take() == tuple(TILES)


def test_pieces_for_several_engines_get_smaller_towards_the_end() -> None:
    work = Work(TILES, hands=2)
    pieces: list[tuple[Window, ...]] = []
    while sum(len(piece) for piece in pieces) < len(TILES):
        piece = work.take()
        assert piece is not None
        pieces.append(piece)
    assert [window for piece in pieces for window in piece] == TILES
    sizes = [len(piece) for piece in pieces]
    assert sizes[0] == 25
    assert sizes[:-1] == sorted(sizes[:-1], reverse=True)
    assert sizes[-2] == SMALLEST_PIECE


def test_suspects_come_one_by_one_after_the_rest() -> None:
    work = Work(TILES[:3], hands=1, alone=TILES[:2])
    assert [work.take() for _ in range(3)] == [(TILES[2],), (TILES[0],), (TILES[1],)]
    work.run_alone([TILES[0]])
    assert work.take() == (TILES[0],)


def test_what_is_brought_back_is_given_out_again() -> None:
    work = Work(TILES[:4], hands=1)
    assert work.take() == tuple(TILES[:4])
    work.bring_back(TILES[2:4])
    assert work.take() == tuple(TILES[2:4])


def test_what_is_to_be_tried_later_comes_after_its_pause_and_together() -> None:
    work = Work(TILES[:2], hands=1)
    work.take()
    began = time.monotonic()
    work.run_later(TILES[:2], 0.2)
    assert work.take() == tuple(TILES[:2])
    assert time.monotonic() - began >= 0.2


def test_an_engine_without_work_waits_until_all_is_settled() -> None:
    """Another engine may die and bring its tiles back, so nobody goes home early."""
    work, got = Work(TILES[:1], hands=2), []
    assert work.take() == (TILES[0],)
    thread = threading.Thread(target=lambda: got.append(work.take()))
    thread.start()
    time.sleep(0.05)
    assert thread.is_alive()
    work.settle(TILES[:1])
    thread.join(60)
    assert got == [None]
    assert work.done


def test_everybody_goes_home_when_the_rest_is_not_wanted() -> None:
    work = Work(TILES, hands=2)
    work.stop()
    assert work.take() is None
    assert not work.done


class Tide:
    """Pixels that come tile by tile."""

    def __init__(self, *here: Window) -> None:
        self.here = set(here)

    def look(self) -> None:
        """Nothing to see: the set is looked at each time."""

    def has(self, window: Window) -> bool:
        return window in self.here


def test_tiles_of_a_remote_scene_are_given_out_once_their_pixels_are_here() -> None:
    tide = Tide(TILES[0], TILES[2])
    work = Work(TILES[:5], hands=1, pixels=tide)
    assert work.take() == (TILES[0], TILES[2])
    threading.Timer(0.3, lambda: tide.here.update(TILES[:5])).start()
    assert work.take() == (TILES[1], TILES[3], TILES[4])
    work.settle(TILES[:5])
    assert work.take() is None


def test_suspects_wait_for_their_pixels_too() -> None:
    tide = Tide()
    work = Work((), hands=1, alone=TILES[:2], pixels=tide)
    threading.Timer(0.3, lambda: tide.here.add(TILES[0])).start()
    assert work.take() == (TILES[0],)


def test_a_device_is_not_held_for_pixels_that_do_not_come() -> None:
    work = Work(TILES[:5], hands=1, pixels=Tide(TILES[0]), starved_s=0.3)
    assert work.take() == (TILES[0],)
    work.settle(TILES[:1])
    began = time.monotonic()
    with pytest.raises(PixelsLate, match="pixels of 4 tiles have not come"):
        work.take()
    assert time.monotonic() - began >= 0.3


def test_nobody_starves_while_another_engine_has_tiles() -> None:
    tide = Tide(TILES[0])
    work = Work(TILES[:2], hands=2, pixels=tide, starved_s=0.3)
    assert work.take() == (TILES[0],)
    threading.Timer(1.0, lambda: work.settle(TILES[:1])).start()
    began = time.monotonic()
    with pytest.raises(PixelsLate):
        work.take()
    assert time.monotonic() - began >= 1.3


def test_a_tile_that_is_tried_again_is_no_tile_that_is_late() -> None:
    work = Work(TILES[:1], hands=1, pixels=Tide(TILES[0]), starved_s=0.1)
    work.take()
    work.run_later(TILES[:1], 0.5)
    assert work.take() == (TILES[0],)
