"""What all forms share."""

import re
from datetime import date
from typing import Annotated

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StrictBool,
    StrictFloat,
    StrictInt,
    StringConstraints,
)


class Request(BaseModel):
    """A form that refuses unknown members, so that a misspelt option is not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Reply(BaseModel):
    """A form of a reply, read from a record inside."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


# One line of printable text: control characters would forge log lines, NUL is refused by Postgres.
NO_CONTROLS = r"^[^\x00-\x1f\x7f-\x9f]*$"
Line = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NO_CONTROLS)]
Reference = Annotated[str, StringConstraints(min_length=1, max_length=300, pattern=NO_CONTROLS)]

# Values of a body as JSON has them: pydantic would take `false` and "0" for numbers, 1 for true.
Whole = StrictInt
Number = StrictFloat
Truth = StrictBool

DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
INSTANT = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)


def instant(value: object) -> object:
    """The text, unless it is no instant of RFC 3339: pydantic would take 0.5 for one of 1970."""
    if isinstance(value, str) and not INSTANT.fullmatch(value):
        raise ValueError("write an instant as 2026-11-25T07:30:00Z")
    return value


def day(value: object) -> object:
    """The text, unless it is no day."""
    if isinstance(value, str) and not DAY.fullmatch(value):
        raise ValueError("write a day as 2026-11-25")
    return value


Instant = Annotated[AwareDatetime, BeforeValidator(instant)]
Day = Annotated[date, BeforeValidator(day)]
