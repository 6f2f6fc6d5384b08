"""URLs as they may be shown."""

import re
from urllib.parse import urlsplit, urlunsplit

MASK = "***"


def masked(url: str) -> str:
    """The URL with any password in it replaced by ***."""
    try:
        parts = urlsplit(url)
        user, at, place = parts.netloc.rpartition("@")
    except ValueError:
        return MASK
    name, colon, _ = user.partition(":")
    netloc = f"{name}{colon}{MASK if colon else ''}{at}{place}"
    if parts.scheme == "nats" and at and not colon:
        netloc = f"{MASK}@{place}"  # a NATS token stands where a user's name would
    query = re.sub(
        r"(?i)((?:^|&)[^=&]*(?:password|token|secret)[^=&]*=)[^&]*", rf"\1{MASK}", parts.query
    )
    tail = urlunsplit(("", "", parts.path, query, ""))
    return f"{parts.scheme}://{netloc}{tail}"
