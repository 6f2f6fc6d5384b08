"""The form of what a page may know before anyone has signed in."""

from pydantic import Field

from api.schemas.base import Reply


class SignInWays(Reply):
    """How one can sign in beside keys."""

    oidc_name: str | None = Field(
        description="Identity provider that GET /auth/oidc/login leads to; null without one."
    )
