"""Signing in by way of the issuer: OpenID Connect's authorization code flow, with PKCE.

A sign-in that has begun is a cookie and nothing else. State, nonce and the verifier of PKCE follow
from it by HMAC, so a server keeps nothing, has no secret to sign with, and any of several can go on
with it.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlencode

from api.issuer import Metadata, checked_url, host_of, redeem
from api.oidc import ClaimNames, KeySet, verified
from constellation_pipelines.domain import secret
from constellation_pipelines.domain.account import Principal
from constellation_pipelines.domain.errors import InvalidInput, Unauthenticated
from constellation_pipelines.settings import Settings

LASTS_S = 600
AHEAD_S = 60  # by which the clocks of two servers may differ
NOT_BEGUN = "this sign-in was not begun in this browser, or too long ago: begin anew"


@dataclass(frozen=True, slots=True)
class Login:
    """A sign-in that has begun. `next` is the page that one wanted to see."""

    token: str
    next: str
    began_s: int

    @classmethod
    def begin(cls, next: str, now_s: int) -> Self:
        """A sign-in that nobody else knows of."""
        return cls(secret.new_login(now_s), next, now_s)

    @classmethod
    def read(cls, cookie: str, now_s: int) -> Self:
        """The sign-in of a cookie. Raises Unauthenticated for none, and for one that is too old."""
        token, _, page = cookie.partition(".")
        began_s = secret.login_began_s(token)
        try:
            next = base64.urlsafe_b64decode(page + "=" * (-len(page) % 4)).decode()
        except ValueError:
            began_s, next = None, ""
        if began_s is None or not -AHEAD_S <= now_s - began_s <= LASTS_S:
            raise Unauthenticated(NOT_BEGUN)
        return cls(token, next, began_s)

    @property
    def cookie(self) -> str:
        """What the browser keeps."""
        return f"{self.token}.{base64.urlsafe_b64encode(self.next.encode()).decode().rstrip('=')}"

    # Each follows from all of the cookie, so that a changed page or time is another sign-in.

    @property
    def state(self) -> str:
        """What the issuer sends back with the browser."""
        return secret.derived(self.cookie, "state")

    @property
    def nonce(self) -> str:
        """What the issuer writes into the ID token."""
        return secret.derived(self.cookie, "nonce")

    @property
    def verifier(self) -> str:
        """What shows that who brings the code is who asked for it."""
        return secret.derived(self.cookie, "pkce")

    @property
    def challenge(self) -> str:
        """What the issuer is told of the verifier beforehand."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Returned:
    """What a browser brings back from the issuer."""

    state: str
    code: str
    issuer: str | None
    error: str | None


class SignIn:
    """Signs people in at one issuer, as one client of it."""

    def __init__(self, settings: Settings, issuer: str, client_id: str) -> None:
        self._issuer = checked_url(issuer, "CONSTELLATION_OIDC_ISSUER")
        self._client_id = client_id
        given = settings.oidc_client_secret
        self._secret = None if given is None else given.get_secret_value()
        self._claims = ClaimNames.of(settings)
        self._metadata = Metadata(self._issuer)
        self._keys: KeySet | None = None
        self._keys_url = ""
        self.name = settings.oidc_name or host_of(issuer)

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """What the settings ask for, if anything. Raises InvalidInput for half of it."""
        if settings.public_url is not None:
            checked_url(settings.public_url, "CONSTELLATION_PUBLIC_URL")
        if settings.oidc_client_id is None:
            return None
        if settings.oidc_issuer is None:
            raise InvalidInput("CONSTELLATION_OIDC_CLIENT_ID takes CONSTELLATION_OIDC_ISSUER too")
        return cls(settings, settings.oidc_issuer, settings.oidc_client_id)

    def url_of(self, login: Login, redirect_uri: str) -> str:
        """Where the browser goes to sign in. Raises ServiceUnavailable."""
        endpoint = self._metadata.endpoints().authorization
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": redirect_uri,
            "scope": "openid email profile",
            "state": login.state,
            "nonce": login.nonce,
            "code_challenge": login.challenge,
            "code_challenge_method": "S256",
        }
        return endpoint + ("&" if "?" in endpoint else "?") + urlencode(query)

    def principal(self, login: Login, returned: Returned, redirect_uri: str) -> Principal:
        """Whom the issuer names.

        Raises Unauthenticated for an answer to another sign-in, a refusal, a code that is not
        taken and a token that is not good; Forbidden for nobody of ours; ServiceUnavailable.
        """
        self._check(login, returned)
        endpoints = self._metadata.endpoints()
        form = {
            "grant_type": "authorization_code",
            "code": returned.code,
            "redirect_uri": redirect_uri,
            "code_verifier": login.verifier,
        }
        token = redeem(
            endpoints,
            issuer=self._issuer,
            client_id=self._client_id,
            secret=self._secret,
            form=form,
        )
        keys = self._keys_at(endpoints.keys)
        claims = verified(token, keys, issuer=self._issuer, audience=self._client_id)
        self._check_claims(login, claims)
        return self._claims.principal(claims)

    def _check(self, login: Login, returned: Returned) -> None:
        if not same(login.state, returned.state):
            raise Unauthenticated(NOT_BEGUN)
        if returned.issuer not in (None, self._issuer):
            raise Unauthenticated("this answer is of another issuer: begin anew")
        if returned.error is not None or not returned.code:
            raise Unauthenticated(f"{self.name} did not sign you in")

    def _check_claims(self, login: Login, claims: dict[str, Any]) -> None:
        if not same(login.nonce, claims.get("nonce")):
            raise Unauthenticated("this token is not good: it was made for another sign-in")
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if claims.get("azp", None if several else self._client_id) != self._client_id:
            raise Unauthenticated("this token is not good: it was given to another client")

    def _keys_at(self, url: str) -> KeySet:
        if self._keys is None or url != self._keys_url:
            self._keys, self._keys_url = KeySet(url, named=self._issuer), url
        return self._keys


def same(expected: str, told: object) -> bool:
    """Whether it was told right, in a time that does not depend on it."""
    return isinstance(told, str) and hmac.compare_digest(expected.encode(), told.encode())
