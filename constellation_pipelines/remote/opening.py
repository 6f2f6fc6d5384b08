"""From a URL to a mirror with a header: the first page, and more of them as its directories ask."""

import email.utils
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from constellation_pipelines.remote import mirror
from constellation_pipelines.remote.errors import RemoteAway, RemoteRefused
from constellation_pipelines.remote.mirror import Content
from constellation_pipelines.remote.ranges import FIRST_BYTES, Answer, Ranges
from constellation_pipelines.remote.tiff import read_layout

PAGE_BYTES = FIRST_BYTES
TRIES = 4
HEADER_TRIES = 2  # somebody may be waiting for it
FIRST_PAUSE_S = 0.25
PATIENT_S = 5.0  # a host that asks for more than this is left alone, and the caller told so

Found = TypeVar("Found")


class Pages:
    """Bytes of an object by pages of 64 KiB, each fetched once."""

    def __init__(self, ranges: Ranges, url: str, first: Answer) -> None:
        self._ranges = ranges
        self._url = url
        self._version = first.version
        self._pages: dict[int, bytes] = {0: first.data}

    def read(self, offset: int, length: int) -> bytes:
        """These bytes; all pages that are missing of them in one request."""
        if length == 0:
            return b""
        wanted = range(offset // PAGE_BYTES, (offset + length - 1) // PAGE_BYTES + 1)
        missing = [page for page in wanted if page not in self._pages]
        if missing:
            start = missing[0] * PAGE_BYTES
            end = min((missing[-1] + 1) * PAGE_BYTES, self._version.size)
            data = patiently(
                lambda: self._ranges.read(self._url, start, end - start, self._version),
                tries=HEADER_TRIES,
            )
            for page in range(missing[0], missing[-1] + 1):
                at = page * PAGE_BYTES - start
                self._pages[page] = data[at : at + PAGE_BYTES]
        joined = b"".join(self._pages[page] for page in wanted)
        skipped = offset - wanted[0] * PAGE_BYTES
        return joined[skipped : skipped + length]


def fetch_header(ranges: Ranges, url: str, staging: Path) -> tuple[Path, Content]:
    """Make a draft of a mirror from the object's header: its folder, and what the object is.

    Raises RemoteRefused or RemoteAway.
    """
    try:
        first = patiently(lambda: ranges.first(url), tries=HEADER_TRIES)
        pages = Pages(ranges, url, first)
    except RemoteRefused as error:
        raise RemoteRefused(error.message, field="url") from error
    name = mirror.file_name_of(url)
    try:
        layout = read_layout(pages.read, first.version.size)
    except RemoteRefused as error:
        raise RemoteRefused(f"{name}: {error.message}", field="url") from error
    content = Content(url, first.version, layout.digest)
    draft = mirror.make_draft(staging, content, layout, first.data, modified_s(first))
    return draft, content


def modified_s(answer: Answer) -> float | None:
    """When the object was last written, if the host says so in a form we know."""
    try:
        at = email.utils.parsedate_to_datetime(answer.version.modified or "")
        return at.timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def patiently(
    ask: Callable[[], Found], stop: threading.Event | None = None, tries: int = TRIES
) -> Found:
    """Ask again, ever later and never in step, while the host may recover within seconds.

    Raises the last RemoteAway; at once where the host asks to be left alone for longer.
    """
    waiting = stop or threading.Event()
    for attempt in range(tries):
        try:
            return ask()
        except RemoteAway as error:
            asked_s = error.retry_after_s or 0.0
            if attempt == tries - 1 or asked_s > PATIENT_S:
                raise
            pause_s = max(asked_s, FIRST_PAUSE_S * 2**attempt * random.uniform(0.5, 1.5))
            if waiting.wait(pause_s):
                raise
    raise AssertionError("it returns or raises")
