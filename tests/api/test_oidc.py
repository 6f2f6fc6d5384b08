"""Tokens of an OIDC issuer: what a good one opens, and that no forged one opens anything."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from websockets.sync.client import connect

from api import guard
from api.oidc import KeySet, Verifier
from constellation_pipelines.domain.errors import (
    InvalidInput,
    ServiceUnavailable,
    Unauthenticated,
)
from constellation_pipelines.settings import Settings
from tests.api.people import client, make_account
from tests.api.service import Service, serving
from tests.api.test_jobs import problem_of
from tests.api.test_sessions import closing_code
from tests.conftest import PostgresServer, scratch_database
from tests.local_server import Quiet, local_server

ISSUER = "https://login.example/"
AUDIENCE = "constellation"

RSA = rsa.generate_private_key(65537, 2048)
OTHER_RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
PUBLIC_PEM = RSA.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)


def jwk(key: Any, algorithm: Any, kid: str) -> dict[str, Any]:
    return dict(json.loads(algorithm.to_jwk(key.public_key()))) | {"kid": kid, "use": "sig"}


def published() -> list[dict[str, Any]]:
    return [
        jwk(RSA, jwt.algorithms.RSAAlgorithm, "rsa"),
        jwk(EC, jwt.algorithms.ECAlgorithm, "ec"),
        jwk(ED, jwt.algorithms.OKPAlgorithm, "ed"),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "oct", "alg": "HS256"},
        {"kty": "RSA", "kid": "broken", "n": "!", "e": "!"},
        {"kty": "unheard-of", "kid": "new"},
    ]


@dataclass
class Issuer:
    """A server of public keys, and how often it was asked."""

    keys: Any = field(default_factory=published)
    status: int = 200
    asked: int = 0
    url: str = ""


@contextmanager
def issuing() -> Iterator[Issuer]:
    issuer = Issuer()

    class Handler(Quiet):
        def do_GET(self) -> None:
            issuer.asked += 1
            body = json.dumps({"keys": issuer.keys}).encode()
            self.send_response(issuer.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with local_server(Handler) as port:
        issuer.url = f"http://127.0.0.1:{port}/jwks"
        yield issuer


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuing() as running:
        yield running


@pytest.fixture(scope="module")
def unlimited() -> Iterator[None]:
    """An address may send wrong tokens as fast as it can: these tests send many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guard, "FAILURES_PER_S", 1e6)
        yield


@pytest.fixture(scope="module")
def guarded(
    unlimited: None,
    postgres: PostgresServer,
    template: str,
    issuer: Issuer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("oidc")
    named = {"oidc_issuer": ISSUER, "oidc_audience": AUDIENCE, "oidc_jwks_url": issuer.url}
    with (
        scratch_database(postgres, template) as name,
        serving(postgres.url_of(name), None, folder, auth="required", **named) as running,
    ):
        make_account(running.database, "ann@eo.example")
        yield running


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    good = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ann@eo.example",
        "scope": "openid constellation:operator",
        "iat": now,
        "exp": now + 300,
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def token(key: Any = RSA, algorithm: str = "RS256", kid: str | None = "rsa", **changes: Any) -> str:
    headers = {} if kid is None else {"kid": kid}
    return jwt.encode(claims(**changes), key, algorithm=algorithm, headers=headers)


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def signed_by_hand(header: dict[str, Any], secret: bytes) -> str:
    text = f"{part(header)}.{part(claims())}"
    signature = hmac.new(secret, text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def tampered() -> str:
    head, _, signature = token(scope="constellation:viewer").split(".")
    return f"{head}.{part(claims(scope='constellation:admin'))}.{signature}"


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"),
    [(RSA, "RS256", "rsa"), (RSA, "PS512", "rsa"), (EC, "ES256", "ec"), (ED, "EdDSA", "ed")],
)
def test_a_good_token_opens_the_account_that_it_names(
    guarded: Service, key: Any, algorithm: str, kid: str
) -> None:
    with client(guarded, token(key, algorithm, kid)) as http:
        who = http.get("/session").json()
        assert (who["account"], who["scope"], who["door"]) == (
            "ann@eo.example",
            "operator",
            "oidc",
        )
        assert who["actor"] == "oidc:ann@eo.example"


def test_scopes_come_as_words_or_as_a_list_and_the_widest_counts(guarded: Service) -> None:
    for told in ("constellation:viewer constellation:admin", ["constellation:admin", "x"]):
        with client(guarded, token(scope=told)) as http:
            assert http.get("/session").json()["scope"] == "admin"


FORGED: dict[str, Callable[[], str]] = {
    "no signature": lambda: f"{part({'alg': 'none', 'kid': 'rsa'})}.{part(claims())}.",
    "NONE in capitals": lambda: f"{part({'alg': 'NoNe', 'kid': 'rsa'})}.{part(claims())}.",
    "the public key as a secret": lambda: signed_by_hand(
        {"alg": "HS256", "kid": "rsa"}, PUBLIC_PEM
    ),
    "a published secret": lambda: signed_by_hand({"alg": "HS256", "kid": "oct"}, b"secret"),
    "another's key": lambda: token(OTHER_RSA),
    "an unknown key": lambda: token(OTHER_RSA, kid="other"),
    "a key of another kind": lambda: token(kid="ec"),
    "no key named, where there are several": lambda: token(EC, "ES256", "nobody"),
    "a broken key": lambda: token(kid="broken"),
    "changed claims": tampered,
    "a key of its own": lambda: jwt.encode(
        claims(),
        OTHER_RSA,
        algorithm="RS256",
        headers={"kid": "x", "jwk": jwk(OTHER_RSA, jwt.algorithms.RSAAlgorithm, "x")},
    ),
    "a header that must be understood": lambda: jwt.encode(
        claims(), RSA, algorithm="RS256", headers={"kid": "rsa", "crit": ["exp2"], "exp2": 1}
    ),
    "expired": lambda: token(exp=int(time.time()) - 60),
    "never expiring": lambda: token(exp=None),
    "an end that is no time": lambda: token(exp="tomorrow"),
    "not yet valid": lambda: token(nbf=int(time.time()) + 300),
    "issued in the future": lambda: token(iat=int(time.time()) + 300),
    "another issuer": lambda: token(iss="https://evil.example/"),
    "no issuer": lambda: token(iss=None),
    "another audience": lambda: token(aud="billing"),
    "no audience": lambda: token(aud=None),
    "no JSON": lambda: "eyJhbGciOiJSUzI1NiJ9.e30x.AAAA",
    "dots": lambda: "..",
    "long": lambda: "a." * 2 + "b" * 9000,
    "deep": lambda: f"{base64.urlsafe_b64encode(b'[' * 4000).decode().rstrip('=')}.e30.AA",
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_or_expired_token_opens_nothing(guarded: Service, name: str) -> None:
    with client(guarded, FORGED[name]()) as http:
        reply = http.get("/session")
        assert problem_of(reply, 401)["code"] == "unauthenticated"
        assert reply.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": "nobody"},
        {"sub": None},
        {"sub": "a b"},
        {"sub": "system"},
        {"scope": None},
        {"scope": "openid admin"},
        {"scope": ["viewer"]},
        {"scope": {"constellation:admin": True}},
        {"scope": 7},
    ],
)
def test_a_token_without_an_account_or_a_scope_here_may_nothing(
    guarded: Service, changes: dict[str, Any]
) -> None:
    with client(guarded, token(**changes)) as http:
        problem_of(http.get("/session"), 403)


