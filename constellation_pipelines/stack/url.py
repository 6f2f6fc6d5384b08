"""URLs as they may be shown."""

import re
from urllib.parse import urlsplit, urlunsplit

MASK = "***"
SECRET_PARAMETER = r"(?i)((?:^|&)[^=&]*(?:password|token|secret)[^=&]*=)[^&]*"


def masked(url: str) -> str:
    """The URL, or the URLs with commas between them, with every password replaced by ***."""
    return ",".join(_masked(part) for part in re.split(r",(?=\w[\w+.-]*://)", url))


def _masked(url: str) -> str:
    if "://" not in url:
        return MASK  # such as libpq's "host=... password=..."
    try:
        parts = urlsplit(url)
        user, at, place = parts.netloc.rpartition("@")
    except ValueError:
        return MASK
    name, colon, _ = user.partition(":")
    netloc = f"{name}{colon}{MASK if colon else ''}{at}{place}"
    if parts.scheme == "nats" and at and not colon:
        netloc = f"{MASK}@{place}"  # a NATS token stands where a user's name would
    query = re.sub(SECRET_PARAMETER, rf"\1{MASK}", parts.query)
    tail = urlunsplit(("", "", parts.path, query, ""))
    return f"{parts.scheme}://{netloc}{tail}"
