"""What stands beside the streams: one bare subscriber of NATS, one bare broadcast of WebSockets."""

import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import nats
from nats.aio.msg import Msg

FIRST_ID = 1


@contextmanager
def subscriber(nats_url: str, subject: str) -> Iterator[list[tuple[float, bytes]]]:
    """Every message on a subject with the instant of its arrival: the least that NATS takes."""
    found: list[tuple[float, bytes]] = []
    loop, stop, ready = asyncio.new_event_loop(), asyncio.Event(), threading.Event()

    async def listen() -> None:
        client = await nats.connect(nats_url)

        async def receive(message: Msg) -> None:
            found.append((time.monotonic(), message.data))

        await client.subscribe(subject, cb=receive)
        await client.flush()
        ready.set()
        await stop.wait()
        await client.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(listen(),))
    thread.start()
    ready.wait(60)
    try:
        yield found
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
        loop.close()


def work(port: str, sockets: str) -> None:
    """A server that sends frames made beforehand to whoever is connected, and does nothing else.

    It reads `<events a frame> <bytes an event> <frames> <pause_s>`, waits for all sockets, and
    says the instant before each broadcast.
    """
    asyncio.run(broadcast(int(port), int(sockets)))


async def broadcast(port: int, sockets: int) -> None:
    """Serve until the frames are sent and the input ends."""
    from websockets.asyncio.server import ServerConnection, serve
    from websockets.asyncio.server import broadcast as send

    there: set[ServerConnection] = set()

    async def handle(connection: ServerConnection) -> None:
        there.add(connection)
        await connection.send('[{"type":"stream.subscribed"}]')
        await connection.wait_closed()
        there.discard(connection)

    async with serve(handle, "127.0.0.1", port, compression=None, ping_interval=None):
        print("listening", flush=True)
        line = await asyncio.to_thread(sys.stdin.readline)
        each, size, frames, pause_s = line.split()
        while len(there) < sockets:
            await asyncio.sleep(0.05)
        text = "x" * int(size)
        began, sent = time.monotonic(), []
        for n in range(int(frames)):
            await asyncio.sleep(max(0.0, began + n * float(pause_s) - time.monotonic()))
            ids = range(FIRST_ID + n * int(each), FIRST_ID + (n + 1) * int(each))
            events = ",".join(f'{{"id":{i},"type":"tile.completed","x":"{text}"}}' for i in ids)
            sent.append(time.monotonic())
            send(there, f"[{events}]")
        print(" ".join(map(str, sent)), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
