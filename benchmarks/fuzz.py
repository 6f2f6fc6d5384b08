"""schemathesis, its long form: how many requests, how many of them found a fault (bar: none), and
how many of the document's links were walked (bar: all).

The server is a real one on a database of its own; the short form is in tests/api/test_fuzz.py.
"""

import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measurement import Bar, Measurement
from constellation_pipelines.domain.account import Scope
from constellation_pipelines.stack.nats import EmbeddedNats
from constellation_pipelines.stack.postgres import EmbeddedPostgres
from constellation_pipelines.stack.schema import prepare_database
from tests.api.furnished import AUTH, furnish
from tests.api.fuzzing import Fuzzed, fuzz
from tests.api.service import Service, serving
from tests.api.walks import declared, labels

# An admin's requests go the whole way; of a viewer's most are refused, which has its own answers.
EXAMPLES = {Scope.ADMIN: 30, Scope.VIEWER: 5}
SCENARIOS = {Scope.ADMIN: 100, Scope.VIEWER: 10}
LASTS_S = {Scope.ADMIN: 240, Scope.VIEWER: 30}
TIMEOUT_S = 1200.0


def run() -> list[Measurement]:
    """Fuzz with a seed of today's; what was found is printed in full."""
    seed = int(time.time())
    began = time.perf_counter()
    with server() as (service, folder):
        keys = furnish(service).keys
        done = {scope: fuzzed(service, folder, scope, keys[scope], seed) for scope in EXAMPLES}
    took_s = round(time.perf_counter() - began)
    document = done[Scope.ADMIN].document
    operations, links = len(labels(document)), len(declared(document))
    never = done[Scope.ADMIN].walks.never(document)
    for walk in never:
        print("link never walked:", *walk)
    where = {
        "seed": seed,
        "examples": EXAMPLES[Scope.ADMIN],
        "scenarios": SCENARIOS[Scope.ADMIN],
        "seconds": took_s,
        "operations": operations,
        "links": links,
        "never_walked": [" ".join(walk) for walk in never],
    }
    # Operations that took something: answered it with success.
    taking = operations - len(done[Scope.ADMIN].walks.never_taken(document))
    cases = sum(one.walks.cases for one in done.values())
    faults = sum(faults_of(one) for one in done.values())
    return [
        Measurement("faults found", faults, "faults", Bar(0, True), conditions=where),
        Measurement("requests", cases, "requests", Bar(1000, False), conditions=where),
        Measurement(
            "operations that took a request",
            taking,
            "operations",
            Bar(operations, False),
            conditions=where,
        ),
        Measurement(
            "links walked", links - len(never), "links", Bar(links, False), conditions=where
        ),
    ]


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


def fuzzed(service: Service, folder: Path, scope: Scope, key: str, seed: int) -> Fuzzed:
    """One run, as someone of this scope."""
    done = fuzz(
        service,
        folder,
        key=key,
        examples=EXAMPLES[scope],
        scenarios=SCENARIOS[scope],
        timeout_s=TIMEOUT_S,
        seed=seed,
        repeated_for_s=LASTS_S[scope],
    )
    print(f"---- {scope} ----\n{done.said}")
    return done


def faults_of(done: Fuzzed) -> int:
    """How many different faults were found."""
    found = re.search(r"(\d+) unique failure", done.said)
    return 0 if done.code == 0 else max(1, int(found.group(1)) if found else 1)
