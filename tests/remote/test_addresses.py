"""A name that leads into a private network is refused before a byte is sent."""

import pytest

from constellation_pipelines.domain.address import is_public
from constellation_pipelines.remote.addresses import addresses_of
from constellation_pipelines.remote.errors import RemoteAway, RemoteRefused
from constellation_pipelines.remote.hosts import Allowed
from constellation_pipelines.remote.ranges import Ranges
from tests.imagery.listener import listen


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "2002:7f00:0001::",  # 6to4 of 127.0.0.1
        "64:ff9b::a00:1",  # NAT64 of 10.0.0.1
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "64:ff9b::808:808"])
def test_addresses_that_are(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "2130706433", "0x7f000001", "127.1", "0177.0.0.1", "0"]
)
def test_names_and_numbers_of_loopback_are_refused_and_nobody_is_called(host: str) -> None:
    with listen() as listener:
        allowed = Allowed.of([f"http://{host}:{listener.port}"])
        with (
            Ranges(allowed) as ranges,
            pytest.raises(RemoteRefused, match="address of a private network"),
        ):
            ranges.first(f"http://{host}:{listener.port}/a.tif")
        assert listener.count() == 0


def test_a_host_or_an_address_may_be_allowed_although_it_is_private() -> None:
    assert "127.0.0.1" in addresses_of("localhost", 80, frozenset({"localhost"}))
    assert addresses_of("127.0.0.1", 80, frozenset({"127.0.0.1"})) == ["127.0.0.1"]
    with pytest.raises(RemoteRefused):
        addresses_of("127.0.0.1", 80, frozenset({"10.0.0.1"}))


def test_a_name_that_nobody_knows_may_be_known_later() -> None:
    with pytest.raises(RemoteAway, match="cannot be looked up"):
        addresses_of("no-such-host.invalid", 80, frozenset())
