"""The form of errors: RFC 9457, application/problem+json."""

from pydantic import BaseModel, Field


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    pointer: str = Field(description="JSON pointer into the body, or the name of a parameter.")
    detail: str


class Problem(BaseModel):
    """What was wrong, where, and what to do next."""

    type: str
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable and machine readable.")
    errors: list[Fault] = []
