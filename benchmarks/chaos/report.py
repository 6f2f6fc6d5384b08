"""Figures of a chaos run."""

from collections.abc import Mapping, Sequence

from benchmarks.chaos.feeder import Told
from benchmarks.chaos.kill import NOTICE_LIMIT_S, RUN_LIMIT_S, Kill
from benchmarks.chaos.strikes import KINDS
from benchmarks.measurement import Bar, Measurement, percentile

NOTICED = Bar(15, at_most=True)
RUNNING = Bar(60, at_most=True)
AIMS = {"noticed_aim_s": 1, "running_aim_s": 3}


def report(
    seed: int,
    kills: Sequence[Kill],
    told: Told,
    violations: Sequence[str],
    counts: Mapping[str, int],
) -> list[Measurement]:
    """The invariants first, then times of all kinds together and of each."""
    about = {"seed": seed, "kills": len(kills), **AIMS}
    figures = [
        Measurement("invariants violated", len(violations), "", Bar(0, True), conditions=about),
        Measurement("processes killed", len(kills), "", Bar(100, False), conditions=about),
        Measurement("jobs accepted", len(told.accepted), "jobs", conditions=about),
        Measurement("jobs retried, no attempt left", len(told.retried), "jobs", conditions=about),
        Measurement("requests sent again", told.asked_again, "requests", conditions=about),
    ]
    names = {
        "jobs_completed": "jobs completed",
        "jobs_cancelled": "jobs cancelled",
        "tiles": "tiles",
        "again": "tiles computed again",
    }
    figures += [Measurement(names[key], n, "", conditions=about) for key, n in counts.items()]
    for kind in (None, *KINDS):
        figures += times(kind, [k for k in kills if kind in (None, k.kind)], about)
    return figures


def times(
    kind: str | None, kills: Sequence[Kill], about: Mapping[str, object]
) -> list[Measurement]:
    """Times of one kind. One that never came counts as the limit of the wait for it."""
    if not kills:
        return []
    name = kind or "all kinds"
    noticed = [NOTICE_LIMIT_S if k.noticed_s is None else k.noticed_s for k in kills]
    running = [RUN_LIMIT_S if k.running_s is None else k.running_s for k in kills]
    where = {**about, "kills_of_kind": len(kills)}
    return [
        Measurement(f"{name}: {what}, p{p}", percentile(values, p), "s", bar, conditions=where)
        for what, values, bar in (("noticed", noticed, NOTICED), ("running", running, RUNNING))
        for p in (50, 99)
    ]
