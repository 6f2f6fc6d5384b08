"""A webhook: where an account is told of its jobs, how it knows who tells, how often we try."""

import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import SplitResult, urlsplit
from uuid import UUID

from constellation_pipelines.domain.address import is_public
from constellation_pipelines.domain.errors import InvalidInput

EVENT_TYPES = (
    "job.submitted",
    "job.prioritised",
    "job.started",
    "job.completed",
    "job.failed",
    "job.cancelled",
    "job.retried",
)
SIGNATURE_HEADER = "Constellation-Signature"
FIRST_DELAY_S = 5.0
LONGEST_DELAY_S = 3600.0
GIVE_UP_AFTER_S = 24 * 3600.0
HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]+\]")


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook as it may be shown. `event_types` None means all of jobs."""

    id: UUID
    account: str
    url: str
    event_types: list[str] | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one webhook. `status` and `error` are of the last attempt."""

    id: int
    event_id: int
    event_type: str
    attempts: int
    status: int | None
    error: str | None
    created_at: datetime
    due_at: datetime
    delivered_at: datetime | None
    gave_up_at: datetime | None


def new_secret() -> str:
    """A secret that nobody has, with 256 random bits."""
    return f"whsec_{secrets.token_urlsafe(32)}"


def signature(secret: str, at: int, body: str) -> str:
    """The header of a body that is sent at `at`, in seconds of Unix time."""
    signed = hmac.new(secret.encode(), f"{at}.{body}".encode(), hashlib.sha256).hexdigest()
    return f"t={at},v1={signed}"


def delay_s(attempts: int, chance: float) -> float:
    """Seconds to the next attempt after so many failed ones; `chance` is from 0 to 1.

    They double up to an hour, each half as long to half as long again, so that receivers that came
    back are not called by all at once.
    """
    longest = min(FIRST_DELAY_S * 2.0 ** min(attempts - 1, 20), LONGEST_DELAY_S)
    return longest * (0.5 + chance)


def checked_url(url: str, private: Collection[str] = ()) -> SplitResult:
    """The parts of a URL that may be told of jobs. Raises InvalidInput.

    `private` are the hosts of private networks that the operator allows; only they may do without
    TLS. What a name leads to is checked when it is connected to.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise refused("it is no URL") from error
    if parts.scheme not in ("https", "http"):
        raise refused("it must begin with https://")
    if "@" in parts.netloc:
        raise refused("it must hold no name or password: the signature tells who sends")
    if parts.fragment or not parts.hostname or port == 0:
        raise refused("it must have a host, and no fragment")
    bare = parts.netloc if port is None else parts.netloc.rpartition(":")[0]
    if not HOST.fullmatch(bare.removesuffix(":")) or not url.isascii() or not url.isprintable():
        raise refused("write its host and path in plain ASCII, other characters as %-codes")
    if " " in url:
        raise refused("it must hold no space")
    if parts.hostname in {host.lower() for host in private}:
        return parts
    if parts.scheme != "https":
        raise refused("it must begin with https://")
    if is_private_literal(parts.hostname):
        raise refused(
            "its host is of a private network; the operator can allow it in "
            "CONSTELLATION_WEBHOOK_PRIVATE_HOSTS"
        )
    return parts


def is_private_literal(host: str) -> bool:
    """Whether a host is an address that is not public, or another name of this machine."""
    if host.rstrip(".").endswith("localhost"):
        return True
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return not is_public(host)


def refused(why: str) -> InvalidInput:
    """The error for a URL that cannot be a webhook's."""
    return InvalidInput(f"this URL cannot be told of jobs: {why}", field="url")
