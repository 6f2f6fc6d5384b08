"""A generator that works in a thread of its own, a little ahead of whoever uses it."""

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from constellation_pipelines.domain.errors import ConstellationError, ReadFailed

AHEAD = 4

Item = TypeVar("Item")

log = logging.getLogger(__name__)


class End:
    """What comes after the last item: nothing, or why there are no more."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error


class Ahead(Generic[Item]):
    """Runs a generator. Use as a context; leaving it stops the thread at the next item.

    Never more than AHEAD items wait, so memory is bounded by the size of AHEAD + 2 of them.
    """

    def __init__(self, make: Callable[[], Iterator[Item]]) -> None:
        """`make` is called in the thread, and so is the generator."""
        self._make = make
        self._ready: queue.Queue[Item | End] = queue.Queue(AHEAD)
        self._stopped = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)

    def __enter__(self) -> "Ahead[Item]":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def __iter__(self) -> Iterator[Item]:
        """Items to the end. Raises what the generator raised."""
        while (item := self.next(wait=True)) is not None:
            yield item

    def next(self, *, wait: bool) -> Item | None:
        """The next item; None after the last one, or where it is not there yet and not waited for.

        Raises what the generator raised: its own error, or ReadFailed for one that is not ours.
        """
        if self._ended:
            return None
        try:
            item = self._ready.get(block=wait)
        except queue.Empty:
            return None
        if not isinstance(item, End):
            return item
        self._ended = True
        if item.error is not None:
            raise item.error
        return None

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to come."""
        return self._ended

    def _run(self) -> None:
        end = End()
        items = self._make()
        try:
            for item in items:
                if not self._put(item):
                    break
        except ConstellationError as error:
            end = End(error)
        except Exception:
            log.exception("reader failed")
            end = End(ReadFailed("the scene's raster cannot be read"))
        finally:
            if hasattr(items, "close"):
                items.close()  # the raster, in the thread that opened it
        self._put(end)

    def _put(self, item: Item | End) -> bool:
        """False once nobody wants it any more."""
        while not self._stopped.is_set():
            try:
                self._ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False
