"""Pauses of the garbage collector, in which no socket is served."""

import gc

# Objects made more than freed before the youngest are looked at, and how often that happens before
# the older ones are. By default it is 700, 10 and 10. A socket that comes makes some hundred; much
# higher figures let what a thousand sockets leave behind add up to tens of megabytes.
THRESHOLDS = 2_000, 10, 10


def shorten() -> None:
    """Leave what is there now out of all collections: the app's own parts are never freed.

    They are some hundred thousand objects; with them a whole collection takes a tenth of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
