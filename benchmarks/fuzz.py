"""schemathesis, its long form: how many requests, how many of them found a fault (bar: none), and
how many of the document's links were walked (bar: all). And how long the costliest areas take.

The server is a real one on a database of its own; the short form is in tests/api/test_fuzz.py.
"""

import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.areas import slowest_area
from benchmarks.measurement import Bar, Measurement
from constellation_pipelines.domain.account import Scope
from constellation_pipelines.stack.nats import EmbeddedNats
from constellation_pipelines.stack.postgres import EmbeddedPostgres
from constellation_pipelines.stack.schema import prepare_database
from tests.api.furnished import AUTH, furnish
from tests.api.fuzzing import Fuzzed, fuzz
from tests.api.service import Service, serving
from tests.api.walks import AT_PROVIDERS, Walk, declared, labels, together


@dataclass(frozen=True)
class Pass:
    """One run of schemathesis, as someone of a scope."""

    scope: Scope
    examples: int
    scenarios: int
    lasts_s: int
    walks_only: bool = False


# An admin's requests go the whole way; of a viewer's most are refused, which has its own answers.
PASSES = (
    Pass(Scope.ADMIN, examples=30, scenarios=100, lasts_s=180),
    Pass(Scope.OPERATOR, examples=30, scenarios=100, lasts_s=60, walks_only=True),
    Pass(Scope.VIEWER, examples=5, scenarios=10, lasts_s=30),
)
# How far walks get hangs on chance and on the machine: these follow while a link is left.
MORE = Pass(Scope.ADMIN, examples=30, scenarios=100, lasts_s=60, walks_only=True)
MOST_MORE = 5
TIMEOUT_S = 1200.0


def run() -> list[Measurement]:
    """Fuzz with a seed of today's; what was found is printed in full."""
    seed = int(time.time())
    began = time.perf_counter()
    with server() as (service, folder):
        keys = furnish(service).keys
        done = [fuzzed(service, folder, one, keys[one.scope], seed) for one in PASSES]
        while never_walked(done) and len(done) < len(PASSES) + MOST_MORE:
            done.append(fuzzed(service, folder, MORE, keys[MORE.scope], seed + len(done)))
        slowest = slowest_area(service, keys[Scope.OPERATOR])
    took_s = round(time.perf_counter() - began)
    document, walks = done[0].document, together([one.walks for one in done])
    operations = len(labels(document).keys() - AT_PROVIDERS)
    links = len(declared(document))
    never = never_walked(done)
    for walk in never:
        print("link never walked:", *walk)
    where = {
        "seed": seed,
        "passes": [asdict(one) for one in PASSES],
        "more_passes": len(done) - len(PASSES),
        "seconds": took_s,
        "operations": operations,
        "links": links,
        "never_walked": [" ".join(walk) for walk in never],
    }
    taking = operations - len(walks.never_taken(document))
    faults = sum(faults_of(one) for one in done)

    def figure(metric: str, value: int, unit: str, bar: Bar) -> Measurement:
        return Measurement(metric, value, unit, bar, conditions=where)

    return [
        figure("faults found", faults, "faults", Bar(0, True)),
        figure("requests", walks.cases, "requests", Bar(1000, False)),
        figure("operations that took one", taking, "operations", Bar(operations, False)),
        figure("links walked", links - len(never), "links", Bar(links, False)),
        slowest,
    ]


def never_walked(done: list[Fuzzed]) -> list[Walk]:
    """Links of the document that none of these runs walked."""
    return together([one.walks for one in done]).never(done[0].document)


@contextmanager
def server() -> Iterator[tuple[Service, Path]]:
    """A server that asks for keys, and a folder."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        postgres = EmbeddedPostgres(folder / "postgres", fsync=False)
        with postgres, EmbeddedNats(folder / "nats") as nats:
            prepare_database(postgres.url)
            with serving(postgres.url, nats.url, folder, **AUTH) as service:
                yield service, folder
        postgres.remove()


def fuzzed(service: Service, folder: Path, one: Pass, key: str, seed: int) -> Fuzzed:
    """Let one pass go."""
    done = fuzz(
        service,
        folder,
        key=key,
        examples=one.examples,
        scenarios=one.scenarios,
        timeout_s=TIMEOUT_S,
        seed=seed,
        repeated_for_s=one.lasts_s,
        walks_only=one.walks_only,
    )
    print(f"---- {one} ----\n{done.said}")
    return done


def faults_of(done: Fuzzed) -> int:
    """How many different faults were found."""
    found = re.search(r"(\d+) unique failure", done.said)
    return 0 if done.code == 0 else max(1, int(found.group(1)) if found else 1)
