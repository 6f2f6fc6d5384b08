"""Accounts, and what someone who acts for one may do."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from constellation_pipelines.domain.errors import InvalidInput

LOCAL = "local"  # whoever asks from this machine, where no authentication is required
DAGSTER_UI = "dagster-ui"  # runs that were launched in Dagster's own pages

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@|:+-]{0,99}")
RESERVED = ("system",)  # the account of events that belong to no job


class Scope(StrEnum):
    """What a key opens. Each scope opens what the one before it does."""

    VIEWER = "viewer"  # look
    OPERATOR = "operator"  # submit, cancel, register
    ADMIN = "admin"  # see and change what is every account's

    def covers(self, needed: "Scope") -> bool:
        """Whether this scope opens what needs the other."""
        order = list(Scope)
        return order.index(self) >= order.index(needed)


class Door(StrEnum):
    """How someone came in."""

    LOOPBACK = "loopback"
    KEY = "key"
    OIDC = "oidc"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: for which account, how far they may go, and who that is for the audit.

    `actor` is the public part of a key, the subject of a token, or how else they came in.
    """

    account: str
    scope: Scope
    door: Door
    actor: str
    expires_at: datetime | None = None

    @property
    def sees_all(self) -> bool:
        """Whether they see the rows of every account."""
        return self.scope is Scope.ADMIN


AT_THIS_MACHINE = Principal(LOCAL, Scope.ADMIN, Door.LOOPBACK, "loopback")


def check_name(name: str) -> str:
    """The name of an account. Raises InvalidInput for one that cannot be."""
    if NAME.fullmatch(name) is None or name in RESERVED:
        raise InvalidInput(
            f"{name[:100]!r} cannot name an account: use 1 to 100 letters, digits and . _ @ | : + "
            "-, beginning with a letter or digit",
            field="name",
        )
    return name
