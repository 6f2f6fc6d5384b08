"""Areas that are too large to be read: refused with a pointer, and nothing of them is kept."""

import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI, Request

from api.area_limit import AREAS, COUNTED_AT_ONCE, MAX_COUNTED_BYTES, AreaLimit
from api.limits import MAX_BODY_BYTES, BodyLimit
from constellation_pipelines.domain.account import Scope
from constellation_pipelines.geo.aoi import MAX_VERTICES
from tests.api.people import client, make_key
from tests.api.service import MODEL, Service, listening, serving, square
from tests.api.test_jobs import problem_of

JSON = {"Content-Type": "application/json"}
POSITION = b"[15.12345678901234, 45.12345678901234], "
PART = POSITION * 1000
MILLION = 1_000_000
MB = 1024 * 1024

# Nothing of these is ever parsed: it does not matter that they enclose nothing.
AREA: dict[str, tuple[bytes, bytes]] = {
    "Polygon": (b'{"type": "Polygon", "coordinates": [[', b"[15, 45]]]}"),
    "MultiPolygon": (b'{"type": "MultiPolygon", "coordinates": [[[', b"[15, 45]]]]}"),
    "FeatureCollection": (
        b'{"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {}, '
        b'"geometry": {"type": "Polygon", "coordinates": [[',
        b"[15, 45]]]}}]}",
    ),
}
PATHS = [path.removeprefix("/api/v1") for _, path in AREAS]


def pieces(path: str, kind: str, vertices: int) -> Iterator[bytes]:
    """The body of a request for such an area, in parts."""
    start, end = AREA[kind]
    yield b'{"name": "large", "geometry": ' if path == "/areas" else b'{"model": "m", "aoi": '
    yield start
    thousands, others = divmod(vertices - 1, 1000)
    for _ in range(thousands):
        yield PART
    yield POSITION * others + end + b"}"


def refused_at_its_area(answer: httpx.Response, path: str) -> str:
    """What is said of an area that has too many vertices."""
    found = problem_of(answer, 422)
    assert found["code"] == "invalid_input"
    pointer = "/geometry" if path == "/areas" else "/aoi"
    assert [one["pointer"] for one in found["errors"]] == [pointer]
    assert f"an area may have {MAX_VERTICES}" in found["detail"]
    assert "simplify" in found["detail"]
    return str(found["detail"])


def test_every_operation_that_takes_an_area_is_known(service: Service) -> None:
    said = httpx.get(f"{service.url}/openapi.json").json()
    found = {}
    for path, operations in said["paths"].items():
        for method, operation in operations.items():
            for name, schema in members(said, operation).items():
                kinds = [schema, *schema.get("anyOf", [])]
                if any(kind.get("additionalProperties") for kind in kinds):
                    found[method.upper(), path] = name
    assert found == AREAS


