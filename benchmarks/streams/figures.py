"""What came of a crowd of readers: how late, and whether all of it came once and in order."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Heard:
    """Seconds from commit to frame of every delivery to a socket that was there meanwhile.

    `resumed` are deliveries to sockets that were away when the event was committed.
    """

    late_s: Any  # a numpy array
    frames: int
    resumed: int
    missing: int
    doubled: int
    disordered: int
    cpu_s: float

    @property
    def delivered(self) -> int:
        """Events that came, over all sockets."""
        return len(self.late_s) + self.resumed

    def percentile_ms(self, percent: float) -> float:
        """The lateness that so many percent of the deliveries did not exceed."""
        import numpy as np

        return 1e3 * float(np.percentile(self.late_s, percent)) if len(self.late_s) else 0.0


def heard(path: Path, expected: list[int], committed_at: list[float]) -> Heard:
    """Compare what readers wrote with the ids of the events and the instants of their commits."""
    import numpy as np

    with np.load(path) as kept:
        of_frame = np.split(kept["ids"], np.cumsum(kept["ids_of"])[:-1])
        edges = np.cumsum(kept["counts"])[:-1]
        frames, arrivals = np.split(kept["frames"], edges), np.split(kept["arrivals"], edges)
        readers, cpu_s = json.loads(str(kept["away"])), float(kept["cpu_s"])
    wanted, at = np.array(expected), np.array(committed_at)
    late, resumed, missing, doubled, disordered = [], 0, 0, 0, 0
    for numbers, arrived, reader in zip(frames, arrivals, readers, strict=True):
        ids = np.concatenate([of_frame[n] for n in numbers]) if len(numbers) else wanted[:0]
        came_at = np.repeat(arrived, [len(of_frame[n]) for n in numbers])
        came = np.unique(ids)
        missing += len(np.setdiff1d(wanted, came, assume_unique=True))
        doubled += len(ids) - len(came)
        disordered += int((np.diff(ids) < 0).sum())
        known = np.isin(ids, wanted)
        ids, came_at = ids[known], came_at[known]
        ready_at = at[np.searchsorted(wanted, ids)]
        there = np.ones(len(ids), bool)
        for cut_at, live_at in reader["away"]:
            there &= (ready_at > live_at) | (came_at < cut_at)
        resumed += int((~there).sum())
        late.append((came_at - ready_at)[there].astype(np.float32))
    return Heard(
        np.concatenate(late), sum(map(len, frames)), resumed, missing, doubled, disordered, cpu_s
    )
