"""Bearer tokens of an OIDC issuer, checked with the public keys that it publishes."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any, Self

from api.issuer import Refused, answer, checked_url
from constellation_pipelines.domain.account import Door, Principal, Scope, check_name
from constellation_pipelines.domain.errors import (
    Forbidden,
    InvalidInput,
    ServiceUnavailable,
    Unauthenticated,
)
from constellation_pipelines.remote.outside import NotReached
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
SCOPE_PREFIX = "constellation:"
NO_KEYS = "the keys of the tokens' issuer cannot be fetched right now"


class Verifier:
    """Checks tokens of one issuer for one audience."""

    def __init__(self, settings: Settings, keys: "KeySet") -> None:
        self._issuer = settings.oidc_issuer or ""
        self._audience = settings.oidc_audience or ""
        self._claims = ClaimNames.of(settings)
        self._keys = keys

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """The verifier that the settings ask for, if any. Raises InvalidInput for half of one."""
        url = settings.oidc_jwks_url
        if not any((settings.oidc_audience, url)):
            if settings.oidc_issuer is None or settings.oidc_client_id is not None:
                return None  # no issuer, or one that the dashboard alone knows
        if url is None or not all((settings.oidc_issuer, settings.oidc_audience)):
            raise InvalidInput(
                "CONSTELLATION_OIDC_ISSUER, _AUDIENCE and _JWKS_URL go together: set all three"
            )
        return cls(settings, KeySet(checked_url(url, "CONSTELLATION_OIDC_JWKS_URL")))

    def principal(self, token: str) -> Principal:
        """Whom a token speaks of.

        Raises Unauthenticated for one that is forged, expired or meant for others, Forbidden for
        one without an account or a scope, ServiceUnavailable when the issuer's keys are not had.
        """
        claims = verified(token, self._keys, issuer=self._issuer, audience=self._audience)
        return self._claims.principal(claims)


def verified(token: str, keys: "KeySet", *, issuer: str, audience: str) -> dict[str, Any]:
    """The claims of a token. Raises Unauthenticated and ServiceUnavailable."""
    import jwt

    try:
        header = jwt.get_unverified_header(token)
        algorithm = header.get("alg")
        if algorithm not in ALGORITHMS:
            raise Unauthenticated("this token is not signed in a way that is taken here")
        key = keys.find(header.get("kid"), ALGORITHMS[algorithm])
        claims: dict[str, Any] = jwt.decode(
            token,
            key.key,
            algorithms=[algorithm],
            audience=audience,
            issuer=issuer,
            leeway=LEEWAY_S,
            options={"require": ["exp", "iss", "aud"]},
        )
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
        raise Unauthenticated(f"this token is not good: {reason(error)}") from error
    return claims


@dataclass(frozen=True, slots=True)
class ClaimNames:
    """Which claims name the account and the scope."""

    account: str
    scope: str

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Those of the settings."""
        return cls(settings.oidc_account_claim, settings.oidc_scope_claim)

    def principal(self, claims: dict[str, Any]) -> Principal:
        """Whom claims that are good speak of. Raises Forbidden without an account or a scope."""
        return Principal(
            account=self._account(claims),
            scope=self._scope(claims),
            door=Door.OIDC,
            actor=f"oidc:{str(claims.get('sub', ''))[:100]}",
            expires_at=datetime.fromtimestamp(claims["exp"], UTC),
        )

    def _account(self, claims: dict[str, Any]) -> str:
        name = claims.get(self.account)
        if not isinstance(name, str):
            raise Forbidden(f"this token has no claim {self.account} that names an account")
        try:
            return check_name(name)
        except InvalidInput as error:
            raise Forbidden(error.message) from error

    def _scope(self, claims: dict[str, Any]) -> Scope:
        told = claims.get(self.scope, ())
        words = told.split() if isinstance(told, str) else told
        held = [
            scope
            for scope in Scope
            if isinstance(words, list | tuple) and f"{SCOPE_PREFIX}{scope}" in words
        ]
        if not held:
            raise Forbidden(
                f"this token's claim {self.scope} has none of "
                + ", ".join(f"{SCOPE_PREFIX}{scope}" for scope in Scope)
            )
        return held[-1]


class KeySet:
    """The issuer's public keys, fetched when they are needed and kept for some minutes.

    `named` is the URL that the operator gave, whose host may lie in a private network; without it
    that is the keys' own.
    """

    def __init__(
        self, url: str, clock: Callable[[], float] = time.monotonic, *, named: str | None = None
    ) -> None:
        self._url = url
        self._private = {named or url}
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
        from jwt import PyJWK, PyJWTError

        self._tried_s = self._clock()
        try:
            listed = answer(self._url, private=self._private)["keys"]
        except (NotReached, Refused, ValueError, KeyError, RecursionError) as error:
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
