"""Requests to the issuer of tokens: what it says of itself, its keys, its answers to codes."""

import base64
import json
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

from api.origins import LOOPBACK
from constellation_pipelines.domain.errors import (
    InvalidInput,
    ServiceUnavailable,
    Unauthenticated,
)
from constellation_pipelines.remote.outside import NotReached, ask

TIMEOUT_S = 5.0
MAX_BYTES = 1024 * 1024
FRESH_S = 300.0  # what it says of itself is asked anew after that
AGAIN_S = 10.0  # and no sooner than that, where it did not answer
ERROR = re.compile(rb'"error"\s*:\s*"([a-z_]{1,60})"')  # RFC 6749, 5.2
WELL_KNOWN = "/.well-known/openid-configuration"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where an issuer signs people in, takes codes and publishes its keys."""

    authorization: str
    token: str
    keys: str
    takes_basic: bool  # a client's secret in the Authorization header, else in the body


class Metadata:
    """What an issuer says of itself, asked for when it is needed and kept for some minutes."""

    def __init__(self, issuer: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer
        self._clock = clock
        self._known: Endpoints | None = None
        self._tried_s: float | None = None
        self._lock = Lock()

    def endpoints(self) -> Endpoints:
        """Where to go. Raises ServiceUnavailable when the issuer does not say."""
        with self._lock:
            wait_s = FRESH_S if self._known is not None else AGAIN_S
            if self._tried_s is None or self._clock() - self._tried_s > wait_s:
                self._tried_s, self._known = self._clock(), None
                self._known = self._ask()
            if self._known is None:
                raise ServiceUnavailable(f"{host_of(self._issuer)} does not answer right now")
            return self._known

    def _ask(self) -> Endpoints:
        url = self._issuer.rstrip("/") + WELL_KNOWN
        try:
            return endpoints_in(answer(url, private={self._issuer}), self._issuer)
        except (NotReached, Refused, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ServiceUnavailable(
                f"{host_of(self._issuer)} does not say right now how to sign in"
            ) from error


def endpoints_in(document: dict[str, Any], issuer: str) -> Endpoints:
    """What a discovery document tells. Raises ValueError, KeyError and TypeError."""
    if document["issuer"] != issuer:
        raise ValueError("it speaks of another issuer")
    urls = [document[name] for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
    for url in urls:
        if not isinstance(url, str) or not (is_safe(url) and (is_tls(url) or not is_tls(issuer))):
            raise ValueError("an endpoint is no https:// URL")
    methods = document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    authorization, token, keys = urls
    return Endpoints(authorization, token, keys, "client_secret_basic" in methods)


def redeem(
    endpoints: Endpoints, *, issuer: str, client_id: str, secret: str | None, form: dict[str, str]
) -> str:
    """The ID token that the issuer gives for a code.

    Raises Unauthenticated when it refuses the code, ServiceUnavailable when it does not answer.
    Neither tells the code or the secret.
    """
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    if secret is not None and endpoints.takes_basic:
        pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"  # each as in a form: RFC 6749, 2.3.1
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    else:
        form = form | {"client_id": client_id}
        form |= {} if secret is None else {"client_secret": secret}
    try:
        found = answer(endpoints.token, headers, urlencode(form).encode(), private={issuer})
        token = found["id_token"]
    except Refused as error:
        log.warning("%s refused a code: %s", host_of(issuer), error)
        raise Unauthenticated(f"{host_of(issuer)} did not take this sign-in: begin anew") from error
    except (NotReached, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ServiceUnavailable(f"{host_of(issuer)} does not answer right now") from error
    if not isinstance(token, str):
        raise Unauthenticated(f"{host_of(issuer)} did not say who signed in")
    return token


class Refused(Exception):
    """The issuer answered with a status from 400 to 499. The message is for the log."""


def answer(
    url: str,
    headers: dict[str, str] | None = None,
    form: bytes | None = None,
    *,
    private: set[str],
) -> dict[str, Any]:
    """The JSON object at a URL, asked for with POST where there is a form.

    Hosts of the URLs in `private`, which the operator has named, may lie in a private network; one
    that only the issuer names may not. Raises NotReached, Refused, and ValueError for no object.
    """
    status, text = ask(
        "GET" if form is None else "POST",
        url,
        {"Accept": "application/json", "User-Agent": "Constellation", **(headers or {})},
        form,
        private=frozenset(urlsplit(one).hostname or "" for one in private),
        setting="CONSTELLATION_OIDC_ISSUER",
        timeout_s=TIMEOUT_S,
        max_bytes=MAX_BYTES,
    )
    if 400 <= status < 500:
        raise Refused(f"status {status}, {error_in(text)}")
    found = json.loads(text) if status == 200 else None
    if not isinstance(found, dict):
        raise ValueError("it answered with no JSON object")
    return found


def error_in(text: bytes) -> str:
    """The name of an error in an answer, such as `invalid_grant`, as far as it may be logged."""
    found = ERROR.search(text)
    return "no reason" if found is None else found[1].decode()


def checked_url(url: str, setting: str) -> str:
    """The URL. Raises InvalidInput for one that is neither https:// nor on this machine."""
    if not is_safe(url):
        raise InvalidInput(f"{setting} must be an https:// URL")
    return url


def is_safe(url: str) -> bool:
    """Whether nobody on the way can read or change what is said to this URL."""
    try:
        parts = urlsplit(url)
        return is_tls(url) or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    except ValueError:
        return False


def is_tls(url: str) -> bool:
    """Whether this is an https:// URL with a host."""
    parts = urlsplit(url)
    return parts.scheme == "https" and bool(parts.hostname)


def host_of(url: str) -> str:
    """The host of a URL, for people."""
    return urlsplit(url).hostname or "the issuer"
