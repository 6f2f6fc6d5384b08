"""`constellation jobs logs`: what a job's runs say, as they say it."""

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

from constellation_pipelines.commands.client import Client, segment
from constellation_pipelines.commands.follow import PATIENCE_S, POLL_S
from constellation_pipelines.commands.output import moment, printable
from constellation_pipelines.domain.errors import ServiceUnavailable

Line = dict[str, Any]


def lines_of(client: Client, job_id: str, *, follow: bool) -> Iterator[Line]:
    """The job's lines in order, each once, through restarts of the API.

    Raises ServiceUnavailable when the API stays away, NotFound where there is no such job.
    """
    path = f"/jobs/{segment(job_id)}/logs"
    last = 0
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            for event, id, data in client.events(path, last, follow=str(follow).lower()):
                if event == "end":
                    return
                last, deadline_s = id, time.monotonic() + PATIENCE_S
                yield data
        except ServiceUnavailable:
            if time.monotonic() > deadline_s:
                raise
        time.sleep(POLL_S)


def print_line(line: Line, *, as_json: bool) -> None:
    """One line, for people or as JSON; what a run wrote cannot command the terminal."""
    if as_json:
        print(json.dumps(line), flush=True)
        return
    said = line["payload"]
    level = "" if said["level"] == "INFO" else f"{said['level']} "
    mark = "" if said["stream"] == "log" else "| "
    text = printable(said["text"])
    print(f"{moment(line['at'])} {line['run_id'][-6:]} {mark}{level}{text}", flush=True)


def print_lines(client: Client, job_id: str, *, follow: bool, as_json: bool) -> None:
    """Print lines until there are no more, or the reader has gone away."""
    try:
        for line in lines_of(client, job_id, follow=follow):
            print_line(line, as_json=as_json)
    except BrokenPipeError:  # `| head`
        sys.stderr.close()
