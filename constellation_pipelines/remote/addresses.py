"""Connections go to the address that was checked, never to a name that is looked up again."""

import socket
from collections.abc import Iterable

import httpcore

from constellation_pipelines.domain.address import is_public
from constellation_pipelines.remote.errors import RemoteAway, RemoteRefused


class CheckedBackend(httpcore.SyncBackend):
    """Looks a host up, refuses addresses of private networks, connects to one that it has seen.

    TLS still asks for the certificate of the host's name. `private` are hosts and addresses that
    the operator allows although they are private.
    """

    def __init__(self, private: frozenset[str] = frozenset()) -> None:
        self._private = private

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address that answers."""
        failed: Exception = RemoteAway(f"{host} has no address")
        for address in self.addresses(host, port):
            try:
                within_s = self.within_s(timeout)
                return super().connect_tcp(address, port, within_s, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Never."""
        raise RemoteRefused("sockets of this host are not connected to")

    def addresses(self, host: str, port: int) -> list[str]:
        """The addresses that may be connected to. Raises RemoteAway and RemoteRefused."""
        return addresses_of(host, port, self._private)

    def within_s(self, timeout: float | None) -> float | None:
        """How long the next attempt to connect may take."""
        return timeout


def addresses_of(host: str, port: int, private: frozenset[str]) -> list[str]:
    """The addresses of a host. Raises RemoteRefused when one of them is private and not allowed."""
    found = looked_up(host, port)
    for text in found:
        if host not in private and text not in private and not is_public(text):
            raise RemoteRefused(
                f"host {host} has an address of a private network; the operator can allow it in "
                "CONSTELLATION_REMOTE_PRIVATE_HOSTS"
            )
    return found


def looked_up(host: str, port: int) -> list[str]:
    """The addresses of a host, each once, whatever they are. Raises RemoteAway."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise RemoteAway(f"the name of host {host} cannot be looked up right now") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
