"""Forms of sessions."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import ConfigDict, Field, SecretStr

from api.schemas.base import Reply, Request
from constellation_pipelines.domain.account import Door, Principal, Scope


class SignIn(Request):
    """A key to sign in with."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"example": {"key": "cst_abcdefgh_" + "x" * 43}},
    )

    key: Annotated[SecretStr, Field(min_length=1, max_length=200)]


class Session(Reply):
    """Who asks, and how far they may go."""

    account: str
    scope: Scope
    door: Door = Field(description="`loopback`: no authentication is required here.")
    actor: str = Field(description="Prefix of the key, or subject of the token.")
    expires_at: datetime | None = Field(description="When it ends by itself; null for never.")
    csrf_token: str | None = Field(
        description="With a session's cookie, what to send as X-CSRF-Token with each change."
    )

    @classmethod
    def of(cls, principal: Principal, csrf_token: str | None) -> Self:
        """The form of who asks."""
        return cls(
            account=principal.account,
            scope=principal.scope,
            door=principal.door,
            actor=principal.actor,
            expires_at=principal.expires_at,
            csrf_token=csrf_token,
        )