def members(said: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    """The members of an operation's body."""
    body = operation.get("requestBody", {"content": {}})["content"].get("application/json")
    form = said["components"]["schemas"][body["schema"]["$ref"].rpartition("/")[2]] if body else {}
    properties: dict[str, Any] = form.get("properties", {})
    return properties


@pytest.mark.parametrize("kind", AREA)
@pytest.mark.parametrize("path", PATHS)
def test_a_million_vertices_are_refused_at_the_area(
    http: httpx.Client, path: str, kind: str
) -> None:
    body = b"".join(pieces(path, kind, MILLION))
    assert len(body) > 10 * MAX_BODY_BYTES
    detail = refused_at_its_area(http.post(path, content=body, headers=JSON), path)
    assert f"about {MILLION} vertices came" in detail
    assert "connection" not in http.post(path, content=body, headers=JSON).headers


@pytest.mark.parametrize("kind", AREA)
@pytest.mark.parametrize("path", PATHS)
def test_so_are_they_where_no_length_is_declared(http: httpx.Client, path: str, kind: str) -> None:
    answer = http.post(path, content=pieces(path, kind, MILLION), headers=JSON)
    assert "transfer-encoding" in answer.request.headers
    assert f"about {MILLION} vertices came" in refused_at_its_area(answer, path)


def test_one_vertex_too_many_is_told_from_as_many_as_there_may_be(http: httpx.Client) -> None:
    for path in PATHS:
        many = http.post(path, content=b"".join(pieces(path, "Polygon", MAX_VERTICES + 1)))
        assert f"about {MAX_VERTICES + 1} " in refused_at_its_area(many, path)
        few = http.post(path, content=b"".join(pieces(path, "Polygon", MAX_VERTICES)))
        said = problem_of(few, 413)["detail"]
        assert f"{MAX_BODY_BYTES} bytes" in said
        assert "6 decimals" in said, "what would make its body small enough"


def test_the_area_that_is_read_is_refused_in_the_same_words(http: httpx.Client) -> None:
    short = b"[1,2]," * MAX_VERTICES
    body = b'{"name": "n", "geometry": {"type": "Polygon", "coordinates": [[%s[1,2]]]}}' % short
    assert len(body) < MAX_BODY_BYTES
    detail = refused_at_its_area(http.post("/areas", content=body, headers=JSON), "/areas")
    assert f"at least {MAX_VERTICES + 1} vertices" in detail


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("filling", [b"x", b"[", b" "])
def test_what_is_large_for_another_reason_is_a_body_too_large(
    http: httpx.Client, path: str, filling: bytes
) -> None:
    body = b'{"model": "' + filling * (3 * MB) + b'", "aoi": {"coordinates": [[[1, 2]]]}}'
    for content in (body, iter([body[:MB], body[MB:]])):
        found = problem_of(http.post(path, content=content, headers=JSON), 413)
        assert found["code"] == "body_too_large"


def test_other_operations_take_no_large_body_whatever_is_in_it(http: httpx.Client) -> None:
    body = b"".join(pieces("/jobs", "Polygon", MILLION))
    for method, path in (
        ("POST", "/scenes"),
        ("POST", "/webhooks"),
        ("PATCH", f"/jobs/{'0' * 36}"),
    ):
        problem_of(http.request(method, path, content=body, headers=JSON), 413)


def test_a_small_body_of_undeclared_length_is_read(http: httpx.Client, scene: str) -> None:
    request = {"model": MODEL, "scenes": [scene], "aoi": square(14.9, 45.0, 15.2, 45.2)}
    body = json.dumps(request).encode()
    parts = iter([body[at : at + 7] for at in range(0, len(body), 7)])
    answer = http.post("/jobs/quote", content=parts, headers=JSON)
    assert answer.status_code == 200, answer.text
    assert answer.json()["tiles_planned"] > 0


def test_the_connection_goes_on_behind_an_area_that_was_refused(http: httpx.Client) -> None:
    for _ in range(2):
        answer = http.post("/areas", content=pieces("/areas", "Polygon", MILLION), headers=JSON)
        refused_at_its_area(answer, "/areas")
        assert http.get("/areas").status_code == 200


# ---- what it may cost ----


def resident_mb() -> float:
    """What this process, which has the server, holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / MB


@contextmanager
def watched() -> Iterator[list[float]]:
    """Samples of what is held while the block runs."""
    samples = [resident_mb()]
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.005):
            samples.append(resident_mb())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("is_declared", [True, False])
def test_many_at_once_are_counted_and_none_is_held(service: Service, is_declared: bool) -> None:
    senders, vertices = 6, 1_400_000
    size = sum(len(part) for part in pieces("/jobs", "Polygon", vertices))
    assert 50 * MB < size < MAX_COUNTED_BYTES

    def send(_: int) -> httpx.Response:
        headers = JSON | ({"Content-Length": str(size)} if is_declared else {})
        content = pieces("/jobs", "Polygon", vertices)
        return httpx.post(
            f"{service.url}/api/v1/jobs", content=content, headers=headers, timeout=60
        )

    with ThreadPoolExecutor(senders) as pool:
        send(0)  # what a first one loads is not its body
        with watched() as samples:
            for answer in pool.map(send, range(senders)):
                assert f"about {vertices} " in refused_at_its_area(answer, "/jobs")
    kept_mb = 0 if is_declared else 2 * senders * MAX_BODY_BYTES / MB  # before it is known
    assert max(samples) - samples[0] < 40 + kept_mb, f"{senders * size / MB:.0f} MB came"


def raw(url: str) -> socket.socket:
    place = urlsplit(url)
    return socket.create_connection((place.hostname, place.port or 80), timeout=60)


def head(length: int | None, path: str = "/api/v1/jobs") -> bytes:
    size = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length
    return b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n\r\n" % (path.encode(), size)


def answered(connection: socket.socket) -> tuple[int, bytes]:
    """The status and all of an answer that ends with the connection."""
    answer = b""
    while part := connection.recv(65_536):
        answer += part
    return int(answer.split(b" ", 2)[1]), answer


def test_what_is_declared_to_be_beyond_all_measure_is_not_waited_for(service: Service) -> None:
    with raw(service.url) as connection:
        connection.sendall(head(MAX_COUNTED_BYTES + 1))
        status, answer = answered(connection)
    assert status == 413
    assert b"2097152 bytes" in answer


def test_what_turns_out_to_be_beyond_all_measure_is_refused(service: Service) -> None:
    part = POSITION[:32] * (MB // 32)
    with raw(service.url) as connection:
        connection.sendall(head(None))
        for _ in range(MAX_COUNTED_BYTES // len(part)):
            connection.sendall(b"%x\r\n%s\r\n" % (len(part), part))
        connection.sendall(b"1\r\n,")  # and nothing behind, which would be cut off
        status, _ = answered(connection)
    assert status == 413


def test_nobody_is_counted_for_whom_nobody_knows(database_url: str, tmp_path: Path) -> None:
    with serving(database_url, None, tmp_path, auth="required") as service:
        for path in PATHS:
            with raw(service.url) as connection:
                connection.sendall(head(40 * MB, f"/api/v1{path}"))
                status = int(connection.recv(65_536).split(b" ", 2)[1])
            assert status == 401, "before any of it has come"
        with client(service, make_key(service.database, "ann", Scope.OPERATOR).text) as http:
            for path in PATHS:
                body = b"".join(pieces(path, "Polygon", MILLION))
                refused_at_its_area(http.post(path, content=body, headers=JSON), path)


@contextmanager
def small_app(counting_s: float) -> Iterator[str]:
    """An app that tells how large bodies are, with less patience than the real one."""
    app = FastAPI()

    @app.post("/api/v1/jobs")
    async def size(request: Request) -> int:
        return len(await request.body())

    app.add_middleware(BodyLimit)
    app.add_middleware(AreaLimit, counting_s=counting_s)
    with listening(app) as url:
        yield url


@pytest.mark.parametrize("length", [8 * MB, None])
@pytest.mark.parametrize(("positions", "status"), [(60_000, 413), (110_000, 422)])
def test_someone_who_sends_slowly_is_not_waited_for_for_ever(
    length: int | None, positions: int, status: int
) -> None:
    with small_app(2) as url, raw(url) as connection:
        start = b"%x\r\n" % (8 * MB) if length is None else b""
        connection.sendall(head(length) + start + POSITION * positions)  # and nothing behind
        found, answer = answered(connection)
    assert found == status
    assert b"connection: close" in answer.lower()
    assert ("at least" in answer.decode()) == (status == 422)


def test_those_who_hold_all_turns_hold_up_nobody_who_asks_for_less() -> None:
    with small_app(60) as url, ExitStack() as stack:
        held = [stack.enter_context(raw(url)) for _ in range(COUNTED_AT_ONCE)]
        for connection in held:
            connection.sendall(head(3 * MB) + POSITION * 10_000)
        for _ in range(3):
            small = httpx.post(f"{url}/api/v1/jobs", content=b"x" * MB, timeout=60)
            assert small.json() == MB
        held[0].close()  # and a turn is free
        content = pieces("/jobs", "Polygon", MILLION)
        answer = httpx.post(f"{url}/api/v1/jobs", content=content, headers=JSON, timeout=60)
        refused_at_its_area(answer, "/jobs")


@pytest.mark.parametrize("length", [3 * MB, None])
@pytest.mark.parametrize("sent_bytes", [10, 2_500_000])
def test_someone_who_leaves_in_the_middle_leaves_nothing_behind(
    service: Service, caplog: pytest.LogCaptureFixture, length: int | None, sent_bytes: int
) -> None:
    with caplog.at_level(logging.WARNING):
        with raw(service.url) as connection:
            start = b"%x\r\n" % (3 * MB) if length is None else b""
            connection.sendall(head(length) + start + b"[" * sent_bytes)
        open_now = 'constellation_connections_open{kind="http"} 1.0'
        end_s = time.monotonic() + 60
        while open_now not in httpx.get(f"{service.url}/metrics").text:
            assert time.monotonic() < end_s, "it is still under way"
            time.sleep(0.05)
    assert not caplog.records
