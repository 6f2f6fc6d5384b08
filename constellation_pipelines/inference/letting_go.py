"""Errors that keep nothing: where memory was short, what failed must not hold it any longer."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def letting_go() -> Iterator[None]:
    """Let a RuntimeError pass, but drop what the functions that it came through still held.

    An error carries its traceback, that the frames, and those every tensor of a batch that had no
    room: it would be there until the error is forgotten, thus while a smaller batch is tried.
    """
    try:
        yield
    except RuntimeError as error:
        traceback.clear_frames(error.__traceback__)
        raise
