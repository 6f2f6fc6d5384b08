"""A stack that stays up after the command that started it has returned."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from constellation_pipelines.domain.errors import ServiceUnavailable
from constellation_pipelines.settings import Settings
from constellation_pipelines.stack import status
from constellation_pipelines.stack.log import complaint, open_log
from constellation_pipelines.stack.status import StackStatus
from constellation_pipelines.stack.up import Tell, make_data_dir

COMMAND = (sys.executable, "-m", "constellation_pipelines.cli", "up")
PAUSE_S = 0.1


def start_detached(settings: Settings, tell: Tell) -> StackStatus:
    """Start `constellation up` in a session of its own; return when it is ready.

    `tell` hears the status while it starts. Raises ServiceUnavailable when it ends before that.
    """
    make_data_dir(settings.data_dir)
    log_path = settings.data_dir / "logs" / "up.log"
    with open_log(log_path) as log:
        child = subprocess.Popen(
            COMMAND,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment(settings)},
            start_new_session=True,
        )
    try:
        return wait_for(child, settings.data_dir, log_path, tell)
    except BaseException:  # Ctrl-C included: what has not come up is not left half up
        child.terminate()
        child.wait()
        raise


def environment(settings: Settings) -> Mapping[str, str]:
    """What the new process cannot know: it may be run with settings made here."""
    return {"CONSTELLATION_DATA_DIR": str(settings.data_dir), "PYTHONUNBUFFERED": "1"}


def wait_for(
    child: "subprocess.Popen[bytes]", data_dir: Path, log_path: Path, tell: Tell
) -> StackStatus:
    """Follow the status file until it says ready."""
    heard = None
    while child.poll() is None:
        now = status.read(data_dir)
        if now and now.process.pid == child.pid and now != heard:
            heard = now
            tell(now)
            if now.ready:
                return now
        time.sleep(PAUSE_S)
    reason = complaint(log_path)
    raise ServiceUnavailable(reason or f"the stack ended while it started (log: {log_path})")
