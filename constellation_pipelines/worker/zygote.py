"""The warm process that forks one child per run, some of them ahead of need.

It holds the definitions, imported and resolved, one thread, no torch and no CUDA. Only it reaps
and signals its children, so a pid it signals is always its own child's. When it is told to end, or
its supervisor is gone, it ends the process groups of its runs.
"""

import argparse
import gc
import importlib
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from constellation_pipelines.worker.orders import Channel, Message, RunOrder, encode
from constellation_pipelines.worker.process import die_with_parent
from constellation_pipelines.worker.spare import Spare

SPARES = 2  # one for the next run, one for the run that comes while another spare warms up
DEAD_SPARE_S = 2.0  # what ended a spare may end the next one too
REFILL_S = 0.3  # a new spare warms up once the run that took the last one is under way

# All that a run imports up to its first tile and after it, save DuckDB, which starts a thread.
PRELOAD = (
    "constellation_pipelines.inference.products",
    "constellation_pipelines.launcher.compute_logs",
    "constellation_pipelines.launcher.coordinator",
    "constellation_pipelines.worker.run_process",
    "dagster._cli.api",
    "dagster._core.execution.api",
    "dagster._core.execution.plan.active",
    "dagster._core.executor.in_process",
    "dagster._core.instance.factory",
    "dagster._core.storage.root",
    "dagster._core.utility_ops",
    "dagster._core.workspace.autodiscovery",
    "dagster._grpc.impl",
    "dagster_postgres",
    "geopandas.io._geoarrow",
    "psycopg2.extras",
    "pyarrow.pandas_compat",
    "pyarrow.parquet",
    "rasterio.io",
    "upath.implementations.local",
    "watchdog.observers.polling",
)


def warm_up(module: str) -> None:
    """Import and resolve all that a run needs, then keep the collector off it."""
    for name in PRELOAD:
        importlib.import_module(name)
    repository = importlib.import_module(module).defs.get_repository_def()
    for job_name in repository.job_names:
        repository.get_job(job_name)
    refuse_unsafe_fork()
    gc.collect()
    gc.freeze()


