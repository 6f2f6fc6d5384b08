"""Which URLs may be opened: scheme, host and port, as the operator listed them.

Nothing is opened that is not listed; with an empty list there is no network at all. Every hop of a
redirect is looked at in the same way. Text is matched against a narrow grammar instead of being
parsed, because two parsers never agree on hostile URLs.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

from constellation_pipelines.domain.errors import InvalidInput
from constellation_pipelines.remote.errors import RemoteRefused
from constellation_pipelines.settings import Settings

LONGEST_URL_CHARS = 2048
LONGEST_HOP_CHARS = 8192  # a signed redirect is long
PORTS = {"https": 443, "http": 80}

HOST = r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:.]+\])"
CHARS = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})"
WEB = re.compile(
    rf"(?P<scheme>https?)://(?P<host>{HOST})(?::(?P<port>[0-9]{{1,5}}))?"
    rf"(?P<path>/{CHARS}*)(?P<query>\?(?:{CHARS}|\?)*)?",
)
S3 = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(?P<key>[^/].*)")
ORIGIN = re.compile(r"(?P<head>[A-Za-z][A-Za-z0-9+.-]*://[^/?#\\]*)(?P<rest>.*)", re.DOTALL)
RULE = re.compile(
    rf"(?:(?P<scheme>https?)://)?(?P<host>(?:\*\.)?{HOST})(?::(?P<port>[0-9]{{1,5}}))?/?"
)
BUCKET_RULE = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/?")
REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

NOT_LISTED = "is not among the hosts that scenes may come from (CONSTELLATION_REMOTE_HOSTS)"


@dataclass(frozen=True, slots=True)
class Target:
    """One request's address. `path` has the query of a redirect; `shown` is safe in messages."""

    scheme: str
    host: str  # an IPv6 address without brackets
    port: int
    path: str
    shown: str
    signed: bool = False  # S3: signed where there are keys

    @property
    def authority(self) -> str:
        """As the Host header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Rule:
    """A listed host; `*.example.org` stands for every host below example.org."""

    scheme: str
    host: str
    port: int

    def fits(self, scheme: str, host: str, port: int) -> bool:
        """Whether a request may go there."""
        same = host.endswith(self.host[1:]) if self.host.startswith("*.") else host == self.host
        return same and (scheme, port) == (self.scheme, self.port)


@dataclass(frozen=True, slots=True)
class Store:
    """An S3-compatible store. Without `endpoint` it is AWS in this region. Keys may be missing."""

    endpoint: str | None = None
    region: str = "us-east-1"
    key_id: str | None = None
    secret: str | None = None
    token: str | None = None

    def __repr__(self) -> str:
        return f"Store(endpoint={self.endpoint!r}, region={self.region!r})"  # no secret in a log


@dataclass(frozen=True, slots=True)
class Allowed:
    """The operator's list. `private` are hosts or addresses that may lie in a private network."""

    rules: tuple[Rule, ...] = ()
    buckets: frozenset[str] = frozenset()
    private: frozenset[str] = frozenset()
    store: Store = Store()

    @classmethod
    def of(
        cls, hosts: Iterable[str], private: Iterable[str] = (), store: Store | None = None
    ) -> "Allowed":
        """From the settings' words. Raises InvalidInput for one that makes no sense."""
        rules, buckets = [], set()
        for text in hosts:
            if match := BUCKET_RULE.fullmatch(text.lower()):
                buckets.add(match["bucket"])
            else:
                rules.append(rule_of(text))
        bare = frozenset(name.lower().strip("[]") for name in private)
        return cls(tuple(rules), frozenset(buckets), bare, store or Store())

    def check(self, url: str) -> Target:
        """Where a registered URL leads. Raises RemoteRefused for whatever is not listed."""
        check_text(url, LONGEST_URL_CHARS)
        if url.lower().startswith("s3://"):
            return self._check_s3("s3://" + url[5:])
        target = target_of(url)
        if "?" in target.path:
            raise RemoteRefused(
                "a scene's URL must not have a query: it may hold a signature, and signatures end; "
                "for a store that wants keys use s3:// and give the keys to the stack",
                field="url",
            )
        self._check_listed(target)
        return target

    def check_hop(self, url: str, before: Target) -> Target:
        """Where a redirect leads. Raises RemoteRefused."""
        if url.startswith("/") and not url.startswith("//"):
            url = f"{before.scheme}://{before.authority}{url}"
        check_text(url, LONGEST_HOP_CHARS)
        try:
            target = target_of(url)
            self._check_listed(target)
        except RemoteRefused as error:
            raise RemoteRefused(
                f"{before.shown} redirects to a host that is not allowed: {error.message}"
            ) from None
        return Target(target.scheme, target.host, target.port, target.path, before.shown)

    def _check_s3(self, url: str) -> Target:
        match = S3.fullmatch(url)
        parts = match["key"].split("/") if match else []
        if match is None or "." in parts or ".." in parts:
            raise RemoteRefused("this is no s3://bucket/key", field="url")
        target = self.target_in_store(match["bucket"], match["key"], url)
        if match["bucket"] not in self.buckets:
            try:
                self._check_listed(target)
            except RemoteRefused:
                raise RemoteRefused(f"s3://{match['bucket']} {NOT_LISTED}", field="url") from None
        return target

    def target_in_store(self, bucket: str, key: str, shown: str) -> Target:
        """The request of an object: by path where the store is not AWS's or TLS needs it."""
        store, path = self.store, "/" + quote(key, safe="/-_.~")
        if store.endpoint is not None:
            match = RULE.fullmatch(store.endpoint.lower())
            if match is None or match["host"].startswith("*"):
                raise RemoteRefused("CONSTELLATION_S3_ENDPOINT is no URL of a host")
            scheme = match["scheme"] or "https"
            port = port_of(match["port"], scheme)
            host = match["host"].strip("[]")
            return Target(scheme, host, port, f"/{bucket}{path}", shown, signed=True)
        host = f"s3.{store.region}.amazonaws.com"
        if "." in bucket:
            return Target("https", host, 443, f"/{bucket}{path}", shown, signed=True)
        return Target("https", f"{bucket}.{host}", 443, path, shown, signed=True)

    def _check_listed(self, target: Target) -> None:
        where = (target.scheme, target.host, target.port)
        if not any(rule.fits(*where) for rule in self.rules):
            plain = f"{target.scheme}://{target.authority}"
            raise RemoteRefused(f"{plain} {NOT_LISTED}", field="url")


