"""Ways through a network on a GPU: kernel by kernel, or as one graph; the faster one is taken."""

import logging
import threading
from collections.abc import Callable
from weakref import WeakKeyDictionary

from torch import Tensor  # noqa: TID253 - only the engine imports this module

from constellation_pipelines.inference.network import LEAST_GAIN, Network

Forward = Callable[[Tensor], Tensor]
Capture = Callable[[Network, Tensor], Forward]
Clock = Callable[[Forward, Tensor], float]

log = logging.getLogger(__name__)


class Ways:
    """The faster way for each network and size of batch, measured once.

    A graph computes in memory of its own, so each thread has its own graphs. CUDA can capture one
    at a time in a process, and a measurement is worth something only while no other is made: both
    are done by one thread at a time, the others wait. Networks are held weakly, and no graph holds
    one: what leaves the device takes its graphs along.
    """

    def __init__(self, capture: Capture, clock: Clock) -> None:
        """`capture` makes a graph of a network for batches like the one given, on the thread's
        stream, and raises RuntimeError where none can be made. `clock` says what a way takes.
        """
        self._capture = capture
        self._clock = clock
        self._alone = threading.Lock()
        self._gains: WeakKeyDictionary[Network, dict[int, bool]] = WeakKeyDictionary()
        self._threads = threading.local()

    def answer(self, network: Network, chips: Tensor) -> Tensor:
        """What the network says of normalised chips."""
        graphs = self._own().setdefault(network, {})
        size = len(chips)
        if size not in graphs:
            with self._alone:
                graphs[size] = self._graph(network, chips)
        graph = graphs[size]
        return network.answer(chips) if graph is None else graph(chips)

    def forget(self, network: Network) -> None:
        """Drop the thread's graphs of a network, which hold memory."""
        self._own().pop(network, None)

    def _own(self) -> "WeakKeyDictionary[Network, dict[int, Forward | None]]":
        if not hasattr(self._threads, "graphs"):
            self._threads.graphs = WeakKeyDictionary()
        found: WeakKeyDictionary[Network, dict[int, Forward | None]] = self._threads.graphs
        return found

    def _graph(self, network: Network, chips: Tensor) -> Forward | None:
        known, size = self._gains.setdefault(network, {}), len(chips)
        if not network.on_device or known.get(size) is False:
            return None
        try:
            graph = self._capture(network, chips)
            if size not in known:
                plain_ms = self._clock(network.answer, chips)
                known[size] = self._clock(graph, chips) < plain_ms * (1 - LEAST_GAIN)
        except RuntimeError as error:  # what no graph can hold, or no room for one
            log.info("%s runs without a graph: %s", network.card.reference, first_line(error))
            known[size] = False
        return graph if known[size] else None


def first_line(error: Exception) -> str:
    """Of what it says."""
    return next(iter(str(error).splitlines()), type(error).__name__)
