"""Pauses of the garbage collector, in which no socket is served."""

import gc

# Objects made more than freed before the youngest are looked at, and how often that happens before
# the older ones are. By default it is 700, 10 and 10: a socket that comes makes some hundred.
THRESHOLDS = 20_000, 20, 20


def shorten() -> None:
    """Leave what is there now out of all collections: the app's own parts are never freed.

    They are some hundred thousand objects; with them a whole collection takes a tenth of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
