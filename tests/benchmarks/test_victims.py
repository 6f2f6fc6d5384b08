"""The chaos suite hits processes of its own stack, and nobody else's."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.chaos.victims import ENGINE, ZYGOTE, family
from constellation_pipelines.stack.process import MARK, identify

SLEEP = "import time; print('up', flush=True); time.sleep(60)"
FORK = "import os, time; os.fork() or time.sleep(60); print('up', flush=True); time.sleep(60)"


@contextmanager
def process(program: str, *arguments: str, mark: str) -> Iterator[int]:
    """A process with this command line and this mark; its number."""
    command = [sys.executable, "-c", program, *arguments]
    env = {**os.environ, MARK: mark}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, process_group=0) as made:
        try:
            assert made.stdout is not None
            made.stdout.readline()
            yield made.pid
        finally:
            os.killpg(made.pid, 9)


def test_engines_are_told_by_device_and_zygotes_from_their_runs() -> None:
    with (
        process(FORK, ZYGOTE, mark="ours") as zygote,
        process(SLEEP, ENGINE, "--device", "SIM-0", mark="ours") as engine,
    ):
        found = family("ours")
    assert [one.pid for one in found.zygotes] == [zygote]
    assert len(found.runs) == 1
    assert found.runs[0].pid != zygote
    assert {uuid: one.pid for uuid, one in found.engines.items()} == {"SIM-0": engine}


def test_another_stacks_processes_are_left_alone() -> None:
    with (
        process(SLEEP, ZYGOTE, mark="theirs") as zygote,
        process(SLEEP, ENGINE, "--device", "SIM-0", mark="theirs"),
    ):
        assert identify(zygote) is not None
        found = family("ours")
    assert (found.zygotes, found.runs, found.engines) == ((), (), {})
