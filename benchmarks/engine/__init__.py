"""The engine beside its peers and the machine's limits, in rounds of one run.

    make bench ONLY=engine
    ENGINE_BENCH_QUICK=1 make bench ONLY=engine      # two minutes; figures too noisy to quote

`docs/benchmarks.md` says how to read what comes out, and names the other variables.
"""

from benchmarks.measurement import Measurement


def run() -> list[Measurement]:
    """The whole benchmark. Its parts are commands as well, so they are not imported with this."""
    from benchmarks.engine.suite import measure

    return measure()
