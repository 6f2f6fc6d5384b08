"""What all forms share."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints


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
