"""Bearer tokens of an OIDC issuer, checked with the public keys that it publishes."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from api.origins import LOOPBACK
from constellation_pipelines.domain.account import Door, Principal, Scope, check_name
from constellation_pipelines.domain.errors import (
    Forbidden,
    InvalidInput,
    ServiceUnavailable,
    Unauthenticated,
)
from constellation_pipelines.settings import Settings

if TYPE_CHECKING:
    from jwt import PyJWK

# Asymmetric ones only: with the others the published key would be the secret that signs.
ALGORITHMS = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
    **dict.fromkeys(("ES256", "ES384", "ES512"), "EC"),
    "EdDSA": "OKP",
}
LEEWAY_S = 30
FRESH_S = 300.0  # keys are fetched anew after that
REFETCH_S = 10.0  # and no sooner than that, though a token names a key that nobody knows
TIMEOUT_S = 5.0
MAX_KEYS_BYTES = 1024 * 1024
SCOPE_PREFIX = "constellation:"
NO_KEYS = "the keys of the tokens' issuer cannot be fetched right now"


class Verifier:
    """Checks tokens of one issuer for one audience."""

    def __init__(self, settings: Settings, keys: "KeySet") -> None:
        self._issuer = settings.oidc_issuer
        self._audience = settings.oidc_audience
        self._account_claim = settings.oidc_account_claim
        self._scope_claim = settings.oidc_scope_claim
        self._keys = keys

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """The verifier that the settings ask for, if any. Raises InvalidInput for half of one."""
        named = (settings.oidc_issuer, settings.oidc_audience, settings.oidc_jwks_url)
        if not any(named):
            return None
        url = settings.oidc_jwks_url
        if url is None or not all(named):
            raise InvalidInput(
                "CONSTELLATION_OIDC_ISSUER, _AUDIENCE and _JWKS_URL go together: set all three"
            )
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
            raise InvalidInput("CONSTELLATION_OIDC_JWKS_URL must be an https:// URL")
        return cls(settings, KeySet(url))

    def principal(self, token: str) -> Principal:
        """Whom a token speaks of.

        Raises Unauthenticated for one that is forged, expired or meant for others, Forbidden for
        one without an account or a scope, ServiceUnavailable when the issuer's keys are not had.
        """
        import jwt

        try:
            header = jwt.get_unverified_header(token)
            algorithm = header.get("alg")
            if algorithm not in ALGORITHMS:
                raise Unauthenticated("this token is not signed in a way that is taken here")
            key = self._keys.find(header.get("kid"), ALGORITHMS[algorithm])
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "aud"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise Unauthenticated(f"this token is not good: {reason(error)}") from error
        return Principal(
            account=self._account(claims),
            scope=self._scope(claims),
            door=Door.OIDC,
            actor=f"oidc:{str(claims.get('sub', ''))[:100]}",
            expires_at=datetime.fromtimestamp(claims["exp"], UTC),
        )

    def _account(self, claims: dict[str, Any]) -> str:
        name = claims.get(self._account_claim)
        if not isinstance(name, str):
            raise Forbidden(f"this token has no claim {self._account_claim} that names an account")
        try:
            return check_name(name)
        except InvalidInput as error:
            raise Forbidden(error.message) from error

    def _scope(self, claims: dict[str, Any]) -> Scope:
        told = claims.get(self._scope_claim, ())
        words = told.split() if isinstance(told, str) else told
        held = [
            scope
            for scope in Scope
            if isinstance(words, list | tuple) and f"{SCOPE_PREFIX}{scope}" in words
        ]
        if not held:
            raise Forbidden(
                f"this token's claim {self._scope_claim} has none of "
                + ", ".join(f"{SCOPE_PREFIX}{scope}" for scope in Scope)
            )
        return held[-1]


class KeySet:
    """The issuer's public keys, fetched when they are needed and kept for some minutes."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._keys: list[PyJWK] = []
        self._fetched_s: float | None = None
        self._tried_s: float | None = None
        self._lock = Lock()

    def find(self, kid: object, kind: str) -> "PyJWK":
        """The key of this id and type. Raises Unauthenticated and ServiceUnavailable."""
        with self._lock:
            found = self._among_fresh(kid, kind)
            if found is None and self._may_fetch():
                self._fetch()
                found = self._among_fresh(kid, kind)
            if found is None and self._fetched_s is None:
                raise ServiceUnavailable(NO_KEYS)
        if found is None:
            raise Unauthenticated("this token's key is none that its issuer publishes")
        return found

    def _among_fresh(self, kid: object, kind: str) -> "PyJWK | None":
        if self._fetched_s is None or self._clock() - self._fetched_s > FRESH_S:
            return None
        fitting = [key for key in self._keys if key.key_type == kind]
        if kid is None:  # one may leave the id out where there is no choice
            return fitting[0] if len(fitting) == 1 else None
        return next((key for key in fitting if key.key_id == kid), None)

    def _may_fetch(self) -> bool:
        return self._tried_s is None or self._clock() - self._tried_s > REFETCH_S

    def _fetch(self) -> None:
        import httpx
        from jwt import PyJWK, PyJWTError

        self._tried_s = self._clock()
        try:
            with httpx.stream("GET", self._url, timeout=TIMEOUT_S, trust_env=False) as reply:
                reply.raise_for_status()
                text = b""
                for part in reply.iter_bytes():
                    text += part
                    if len(text) > MAX_KEYS_BYTES:
                        raise ValueError("too many keys")
            listed = json.loads(text)["keys"]
        except (httpx.HTTPError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ServiceUnavailable(NO_KEYS) from error
        found = []
        for item in listed if isinstance(listed, list) else ():
            try:
                if item.get("kty") in ALGORITHMS.values() and item.get("use", "sig") == "sig":
                    found.append(PyJWK(item))
            except (PyJWTError, AttributeError, ValueError, TypeError):
                continue  # of a kind that is not taken here
        self._keys, self._fetched_s = found, self._tried_s


def reason(error: Exception) -> str:
    """What is wrong with a token, in words that tell nothing of what would be right."""
    known = {
        "ExpiredSignatureError": "it has expired",
        "ImmatureSignatureError": "it is not valid yet",
        "InvalidAudienceError": "it is meant for others",
        "InvalidIssuerError": "it is of another issuer",
        "InvalidSignatureError": "its signature is wrong",
        "MissingRequiredClaimError": "a claim is missing",
    }
    return known.get(type(error).__name__, "it cannot be read")
