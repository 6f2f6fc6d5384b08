"""A sample: one telemetry reading of a device."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Sample:
    """What a device was doing. None is what its driver does not tell.

    Of a simulated device the figures are those of the process that computes in its place: its share
    of the processors that it may use, and its resident memory.
    """

    device_uuid: str
    at: datetime
    simulated: bool
    utilisation_pct: float | None = None
    mem_used_mb: int | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    energy_j: float | None = None  # since the driver was loaded; only differences mean anything
