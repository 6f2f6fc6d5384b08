"""Scenes behind URLs over HTTP: what the operator lists may be registered, and nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.main import create_app
from constellation_pipelines.domain.errors import InvalidInput
from constellation_pipelines.settings import Settings
from tests.api.service import Service, listening
from tests.api.test_jobs import problem_of
from tests.imagery.listener import listen
from tests.remote.range_server import RangeServer, reply, serving
from tests.remote.rasters import write_cog

BANDS = ["red", "green", "blue"]


@pytest.fixture(scope="module")
def cog(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_cog(tmp_path_factory.mktemp("cog") / "a.tif").read_bytes()


@pytest.fixture
def server(cog: bytes) -> Iterator[RangeServer]:
    with serving(**{"far.tif": cog}) as started:
        yield started


@pytest.fixture
def far(module_database_url: str, server: RangeServer, tmp_path: Path) -> Iterator[httpx.Client]:
    """The API of an operator who allows this server."""
    settings = Settings(
        database_url=module_database_url,
        data_dir=tmp_path,
        remote_hosts=(server.origin, "s3://scenes"),
        remote_private_hosts=("127.0.0.1", "localhost"),
        s3_endpoint=f"http://localhost:{server.port}",
    )
    with (
        listening(create_app(settings)) as url,
        httpx.Client(base_url=f"{url}/api/v1", timeout=60) as http,
    ):
        yield http


def post(http: httpx.Client, url: str, **more: Any) -> httpx.Response:
    return http.post("/scenes", json={"url": url, "bands": BANDS, **more})


def test_a_scene_is_registered_by_its_url(far: httpx.Client, server: RangeServer) -> None:
    created = post(far, server.url("/far.tif"))
    assert created.status_code == 201
    scene = created.json()
    assert (scene["key"], scene["uri"]) == ("far", server.url("/far.tif"))
    assert (scene["width_px"], scene["height_px"]) == (550, 600)
    asset = scene["item"]["assets"]["data"]
    assert asset["href"] == server.url("/far.tif")
    assert asset["file:size"] == len(server.objects["/far.tif"])
    assert server.sent_bytes < len(server.objects["/far.tif"]) / 2
    again = post(far, server.url("/far.tif"))
    assert again.status_code == 200
    assert again.json()["id"] == scene["id"]


def test_an_object_that_has_changed_is_another_scene(
    far: httpx.Client, server: RangeServer, cog: bytes
) -> None:
    before = post(far, server.url("/far.tif"), key="one").json()
    server.objects["/far.tif"] = cog[:-1] + bytes([cog[-1] ^ 1])
    after = post(far, server.url("/far.tif"), key="two").json()
    assert before["digest"] != after["digest"]


def test_a_scene_of_a_store(far: httpx.Client, server: RangeServer, cog: bytes) -> None:
    server.objects["/scenes/deep/s3.tif"] = cog
    scene = post(far, "s3://scenes/deep/s3.tif").json()
    assert (scene["key"], scene["uri"]) == ("s3", "s3://scenes/deep/s3.tif")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/x.tif",
        "http://localhost/x.tif",
        "http://169.254.169.254/latest/meta-data",
        "https://user:hush@example.org/x.tif",
        "https://example.org/x.tif?sig=hush",
        "file:///etc/passwd",
        "/vsicurl/http://127.0.0.1/x.tif",
        "gs://bucket/x.tif",
        "s3://other/x.tif",
        "x.tif",
    ],
)
def test_what_is_not_listed_is_refused_and_nothing_is_repeated_that_is_secret(
    far: httpx.Client, server: RangeServer, url: str
) -> None:
    asked = len(server.asked)
    found = problem_of(post(far, url), 422)
    assert found["errors"][0]["pointer"] == "/url"
    assert "hush" not in str(found)
    assert len(server.asked) == asked


def test_a_redirect_to_a_forbidden_host_is_refused(far: httpx.Client, server: RangeServer) -> None:
    with listen() as listener:
        location = f"http://127.0.0.1:{listener.port}/secret"
        server.fault = lambda handler, _: reply(handler, 302, {"Location": location})
        assert "not allowed" in problem_of(post(far, server.url("/far.tif")), 422)["detail"]
        assert listener.count() == 0


def test_a_host_that_is_away_can_be_asked_again(far: httpx.Client, server: RangeServer) -> None:
    server.fault = lambda handler, _: reply(handler, 503, {"Retry-After": "60"})
    reply_ = post(far, server.url("/far.tif"))
    assert "answers 503" in problem_of(reply_, 503)["detail"]
    assert "retry-after" in reply_.headers


@pytest.mark.parametrize("data", [b"<html>no raster</html>", b"II*\x00" + bytes(100)])
def test_what_is_no_raster_is_refused_by_its_name(
    far: httpx.Client, server: RangeServer, data: bytes
) -> None:
    server.objects["/page.tif"] = data
    found = problem_of(post(far, server.url("/page.tif")), 422)
    assert found["detail"].startswith("page.tif: ")


def test_by_default_there_is_no_network(service: Service, server: RangeServer) -> None:
    found = problem_of(post(service.http, server.url("/far.tif")), 422)
    assert "CONSTELLATION_REMOTE_HOSTS" in found["detail"]
    assert server.asked == []


def test_a_scene_is_in_one_place(service: Service) -> None:
    for body in ({}, {"path": "a.tif", "url": "https://a.example/a.tif"}):
        found = problem_of(service.http.post("/scenes", json=body), 422)
        assert "either path or url" in found["detail"]


def test_a_list_of_hosts_that_makes_no_sense_is_told_at_the_start(module_database_url: str) -> None:
    settings = Settings(database_url=module_database_url, remote_hosts=("https://a b/",))
    with pytest.raises(InvalidInput, match="CONSTELLATION_REMOTE_HOSTS: 'https://a b/' is neither"):
        create_app(settings)
