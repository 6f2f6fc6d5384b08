"""Free ports on the loopback address, remembered from one start to the next."""

import json
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether nothing listens on this port of the loopback address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def any_free() -> int:
    """A port nothing listens on now. Another program may take it before we do; then try again."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def answers(port: int, timeout_s: float = 0.5) -> bool:
    """Whether something accepts connections on this port."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout_s):
            return True
    except OSError:
        return False


class PortBook:
    """Gives each service the port it had last time, else the one it likes, else any free one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ports: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}

    def choose(self, service: str, liked: int | None = None) -> int:
        """A free port for the service, written down for the next time."""
        known = self._ports.get(service)
        taken = {port for name, port in self._ports.items() if name != service}
        for port in (known, liked):
            if port and port not in taken and is_free(port):
                return self._note(service, port)
        return self._note(service, any_free())

    def _note(self, service: str, port: int) -> int:
        self._ports[service] = port
        self._path.write_text(json.dumps(self._ports, indent=2) + "\n")
        return port
