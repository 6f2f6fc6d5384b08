"""Which URLs may be opened: only what the operator listed, read in one way only."""

import pytest

from constellation_pipelines.domain.errors import InvalidInput
from constellation_pipelines.remote.errors import RemoteRefused
from constellation_pipelines.remote.hosts import Allowed, Store, allowed_by, host_of, is_remote
from constellation_pipelines.settings import Settings

LISTED = ("data.example.org", "*.tiles.example.com", "http://plain.example.org:8080", "s3://scenes")


@pytest.fixture
def allowed() -> Allowed:
    return Allowed.of(LISTED)


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("https://data.example.org/a/b.tif", ("https", "data.example.org", 443, "/a/b.tif")),
        ("HTTPS://Data.Example.org/A.tif", ("https", "data.example.org", 443, "/A.tif")),
        ("https://data.example.org:443/a.tif", ("https", "data.example.org", 443, "/a.tif")),
        (
            "https://a.b.tiles.example.com/x%20y.tif",
            ("https", "a.b.tiles.example.com", 443, "/x%20y.tif"),
        ),
        ("http://plain.example.org:8080/a.tif", ("http", "plain.example.org", 8080, "/a.tif")),
    ],
)
def test_what_is_listed_may_be_opened(
    allowed: Allowed, url: str, where: tuple[str, str, int, str]
) -> None:
    target = allowed.check(url)
    assert (target.scheme, target.host, target.port, target.path) == where


@pytest.mark.parametrize(
    "url",
    [
        "https://other.example.org/a.tif",
        "http://data.example.org/a.tif",  # listed for https
        "https://data.example.org:8443/a.tif",
        "https://data.example.org.evil.example/a.tif",
        "https://evil-data.example.org/a.tif",
        "https://tiles.example.com/a.tif",  # the wildcard is for hosts below
        "https://eviltiles.example.com/a.tif",
        "https://user@data.example.org/a.tif",
        "https://user:secret@data.example.org/a.tif",
        "https://data.example.org@evil.example/a.tif",
        "https://data.example.org\\@evil.example/a.tif",
        "https://evil.example#@data.example.org/a.tif",
        "https://evil.example?@data.example.org/a.tif",
        "https://2130706433/a.tif",
        "https://0x7f000001/a.tif",
        "https://127.0.0.1/a.tif",
        "https://[::1]/a.tif",
        "https://[::ffff:127.0.0.1]/a.tif",
        "https://169.254.169.254/latest/meta-data",
        "https://localhost/a.tif",
        "https://data.example.org./a.tif",
        "https://data.example.org:0/a.tif",
        "https://data.example.org:99999/a.tif",
        "https://data.example.org:443:80/a.tif",
        "https://data.example.org",
        "https:data.example.org/a.tif",
        "https:///a.tif",
        "https://data.example.org/a b.tif",
        "https://data.example.org/a.tif\r\nHost: evil.example",
        "https://data.example.org/a.tif\n",
        "https://data.example.org/\x00.tif",
        "https://data.example.org/%zz.tif",
        "https://data.\u0435xample.org/a.tif",  # a Cyrillic letter
        "https://data.example.org/a.tif?X-Amz-Signature=abc",
        "https://data.example.org/a.tif#x",
        "file:///etc/passwd",
        "ftp://data.example.org/a.tif",
        "gopher://data.example.org/a.tif",
        "/vsicurl/https://data.example.org/a.tif",
        "vrt://https://data.example.org/a.tif",
        "https://data.example.org/" + "a" * 3000,
        "",
        "s3://other/a.tif",
        "s3://scenes",
        "s3://scenes/",
        "s3://scenes/../other/a.tif",
        "s3://scenes/a/./b.tif",
        "s3://SCENES/a.tif",
        "s3://scenes:443/a.tif",
        "s3://key:secret@scenes/a.tif",
        "s3:///a.tif",
    ],
)
def test_what_is_not_listed_is_refused(allowed: Allowed, url: str) -> None:
    with pytest.raises(RemoteRefused) as refused:
        allowed.check(url)
    assert "secret" not in refused.value.message
    assert "Signature=" not in refused.value.message


def test_without_a_list_nothing_is_opened() -> None:
    for url in ("https://data.example.org/a.tif", "s3://scenes/a.tif"):
        with pytest.raises(RemoteRefused, match="CONSTELLATION_REMOTE_HOSTS"):
            Allowed().check(url)


