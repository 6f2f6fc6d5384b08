"""A measured figure, and how figures are printed and kept."""

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Bar:
    """What a figure must reach: at most, or at least, `value`."""

    value: float
    at_most: bool

    def met(self, value: float) -> bool:
        """Whether a figure reaches the bar."""
        return value <= self.value if self.at_most else value >= self.value

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.value:g}"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One figure. `peer` and `limit` are the same figure of the peer and of the physical limit.

    `conditions` is what the figure depends on besides the place and time of the measurement.
    """

    metric: str
    value: float
    unit: str
    bar: Bar | None = None
    peer: float | None = None
    limit: float | None = None
    conditions: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool | None:
        """Whether the bar is met; None without one."""
        return None if self.bar is None else self.bar.met(self.value)

    def record(self, conditions: dict[str, Any]) -> dict[str, Any]:
        """As the results file holds it."""
        bar = None if self.bar is None else str(self.bar)
        where = {**conditions, **self.conditions}
        return {**asdict(self), "bar": bar, "ok": self.ok, "conditions": where}


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which `percent` of `values` lie, by linear interpolation."""
    if len(values) == 1:
        return values[0]
    cuts = statistics.quantiles(values, n=1000, method="inclusive")
    return cuts[round(percent * 10) - 1]


def conditions() -> dict[str, Any]:
    """Where and when: without it a figure means nothing."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "commit": commit(),
    }


def cpu_name() -> str:
    """The processor as the kernel names it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")


def commit() -> str:
    """The commit that was measured, marked when the tree differed from it."""
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def save(name: str, measurements: Sequence[Measurement]) -> Path:
    """Write benchmarks/results/<name>.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    where = conditions()
    path.write_text(json.dumps([m.record(where) for m in measurements], indent=1) + "\n")
    return path


def table(name: str, measurements: Sequence[Measurement]) -> Any:
    """Figures for people."""
    from rich.table import Table

    result = Table("metric", "value", "unit", "bar", "ok", "peer", "limit", title=name)
    for m in measurements:
        verdict = {None: "", True: "yes", False: "NO"}[m.ok]
        cells = (m.peer, m.limit)
        peer, limit = ("" if cell is None else f"{cell:.4g}" for cell in cells)
        bar = "" if m.bar is None else str(m.bar)
        result.add_row(m.metric, f"{m.value:.4g}", m.unit, bar, verdict, peer, limit)
    return result
