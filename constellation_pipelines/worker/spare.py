"""A spare: a run process forked ahead of need, its connections open, that waits for its run."""

import socket
from dataclasses import dataclass

from constellation_pipelines.worker.orders import RunOrder, run_order


@dataclass(frozen=True, slots=True)
class Spare:
    """A waiting child of the zygote and our end of the socket on which it hears its order."""

    pid: int
    orders: socket.socket

    def take(self, order: RunOrder) -> int | None:
        """Give it a run; its pid, or None when it has ended.

        One that ends after this has the run's exit to answer for, so no order is lost.
        """
        with self.orders:
            try:
                self.orders.sendall(run_order(order))
            except OSError:
                return None
        return self.pid
