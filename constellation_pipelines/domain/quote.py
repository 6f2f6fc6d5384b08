"""What a job would take, from what its model was seen to take: device-seconds and an end.

A figure that is not known is None, and a sentence says why.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import ceil
from uuid import UUID

from constellation_pipelines.domain.fleet import Fleet, Measured, WaitingRun
from constellation_pipelines.domain.order import in_order
from constellation_pipelines.domain.outlook import unplaceable
from constellation_pipelines.domain.schedule import LOOKED_AHEAD, ends

ENOUGH_TILES = 20  # fewer say nothing of how much tiles differ


@dataclass(frozen=True, slots=True)
class Span:
    """A figure and the range that it is likely to lie in; None where a part is not known."""

    low: float | None = None
    expected: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Pace:
    """What is known of a model on one kind of device.

    `mean_s` are device-seconds of a tile over all that ran. `p10_ms`, `p50_ms`, `p90_ms` and
    `mean_ms` are of reading and computing the `seen` latest tiles.
    """

    mean_s: float | None = None
    seen: int = 0
    mean_ms: float | None = None
    p10_ms: float | None = None
    p50_ms: float | None = None
    p90_ms: float | None = None

    @property
    def tile_s(self) -> Span:
        """Device-seconds of a tile. Reading goes on beside computing, so the times of single tiles
        tell how much tiles differ, and device time what one of them costs."""
        if self.mean_s is None or self.mean_s <= 0:
            return Span()
        if self.seen < ENOUGH_TILES or not self.mean_ms:
            return Span(expected=self.mean_s)
        assert self.p10_ms is not None
        assert self.p90_ms is not None
        each = self.mean_s / self.mean_ms
        low, high = self.p10_ms * each, self.p90_ms * each
        return Span(min(low, self.mean_s), self.mean_s, max(high, self.mean_s))


@dataclass(frozen=True, slots=True)
class KindQuote:
    """A kind of device: how many are in service, and what the job would take on it."""

    name: str
    devices: int
    tiles_seen: int
    device_s: Span


@dataclass(frozen=True, slots=True)
class Finish:
    """When a job would be over, were it submitted now."""

    low: datetime | None = None
    expected: datetime | None = None
    high: datetime | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """What a job would take. A reason is None where everything it is about is known."""

    device_s: Span
    device_s_reason: str | None
    finish_at: Finish
    finish_reason: str | None
    kinds: tuple[KindQuote, ...]


def cost(fleet: Fleet, runs: Sequence[WaitingRun], paces: Mapping[str, Pace]) -> Cost:
    """What these runs of one model would take, that are not in the queue yet.

    `paces` is by the name of a kind of device.
    """
    tiles = sum(run.tiles_left for run in runs)
    counts = {
        name: sum(one.healthy and one.name == name for one in fleet.devices)
        for name in sorted({*paces, *(one.name for one in fleet.devices)})
    }
    kinds = tuple(
        KindQuote(name, count, pace.seen, times(pace.tile_s, tiles))
        for name, count in counts.items()
        if (pace := paces.get(name, Pace())) != Pace() or count
    )
    device_s, reason = over_kinds(kinds, tiles)
    finish_at, finish_reason = finish(fleet, runs, paces, tiles)
    return Cost(device_s, reason, finish_at, finish_reason, kinds)


def times(span: Span, count: int) -> Span:
    """The span of so many; of none it is nothing, whether one is known or not."""
    if count == 0:
        return Span(0.0, 0.0, 0.0)
    parts = (None if one is None else one * count for one in (span.low, span.expected, span.high))
    return Span(*parts)


def over_kinds(kinds: Sequence[KindQuote], tiles: int) -> tuple[Span, str | None]:
    """Over the kinds in service, else over all that the model ever ran on."""
    if tiles == 0:
        return Span(0.0, 0.0, 0.0), None
    live = [kind for kind in kinds if kind.devices] or list(kinds)
    known = [kind for kind in live if kind.device_s.expected is not None]
    if not known:
        return Span(), "this model has not run on any of these devices yet"
    weights = [max(kind.devices, 1) for kind in known]
    total = sum(
        weight * (kind.device_s.expected or 0.0)
        for kind, weight in zip(known, weights, strict=True)
    )
    lows = [kind.device_s.low for kind in known if kind.device_s.low is not None]
    highs = [kind.device_s.high for kind in known if kind.device_s.high is not None]
    whole = len(lows) == len(highs) == len(known)
    span = Span(min(lows) if whole else None, total / sum(weights), max(highs) if whole else None)
    if not whole:
        return span, f"fewer than {ENOUGH_TILES} tiles are known, too few for a range"
    if len(known) < len(live):
        missing = ", ".join(kind.name for kind in live if kind not in known)
        return span, f"this model has not run on {missing} yet, which is left out"
    return span, None


def finish(
    fleet: Fleet, runs: Sequence[WaitingRun], paces: Mapping[str, Pace], tiles: int
) -> tuple[Finish, str | None]:
    """When the last of these runs ends behind what waits and runs today."""
    if not fleet.workers:
        return Finish(), "no worker is running: `constellation status` tells what is up"
    for run in runs:
        if (stuck := unplaceable(fleet, run)) is not None:
            return Finish(), stuck[1]
    last = {
        part: last_end(fleet, runs, {kind: getattr(paces[kind].tile_s, part) for kind in paces})
        for part in ("low", "expected", "high")
    }
    if last["expected"] is None:
        return Finish(), why_unknown(fleet, runs, paces, tiles)
    reason = None
    if last["low"] is None or last["high"] is None:
        reason = f"fewer than {ENOUGH_TILES} tiles are known, too few for a range"
    return Finish(last["low"], last["expected"], last["high"]), reason


def last_end(
    fleet: Fleet, runs: Sequence[WaitingRun], tile_s: Mapping[str, float | None]
) -> datetime | None:
    """The end of the last of these runs, with these times of a tile by kind of device."""
    measured = dict(fleet.measured)
    for digest, chip_px in {(run.model_digest, run.chip_px) for run in runs}:
        if digest is None or chip_px is None:
            return None
        for name, seconds in tile_s.items():
            before = measured.get((digest, name, chip_px), Measured(None, None))
            measured[digest, name, chip_px] = replace(before, tile_s=seconds)
    with_job = replace(fleet, waiting=(*fleet.waiting, *runs), measured=measured)
    found = ends(with_job, in_order(with_job))
    mine: Collection[UUID] = [run.run_id for run in runs]
    moments = [found.get(run_id) for run_id in mine]
    known = [moment for moment in moments if moment is not None]
    return max(known) if known and len(known) == len(moments) else None


def why_unknown(
    fleet: Fleet, runs: Sequence[WaitingRun], paces: Mapping[str, Pace], tiles: int
) -> str:
    """Why no end can be told of runs that could be placed."""
    if any(run.staging is not None for run in runs):
        return "a scene has to be fetched from its host first, and nobody knows how long that takes"
    if len(fleet.waiting) + len(runs) > LOOKED_AHEAD:
        return f"more than {LOOKED_AHEAD} runs wait: what comes later is too uncertain to say"
    usable = {one.name for one in fleet.devices if one.healthy}
    if tiles and any(paces.get(name, Pace()).tile_s.expected is None for name in usable):
        return "this model has not run on every kind of device in service yet"
    return "what waits or runs before it is of models whose time is not known yet"


def new_runs(template: WaitingRun, tiles: Sequence[int], ids: Sequence[UUID]) -> list[WaitingRun]:
    """A run like `template` for each scene with so many tiles to do."""
    return [
        replace(template, run_id=run_id, tiles_left=count)
        for run_id, count in zip(ids, tiles, strict=True)
    ]


def rounded(span: Span) -> Span:
    """To hundredths, the ends outwards: more would be more than is known."""
    low = None if span.low is None else int(span.low * 100) / 100
    expected = None if span.expected is None else round(span.expected, 2)
    high = None if span.high is None else ceil(span.high * 100) / 100
    return Span(low, expected, high)
