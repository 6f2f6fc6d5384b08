"""Values that attack, in every place of every operation: a refusal that says why, never a fault.

The places are those of the OpenAPI document, so that a new parameter is tried without being named.
"""

import json
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest

from tests.api.areas import COSTLY, polygon, submission
from tests.api.service import MODEL, Service, square, write_raster
from tests.api.test_jobs import problem_of

TRAVERSAL = (
    "../../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "/etc/passwd",
    "....//",
    "file:///etc",
)
REQUESTS = (
    "http://169.254.169.254/latest/meta-data/",
    "http://127.0.0.1:5432/",
    "http://[::1]/",
    "gopher://127.0.0.1:4222/_",
    "\\\\127.0.0.1\\share",
    "/vsicurl/http://127.0.0.1/",
    "/vsizip//etc/passwd",
)
HEADERS = ("a\r\nSet-Cookie: x=1", "a\nLocation: http://evil", "a%0d%0aSet-Cookie:%20x=1", "a\x00b")
STATEMENTS = ("' or 1=1 --", "1; drop table constellation.jobs", "$1", "%s", "%(id)s", "{{7*7}}")
ODD = ("\u202e", "😀" * 50, "a" * 5_000, "-1", "NaN", "1e999", "9" * 40, "")
VALUES = (*TRAVERSAL, *REQUESTS, *HEADERS, *STATEMENTS, *ODD)
MAX_S = 30.0  # what takes a tenth of a second may take long on a busy machine

# Such a value stands for a job that may never end: its log is followed for ever.
ENDLESS = "follow"


def places(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every parameter of every operation."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", []):
                yield method, path, parameter


def attacked(path: str, parameter: dict[str, Any], value: str) -> str:
    """The path with the value in this place, and something harmless in the others."""
    if parameter["in"] == "path":
        path = path.replace("{" + parameter["name"] + "}", quote(value, safe="") or "%20")
    while "{" in path:
        head, _, tail = path.partition("{")
        path = head + "x" + tail.partition("}")[2]
    if parameter["in"] == "query":
        path += f"?{parameter['name']}={quote(value, safe='')}"
    return path


def test_no_value_in_any_parameter_makes_a_fault(service: Service) -> None:
    document = httpx.get(f"{service.url}/openapi.json").json()
    tried = set()
    with httpx.Client(base_url=service.url, timeout=60) as http:
        for method, path, parameter in places(document):
            if parameter["in"] == "header" or parameter["name"] == ENDLESS:
                continue
            for value in VALUES:
                answer = http.request(method, attacked(path, parameter, value))
                where = f"{method} {path} {parameter['name']}={value[:40]!r}"
                assert answer.status_code < 500, where
                assert "set-cookie" not in answer.headers, where
                assert "root:" not in answer.text, where
                # To a browser that signs in a refusal is a page.
                page = path.startswith("/auth/oidc") and answer.status_code == 404
                if answer.status_code >= 400 and not page:
                    assert answer.headers["content-type"] == "application/problem+json", where
            tried.add((method, path, parameter["name"]))
    assert len(tried) >= 25
    count = service.database.fetch_one("select count(*) as n from constellation.jobs")
    assert count is not None, "the table is still there"


@pytest.mark.parametrize("name", ["Idempotency-Key", "Last-Event-ID", "Authorization", "Cookie"])
@pytest.mark.parametrize("value", [b"\x00", b"\xff\xfe", b"a\tb", b"../..", b"x" * 8_000, b"'--"])
def test_no_header_makes_a_fault(service: Service, scene: str, name: str, value: bytes) -> None:
    body = json.dumps({"model": MODEL, "scenes": [scene]}).encode()
    status, _ = raw(
        service,
        b"POST /api/v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\nConnection: close\r\n%s: %s\r\n\r\n%s"
        % (len(body), name.encode(), value, body),
    )
    assert status in (202, 400, 401, 422, 429)


def test_headers_beyond_all_measure_are_refused(service: Service) -> None:
    head = b"GET /api/v1/about HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    status, answer = raw(service, head + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n")
    assert status == 431
    assert b"application/problem+json" in answer


def test_a_body_in_pieces_is_refused_once_it_is_too_large(service: Service) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(64):
            yield b" " * 65_536

    with httpx.Client(base_url=f"{service.url}/api/v1", timeout=60) as http:
        problem_of(http.post("/jobs", content=pieces()), 413)


@pytest.mark.parametrize(
    ("body", "kind", "statuses"),
    [
        (b"[" * 100_000, "application/json", (422,)),
        (b'{"a":' * 100_000, "application/json", (422,)),
        (b"\xff\xfe{}", "application/json", (422,)),
        (b"{", "application/json", (422,)),
        (b"null", "application/json", (422,)),
        (b'{"model": NaN, "scenes": ["a"]}', "application/json", (422,)),
        (b"model=a&scenes=b", "application/x-www-form-urlencoded", (415, 422)),
        (b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]>", "application/xml", (415, 422)),
        (b'{"model": "a", "scenes": ["b"]}', "text/plain", (415, 422)),
    ],
)
def test_what_is_no_request_is_refused(
    http: httpx.Client, body: bytes, kind: str, statuses: tuple[int, ...]
) -> None:
    answer = http.post("/jobs", content=body, headers={"Content-Type": kind})
    assert answer.status_code in statuses, answer.text
    problem_of(answer, answer.status_code)


def test_of_a_member_given_twice_the_last_one_counts_in_every_check(
    http: httpx.Client, scene: str
) -> None:
    body = f'{{"model": "{MODEL}", "model": "no@1", "scenes": ["{scene}"]}}'
    answer = http.post("/jobs", content=body, headers={"Content-Type": "application/json"})
    assert problem_of(answer, 422)["errors"][0]["pointer"] == "/model"


