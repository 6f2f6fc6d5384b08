"""Arithmetic of a comparison in rounds: bounds, ratios, medians and their spread. Pure."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timed:
    """Chips that were worked through, and what it took."""

    chips: int
    cpu_s: float
    wall_s: float

    @property
    def cpu_s_per_chip(self) -> float:
        """CPU-seconds of all threads and processes, for one chip."""
        return self.cpu_s / self.chips

    @property
    def per_cpu_s(self) -> float:
        """Chips per CPU-second."""
        return self.chips / self.cpu_s

    @property
    def per_s(self) -> float:
        """Chips per second on the clock."""
        return self.chips / self.wall_s

    def __add__(self, other: "Timed") -> "Timed":
        return Timed(self.chips + other.chips, self.cpu_s + other.cpu_s, self.wall_s + other.wall_s)


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some figures and how far they lie apart."""

    median: float
    low: float
    high: float
    count: int


def spread(values: Sequence[float]) -> Spread:
    """Median, least and most."""
    return Spread(statistics.median(values), min(values), max(values), len(values))


def bound_per_cpu_s(forward: Timed, decode: Timed) -> float:
    """Chips per CPU-second of work that only decodes and infers: the two costs of a chip added."""
    return 1 / (forward.cpu_s_per_chip + decode.cpu_s_per_chip)


def order(peers: Sequence[str], number: int) -> list[str]:
    """One round, the same read from either end but for the peers, which change places.

    Limits and ours come before and after the peers, so that a machine that becomes slower or
    faster meanwhile does so for all.
    """
    middle = list(peers) if number % 2 == 0 else list(reversed(peers))
    return ["limits", "ours", *middle, "ours", "limits"]


@dataclass(frozen=True, slots=True)
class Round:
    """What one round measured, all visits of one kind added up. `peers` are by name; `plain` is
    the network run step by step.
    """

    ours: Timed
    forward: Timed
    plain: Timed
    decode: Timed
    loader: Timed
    loader_decode: Timed
    peers: Mapping[str, Timed]

    @property
    def share_of_bound(self) -> float:
        """Of decoding and inferring alone, how much ours reaches."""
        return self.ours.per_cpu_s / bound_per_cpu_s(self.forward, self.decode)

    @property
    def times_plain_bound(self) -> float:
        """How many times what decoding and the network run step by step would allow ours is."""
        return self.ours.per_cpu_s / bound_per_cpu_s(self.plain, self.decode)

    @property
    def loader_share(self) -> float:
        """Of decoding alone, how much the loader reaches; both on one thread."""
        return self.loader.per_cpu_s / self.loader_decode.per_cpu_s

    def times(self, peer: str) -> float:
        """How many times a peer's chips per CPU-second ours are."""
        return self.ours.per_cpu_s / self.peers[peer].per_cpu_s

    def times_wall(self, peer: str) -> float:
        """The same by the clock."""
        return self.ours.per_s / self.peers[peer].per_s


def growth(costs: Sequence[float]) -> float:
    """Mean cost of many scenes in a row, as a multiple of the first one's."""
    return statistics.fmean(costs) / costs[0]
