"""What a server may answer, and what becomes of each answer."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from constellation_pipelines.domain.errors import ConstellationError
from constellation_pipelines.remote.errors import RemoteAway, RemoteRefused
from constellation_pipelines.remote.hosts import Allowed, Store
from constellation_pipelines.remote.ranges import (
    FIRST_BYTES,
    Patience,
    Ranges,
    Version,
    retry_after_s,
)
from tests.imagery.listener import listen
from tests.remote.range_server import Asked, Handler, RangeServer, hang_up, reply, serving

DATA = bytes(range(256)) * 1024
SHORT = Patience(connect_s=2, read_s=0.5, grace_s=0.5, least_bytes_s=100_000)


@pytest.fixture
def server() -> Iterator[RangeServer]:
    with serving(**{"a.tif": DATA, "small.tif": b"II*\x00" + bytes(60)}) as started:
        yield started


@pytest.fixture
def ranges(server: RangeServer) -> Iterator[Ranges]:
    allowed = Allowed.of([server.origin], ["127.0.0.1"])
    with Ranges(allowed, connections=4, patience=SHORT) as opened:
        yield opened


def refusal(ask: Callable[[], object], kind: type[ConstellationError]) -> ConstellationError:
    with pytest.raises(kind) as raised:
        ask()
    assert raised.type is kind
    return raised.value


def test_first_bytes_say_which_version_it_is(server: RangeServer, ranges: Ranges) -> None:
    answer = ranges.first(server.url("/a.tif"))
    assert answer.data == DATA[:FIRST_BYTES]
    assert answer.version == Version(len(DATA), server.etag("/a.tif"), None)
    assert server.asked[0].headers["accept-encoding"] == "identity"


def test_a_file_that_is_smaller_than_the_first_range(server: RangeServer, ranges: Ranges) -> None:
    assert ranges.first(server.url("/small.tif")).version.size == 64


def test_ranges_ask_for_the_same_version_over_the_same_connection(
    server: RangeServer, ranges: Ranges
) -> None:
    version = ranges.first(server.url("/a.tif")).version
    assert ranges.read(server.url("/a.tif"), 1000, 50, version) == DATA[1000:1050]
    assert ranges.read(server.url("/a.tif"), len(DATA) - 5, 50, version) == DATA[-5:]
    assert [asked.headers.get("if-match") for asked in server.asked] == [
        None,
        version.etag,
        version.etag,
    ]
    assert len({asked.connection for asked in server.asked}) == 1


def test_another_version_is_refused_although_the_server_ignores_if_match(
    server: RangeServer, ranges: Ranges
) -> None:
    url = server.url("/a.tif")
    version = ranges.first(url).version
    server.objects["/a.tif"] = DATA[::-1]
    assert "has changed" in refusal(lambda: ranges.read(url, 0, 5, version), RemoteRefused).message

    def careless(handler: Handler, asked: Asked) -> bool:
        asked.headers.pop("if-match")
        return False

    server.fault = careless
    assert "has changed" in refusal(lambda: ranges.read(url, 0, 5, version), RemoteRefused).message


def test_a_weak_tag_is_compared_and_never_sent() -> None:
    assert Version(1, 'W/"a"', "today").conditions == {}
    assert Version(1, '"a"', "today").conditions == {"if-match": '"a"'}
    assert Version(1, None, "today").conditions == {"if-unmodified-since": "today"}
    assert Version(1, None, None).conditions == {}


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (404, RemoteRefused, "is not there"),
        (410, RemoteRefused, "is not there"),
        (401, RemoteRefused, "may not be read"),
        (403, RemoteRefused, "may not be read"),
        (412, RemoteRefused, "has changed"),
        (416, RemoteRefused, "has changed"),
        (400, RemoteRefused, "answers 400"),
        (204, RemoteRefused, "answers 204"),
        (429, RemoteAway, "answers 429"),
        (500, RemoteAway, "answers 500"),
        (503, RemoteAway, "answers 503"),
    ],
)
def test_statuses(
    server: RangeServer, ranges: Ranges, status: int, kind: type[ConstellationError], words: str
) -> None:
    def answer(handler: Handler, asked: Asked) -> bool:
        reply(handler, status, {"Retry-After": "7"})
        return True

    server.fault = answer
    error = refusal(lambda: ranges.first(server.url("/a.tif")), kind)
    assert words in error.message
    assert getattr(error, "retry_after_s", 7.0) == 7.0


def answers(server: RangeServer, how: Callable[[Handler, Asked], object]) -> None:
    def fault(handler: Handler, asked: Asked) -> bool:
        how(handler, asked)
        return True

    server.fault = fault


@pytest.mark.parametrize(
    "content_range",
    [
        "bytes 0-9/1000",
        "bytes 5-9/1000",
        "bytes 0-65535/*",
        "bytes */1000",
        "bytes 9-0/1000",
        "bytes 0-65535/100",
        "bytes 0-65535/99999999999999999999999",
        "pages 0-65535/100000",
        "bytes -1-65535/100000",
        "nonsense",
        "",
    ],
)
def test_an_answer_with_another_range_is_refused(
    server: RangeServer, ranges: Ranges, content_range: str
) -> None:
    answers(
        server,
        lambda handler, _: reply(
            handler, 206, {"Content-Range": content_range}, DATA[:FIRST_BYTES]
        ),
    )
    refusal(lambda: ranges.first(server.url("/a.tif")), RemoteRefused)


def test_a_server_without_ranges_is_refused_before_its_body_is_read(
    server: RangeServer, ranges: Ranges
) -> None:
    answers(server, lambda handler, _: reply(handler, 200, {}, DATA))
    error = refusal(lambda: ranges.first(server.url("/a.tif")), RemoteRefused)
    assert "does not serve ranges" in error.message
    assert ranges.received_bytes == 0


def test_a_small_file_may_come_whole(server: RangeServer, ranges: Ranges) -> None:
    answers(server, lambda handler, _: reply(handler, 200, {}, DATA[:100]))
    assert ranges.first(server.url("/a.tif")).version.size == 100


def test_a_body_that_is_cut_off(server: RangeServer, ranges: Ranges) -> None:
    def cut(handler: Handler, _: Asked) -> None:
        headers = {"Content-Range": f"bytes 0-{FIRST_BYTES - 1}/{len(DATA)}"}
        reply(handler, 206, {**headers, "Content-Length": str(FIRST_BYTES)}, DATA[:1000])
        hang_up(handler)

    answers(server, cut)
    refusal(lambda: ranges.first(server.url("/a.tif")), RemoteAway)


@pytest.mark.parametrize("length", [10, 2**40])
def test_a_length_that_lies(server: RangeServer, ranges: Ranges, length: int) -> None:
    def lie(handler: Handler, _: Asked) -> None:
        headers = {"Content-Range": f"bytes 0-{FIRST_BYTES - 1}/{len(DATA)}"}
        reply(handler, 206, {**headers, "Content-Length": str(length)}, DATA[:10])
        hang_up(handler)

    answers(server, lie)
    error = refusal(lambda: ranges.first(server.url("/a.tif")), RemoteAway)
    assert str(length) in error.message


def test_a_body_without_end_is_left(server: RangeServer, ranges: Ranges) -> None:
    def endless(handler: Handler, _: Asked) -> None:
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 0-{FIRST_BYTES - 1}/{len(DATA)}")
        handler.send_header("Connection", "close")
        handler.end_headers()
        for _turn in range(1000):
            handler.wfile.write(bytes(65536))
        hang_up(handler)

    answers(server, endless)
    error = refusal(lambda: ranges.first(server.url("/a.tif")), RemoteAway)
    assert "more than was asked for" in error.message
    assert ranges.received_bytes < 10 * FIRST_BYTES


def test_a_slow_drip_is_left(server: RangeServer, ranges: Ranges) -> None:
    def drip(handler: Handler, _: Asked) -> None:
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 0-{FIRST_BYTES - 1}/{len(DATA)}")
        handler.send_header("Content-Length", str(FIRST_BYTES))
        handler.end_headers()
        for byte in range(300):
            handler.wfile.write(DATA[byte : byte + 1])
            time.sleep(0.05)

    answers(server, drip)
    began = time.monotonic()
    error = refusal(lambda: ranges.first(server.url("/a.tif")), RemoteAway)
    assert "too slowly" in error.message
    assert time.monotonic() - began < 12


def test_a_host_that_says_nothing_and_one_that_is_not_there(
    server: RangeServer, ranges: Ranges
) -> None:
    server.latency_s = 2.0
    error = refusal(lambda: ranges.first(server.url("/a.tif")), RemoteAway)
    assert "does not answer in time" in error.message
    with listen() as listener:
        port = listener.port
    nobody = f"http://127.0.0.1:{port}"
    with Ranges(Allowed.of([nobody], ["127.0.0.1"])) as others:
        error = refusal(lambda: others.first(f"{nobody}/a.tif"), RemoteAway)
        assert "cannot be reached" in error.message


def test_a_connection_that_breaks_off(server: RangeServer, ranges: Ranges) -> None:
    answers(server, lambda handler, _: handler.connection.close())
    refusal(lambda: ranges.first(server.url("/a.tif")), RemoteAway)


def test_what_is_encoded_is_refused(server: RangeServer, ranges: Ranges) -> None:
    headers = {"Content-Range": f"bytes 0-9/{10}", "Content-Encoding": "gzip"}
    answers(server, lambda handler, _: reply(handler, 206, headers, DATA[:10]))
    assert "encodes" in refusal(lambda: ranges.first(server.url("/a.tif")), RemoteRefused).message


def redirect(location: str) -> Callable[[Handler, Asked], bool]:
    def fault(handler: Handler, asked: Asked) -> bool:
        if asked.path != "/a.tif":
            return False
        reply(handler, 302, {"Location": location})
        return True

    return fault


def test_a_redirect_to_an_allowed_host_is_followed(ranges: Ranges, server: RangeServer) -> None:
    server.objects["/b.tif"] = DATA
    for location in (server.url("/b.tif?signature=hush"), "/b.tif", "b.tif"):
        server.fault = redirect(location)
        assert ranges.first(server.url("/a.tif")).version.size == len(DATA)


def test_a_redirect_to_a_forbidden_host_sends_it_nothing(
    ranges: Ranges, server: RangeServer
) -> None:
    with listen() as listener:
        for location in (
            f"http://127.0.0.1:{listener.port}/secret",
            f"//127.0.0.1:{listener.port}/secret",
            f"http://localhost:{listener.port}/secret",
            "file:///etc/passwd",
            "http://169.254.169.254/latest/meta-data",
        ):
            server.fault = redirect(location)
            error = refusal(lambda: ranges.first(server.url("/a.tif")), RemoteRefused)
            assert "not allowed" in error.message
            assert "secret" not in error.message
        assert listener.count() == 0


def test_a_redirect_to_a_listed_name_of_a_private_address_sends_it_nothing(
    server: RangeServer,
) -> None:
    with listen() as listener:
        there = f"http://localhost:{listener.port}"
        server.fault = redirect(f"{there}/a.tif")
        with Ranges(Allowed.of([server.origin, there], ["127.0.0.1x"])) as ranges:
            refusal(lambda: ranges.first(server.url("/a.tif")), RemoteRefused)
        assert listener.count() == 0


def test_redirects_in_a_circle_and_to_nowhere(ranges: Ranges, server: RangeServer) -> None:
    server.fault = redirect("/a.tif")
    assert "circle" in refusal(lambda: ranges.first(server.url("/a.tif")), RemoteRefused).message
    answers(server, lambda handler, _: reply(handler, 301, {"x-amz-bucket-region": "eu-west-1"}))
    error = refusal(lambda: ranges.first(server.url("/a.tif")), RemoteRefused)
    assert "CONSTELLATION_S3_REGION" in error.message


def test_requests_to_a_store_are_signed_and_a_redirect_of_it_is_not(server: RangeServer) -> None:
    store = Store(server.origin, key_id="AKIA", secret="hush")
    server.objects["/scenes/a b.tif"] = DATA
    server.objects["/scenes/a%20b.tif"] = DATA
    allowed = Allowed.of(["s3://scenes", server.origin], ["127.0.0.1"], store)
    with Ranges(allowed) as ranges:
        assert ranges.first("s3://scenes/a b.tif").version.size == len(DATA)
        assert "Credential=AKIA/" in server.asked[0].headers["authorization"]
        assert "range" in server.asked[0].headers["authorization"]
        server.fault = lambda handler, asked: (
            asked.path.startswith("/scenes/c") and reply(handler, 307, {"Location": "/a.tif"})
        )
        ranges.first("s3://scenes/c.tif")
        assert "authorization" not in server.asked[-1].headers


def test_how_long_a_host_asks_to_be_left_alone() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=60))
    assert 50 < (retry_after_s(soon) or 0) <= 60
    assert retry_after_s("12") == 12
    assert retry_after_s("999999") == 300
    assert retry_after_s("-5") is None
    assert retry_after_s("whenever") is None
    assert retry_after_s(None) is None
