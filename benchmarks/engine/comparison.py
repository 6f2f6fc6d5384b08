"""One workload in rounds: ours, the limits, the peers; and whether the map is right."""

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from benchmarks.engine.environment import run_peer
from benchmarks.engine.gate import Verdict, judge
from benchmarks.engine.limits import Limits
from benchmarks.engine.ours import Ours
from benchmarks.engine.plan import Plan
from benchmarks.engine.rounds import Round, Timed, order
from benchmarks.engine.workload import Workload

QUESTIONS = ("decode", "forward", "plain", "loader", "loader_decode")


@dataclass(frozen=True, slots=True)
class Compared:
    """A workload's rounds. `peers` says what was run under each name; `load` is the machine's
    after each round.
    """

    workload: Workload
    verdict: Verdict
    rounds: tuple[Round, ...]
    peers: dict[str, str]
    load: tuple[float, ...]


def compare(workload: Workload, plan: Plan, ours: Ours, limits: Limits, folder: Path) -> Compared:
    """The gate first, on the map of a visit that also warms everything up."""
    print(f"{workload.name} on {workload.scene.name}: {workload.chips} chips", flush=True)
    out = folder / "classes.tif"
    ours.visit(workload, out)
    for question in QUESTIONS:
        ask(limits, workload, question)
    verdict = judge(workload, out)
    print(f"  agreement {verdict.agreement:.5f} over {verdict.compared}", flush=True)
    rounds: list[Round] = []
    load: list[float] = []
    peers: dict[str, str] = {}
    for number in range(plan.rounds):
        done, whats = one_round(workload, plan, ours, limits, folder, number)
        rounds.append(done)
        peers |= whats
        load.append(os.getloadavg()[0])
        print(f"  round {number + 1}: {in_words(done)}", flush=True)
    return Compared(workload, verdict, tuple(rounds), peers, tuple(load))


def one_round(
    workload: Workload, plan: Plan, ours: Ours, limits: Limits, folder: Path, number: int
) -> tuple[Round, dict[str, str]]:
    """One round, and what each peer says it is."""
    taken: dict[str, list[Timed]] = defaultdict(list)
    whats: dict[str, str] = {}
    for step in order(plan.peers, number):
        if step == "limits":
            for question in QUESTIONS:
                taken[question].append(ask(limits, workload, question))
        elif step == "ours":
            taken[step].append(ours.visit(workload, folder / "classes.tif").timed)
        else:
            slow = step == "torchgeo_loop"
            peer = run_peer(step, workload, folder, workload.peer_chips if slow else None)
            taken[step].append(peer.timed)
            whats[step] = peer.what
    totals = {step: total(visits) for step, visits in taken.items()}
    peers = {peer: totals[peer] for peer in plan.peers}
    limit = {question: totals[question] for question in QUESTIONS}
    return Round(ours=totals["ours"], peers=peers, **limit), whats


def ask(limits: Limits, workload: Workload, question: str) -> Timed:
    """A limit: decoding and the network on all cores as ours runs, the loader's on one thread."""
    cores = len(os.sched_getaffinity(0))
    if question == "loader_decode":
        return limits.ask(workload, "decode", 1)
    return limits.ask(workload, question, 1 if question == "loader" else cores)


def total(visits: list[Timed]) -> Timed:
    """All visits of one kind together."""
    whole = visits[0]
    for visit in visits[1:]:
        whole += visit
    return whole


def in_words(done: Round) -> str:
    """One round for people."""
    parts = [f"{done.ours.per_cpu_s:.0f} chips per CPU-s, {done.share_of_bound:.3f} of the bound"]
    parts += [f"{done.times(peer):.2f} x {peer}" for peer in done.peers]
    return ", ".join([*parts, f"loader {done.loader_share:.2f} of decode"])
