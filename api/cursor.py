"""Cursors: where a page ended, opaque to clients."""

import base64
import binascii
import json
from datetime import datetime
from uuid import UUID

from constellation_pipelines.domain.errors import InvalidInput


def encode(created_at: datetime, id: UUID) -> str:
    """The cursor after this item."""
    text = json.dumps([created_at.isoformat(), str(id)])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(cursor: str) -> tuple[datetime, UUID]:
    """The item a cursor stands after. Raises InvalidInput for one that was not made here."""
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        created_at, id = json.loads(text)
        moment = datetime.fromisoformat(created_at)
        if moment.tzinfo is None:
            raise ValueError("a moment without an offset")
        return moment, UUID(id)
    except (binascii.Error, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidInput(
            "this cursor is not one of ours: pass `next` of the page before, unchanged",
            field="cursor",
        ) from error
