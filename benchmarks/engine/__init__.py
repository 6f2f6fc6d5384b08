"""The engine beside its peers and the machine's limits, in rounds of one run.

    make bench ONLY=engine
    ENGINE_BENCH_QUICK=1 make bench ONLY=engine      # a minute; figures too noisy to quote
    ENGINE_BENCH_ROUNDS=9, ENGINE_BENCH_PEERS=0, ENGINE_BENCH_WORKLOADS=U-Net, ENGINE_BENCH_CACHE=...

`docs/benchmarks.md` says how to read what comes out.
"""

from benchmarks.engine.suite import run

__all__ = ["run"]
