"""Samples of devices: the latest of each, and the last hour for a graph."""

import json
import logging
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from api.live.follower import Follower
from api.live.interest import Message, Topic
from constellation_pipelines.domain.sample import Sample
from constellation_pipelines.events import streams
from constellation_pipelines.events.bus import Bus

KEPT_S = 3600
STALE_S = 10.0
FIELDS = frozenset(Sample.__slots__)

log = logging.getLogger(__name__)


class Samples:
    """Keeps an hour of samples, the hour before this server's start included."""

    def __init__(self, bus: Bus | None, offer: Callable[[Message], None]) -> None:
        self._offer = offer
        self._kept: dict[str, deque[Sample]] = {}
        self._caught_up = False  # with what was told before this server began to listen
        self._follower = (
            None if bus is None else Follower(bus, streams.SAMPLES, self._receive, from_first=True)
        )

    def start(self) -> None:
        """Begin to listen; NATS need not be there yet."""
        if self._follower is not None:
            self._follower.start()

    async def stop(self) -> None:
        """Stop listening."""
        if self._follower is not None:
            await self._follower.stop()

    def latest(self, device_uuid: str) -> Sample | None:
        """The newest sample of a device, unless it is old."""
        kept = self._kept.get(device_uuid)
        if not kept or kept[-1].at < datetime.now(UTC) - timedelta(seconds=STALE_S):
            return None
        return kept[-1]

    def since(self, device_uuid: str, seconds: int) -> list[Sample]:
        """The samples of a device in the last so many seconds, oldest first."""
        first = datetime.now(UTC) - timedelta(seconds=seconds)
        return [sample for sample in self._kept.get(device_uuid, ()) if sample.at >= first]

    async def _receive(self, _number: int, subject: str, data: bytes, pending: int) -> None:
        sample = sample_of(data)
        if sample is None:
            log.warning("ignored a message on %r that is no sample", subject)
            return
        kept = self._kept.setdefault(sample.device_uuid, deque(maxlen=KEPT_S))
        kept.append(sample)
        # Devices tell all at once: that another sample follows says nothing about this one.
        self._caught_up |= pending == 0
        if self._caught_up:
            self._offer(message_of(sample))


def sample_of(data: bytes) -> Sample | None:
    """The sample in a message, None where it holds none."""
    try:
        said: dict[str, Any] = json.loads(data)
        known = {name: value for name, value in said.items() if name in FIELDS}
        return Sample(**{**known, "at": datetime.fromisoformat(said["at"])})
    except (ValueError, KeyError, TypeError):
        return None


def message_of(sample: Sample) -> Message:
    """A sample in an envelope; it has no id, for it is not replayed."""
    payload = {name: getattr(sample, name) for name in Sample.__slots__ if name != "at"}
    head = {"id": None, "type": "gpu.sample", "at": sample.at.isoformat()}
    envelope = {**head, "job_id": None, "run_id": None, "payload": payload}
    return Message(Topic.GPUS, None, None, None, json.dumps(envelope, separators=(",", ":")))
