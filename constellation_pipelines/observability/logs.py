"""Log lines: one event per line, with the time in UTC, whatever the message holds."""

import logging
import re
import sys
from datetime import UTC, datetime

CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


class LineFormatter(logging.Formatter):
    """`<time> <level> <logger> <message>`; a traceback follows, indented.

    Control characters are escaped, so that no name or header can forge a line or colour a terminal.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, and its traceback as indented lines."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        message = escaped(record.getMessage().replace("\n", "\\n").replace("\t", " "))
        text = f"{at} {record.levelname} {record.name} {message}"
        if record.exc_info and record.exc_info[0] is not None:
            trace = escaped(self.formatException(record.exc_info))
            text += "".join(f"\n    {line}" for line in trace.split("\n"))
        return text


def configure_logging(level: str = "INFO") -> None:
    """Write the log of this process to standard error. Call it in an entry point."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)


def escaped(text: str) -> str:
    """`text` without control characters."""
    return CONTROLS.sub(lambda match: f"\\x{ord(match.group()):02x}", text)
