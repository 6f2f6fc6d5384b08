"""Child processes that do not outlive their parent."""

import ctypes
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from constellation_pipelines.stack.account import Account
from constellation_pipelines.stack.waiting import wait_until
from constellation_pipelines.worker.process import hear_signals

PR_SET_PDEATHSIG = 1


def spawn(
    command: Sequence[str],
    *,
    log: IO[bytes],
    account: Account | None = None,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start a command in a process group of its own, its output in `log`.

    On Linux the kernel sends it `death_signal` when the calling *thread* ends, however it ends:
    call this from a thread that lives as long as the child should. `env` adds to our environment.
    """
    options = account.popen_options if account else {}
    with warnings.catch_warnings():
        # From 3.12 on Python warns of a hook between fork and exec; this one makes a few system
        # calls, with what was looked up before the fork.
        warnings.simplefilter("ignore", DeprecationWarning)
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **(env or {})},
            process_group=0,
            preexec_fn=_tie_to_parent(death_signal),
            **options,
        )


def _tie_to_parent(death_signal: signal.Signals) -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def tie() -> None:
        hear_signals()
        prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return tie


def has_ended(child: subprocess.Popen[bytes]) -> bool:
    """Whether the child has ended. It stays unreaped, so its number is its own until `stop`."""
    if child.returncode is not None:
        return True
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, child.pid, flags) is not None


def ask_to_stop(child: subprocess.Popen[bytes], sign: signal.Signals) -> None:
    """Send a signal to the child's whole process group, unless the child has ended."""
    if not has_ended(child):
        _signal_group(child, sign)


def stop(child: subprocess.Popen[bytes], sign: signal.Signals, grace_s: float) -> int:
    """Ask the child's group to stop, kill what is left of it after a while; return the exit code.

    A negative code is the number of the signal that ended the child.
    """
    if child.returncode is None:
        ask_to_stop(child, sign)
        wait_until(lambda: has_ended(child), grace_s)
        # The unreaped child still holds the number of the group, so it cannot be a stranger's.
        _signal_group(child, signal.SIGKILL)
    return child.wait()


def _signal_group(child: subprocess.Popen[bytes], sign: signal.Signals) -> None:
    try:
        os.killpg(child.pid, sign)
    except (ProcessLookupError, PermissionError):  # macOS says the latter of a zombie's group
        pass