def allowed_by(settings: Settings) -> Allowed:
    """What the operator allows. Raises InvalidInput for settings that make no sense."""
    secret, token = settings.s3_secret_access_key, settings.s3_session_token
    store = Store(
        settings.s3_endpoint,
        settings.s3_region,
        settings.s3_access_key_id,
        None if secret is None else secret.get_secret_value(),
        None if token is None else token.get_secret_value(),
    )
    return Allowed.of(settings.remote_hosts, settings.remote_private_hosts, store)


def is_remote(uri: str) -> bool:
    """Whether a scene lies behind a URL, and not on this host."""
    return REMOTE.match(uri) is not None


def host_of(url: str) -> str:
    """The host, or bucket, that a registered URL names; for messages."""
    return url.split("/")[2]


def check_text(url: str, longest: int) -> None:
    """Raise RemoteRefused for text that is no URL in any reading of it."""
    if not 1 <= len(url) <= longest:
        raise RemoteRefused(f"a URL must have 1 to {longest} characters", field="url")
    if not url.isprintable():
        raise RemoteRefused("a URL must not hold control characters", field="url")


def target_of(url: str) -> Target:
    """The address in an http or https URL. Raises RemoteRefused."""
    parts = ORIGIN.fullmatch(url)
    match = WEB.fullmatch(parts["head"].lower() + parts["rest"]) if parts else None
    if match is None:
        raise RemoteRefused(
            "a remote scene must be https://host/path, http://host/path or s3://bucket/key, "
            "without user name, query and fragment; special characters percent-encoded",
            field="url",
        )
    scheme = match["scheme"]
    host = match["host"].strip("[]")
    port = port_of(match["port"], scheme)
    path = match["path"] + (match["query"] or "")
    target = Target(scheme, host, port, path, "")
    shown = f"{scheme}://{target.authority}{match['path']}"
    return Target(scheme, host, port, path, shown)


def port_of(text: str | None, scheme: str) -> int:
    """The port of a URL. Raises RemoteRefused."""
    port = PORTS[scheme] if text is None else int(text)
    if not 1 <= port <= 65535:
        raise RemoteRefused("a port is from 1 to 65535", field="url")
    return port


def rule_of(text: str) -> Rule:
    """A listed host. Raises InvalidInput."""
    match = RULE.fullmatch(text.lower())
    if match is None:
        raise InvalidInput(
            f"CONSTELLATION_REMOTE_HOSTS: {text[:100]!r} is neither a host, nor *.domain, nor "
            "http://host:port, nor s3://bucket"
        )
    scheme = match["scheme"] or "https"
    try:
        port = port_of(match["port"], scheme)
    except RemoteRefused as error:
        raise InvalidInput(f"CONSTELLATION_REMOTE_HOSTS: {error.message}") from None
    return Rule(scheme, match["host"].strip("[]"), port)
