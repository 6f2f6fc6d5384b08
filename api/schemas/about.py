"""The form of what a client may know before it asks for anything."""

from pydantic import Field

from api.schemas.base import Reply


class About(Reply):
    """Which release this is, and where its other doors are."""

    version: str = Field(description="Version of the installed package.")
    dagster_url: str | None = Field(description="Dagster's web server, where it is known.")