class Zygote:
    """Serves orders until its supervisor is gone."""

    def __init__(self, channel: Channel, definitions: str, spares: int = SPARES) -> None:
        self._channel = channel
        self._definitions = definitions
        self._wanted_spares = spares
        self._spares: list[Spare] = []
        self._refill_at = 0.0  # on our clock
        self._children: dict[int, str] = {}  # pid -> run id
        self._wake_read, self._wake_write = os.pipe()

    def serve(self) -> None:
        """Fork, interrupt and reap as told."""
        for end in (self._wake_read, self._wake_write):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._wake_write)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        self._channel.send(encode({"ready": os.getpid()}))
        try:
            self._serve()
        finally:
            for pid in [*self._children, *(spare.pid for spare in self._spares)]:
                end_group(pid)

    def _serve(self) -> None:
        while True:
            ends = [self._channel.fileno(), self._wake_read]
            readable, _, _ = select.select(ends, [], [], self._patience_s())
            if self._wake_read in readable:
                os.read(self._wake_read, 4096)
                self._reap()
            if self._channel.fileno() in readable:
                messages = self._channel.receive()
                if not messages:
                    return
                for message in messages:
                    self._obey(message)
            self._refill()

    def _patience_s(self) -> float | None:
        """How long to wait for an order before a spare is due; None when none is."""
        if len(self._spares) >= self._wanted_spares:
            return None
        return max(0.0, self._refill_at - time.monotonic())

    def _refill(self) -> None:
        """Fork one spare where one is due: orders that have come meanwhile go first."""
        due = len(self._spares) < self._wanted_spares and time.monotonic() >= self._refill_at
        if due:
            self._spares.append(self._fork_spare())

    def _obey(self, message: Message) -> None:
        if "run" in message:
            self._run(RunOrder(**message["run"]))
        elif "interrupt" in message:
            self._signal(message["interrupt"], signal.SIGINT)
        elif "kill" in message:
            self._signal(message["kill"], signal.SIGKILL)

    def _run(self, order: RunOrder) -> None:
        """Hand the run to a spare, else to a child forked now."""
        from constellation_pipelines.worker import run_process

        pid = None
        while pid is None and self._spares:
            pid = self._spares.pop(0).take(order)
        if pid is None:
            early = early_start(self._definitions)
            loaded = loaded_jobs(self._definitions)
            pid = self._fork(lambda: run_process.execute(order, early, loaded=loaded))
        self._adopt(pid, order.run_id)
        self._refill_at = time.monotonic() + REFILL_S

    def _adopt(self, pid: int, run_id: str) -> None:
        """A child has a run from now on, and its exit is the run's."""
        self._children[pid] = run_id
        self._channel.send(encode({"started": run_id, "pid": pid}))

    def _fork_spare(self) -> Spare:
        from constellation_pipelines.worker import run_process

        ours, theirs = socket.socketpair()
        early = early_start(self._definitions)
        loaded = loaded_jobs(self._definitions)

        def body() -> int:
            ours.close()
            return run_process.wait_for_order(Channel(theirs), early, loaded)

        pid = self._fork(body)
        theirs.close()
        return Spare(pid, ours)

    def _signal(self, run_id: str, number: signal.Signals) -> None:
        for pid, of_run in self._children.items():
            if of_run == run_id:
                handle = os.pidfd_open(pid)  # not reaped, so the number is our child's
                signal.pidfd_send_signal(handle, number)
                os.close(handle)
                if number == signal.SIGKILL:
                    end_group(pid)

    def _fork(self, body: Callable[[], int]) -> int:
        refuse_unsafe_fork()
        us = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become(body, us)
        return pid

    def _become(self, body: Callable[[], int], parent_pid: int) -> NoReturn:
        """What the child does: forget the zygote, do the work, leave without exit handlers."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            self._channel.connection.close()
            for spare in self._spares:
                spare.orders.close()
            os.close(self._wake_read)
            os.close(self._wake_write)
            os.setsid()
            # Not TERM: Dagster would report a failure, where a later attempt can go on instead.
            die_with_parent(parent_pid, signal.SIGKILL)
            code = body()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        """End what a dead run left of its group, then let its number go."""
        while self._children or self._spares:
            # A child that is not reaped yet still holds its number, and with it its group's.
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                return
            pid = ended.si_pid
            end_group(pid)
            _, status = os.waitpid(pid, 0)
            if any(spare.pid == pid for spare in self._spares):
                self._spares = [spare for spare in self._spares if spare.pid != pid]
                self._refill_at = time.monotonic() + DEAD_SPARE_S
            run_id, code = self._children.pop(pid, None), os.waitstatus_to_exitcode(status)
            if run_id is not None:
                self._channel.send(encode({"exited": run_id, "code": code}))


def early_start(module: str) -> Any:
    """What the definitions offer to begin a run's work ahead of Dagster; None where they do not."""
    return getattr(sys.modules[module], "early", None)


def loaded_jobs(module: str) -> frozenset[str] | None:
    """Names of the Dagster jobs that the definitions have; None where there are no definitions."""
    definitions = getattr(sys.modules[module], "defs", None)
    return definitions and frozenset(definitions.get_repository_def().job_names)


def end_group(leader: int) -> None:
    """Kill the process group of a child that is not reaped yet: what the run itself started."""
    with suppress(ProcessLookupError):  # it ended before it had a group of its own
        os.killpg(leader, signal.SIGKILL)


def refuse_unsafe_fork() -> None:
    """A fork with threads, or with torch, can hang the child for ever."""
    if "torch" in sys.modules:
        raise RuntimeError("the zygote must not load torch")
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise RuntimeError(f"the zygote must have one thread, it has {threads}")


def main(arguments: Any = None) -> None:
    """Entry of the zygote process; `--channel` is an inherited socket."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--channel", type=int, required=True)
    parser.add_argument("--definitions", required=True)
    options = parser.parse_args(arguments)
    channel = Channel(socket.socket(fileno=options.channel))
    warm_up(options.definitions)
    Zygote(channel, options.definitions).serve()


if __name__ == "__main__":
    main()
