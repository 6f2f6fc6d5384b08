import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from constellation_pipelines.domain.errors import InvalidInput, ServiceUnavailable
from constellation_pipelines.stack import ports
from constellation_pipelines.stack.process import ProcessId, identify
from constellation_pipelines.stack.service import Service, State
from constellation_pipelines.stack.status import ServiceStatus
from constellation_pipelines.stack.supervisor import Supervisor, check_needs
from constellation_pipelines.stack.waiting import wait_until

PATIENCE_S = 20.0


def web_server(name: str, *, needs: tuple[str, ...] = ()) -> Service:
    claim = ports.claim_any()  # held as long as the check below
    command = (sys.executable, "-m", "http.server", str(claim.port), "--bind", "127.0.0.1")
    return Service(name, command, ready=lambda _: ports.answers(claim.port), needs=needs)


def script(name: str, text: str, **options: object) -> Service:
    return Service(name, (sys.executable, "-c", text), **options)  # type: ignore[arg-type]


class Bench:
    """A supervisor, and what it reported."""

    def __init__(self, logs: Path, services: Sequence[Service]) -> None:
        self.reports: list[tuple[ServiceStatus, ...]] = []
        self.supervisor = Supervisor(
            services, logs=logs, report=lambda seen: self.reports.append(tuple(seen))
        )

    def start(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        self.supervisor.start(lambda: time.monotonic() > deadline)

    def tick_until(self, is_done: Callable[[], bool], within_s: float = PATIENCE_S) -> bool:
        def done() -> bool:
            self.supervisor.tick()
            return is_done()

        return wait_until(done, within_s)

    def status(self, name: str) -> ServiceStatus:
        return next(status for status in self.supervisor.statuses if status.name == name)

    def process(self, name: str) -> ProcessId:
        process = self.status(name).process
        assert process is not None
        return process


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(*services: Service) -> Bench:
        made.append(Bench(tmp_path, services))
        return made[-1]

    yield make
    for each in made:
        each.supervisor.stop()


def test_a_service_waits_for_what_it_needs(bench: Callable[..., Bench]) -> None:
    stack = bench(web_server("store"), web_server("reader", needs=("store",)))
    stack.start()
    assert stack.supervisor.all_up
    for report in stack.reports:
        states = {status.name: status.state for status in report}
        if states["reader"] is not State.WAITING:
            assert states["store"] is State.READY


def test_services_with_the_same_needs_start_together(bench: Callable[..., Bench]) -> None:
    stack = bench(web_server("one"), web_server("two"))
    stack.supervisor.tick()
    assert [status.state for status in stack.supervisor.statuses] == [State.STARTING] * 2


def test_a_step_runs_once_and_lets_the_next_go_on(
    bench: Callable[..., Bench], tmp_path: Path
) -> None:
    step = script("step", "print('did it')", ready=lambda _: False, once=True)
    stack = bench(step, web_server("next", needs=("step",)))
    stack.start()
    assert stack.status("step").state is State.DONE
    assert (tmp_path / "step.log").read_text() == "did it\n"


def test_a_step_that_fails_says_so_in_its_own_last_words(bench: Callable[..., Bench]) -> None:
    text = "print('first'); print('no space left'); raise SystemExit(1)"
    stack = bench(script("step", text, ready=lambda _: False, once=True))
    with pytest.raises(ServiceUnavailable, match=r"step did not start: no space left \(log: "):
        stack.start()


def test_a_service_that_never_becomes_ready_is_given_up(bench: Callable[..., Bench]) -> None:
    stack = bench(script("broken", "raise SystemExit('bad news')", ready=lambda _: False))
    with pytest.raises(ServiceUnavailable, match="broken did not start: bad news"):
        stack.start()
    assert stack.status("broken").restarts == 3


def test_a_crashed_service_is_started_again_ever_more_slowly(bench: Callable[..., Bench]) -> None:
    stack = bench(web_server("web"))
    stack.start()
    pauses = []
    for crash in range(1, 4):
        before = stack.process("web")
        os.kill(before.pid, signal.SIGKILL)
        assert stack.tick_until(lambda: stack.status("web").state is State.PAUSED)
        paused_at = time.monotonic()
        assert stack.tick_until(lambda: stack.status("web").state is State.STARTING)
        pauses.append(time.monotonic() - paused_at)
        assert stack.tick_until(lambda: stack.status("web").state is State.READY)
        assert stack.status("web").restarts == crash
        assert stack.process("web") != before
    assert pauses[0] < pauses[1] < pauses[2]


def test_stopping_ends_in_reverse_order(bench: Callable[..., Bench]) -> None:
    stack = bench(web_server("store"), web_server("reader", needs=("store",)))
    stack.start()
    processes = [stack.process("store"), stack.process("reader")]
    stack.supervisor.stop()
    assert not any(process.is_alive for process in processes)
    order = [[s.name for s in report if s.state is State.STOPPED] for report in stack.reports]
    assert order.index(["reader"]) < order.index(["store", "reader"])


STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
if child:
    print(child, flush=True)
time.sleep(600)
"""


def test_a_stubborn_service_is_killed_with_its_children(
    bench: Callable[..., Bench], tmp_path: Path
) -> None:
    log = tmp_path / "stubborn.log"
    service = script("stubborn", STUBBORN, ready=lambda _: bool(log.read_text()), stop_grace_s=0.5)
    stack = bench(service)
    stack.start()
    parent, child = stack.process("stubborn"), identify(int(log.read_text()))
    assert child is not None
    stack.supervisor.stop()
    assert not parent.is_alive
    assert wait_until(lambda: not child.is_alive, PATIENCE_S)


def test_needs_that_come_later_are_refused() -> None:
    with pytest.raises(InvalidInput, match="reader"):
        check_needs([web_server("reader", needs=("store",)), web_server("store")])


def test_a_service_is_started_again_once_what_it_loaded_has_changed(
    bench: Callable[..., Bench], tmp_path: Path
) -> None:
    loaded = tmp_path / "loaded"
    loaded.write_text("one")
    web = replace(web_server("web"), stamp=loaded.read_text)
    stack = bench(web, web_server("reader", needs=("web",)))
    stack.start()
    first, reader = stack.process("web"), stack.process("reader")
    loaded.write_text("two")
    assert stack.tick_until(lambda: stack.status("web").process not in (first, None))
    assert stack.tick_until(lambda: stack.supervisor.all_up)
    assert stack.status("web").restarts == 0, "nothing went wrong"
    assert stack.process("reader") == reader
    second = stack.process("web")
    assert not stack.tick_until(lambda: False, within_s=3)
    assert stack.process("web") == second, "once is enough"


def test_a_service_that_will_not_be_renewed_is_killed(
    bench: Callable[..., Bench], tmp_path: Path
) -> None:
    loaded = tmp_path / "loaded"
    loaded.write_text("one")
    text = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf',"
    text += " flush=True); time.sleep(600)"
    deaf = script(
        "deaf",
        text,
        ready=lambda _: "deaf" in (tmp_path / "deaf.log").read_text(),
        stamp=loaded.read_text,
        stop_grace_s=0.2,
    )
    stack = bench(deaf)
    stack.start()
    first = stack.process("deaf")
    loaded.write_text("two")
    assert stack.tick_until(lambda: stack.status("deaf").process not in (first, None))