BOW_TIE = [[15, 45], [15.1, 45.1], [15.1, 45], [15, 45.1], [15, 45]]
HEIGHTS = [[14.9, 45.0, 10], [15.2, 45.0, 10], [15.2, 45.2, 1e300], [14.9, 45.0, 10]]


@pytest.mark.parametrize(
    ("area", "pointer"),
    [
        (polygon(BOW_TIE), "/aoi/coordinates/0"),
        (
            polygon(
                [
                    [500_000, 5_000_000],
                    [500_100, 5_000_000],
                    [500_100, 5_000_100],
                    [500_000, 5_000_000],
                ]
            ),
            "/aoi/coordinates/0/0",
        ),
        (polygon([[15, 45], [15, 95], [16, 95], [15, 45]]), "/aoi/coordinates/0/1"),
        (polygon([[15, 45], [15, 45], [15, 45], [15, 45]]), "/aoi/coordinates/0"),
        (polygon([[15, 45], ["15", 46], [16, 46], [15, 45]]), "/aoi/coordinates/0/1"),
        ({"type": "Point", "coordinates": [15, 45]}, "/aoi/type"),
        ({"type": "Polygon", "coordinates": []}, "/aoi/coordinates"),
        ({"type": "GeometryCollection", "geometries": []}, "/aoi/type"),
        (square(0, 0, 1, 1) | {"crs": {"properties": {"name": "EPSG:3857"}}}, "/aoi/crs"),
    ],
)
def test_a_hostile_area_is_refused_at_its_place(
    http: httpx.Client, scene: str, area: dict[str, Any], pointer: str
) -> None:
    began = time.perf_counter()
    answer = http.post("/jobs/quote", json={"model": MODEL, "scenes": [scene], "aoi": area})
    assert time.perf_counter() - began < MAX_S
    assert problem_of(answer, 422)["errors"][0]["pointer"].startswith(pointer)


def test_an_area_of_not_a_number_is_refused(http: httpx.Client, scene: str) -> None:
    for text in ("NaN", "Infinity", "1e999"):
        area = json.dumps(polygon(BOW_TIE)).replace("15.1", text)
        body = f'{{"model": "{MODEL}", "scenes": ["{scene}"], "aoi": {area}}}'
        answer = http.post("/jobs", content=body, headers={"Content-Type": "application/json"})
        assert problem_of(answer, 422)["errors"][0]["pointer"].startswith("/aoi")


@pytest.mark.parametrize(
    "area",
    [
        polygon(HEIGHTS),  # heights do not count
        square(14.9 + 360, 45.0, 15.2 + 360, 45.2),  # once round the globe
        polygon([[-180, 40], [0, 40], [180, 40], [180, 90], [-180, 90], [-180, 40]]),  # with a pole
    ],
)
def test_an_odd_area_that_is_right_is_taken(
    http: httpx.Client, scene: str, area: dict[str, Any]
) -> None:
    answer = http.post("/jobs/quote", json={"model": MODEL, "scenes": [scene], "aoi": area})
    assert answer.status_code == 200, answer.text
    assert answer.json()["tiles_planned"] > 0


def raw(service: Service, request: bytes) -> tuple[int, bytes]:
    """Send bytes that no client library would send; the status and the whole answer."""
    place = urlsplit(service.url)
    with socket.create_connection((place.hostname, place.port or 80), timeout=60) as connection:
        try:
            connection.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has answered before it heard everything
        answer = b""
        while b"\r\n\r\n" not in answer and (part := connection.recv(65_536)):
            answer += part
    return int(answer.split(b" ", 2)[1]), answer


@pytest.mark.parametrize(
    "key",
    ["a/b", "../x", "..", ".", "a?b#c", "a b%0d%0a", "a\r\nLocation: x", "é\u2028b", "жы", ""],
)
def test_a_key_that_could_not_stand_in_a_header_or_a_path_is_refused(
    http: httpx.Client, service: Service, key: str
) -> None:
    write_raster(service.scenes / "keyed.tif", size_px=64)
    answer = http.post("/scenes", json={"path": "keyed.tif", "key": key})
    problem_of(answer, 422)
    assert "location" not in answer.headers


@pytest.mark.parametrize("name", COSTLY)
def test_the_costliest_areas_take_a_second_of_the_processors_time_at_most(
    http: httpx.Client, scene: str, name: str
) -> None:
    area, status = COSTLY[name]
    content = submission(area, MODEL, scene)
    began_s = time.process_time()  # the server is in this process
    headers = {"Content-Type": "application/json"}
    answer = http.post("/jobs/quote", content=content, headers=headers)
    took_s = time.process_time() - began_s
    assert answer.status_code == status, answer.text
    if status == 422:
        pointer = problem_of(answer, 422)["errors"][0]["pointer"]
        assert pointer.startswith("" if "bottomless" in name else "/aoi"), "of what cannot be read"
    assert took_s < 3, "three times the second that `make bench ONLY=fuzz` allows"


@pytest.mark.parametrize("levels", [33, 500, 20_000])
def test_a_deep_area_is_refused_at_its_place(http: httpx.Client, scene: str, levels: int) -> None:
    deep = "[" * levels + "]" * levels
    body = f'{{"model": "{MODEL}", "scenes": ["{scene}"], "aoi": {{"coordinates": {deep}}}}}'
    headers = {"Content-Type": "application/json"}
    answer = http.post("/jobs/quote", content=body, headers=headers)
    assert problem_of(answer, 422)["errors"][0]["pointer"] in ("/aoi", "")
