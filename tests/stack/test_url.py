import pytest

from constellation_pipelines.stack.url import masked


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:s3cret@db:5432/eo", "postgresql://ann:***@db:5432/eo"),
        ("postgresql://ann:a:b@c@db/eo", "postgresql://ann:***@db/eo"),
        ("postgresql://ann@/eo?host=/run&port=1", "postgresql://ann@/eo?host=/run&port=1"),
        ("postgresql://db/eo?user=ann&password=s3cret", "postgresql://db/eo?user=ann&password=***"),
        ("postgresql://db/eo?sslpassword=s3cret&x=1", "postgresql://db/eo?sslpassword=***&x=1"),
        ("nats://s3cret@host:4222", "nats://***@host:4222"),
        ("nats://a:s3cret@h1:1,nats://b:s3cret@h2:2", "nats://a:***@h1:1,nats://b:***@h2:2"),
        ("host=db password=s3cret", "***"),
        ("postgresql://[s3cret", "***"),
    ],
)
def test_no_password_is_shown(url: str, shown: str) -> None:
    assert masked(url) == shown
    assert "s3cret" not in masked(url)
