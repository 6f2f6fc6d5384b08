"""Child processes that die with the process that made them."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

PR_SET_PDEATHSIG = 1
ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


def die_with_parent(parent_pid: int, number: int = signal.SIGTERM) -> None:
    """Ask the kernel to send this process a signal when its parent ends (prctl(2)).

    Where the parent has ended before the kernel could be asked, this process ends at once.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent_pid:
        os._exit(os.EX_TEMPFAIL)


def hear_signals() -> None:
    """Let the signals that end a process end this one, whatever its parent did with them.

    What is ignored stays ignored in a new program. A script starts what it puts into the background
    with SIGINT ignored, and Dagster does on SIGTERM what is done on SIGINT.
    """
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def spawn(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    pass_fds: Sequence[int] = (),
    death_signal: int = signal.SIGTERM,
) -> "subprocess.Popen[bytes]":
    """Start a command in a process group of its own that gets `death_signal` when we end.

    Call it from the main thread: the kernel watches the thread that made the child.
    """
    us = os.getpid()

    def begin() -> None:
        hear_signals()
        die_with_parent(us, death_signal)

    return subprocess.Popen(
        list(command),
        env=dict(env),
        pass_fds=tuple(pass_fds),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=begin,
    )


def stop(process: "subprocess.Popen[Any]", grace_s: float = 5.0) -> None:
    """End a child and its whole group: TERM, then KILL. The child is ours and not yet reaped."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            continue
