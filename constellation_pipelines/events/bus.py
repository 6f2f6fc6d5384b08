"""The door to NATS: a connection that comes back, and the stream that keeps events."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy, Header, PubAck, StreamConfig
from nats.js.errors import APIError, NotFoundError

from constellation_pipelines.domain.errors import ServiceUnavailable
from constellation_pipelines.domain.event import Event
from constellation_pipelines.events import envelope, streams, subjects

ACK_TIMEOUT_S = 15.0  # a busy disk takes seconds; a server that is gone is noticed otherwise
MAX_IN_FLIGHT = 4096
RECONNECT_WAIT_S = 0.25
DEFAULT_PORT = 4222

log = logging.getLogger(__name__)

Receive = Callable[[int, str, bytes, int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Newest:
    """The sequence number of a stream's last message, 0 without one, and when the stream was made:
    one that NATS has lost is made again, and counts anew.
    """

    number: int
    made_at: str


@dataclass(frozen=True, slots=True)
class Stored:
    """A message for a stream; `id` names it, so that a second one of the same id is not kept."""

    id: str
    subject: str
    data: bytes


class Bus:
    """One connection to NATS, used in one event loop.

    After `connect` it reconnects for ever; while it is away, publishing fails at once instead of
    filling a buffer whose fate nobody knows.
    """

    def __init__(self, url: str, *, name: str = "constellation") -> None:
        self.url = url
        self._name = name
        self._client: Client | None = None
        self._connecting = asyncio.Lock()
        self._stream: JetStreamContext | None = None
        self._on_lost: list[Callable[[], None]] = []
        self._in_flight: set[asyncio.Future[PubAck]] = set()
        self._previous: str | None = None  # the message before the next one of the events' stream

    @property
    def connected(self) -> bool:
        """Whether the server is reached right now."""
        return self._client is not None and self._client.is_connected

    def on_lost(self, call: Callable[[], None]) -> None:
        """Call this whenever messages may have been missed: a lost connection, a full buffer."""
        self._on_lost.append(call)

    async def connect(self) -> None:
        """Connect, waiting for the server as long as it takes."""
        host, port = address(self.url)
        async with self._connecting:
            # A refused first connection costs the client two seconds, a refused socket nothing.
            while self._client is None:
                if await answers(host, port):
                    with suppress(NatsError, OSError):
                        self._client = await self._open()
                await asyncio.sleep(0 if self._client else RECONNECT_WAIT_S)

    async def _open(self) -> Client:
        return await nats.connect(
            self.url,
            name=self._name,
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            reconnect_time_wait=RECONNECT_WAIT_S,
            connect_timeout=2,
            ping_interval=5,
            max_outstanding_pings=2,
            pending_size=-1,
            disconnected_cb=self._lost,
            error_cb=self._erred,
        )

    async def close(self) -> None:
        """Close the connection."""
        if self._client is not None and not self._client.is_closed:
            with suppress(NatsError, OSError, asyncio.TimeoutError):
                await self._client.close()

    async def subscribe(
        self, subject: str, receive: Callable[[str, bytes], Awaitable[None]]
    ) -> None:
        """Hand every message on `subject` to `receive(subject, data)`, one after the other.

        Raises ServiceUnavailable when the server is not reached.
        """

        async def handle(message: Msg) -> None:
            await receive(message.subject, message.data)

        try:
            await self._connected().subscribe(subject, cb=handle)
        except NatsError as error:
            raise ServiceUnavailable("NATS does not answer right now") from error

    async def flush(self) -> None:
        """Wait until the server has seen all that was sent, subscriptions included.

        Raises ServiceUnavailable when it does not answer.
        """
        try:
            await self._connected().flush(timeout=2)
        except (TimeoutError, NatsError, OSError) as error:
            raise ServiceUnavailable("NATS does not answer right now") from error

    async def ensure_stream(self) -> None:
        """Make the stream of events, or bring it to its limits."""
        await self.ensure(streams.EVENTS)
        client = self._connected()
        self._stream = client.jetstream(publish_async_max_pending=MAX_IN_FLIGHT)
        self._previous = None

    async def ensure(self, config: StreamConfig) -> None:
        """Make a stream, or bring it to these limits. Raises ServiceUnavailable."""
        manager = self._connected().jsm()
        try:
            try:
                await manager.update_stream(config)
            except NotFoundError:
                await manager.add_stream(config)
        except (TimeoutError, NatsError, OSError) as error:
            raise ServiceUnavailable(f"NATS does not keep streams right now: {error}") from error

    async def tell(self, subject: str, data: bytes) -> None:
        """Publish without waiting for anybody to keep it. Raises ServiceUnavailable."""
        try:
            await self._connected().publish(subject, data)
        except (NatsError, OSError) as error:
            raise ServiceUnavailable("NATS does not answer right now") from error

    async def store(self, messages: Sequence[Stored]) -> int:
        """Publish to a stream, in order and all in flight at once; how many, from the first, are
        kept. A message whose id the stream has seen within two minutes is kept once.
        """
        if not self.connected:
            return 0
        stream = self._connected().jetstream(publish_async_max_pending=MAX_IN_FLIGHT)
        acks: list[asyncio.Future[PubAck]] = []
        try:
            for one in messages:
                headers = {Header.MSG_ID.value: one.id}
                ack = await stream.publish_async(
                    one.subject, one.data, ACK_TIMEOUT_S, None, headers
                )
                self._wait_for(ack)
                acks.append(ack)
        except (NatsError, OSError) as error:
            log.warning("publishing stopped: %r", error)
        return await count_acknowledged(acks)

    async def follow(
        self, stream: str, subject: str, after: int, receive: Receive
    ) -> "JetStreamContext.PushSubscription":
        """Hand every message of a stream on this subject, from the one after sequence number
        `after`, to `receive(sequence, subject, data, pending)`; `pending` are those already kept
        behind it. Raises ServiceUnavailable.
        """

        async def handle(message: Msg) -> None:
            facts = message.metadata
            sequence = facts.sequence.stream if facts.sequence is not None else 0
            await receive(sequence, message.subject, message.data, facts.num_pending or 0)

        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=after + 1
        )
        try:
            context = self._connected().jetstream()
            return await context.subscribe(
                subject, stream=stream, cb=handle, config=config, ordered_consumer=True
            )
        except (TimeoutError, NatsError, OSError) as error:
            raise ServiceUnavailable("NATS does not answer right now") from error

    async def newest_of(self, stream: str) -> Newest:
        """How far a stream has come. Raises ServiceUnavailable."""
        try:
            info = await self._connected().jsm().stream_info(stream)
        except (TimeoutError, NatsError, OSError) as error:
            raise ServiceUnavailable("NATS does not answer right now") from error
        return Newest(int(info.state.last_seq), str(info.created))

    async def kept(self, stream: str, subject: str) -> int:
        """How many messages a stream keeps on this subject. Raises ServiceUnavailable."""
        try:
            info = await self._connected().jsm().stream_info(stream, subjects_filter=subject)
        except (TimeoutError, NatsError, OSError) as error:
            raise ServiceUnavailable("NATS does not answer right now") from error
        return sum((info.state.subjects or {}).values())

    async def send(self, events: Sequence[Event]) -> "list[asyncio.Future[PubAck]]":
        """Publish in order, without waiting for any of them to be kept; `settle` does that.

        Each message names its predecessor, also that of an earlier call, so one that fails takes
        all after it with it and the order in the stream is the order of sending. Publishing an
        event again within two minutes leaves one message. Fewer futures than events come back
        where the server went away.
        """
        acks: list[asyncio.Future[PubAck]] = []
        try:
            for event in events:
                if self._stream is None or not self.connected:
                    break
                headers = {Header.MSG_ID.value: message_id(event)}
                if self._previous is not None:
                    headers[Header.EXPECTED_LAST_MSG_ID.value] = self._previous
                subject = subjects.of_event(event.type, event.account, event.job_id, event.run_id)
                data = envelope.encode(event).encode()
                ack = await self._stream.publish_async(subject, data, None, None, headers)
                self._wait_for(ack)
                acks.append(ack)
                self._previous = headers[Header.MSG_ID.value]
        except (NatsError, OSError) as error:
            log.warning("publishing stopped: %r", error)
        return acks

    async def settle(self, acks: "Sequence[asyncio.Future[PubAck]]") -> int:
        """How many of these messages, from the first, the stream has kept, once that is known."""
        kept = await count_acknowledged(acks)
        if kept < len(acks):
            self._stream = None  # it may be gone, and what is in flight is unknown
        return kept

    @property
    def has_stream(self) -> bool:
        """Whether the stream was there when it was last used."""
        return self._stream is not None

    def _connected(self) -> Client:
        if self._client is None or not self._client.is_connected:
            raise ServiceUnavailable("NATS does not answer right now")
        return self._client

    async def _lost(self) -> None:
        self._stream = None
        self._give_up_acks()
        for call in self._on_lost:
            call()

    def _wait_for(self, ack: "asyncio.Future[PubAck]") -> None:
        self._in_flight.add(ack)
        ack.add_done_callback(self._in_flight.discard)

    def _give_up_acks(self) -> None:
        for ack in list(self._in_flight):
            ack.cancel()

    async def _erred(self, error: Exception) -> None:
        log.debug("nats: %r", error)
        if isinstance(error, APIError):
            # A refusal arrives here and its future never ends (nats-py 2.16). Acknowledgements come
            # in order, so those before it have ended, and those after it will be refused as well.
            self._give_up_acks()
        if isinstance(error, nats.errors.SlowConsumerError):
            for call in self._on_lost:
                call()


async def count_acknowledged(acks: Sequence[asyncio.Future[PubAck]]) -> int:
    """How many messages the stream took before the first that it did not; forget the others.

    Of which nothing is heard for ACK_TIMEOUT_S, they count as not taken.
    """
    pending = set(acks)
    while pending:
        done, pending = await asyncio.wait(pending, timeout=ACK_TIMEOUT_S)
        if not done:
            break
    failed = (ack for ack in acks if not ack.done() or ack.cancelled() or ack.exception())
    first = next(failed, None)
    kept = len(acks) if first is None else list(acks).index(first)
    for ack in acks[kept:]:
        if not ack.cancel() and not ack.cancelled():
            log.debug("not stored: %r", ack.exception())
    return kept


def message_id(event: Event) -> str:
    """Names an event among all databases that use this stream; ids start at 1 in each."""
    return f"{event.job_id}.{event.id}"


def address(url: str) -> tuple[str, int]:
    """Host and port of a NATS URL."""
    parts = urlsplit(url if "://" in url else f"nats://{url}")
    return parts.hostname or "127.0.0.1", parts.port or DEFAULT_PORT


async def answers(host: str, port: int) -> bool:
    """Whether something listens there."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), 2)
    except (TimeoutError, OSError):
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True
