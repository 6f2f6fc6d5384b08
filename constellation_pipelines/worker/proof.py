"""Proof that a worker is dead."""

from constellation_pipelines.store.workers import WorkerRecord
from constellation_pipelines.worker.identity import Identity


def proof_of_death(worker: WorkerRecord) -> str | None:
    """How we know that a worker is gone, in words; None where it may live.

    Number and start time where we share its process numbers, else missed heartbeats. A process that
    lives here is never taken for dead, however long it is silent: its devices are still its own.
    """
    identity = identity_in(worker)
    if identity is not None and identity.is_dead:
        return f"process {worker.pid} has ended"
    if not is_local(worker) and worker.is_silent:
        return f"it has been silent for {worker.silent_s:.0f} s"
    return None


def is_local(worker: WorkerRecord) -> bool:
    """Whether a worker's process number means here what it means to the worker."""
    identity = identity_in(worker)
    return identity is not None and identity.is_local


def identity_in(worker: WorkerRecord) -> Identity | None:
    """The process a worker said it was; None for a row without."""
    if worker.boot_id is None or worker.started_ticks is None:
        return None
    return Identity(worker.boot_id, worker.pid, worker.started_ticks)
