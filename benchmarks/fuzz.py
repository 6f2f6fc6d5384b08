"""schemathesis, its long form: how many requests, and how many of them found a fault (bar: none).

The server is a real one on a database of its own; the short form is in tests/api/test_fuzz.py.
"""

import re
import tempfile
import time
from pathlib import Path

from benchmarks.measurement import Bar, Measurement
from constellation_pipelines.stack.nats import EmbeddedNats
from constellation_pipelines.stack.postgres import EmbeddedPostgres
from constellation_pipelines.stack.schema import prepare_database
from tests.api.fuzzing import fuzz, prepare
from tests.api.service import serving

EXAMPLES, SCENARIOS = 100, 500
TIMEOUT_S = 1800.0


def run() -> list[Measurement]:
    """Fuzz with a seed of today's; what was found is printed in full."""
    seed = int(time.time())
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        postgres = EmbeddedPostgres(folder / "postgres", fsync=False)
        with postgres, EmbeddedNats(folder / "nats") as nats:
            prepare_database(postgres.url)
            with serving(postgres.url, nats.url, folder) as service:
                prepare(service)
                began = time.perf_counter()
                done = fuzz(
                    service,
                    folder,
                    examples=EXAMPLES,
                    scenarios=SCENARIOS,
                    timeout_s=TIMEOUT_S,
                    seed=seed,
                )
                took_s = time.perf_counter() - began
        postgres.remove()
    print(done.stdout, done.stderr)
    cases = counted(r"(\d+) generated", done.stdout)
    faults = 0 if done.returncode == 0 else max(1, counted(r"(\d+) unique failure", done.stdout))
    where = {"seed": seed, "examples": EXAMPLES, "scenarios": SCENARIOS, "seconds": round(took_s)}
    return [
        Measurement("faults found", faults, "faults", Bar(0, True), conditions=where),
        Measurement("requests", cases, "requests", Bar(1000, False), conditions=where),
    ]


def counted(pattern: str, text: str) -> int:
    """The number in a report, 0 where there is none."""
    found = re.search(pattern, text)
    return int(found.group(1)) if found else 0
