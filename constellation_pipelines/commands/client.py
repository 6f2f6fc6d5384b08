"""How commands talk to the API."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlsplit

from constellation_pipelines.domain.errors import (
    ConstellationError,
    InvalidInput,
    NotFound,
    ServiceUnavailable,
)

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 60.0
SILENCE_S = 40.0  # the server says something each 15 seconds
NO_STACK = "no running stack found: start one with `constellation up`"


class Client:
    """Calls of the API at `url`, with a key where there is one.

    What it refuses is raised as ConstellationError.
    """

    def __init__(self, url: str, *, key: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        import httpx

        self.url = checked(url).rstrip("/")
        self._http = httpx.Client(
            base_url=f"{self.url}/api/v1", timeout=timeout_s, headers=authorization(key)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        """The reply to GET; parameters that are None are left out."""
        return self._call("GET", path, params=given(params))

    def text(self, path: str, **params: Any) -> str:
        """The reply to GET as it came, where it is no JSON."""
        response = self._send("GET", path, params=given(params))
        if not response.is_success:
            reply_of(response, self.url)
        return response.text

    def content(self, path: str) -> bytes:
        """The bytes of the reply to GET, where they are no text."""
        response = self._send("GET", path)
        if not response.is_success:
            reply_of(response, self.url)
        return response.content

    def post(self, path: str, body: Any = None, *, headers: dict[str, str] | None = None) -> Any:
        """The reply to POST."""
        return self._call("POST", path, json=body, headers=headers)

    def patch(self, path: str, body: Any) -> Any:
        """The reply to PATCH."""
        return self._call("PATCH", path, json=body)

    def delete(self, path: str) -> Any:
        """The reply to DELETE."""
        return self._call("DELETE", path)

    def readiness(self) -> Any:
        """The reply to GET /readyz, which is one too where it is not ready."""
        import httpx

        try:
            response = self._http.get(f"{self.url}/readyz")
        except httpx.TransportError as error:
            raise ServiceUnavailable(f"the API at {self.url} does not answer") from error
        return response.json() if response.status_code == 503 else reply_of(response, self.url)

    def pages(self, path: str, *, most: int, **params: Any) -> Iterator[Any]:
        """Items of a list, page by page, up to `most`."""
        cursor = None
        while most > 0:
            page = self.get(path, cursor=cursor, limit=min(most, 500), **params)
            yield from page["items"][:most]
            most -= len(page["items"])
            cursor = page["next"]
            if cursor is None:
                return

    def events(self, path: str, after: int, **params: str) -> Iterator[tuple[str, int, Any]]:
        """Event, id and data of server-sent events behind the id `after`, until they end or break.

        Raises ServiceUnavailable when the API does not answer.
        """
        import httpx

        headers = {"Last-Event-ID": str(after)}
        timeout = httpx.Timeout(TIMEOUT_S, read=SILENCE_S)
        try:
            with self._http.stream(
                "GET", path, params=params, headers=headers, timeout=timeout
            ) as response:
                if not response.is_success:
                    response.read()
                    reply_of(response, self.url)
                yield from parse_events(response.iter_lines())
        except httpx.TransportError as error:
            raise ServiceUnavailable(f"the API at {self.url} does not answer") from error

    def _call(self, method: str, path: str, **options: Any) -> Any:
        return reply_of(self._send(method, path, **options), self.url)

    def _send(self, method: str, path: str, **options: Any) -> "httpx.Response":
        import httpx

        try:
            return self._http.request(method, path, **options)
        except httpx.TimeoutException as error:
            raise ServiceUnavailable(f"the API at {self.url} took too long to answer") from error
        except httpx.TransportError as error:
            raise ServiceUnavailable(
                f"the API at {self.url} does not answer: `constellation status` tells what is up"
            ) from error


def given(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters of a request without those that were not given."""
    return {name: value for name, value in params.items() if value is not None}


def parse_events(lines: Iterator[str]) -> Iterator[tuple[str, int, Any]]:
    """Server-sent events in these lines: name, id (0 without one), data as JSON."""
    fields: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "event" in fields:
            yield fields["event"], int(fields.get("id", 0)), json.loads(fields.get("data", "null"))
            fields = {}


def reply_of(response: "httpx.Response", url: str) -> Any:
    """The JSON of a reply. Raises ConstellationError with the reason of a refusal."""
    try:
        body = response.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        body = None
    if response.is_success and body is not None:
        return body
    if isinstance(body, dict) and "detail" in body:
        kind = {404: NotFound, 503: ServiceUnavailable}.get(
            response.status_code, ConstellationError
        )
        raise kind(str(body["detail"]))
    raise ConstellationError(
        f"{url} answered {response.status_code} in a form that is not Constellation's API"
    )


def connect() -> Client:
    """A client of the API named in the settings, else of the running stack's."""
    from constellation_pipelines.commands.stack import load_settings
    from constellation_pipelines.stack.attach import attached
    from constellation_pipelines.stack.key_file import key_of

    settings = load_settings()
    url = attached(settings).api_url
    if url is None:
        raise ServiceUnavailable(NO_STACK)
    return Client(url, key=key_of(settings))


def authorization(key: str | None) -> dict[str, str]:
    """The header that says who asks. Raises InvalidInput for what cannot be a key."""
    if key is None:
        return {}
    if not key.isascii() or not key.isprintable() or " " in key:
        raise InvalidInput("CONSTELLATION_API_KEY is not a key: it has the form cst_..._...")
    return {"Authorization": f"Bearer {key}"}


def checked(url: str) -> str:
    """The URL. Raises InvalidInput unless it names a web server."""
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname:
            return url
    except ValueError:
        pass
    raise InvalidInput(
        f"{url!r} is not a URL of an API: CONSTELLATION_API_URL has the form http://host:port"
    )


def segment(text: str) -> str:
    """`text` as one segment of a path."""
    return quote(text, safe="")
