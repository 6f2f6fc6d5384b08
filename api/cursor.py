"""Cursors of lists of jobs: where a page ended, opaque to clients."""

import base64
import binascii
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

from constellation_pipelines.domain.errors import InvalidInput
from constellation_pipelines.store.job_list import Place, Sort

MOST_PRIORITY = 2**31 - 1  # of the column


def encode(sort: Sort, place: Place) -> str:
    """The cursor after this place of a list of jobs in this order."""
    text = json.dumps([sort, place.priority, place.created_at.isoformat(), str(place.id)])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(cursor: str, sort: Sort) -> Place:
    """The place a cursor stands after. Raises InvalidInput, for one of another order too."""
    with refusing():
        of_sort, priority, created_at, id = values_of(cursor)
        if of_sort != sort or type(priority) is not int or abs(priority) > MOST_PRIORITY:
            raise ValueError("of another order")
        return Place(priority, moment_of(created_at), UUID(id))


def values_of(cursor: str) -> Any:
    """What a cursor holds."""
    return json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))


def moment_of(text: str) -> datetime:
    """An instant with an offset. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a moment without an offset")
    return moment


@contextmanager
def refusing() -> Iterator[None]:
    """Turn what a forged cursor leads to into InvalidInput."""
    try:
        yield
    except (binascii.Error, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidInput(
            "this cursor is not one of ours: pass `next` of the page before, unchanged, with the "
            "same sort",
            field="cursor",
        ) from error
