"""Tiles are shared out so that none is lost, none is done twice and no engine idles for long."""

import threading
import time

from assets.work import SMALLEST_PIECE, Work
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