def test_a_new_key_of_the_issuers_is_found(issuer: Issuer) -> None:
    now_s = [0.0]
    keys = KeySet(issuer.url, lambda: now_s[0])
    assert keys.find("rsa", "RSA").key_id == "rsa"
    issuer.keys = [*published(), jwk(OTHER_RSA, jwt.algorithms.RSAAlgorithm, "rotated")]
    try:
        with pytest.raises(Unauthenticated):
            keys.find("rotated", "RSA")  # it asked a moment ago
        now_s[0] = 11
        assert keys.find("rotated", "RSA").key_id == "rotated"
    finally:
        issuer.keys = published()
    now_s[0] = 400
    with pytest.raises(Unauthenticated):
        keys.find("rotated", "RSA")  # withdrawn


def test_unknown_keys_do_not_make_us_ask_again_and_again() -> None:
    with issuing() as issuer:
        keys = KeySet(issuer.url)
        for n in range(50):
            with pytest.raises(Unauthenticated):
                keys.find(f"kid-{n}", "RSA")
        assert issuer.asked == 1


@pytest.mark.parametrize(("status", "keys"), [(500, []), (404, []), (200, None), (200, {"a": 1})])
def test_an_issuer_that_has_no_keys_lets_nobody_in(status: int, keys: Any) -> None:
    with issuing() as issuer:
        issuer.status, issuer.keys = status, keys
        with pytest.raises((ServiceUnavailable, Unauthenticated)):
            KeySet(issuer.url).find("rsa", "RSA")


def test_an_issuer_that_is_away_is_503_and_its_known_keys_serve_on(
    postgres: PostgresServer, template: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    named = {
        "oidc_issuer": ISSUER,
        "oidc_audience": AUDIENCE,
        "oidc_jwks_url": "http://127.0.0.1:1/jwks",
    }
    folder = tmp_path_factory.mktemp("away")
    with (
        scratch_database(postgres, template) as name,
        serving(postgres.url_of(name), None, folder, auth="required", **named) as service,
        client(service, token()) as http,
    ):
        reply = http.get("/session")
        assert problem_of(reply, 503)["code"] == "service_unavailable"
        assert reply.headers["retry-after"]


@pytest.mark.parametrize(
    "named",
    [
        {"oidc_issuer": ISSUER},
        {"oidc_issuer": ISSUER, "oidc_audience": AUDIENCE},
        {"oidc_jwks_url": "https://login.example/jwks"},
        {
            "oidc_issuer": ISSUER,
            "oidc_audience": AUDIENCE,
            "oidc_jwks_url": "http://login.example/jwks",
        },
        {"oidc_issuer": ISSUER, "oidc_audience": AUDIENCE, "oidc_jwks_url": "file:///etc/passwd"},
    ],
)
def test_half_of_an_issuer_is_refused_at_the_start(named: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match="CONSTELLATION_OIDC_"):
        Verifier.of(Settings(**named))  # type: ignore[arg-type]


def test_tokens_are_nothing_where_no_issuer_is_named(
    postgres: PostgresServer, template: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with (
        scratch_database(postgres, template) as name,
        serving(
            postgres.url_of(name), None, tmp_path_factory.mktemp("none"), auth="required"
        ) as service,
    ):
        reply = httpx.get(
            f"{service.url}/api/v1/jobs", headers={"Authorization": f"Bearer {token()}"}
        )
        problem_of(reply, 401)


def test_a_socket_is_closed_when_its_token_expires(guarded: Service) -> None:
    header = {"Authorization": f"Bearer {token(exp=int(time.time()) + 3)}"}
    with connect(guarded.websocket_url, additional_headers=header) as socket:
        assert socket.ping().wait(60), "it is open"
        assert closing_code(socket) == 4401
