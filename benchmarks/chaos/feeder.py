"""The stream of jobs that runs while processes are killed."""

import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx

from benchmarks.chaos.observer import Away, Observer
from benchmarks.chaos.scenes import SceneShelf

MODEL = "eurosat-landcover"
PAUSE_S = 0.3
OPEN = "select count(*) from constellation.jobs where state in ('PENDING', 'RUNNING')"
FAILED_NOW = "select id, error from constellation.jobs where state = 'FAILED' and origin = 'api'"
TO_CANCEL = "select 1 from constellation.jobs where id = %s and state = 'RUNNING'"
# What the dispatcher notes on a run whose processes have died too often.
EXHAUSTED = "no attempt is left"


@dataclass
class Told:
    """What was asked of the API and promised by it."""

    accepted: list[str] = field(default_factory=list)  # ids of jobs, in order
    cancelled: set[str] = field(default_factory=set)
    retried: list[str] = field(default_factory=list)  # an id for each retry
    asked_again: int = 0  # requests that were sent again because no answer came
    internal_errors: list[str] = field(default_factory=list)  # answers with 500


class Feeder:
    """Keeps some jobs open, cancels one now and then, retries what died too often.

    Each submission has an Idempotency-Key and is repeated until it is answered.
    """

    def __init__(
        self,
        observer: Observer,
        shelf: SceneShelf,
        chance: random.Random,
        *,
        open_jobs: int,
        cancelled_share: float,
    ) -> None:
        self.told = Told()
        self._observer = observer
        self._shelf = shelf
        self._chance = chance
        self._open_jobs = open_jobs
        self._cancelled_share = cancelled_share
        self._to_cancel: set[str] = set()
        self._full = threading.Event()  # nothing new is submitted any more
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="feeder")
        self.failure: Exception | None = None

    def start(self) -> None:
        """Begin to submit."""
        self._thread.start()

    def close_the_door(self) -> None:
        """Submit nothing new; go on cancelling and retrying."""
        self._full.set()

    def stop(self) -> None:
        """End; lets the observer's connections go."""
        self._stop.set()
        self._thread.join()
        self._observer.close()

    def _serve(self) -> None:
        try:
            while not self._stop.wait(PAUSE_S):
                try:
                    self._turn()
                except Away:
                    continue
        except Exception as error:  # the suite shows it at its end
            self.failure = error

    def _turn(self) -> None:
        self._retry_the_exhausted()
        self._cancel_some()
        if not self._full.is_set() and self._observer.number(OPEN) < self._open_jobs:
            self._submit()

    def _submit(self) -> None:
        scene = self._insist("/scenes", {"path": str(self._shelf.next())})
        if scene is None:
            return
        body = {"model": MODEL, "scenes": [scene["key"]], "priority": self._chance.randrange(3)}
        job = self._insist("/jobs", body, {"Idempotency-Key": uuid4().hex})
        if job is None:
            return
        self.told.accepted.append(job["id"])
        if self._chance.random() < self._cancelled_share:
            self._to_cancel.add(job["id"])

    def _cancel_some(self) -> None:
        for job_id in sorted(self._to_cancel):
            if self._observer.rows(TO_CANCEL, job_id):
                if self._insist(f"/jobs/{job_id}/cancel"):
                    self.told.cancelled.add(job_id)
                self._to_cancel.discard(job_id)

    def _retry_the_exhausted(self) -> None:
        for row in self._observer.rows(FAILED_NOW):
            if EXHAUSTED in (row["error"] or "") and self._insist(f"/jobs/{row['id']}/retry"):
                self.told.retried.append(str(row["id"]))

    def _insist(
        self, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any] | None:
        """The answer to a POST, sent again while the API is away.

        None once told to stop, and where the job has changed its state in the meantime. Raises
        RuntimeError when the API refuses the request.
        """
        while not self._stop.is_set():
            try:
                reply = self._observer.http.post(path, json=body, headers=headers)
            except httpx.HTTPError:
                reply = None
            if reply is not None and reply.is_success:
                return dict(reply.json())
            if reply is not None and reply.status_code == 409:
                return None
            if reply is not None and reply.status_code == 500:
                self.told.internal_errors.append(path)
            elif reply is not None and reply.status_code != 503:
                raise RuntimeError(f"the API answered {reply.status_code}: {reply.text}")
            self.told.asked_again += 1
            time.sleep(PAUSE_S)
        return None
