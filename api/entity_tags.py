"""Entity tags: what an answer was made of, so that a browser need not fetch it again."""

import hashlib


def tag_of(*parts: object) -> str:
    """A tag of these parts. Which they are cannot be read from it."""
    text = "\n".join(map(repr, parts))
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:24]}"'


def holds(if_none_match: str | None, tag: str) -> bool:
    """Whether a request has what this tag is of already. A proxy may have made tags weak."""
    if if_none_match is None:
        return False
    known = {one.strip().removeprefix("W/") for one in if_none_match.split(",")}
    return tag in known or "*" in known
