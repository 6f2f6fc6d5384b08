"""A device: one GPU, one MIG instance of a GPU, or one simulated GPU that computes on the
processor.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Device:
    """A device of this host as its inventory reports it. `simulated` is shown wherever it is.

    `index` is the host's own number of it, different for each; `parent_uuid` is, of a MIG
    instance, the GPU that it is a part of. `slots` is how many runs may share it.
    """

    uuid: str
    index: int
    name: str
    total_mem_mb: int
    compute_capability: str | None
    simulated: bool
    parent_uuid: str | None = None
    slots: int = 1
