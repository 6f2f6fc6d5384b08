"""A device: one GPU, or one simulated GPU that computes on the processor."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Device:
    """A device of this host as its inventory reports it. `simulated` is shown wherever it is.

    `slots` is how many runs may share it.
    """

    uuid: str
    index: int
    name: str
    total_mem_mb: int
    compute_capability: str | None
    simulated: bool
    slots: int = 1
