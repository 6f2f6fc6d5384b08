"""Ports on the loopback address: no two who ask here get the same one, from whatever process."""

import json
import os
import secrets
import socket
import weakref
from collections.abc import Sequence
from pathlib import Path

from constellation_pipelines.domain.errors import ServiceUnavailable

LOOPBACK = "127.0.0.1"
LOWEST, HIGHEST = 10_000, 65_535
FEWEST = 1_000  # as many have to be left beside those of outgoing connections
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


class Claim:
    """A port that nobody else who claims ports gets: until it is released, else until the claim is
    dropped or this process ends, however it ends.

    It is a Unix socket of an abstract name. Such names are unique where ports are, in one network
    namespace, no file is left behind, and a process that is started from here does not inherit it.
    """

    def __init__(self, port: int, held: socket.socket) -> None:
        self.port = port
        self.release = weakref.finalize(self, os.close, held.detach())


def claim(port: int) -> Claim | None:
    """Claim a port; None where somebody has claimed it or listens on it."""
    held = socket.socket(socket.AF_UNIX)
    try:
        held.bind(f"\0constellation-port-{port}")
    except OSError:
        held.close()
        return None
    claimed = Claim(port, held)
    if is_free(port):
        return claimed
    claimed.release()
    return None


def claim_any() -> Claim:
    """Claim a port, one that the kernel gives to no outgoing connection either."""
    candidates = _candidates(_ephemeral())
    first = secrets.randbelow(len(candidates))  # so that those who choose at once seldom meet
    for port in (*candidates[first:], *candidates[:first]):
        if claimed := claim(port):
            return claimed
    raise ServiceUnavailable(
        f"none of the {len(candidates)} ports this host offers on {LOOPBACK} is free: "
        "stop what listens there"
    )


def _candidates(ephemeral: range) -> Sequence[int]:
    """The ports to choose from; those of outgoing connections only where few others are left."""
    every = range(LOWEST, HIGHEST + 1)
    others = [port for port in every if port not in ephemeral]
    return others if len(others) >= FEWEST else every


def _ephemeral() -> range:
    """The ports that the kernel gives to outgoing connections."""
    try:
        low, high = map(int, EPHEMERAL.read_text().split())
    except (OSError, ValueError):
        return range(0)
    return range(low, high + 1)


def is_free(port: int) -> bool:
    """Whether nothing listens on this port of the loopback address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def answers(port: int, timeout_s: float = 0.5) -> bool:
    """Whether something accepts connections on this port."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout_s):
            return True
    except OSError:
        return False


class PortBook:
    """Gives each service the port it had last time, else the one it likes, else any free one.

    They stay claimed as long as the book is kept.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ports: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
        self._claims: dict[str, Claim] = {}

    def choose(self, service: str, liked: int | None = None) -> int:
        """A free port for the service, written down for the next time."""
        known = self._ports.get(service)
        taken = {port for name, port in self._ports.items() if name != service}
        for port in (known, liked):
            if port and port not in taken and self.claim(service, port):
                return self._note(service, port)
        self._claims[service] = claim_any()
        return self._note(service, self._claims[service].port)

    def claim(self, service: str, port: int) -> bool:
        """Claim this very port for the service; False where another has it."""
        claimed = claim(port)
        if claimed is None:
            return False
        self._claims[service] = claimed
        return True

    def release(self) -> None:
        """Let others have the ports."""
        for claimed in self._claims.values():
            claimed.release()
        self._claims.clear()

    def _note(self, service: str, port: int) -> int:
        self._ports[service] = port
        self._path.write_text(json.dumps(self._ports, indent=2) + "\n")
        return port
