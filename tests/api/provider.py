"""An OpenID provider for tests: real HTTP, real RSA keys, the authorization code flow with PKCE.

It signs in whoever comes, without a page of its own, as the person that it is told.
"""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.local_server import Quiet, local_server

CLIENT = "constellation dashboard"
SECRET = "s3cret/of:the client"
KEY = rsa.generate_private_key(65537, 2048)
FORGER = rsa.generate_private_key(65537, 2048)


@dataclass
class Provider:
    """What it says, and what it was asked. Tests change it to let it misbehave."""

    url: str = ""
    person: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(
        default_factory=dict
    )  # in place of the right ones; None: without
    document: dict[str, Any] = field(default_factory=dict)
    denies: str | None = None
    forges: bool = False
    forgetful: bool = False  # takes a code again
    status: int = 200
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            **self.document,
        }

    def keys(self) -> dict[str, Any]:
        key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key()))
        return {"keys": [key | {"kid": "one", "use": "sig"}]}

    def returning(self, query: dict[str, str]) -> str:
        """Where a browser that came with this query is sent."""
        back = {"state": query["state"], "iss": self.url}
        if self.denies is not None:
            return f"{query['redirect_uri']}?{urlencode(back | {'error': self.denies})}"
        code = secrets.token_urlsafe(16)
        self.codes[code] = query
        return f"{query['redirect_uri']}?{urlencode(back | {'code': code})}"

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """The answer to a code, as RFC 6749 and RFC 7636 want it."""
        kind, _, pair = authorization.partition(" ")
        name, _, secret = base64.b64decode(pair).decode().partition(":")
        if (kind, unquote_plus(name), unquote_plus(secret)) != ("Basic", CLIENT, SECRET):
            return 401, {"error": "invalid_client"}
        code = form["code"]
        asked = self.codes.get(code)
        if asked is None or (code in self.used and not self.forgetful):
            return 400, {"error": "invalid_grant"}
        self.used.add(code)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if challenge != asked["code_challenge"] or form["redirect_uri"] != asked["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 60}
        claims |= {"nonce": asked["nonce"]} | self.person | self.claims
        good = {key: value for key, value in claims.items() if value is not None}
        key = FORGER if self.forges else KEY
        token = jwt.encode(good, key, algorithm="RS256", headers={"kid": "one"})
        return 200, {"access_token": "a", "token_type": "Bearer", "id_token": token}


@contextmanager
def providing() -> Iterator[Provider]:
    """A provider at a port of its own."""
    provider = Provider()

    class Handler(Quiet):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            provider.asked.append(parts.path)
            if parts.path == "/authorize":
                self.send_response(302)
                self.send_header("Location", provider.returning(dict(parse_qsl(parts.query))))
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif parts.path == "/jwks":
                self.tell(200, provider.keys())
            elif parts.path == "/.well-known/openid-configuration":
                self.tell(provider.status, provider.metadata())
            else:
                self.tell(404, {})

        def do_POST(self) -> None:
            provider.asked.append(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            authorization = self.headers.get("Authorization", "Basic ")
            self.tell(*provider.token(dict(parse_qsl(body)), authorization))

        def tell(self, status: int, document: dict[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with local_server(Handler) as port:
        provider.url = f"http://127.0.0.1:{port}"
        yield provider


def settings_of(provider: Provider) -> dict[str, Any]:
    """What names this provider."""
    return {
        "oidc_issuer": provider.url,
        "oidc_client_id": CLIENT,
        "oidc_client_secret": SECRET,
        "oidc_name": "Town Hall",
        "oidc_account_claim": "email",
        "oidc_scope_claim": "groups",
    }
