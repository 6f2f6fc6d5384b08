"""The server's side of a WebSocket, with a door for frames that many sockets share."""

import logging
import resource
from contextlib import suppress
from typing import Any

from starlette.websockets import WebSocket
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from api.live.rooms import Wire

WIRE = "constellation.wire"  # the name of the extension in the scope

log = logging.getLogger(__name__)
log.setLevel(logging.WARNING)


class SharedFrames(WebSocketsSansIOProtocol):
    """uvicorn's protocol, which also takes frames as they go over the wire.

    What a client is sent the usual way wakes a task, passes a dozen calls and is encoded and copied
    anew. A thousand clients of one job get the same frames; one that is ready costs a write.
    """

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        # Three lines in the log for each socket that comes and goes cost a tenth of serving it.
        self.logger = self.conn.logger = log

    async def run_asgi(self) -> None:
        """Run the app, and tell it of the door."""
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions[WIRE] = self.write
        await super().run_asgi()

    def write(self, frame: bytes) -> bool:
        """Write a whole frame behind what was sent; False where it cannot be taken now."""
        is_open = self.handshake_complete and not self.close_sent and not self.disconnected
        if not is_open or not self.writable.is_set() or self.transport.is_closing():
            return False
        self.transport.write(frame)
        return True


def wire_of(websocket: WebSocket) -> Wire | None:
    """The door of a socket's server; None where it has none, such as with another server."""
    wire: Wire | None = websocket.scope.get("extensions", {}).get(WIRE)
    return wire


# How uvicorn serves the streams. Compressing a frame anew for each of its readers would cost more
# than all the rest.
SERVING: dict[str, Any] = {"ws": SharedFrames, "ws_per_message_deflate": False}


def take_descriptors() -> None:
    """Let this process have as many sockets as it may: 1024 is what most systems give unasked."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # then it stays as it is
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
