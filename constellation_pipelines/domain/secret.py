"""Secrets that open the API: keys, and the tokens of sessions. Only their hashes are kept.

A key is `cst_<prefix>_<secret>`: the prefix tells keys apart and may be shown, the secret has 256
random bits. They need no salt and no slow hash: nobody can try enough of them.
"""

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

KEY = re.compile(r"cst_([a-z2-7]{8})_[A-Za-z0-9_-]{43}")
SESSION = re.compile(r"css_[A-Za-z0-9_-]{43}")
LOGIN = re.compile(r"csl_([0-9]{1,12})_[A-Za-z0-9_-]{43}")
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key as it is shown once, with what is kept of it."""

    text: str
    prefix: str
    hash: bytes

    def __repr__(self) -> str:
        return f"NewKey({self.prefix})"


def new_key() -> NewKey:
    """A key that nobody has."""
    prefix = base64.b32encode(secrets.token_bytes(5)).decode().lower()
    text = f"cst_{prefix}_{secrets.token_urlsafe(SECRET_BYTES)}"
    return NewKey(text, prefix, hashed(text))


def new_session() -> str:
    """The token of a session that nobody has."""
    return f"css_{secrets.token_urlsafe(SECRET_BYTES)}"


def prefix_of(key: str) -> str | None:
    """The public part of a key, None for what has not the form of one."""
    found = KEY.fullmatch(key)
    return None if found is None else found[1]


def is_session(token: str) -> bool:
    """Whether this has the form of a session's token."""
    return SESSION.fullmatch(token) is not None


def hashed(secret: str) -> bytes:
    """What is kept of a secret: SHA-256."""
    return hashlib.sha256(secret.encode()).digest()


def csrf_token(session: str) -> str:
    """What a page of ours says beside the session's cookie. It follows from the cookie, which no
    other page can read, so nothing of it is kept.
    """
    return hmac.new(session.encode(), b"csrf", hashlib.sha256).hexdigest()


def is_csrf_token(session: str, told: str) -> bool:
    """Whether the page said the right thing, in a time that does not depend on it."""
    return hmac.compare_digest(csrf_token(session).encode(), told.encode())


def new_login(now_s: int) -> str:
    """The token of a sign-in that goes by way of an identity provider, and began at this second."""
    return f"csl_{now_s}_{secrets.token_urlsafe(SECRET_BYTES)}"


def login_began_s(login: str) -> int | None:
    """When a sign-in began, None for what has not the form of its token."""
    found = LOGIN.fullmatch(login)
    return None if found is None else int(found[1])


def derived(secret: str, purpose: str) -> str:
    """43 characters that follow from a secret and tell nothing of it."""
    digest = hmac.new(secret.encode(), purpose.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