@pytest.mark.parametrize(
    "rule", ["", "a b", "https://", "*", "*.", "user@host", "ftp://host", "host:0", "host/path"]
)
def test_a_list_that_makes_no_sense_is_refused(rule: str) -> None:
    with pytest.raises(InvalidInput, match="CONSTELLATION_REMOTE_HOSTS"):
        Allowed.of([rule])


@pytest.mark.parametrize(
    ("location", "where"),
    [
        (
            "https://cdn.tiles.example.com/a.tif?X-Sig=1",
            ("cdn.tiles.example.com", "/a.tif?X-Sig=1"),
        ),
        ("/elsewhere.tif", ("data.example.org", "/elsewhere.tif")),
    ],
)
def test_a_redirect_may_lead_where_a_scene_may(
    allowed: Allowed, location: str, where: tuple[str, str]
) -> None:
    before = allowed.check("https://data.example.org/a.tif")
    target = allowed.check_hop(location, before)
    assert (target.host, target.path) == where
    assert target.shown == "https://data.example.org/a.tif"  # no signature in a message


@pytest.mark.parametrize(
    "location",
    [
        "https://evil.example/a.tif",
        "http://data.example.org/a.tif",
        "//evil.example/a.tif",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "https://user@data.example.org/a.tif",
    ],
)
def test_a_redirect_leads_nowhere_else(allowed: Allowed, location: str) -> None:
    before = allowed.check("https://data.example.org/a.tif")
    with pytest.raises(RemoteRefused, match="redirects to a host that is not allowed"):
        allowed.check_hop(location, before)


@pytest.mark.parametrize(
    ("store", "url", "where"),
    [
        (
            Store(),
            "s3://scenes/a b/ü.tif",
            "https://scenes.s3.us-east-1.amazonaws.com/a%20b/%C3%BC.tif",
        ),
        (
            Store(region="eu-central-1"),
            "s3://scenes/a.tif",
            "https://scenes.s3.eu-central-1.amazonaws.com/a.tif",
        ),
        (
            Store("https://minio.example:9000"),
            "s3://scenes/a.tif",
            "https://minio.example:9000/scenes/a.tif",
        ),
        (
            Store("http://minio.example"),
            "s3://scenes/a%.tif",
            "http://minio.example/scenes/a%25.tif",
        ),
    ],
)
def test_where_an_object_of_a_store_is(store: Store, url: str, where: str) -> None:
    target = Allowed.of(["s3://scenes"], store=store).check(url)
    assert f"{target.scheme}://{target.authority}{target.path}" == where
    assert target.shown == url
    assert target.signed


def test_a_bucket_with_a_dot_is_named_in_the_path_because_of_tls() -> None:
    target = Allowed.of(["s3://my.scenes"]).check("s3://my.scenes/a.tif")
    assert (target.host, target.path) == ("s3.us-east-1.amazonaws.com", "/my.scenes/a.tif")


def test_a_listed_host_of_a_store_stands_for_its_buckets() -> None:
    allowed = Allowed.of(["*.s3.us-east-1.amazonaws.com"])
    assert allowed.check("s3://any/a.tif").host == "any.s3.us-east-1.amazonaws.com"


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSTELLATION_S3_ACCESS_KEY_ID", "AKIA")
    monkeypatch.setenv("CONSTELLATION_S3_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("CONSTELLATION_S3_SESSION_TOKEN", "hush")
    settings = Settings()
    allowed = allowed_by(settings)
    assert (allowed.store.secret, allowed.store.token) == ("hush", "hush")
    assert "hush" not in repr(allowed) + repr(settings) + str(settings)


def test_settings_are_lists_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSTELLATION_REMOTE_HOSTS", "a.example, s3://scenes ,")
    monkeypatch.setenv("CONSTELLATION_REMOTE_PRIVATE_HOSTS", "10.0.0.5")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    allowed = allowed_by(Settings())
    assert [rule.host for rule in allowed.rules] == ["a.example"]
    assert allowed.buckets == {"scenes"}
    assert allowed.private == {"10.0.0.5"}
    assert (allowed.store.key_id, allowed.store.secret) == ("AKIA", "hush")


def test_a_remote_scene_is_known_by_its_uri() -> None:
    assert is_remote("https://a/b.tif")
    assert is_remote("s3://bucket/key")
    assert not is_remote("/data/a.tif")
    assert host_of("https://a.example:8443/b.tif") == "a.example:8443"
