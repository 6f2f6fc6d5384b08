"""Which URLs may be told of jobs, how a body is signed, how often it is tried."""

import hashlib
import hmac

import pytest

from constellation_pipelines.domain.address import is_public
from constellation_pipelines.domain.errors import InvalidInput
from constellation_pipelines.domain.webhook import (
    GIVE_UP_AFTER_S,
    LONGEST_DELAY_S,
    checked_url,
    delay_s,
    new_secret,
    signature,
)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "//example.org/x",
        "ftp://example.org/x",
        "file:///etc/passwd",
        "gopher://example.org/",
        "javascript:alert(1)",
        "http://example.org/",  # in the clear
        "https://",
        "https:///path",
        "https://name:password@example.org/",
        "https://example.org@127.0.0.1/",
        "https://example.org/#part",
        "https://example.org:0/",
        "https://example.org:99999/",
        "https://example.org:port/",
        "https://exa mple.org/",
        "https://example.org/a b",
        "https://example.org/\r\nX-Injected: 1",
        "https://example.org/\x00",
        "https://exämple.org/",
        "https://example.org\\@127.0.0.1/",
        "https://localhost/",
        "https://LOCALHOST./",
        "https://db.localhost/",
        "https://127.0.0.1/",
        "https://127.9.9.9/",
        "https://0.0.0.0/",
        "https://10.1.2.3/",
        "https://172.16.0.1/",
        "https://192.168.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://100.64.0.1/",
        "https://224.0.0.1/",
        "https://255.255.255.255/",
        "https://[::1]/",
        "https://[::]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://[fe80::1]/",
        "https://[fc00::1]/",
        "https://[ff02::1]/",
        "https://[::1",
        "https://[::1%25lo]/",
    ],
)
def test_a_url_that_must_not_be_called_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        checked_url(url)
    assert refused.value.field == "url"


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org",
        "https://example.org:8443/hooks/a?token=x",
        "https://93.184.216.34/",
        "https://[2606:2800:220:1::1]:443/x",
    ],
)
def test_a_url_of_a_public_network_is_taken(url: str) -> None:
    assert checked_url(url).hostname


def test_a_private_host_is_taken_only_where_it_is_allowed() -> None:
    assert checked_url("http://hooks.internal:9000/x", ["hooks.internal"]).port == 9000
    assert checked_url("http://127.0.0.1:9000/x", ["127.0.0.1"]).port == 9000
    with pytest.raises(InvalidInput):
        checked_url("http://127.0.0.2:9000/x", ["127.0.0.1"])
    with pytest.raises(InvalidInput):
        checked_url("http://x:y@127.0.0.1:9000/x", ["127.0.0.1"])


def test_the_signature_is_of_time_and_body() -> None:
    secret = new_secret()
    digest = hmac.new(secret.encode(), b'17.{"a":1}', hashlib.sha256).hexdigest()
    assert signature(secret, 17, '{"a":1}') == f"t=17,v1={digest}"
    assert new_secret() != secret


def test_attempts_come_ever_later_up_to_an_hour() -> None:
    middles = [delay_s(attempts, 0.5) for attempts in range(1, 100)]
    assert middles == sorted(middles)
    assert (middles[0], middles[-1]) == (5.0, LONGEST_DELAY_S)
    assert (delay_s(1, 0.0), delay_s(1, 1.0)) == (2.5, 7.5)
    within_a_day = [at for at in range(1, 99) if sum(middles[:at]) < GIVE_UP_AFTER_S]
    assert 20 < len(within_a_day) < 50


def test_an_address_wrapped_in_another_is_as_private_as_it_is() -> None:
    assert not is_public("::ffff:10.0.0.1")
    assert not is_public("fe80::1%eth0")
    assert is_public("8.8.8.8")
