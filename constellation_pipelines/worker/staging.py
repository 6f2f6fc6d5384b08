"""The worker's stager: fetches the pixels of remote scenes, holding no device.

A run of a remote scene is claimed only once its first pixels are on this host; the rest is fetched
while it runs. What a remote host does wrong costs time here, and no device's time.
"""

import logging
import random
import threading
from uuid import UUID

from constellation_pipelines.domain.errors import ConstellationError, ServiceUnavailable
from constellation_pipelines.remote.errors import RemoteAway
from constellation_pipelines.store import jobs, queue, stagings
from constellation_pipelines.store.stagings import Order
from constellation_pipelines.store.tiles import lock_job
from constellation_pipelines.worker.staging_session import Parts, Session

AT_ONCE = 4  # runs of one worker
POLL_S = 0.3
FORGET_TURNS = 100
LEAVE_S = 12.0

log = logging.getLogger(__name__)


class Stager:
    """Takes stagings of its worker's runs, a thread for each. It holds no truth of its own."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._stop = threading.Event()
        self._sessions: dict[UUID, tuple[Session, threading.Thread]] = {}
        self._thread = threading.Thread(target=self._serve, name="stager", daemon=True)

    def __enter__(self) -> "Stager":
        self._parts.folder.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        at_work = list(self._sessions.values())
        for session, _thread in at_work:
            session.stop.set()
        for _session, thread in at_work:
            thread.join(LEAVE_S)  # a silent host ends the wait by itself; what was fetched stays

    def _serve(self) -> None:
        turn = 0
        while not self._stop.wait(POLL_S):
            try:
                self._turn()
                if turn % FORGET_TURNS == 0:
                    with self._parts.database.transaction() as connection:
                        stagings.forget(connection)
                turn += 1
            except ServiceUnavailable:
                continue  # the supervisor says so; what was fetched stays

    def _turn(self) -> None:
        self._sessions = {id: pair for id, pair in self._sessions.items() if pair[1].is_alive()}
        room = AT_ONCE - len(self._sessions)
        if room <= 0:
            return
        with self._parts.database.transaction() as connection:
            orders = stagings.take(connection, self._parts.worker_id, list(self._sessions), room)
        for order in orders:
            session = Session(self._parts, order)
            thread = threading.Thread(target=self._stage, args=(session,), daemon=True)
            self._sessions[order.run_id] = session, thread
            thread.start()

    def _stage(self, session: Session) -> None:
        try:
            try:
                session.run()
            except RemoteAway as error:
                self._away(session, error)
            except ServiceUnavailable:
                return  # the database is away; the order is taken again
            except ConstellationError as error:
                self._end(session.order, session.named(error.message))
            except OSError as error:
                words = f"the staging folder cannot be written: {error.strerror}"
                self._away(session, RemoteAway(words))
            except Exception:
                log.exception("staging for run %s failed", session.order.run_id)
                self._away(session, RemoteAway("a fault of ours; the worker's log has it"))
        except ServiceUnavailable:
            return

    def _away(self, session: Session, error: RemoteAway) -> None:
        """Try again later, ever later; give the run up when nothing comes for too often."""
        limits, order = self._parts.limits, session.order
        attempts = 1 if session.came else order.attempts + 1
        message = session.named(error.message)
        print(f"staging for run {order.run_id}: {message}; attempt {attempts}", flush=True)
        if attempts >= limits.attempts:
            self._end(order, f"{message}; tried {attempts} times, the last time just now")
            return
        pause_s = min(limits.first_pause_s * 2.0 ** (attempts - 1), limits.longest_pause_s)
        pause_s = max(pause_s * random.uniform(0.5, 1.5), error.retry_after_s or 0.0)
        self._put_off(order, attempts, message, pause_s)

    def _end(self, order: Order, reason: str) -> None:
        """Fail the run. One that has begun comes back for its pixels first, and then is failed."""
        with self._parts.database.transaction() as connection:
            lock_job(connection, order.run_id)
            ended = stagings.fail(connection, order.run_id, reason)
            if ended:
                queue.wake(connection, jobs.CANCEL_CHANNEL, order.run_id)
        if not ended:
            attempts = max(0, self._parts.limits.attempts - 1)
            self._put_off(order, attempts, reason, self._parts.limits.first_pause_s)

    def _put_off(self, order: Order, attempts: int, note: str, delay_s: float) -> None:
        with self._parts.database.transaction() as connection:
            stagings.put_off(
                connection,
                order.run_id,
                self._parts.worker_id,
                attempts=attempts,
                note=note,
                delay_s=delay_s,
            )
