"""Brings the stack of one data directory up, and down again."""

import signal
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from constellation_pipelines.domain.errors import InvalidInput, ServiceUnavailable
from constellation_pipelines.domain.simulation import TEMPLATE
from constellation_pipelines.settings import Settings
from constellation_pipelines.stack import lock, status
from constellation_pipelines.stack.checks import devices_simulated
from constellation_pipelines.stack.plan import Plan, make_plan
from constellation_pipelines.stack.process import end_marked, own_identity, send, wait
from constellation_pipelines.stack.service import Service
from constellation_pipelines.stack.services import make_services
from constellation_pipelines.stack.status import ServiceStatus, StackStatus
from constellation_pipelines.stack.supervisor import Supervisor

LEFTOVER_GRACE_S = 10.0
DOWN_TIMEOUT_S = 90.0

Tell = Callable[[StackStatus], None]


def run_stack(
    settings: Settings,
    tell: Tell,
    services_of: Callable[[Plan], Sequence[Service]] = make_services,
) -> None:
    """Bring the stack up and keep it up until SIGINT, SIGTERM or SIGHUP; then stop all of it.

    `tell` hears the status after every change. Call it from the main thread.
    Raises Conflict when the data directory has a running stack, ServiceUnavailable when a service
    does not start; nothing is left running in either case.
    """
    make_data_dir(settings.data_dir)
    make_simulation_file(settings)
    with lock.hold(settings.data_dir), stop_signals() as should_stop:
        clear_leftovers(settings.data_dir)
        book = StatusBook(make_plan(settings, uuid.uuid4().hex), tell)
        supervise(book, services_of(book.plan), should_stop)


def supervise(
    book: "StatusBook", services: Sequence[Service], should_stop: Callable[[], bool]
) -> None:
    """Run the services of a plan until told to stop."""
    plan = book.plan
    logs = plan.settings.data_dir / "logs"
    supervisor = Supervisor(services, logs=logs, report=book.services_changed)
    book.services_changed(supervisor.statuses)
    try:
        supervisor.start(should_stop)
        if supervisor.all_up:
            book.became_ready(devices_simulated(plan.database_url))
        supervisor.watch(should_stop)
    finally:
        book.stops()
        supervisor.stop()
        end_marked(plan.stack_id, grace_s=2.0)
        status.forget(plan.settings.data_dir)


def make_data_dir(data_dir: Path) -> None:
    """Make the data directory if missing. Raises InvalidInput where that cannot be."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        (data_dir / "lock").open("a").close()
    except OSError as error:
        raise InvalidInput(
            f"CONSTELLATION_DATA_DIR={data_dir} cannot be used: {error.strerror}", field="data_dir"
        ) from error


def make_simulation_file(settings: Settings) -> None:
    """An empty file to tell simulated devices to fail, where there is none to edit yet."""
    with suppress(OSError), settings.simulation_file.open("x") as file:
        file.write(TEMPLATE)


def refuse_second(data_dir: Path) -> None:
    """Raises Conflict, naming the process, when the data directory has a running stack."""
    if lock.is_held(data_dir):
        with lock.hold(data_dir):
            pass


class StatusBook:
    """Writes the status down at every change, and tells it on."""

    def __init__(self, plan: Plan, tell: Tell) -> None:
        self.plan = plan
        self._tell = tell
        self._status = StackStatus(
            stack_id=plan.stack_id,
            process=own_identity(),
            started_at=datetime.now(UTC),
            ready=False,
            simulated=None,
            urls=plan.urls,
        )

    def services_changed(self, services: Sequence[ServiceStatus]) -> None:
        """A service entered another state."""
        self._update(replace(self._status, services=tuple(services)))

    def became_ready(self, simulated: bool | None) -> None:
        """Everything is up for the first time."""
        self._update(replace(self._status, ready=True, simulated=simulated))

    def stops(self) -> None:
        """The stack begins to stop."""
        self._update(replace(self._status, ready=False))

    def _update(self, fresh: StackStatus) -> None:
        self._status = fresh
        with suppress(OSError):  # a full disk or a closed terminal must not keep us from stopping
            status.write(self.plan.settings.data_dir, fresh)
            self._tell(fresh)


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Whether SIGINT, SIGTERM or SIGHUP has come; further ones change nothing."""
    come: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda n, _: come.append(n)) for number in numbers}
    try:
        yield lambda: bool(come)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def clear_leftovers(data_dir: Path) -> int:
    """End what a stack that was killed has left running; how many processes that were."""
    old = status.read(data_dir)
    if old is None:
        return 0
    count = end_marked(old.stack_id, LEFTOVER_GRACE_S)
    status.forget(data_dir)
    return count


def stop_stack(data_dir: Path) -> bool:
    """Stop the stack of a data directory and make sure it is gone; False where none was up.

    Only processes proven to be the stack's are signalled. Raises ServiceUnavailable when the
    directory is still in use afterwards.
    """
    running = status.read_running(data_dir)
    if running:
        send(running.process, signal.SIGTERM)
        if not wait(running.process, DOWN_TIMEOUT_S):
            send(running.process, signal.SIGKILL)
            wait(running.process, LEFTOVER_GRACE_S)
    left = clear_leftovers(data_dir)
    if lock.is_held(data_dir):
        raise ServiceUnavailable(f"another process is just starting a stack in {data_dir}")
    return running is not None or left > 0
