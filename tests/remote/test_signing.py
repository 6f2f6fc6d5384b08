"""Signatures, compared with the example in the documentation of S3."""

from datetime import UTC, datetime

from constellation_pipelines.remote.hosts import Store, Target
from constellation_pipelines.remote.signing import sign

TARGET = Target("https", "examplebucket.s3.amazonaws.com", 443, "/test.txt", "", signed=True)
STORE = Store(key_id="AKIAIOSFODNN7EXAMPLE", secret="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
AT = datetime(2013, 5, 24, tzinfo=UTC)


def test_the_documented_example() -> None:
    headers = sign(TARGET, STORE, {"range": "bytes=0-9"}, AT)
    assert headers["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )


def test_a_token_is_sent_and_signed() -> None:
    store = Store(key_id="AKIA", secret="hush", token="session")
    headers = sign(TARGET, store, {}, AT)
    assert headers["x-amz-security-token"] == "session"
    assert "x-amz-security-token" in headers["authorization"]
    assert "hush" not in str(headers)


def test_without_keys_nothing_is_signed() -> None:
    assert sign(TARGET, Store(), {}, AT) == {}
