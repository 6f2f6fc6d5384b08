"""The form of server-sent events (WHATWG HTML, 9.2)."""

import json

OVER = frozenset(("job.completed", "job.failed", "job.cancelled"))
AGAIN = frozenset(("job.retried", "job.submitted"))


class Writer:
    """Frames of log lines as server-sent events, and whether the job has ended by them."""

    def __init__(self) -> None:
        self.job_over = False

    def write(self, frame: str) -> str:
        """A frame's lines; its events of the job are only looked at."""
        found = []
        for envelope in json.loads(frame):
            if envelope["type"] in OVER:
                self.job_over = True
            elif envelope["type"] in AGAIN:
                self.job_over = False
            elif envelope["type"] == "log.line":
                text = json.dumps(envelope, separators=(",", ":"))
                found.append(f"id: {envelope['id']}\nevent: line\ndata: {text}\n\n")
        return "".join(found) or self.comment()

    def comment(self) -> str:
        """Something that readers ignore, so that nobody thinks the connection dead."""
        return ":\n\n"

    def end(self) -> str:
        """That the job is over: a reader need not come back."""
        return "event: end\ndata: {}\n\n"
