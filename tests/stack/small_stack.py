"""`constellation up` with the embedded stores and two small programs in place of the real ones."""

import sys
from collections.abc import Sequence

from constellation_pipelines.cli import fail
from constellation_pipelines.domain.errors import ConstellationError
from constellation_pipelines.settings import Settings
from constellation_pipelines.stack import ports
from constellation_pipelines.stack.narrator import Narrator
from constellation_pipelines.stack.plan import Plan
from constellation_pipelines.stack.process import MARK
from constellation_pipelines.stack.service import Service
from constellation_pipelines.stack.services import make_stores
from constellation_pipelines.stack.up import run_stack

# It leaves a child behind in a session of its own, as a crash of a service with children does.
PARENT = """
import os, time
if os.fork() == 0:
    os.setsid()
time.sleep(600)
"""


def small_services(plan: Plan) -> Sequence[Service]:
    if plan.postgres:
        plan.postgres.fsync = False  # a test can do without what a power cut would cost
    stores = make_stores(plan)
    names = tuple(store.name for store in stores)
    web = (sys.executable, "-m", "http.server", str(plan.api_port), "--bind", "127.0.0.1")
    env = {MARK: plan.stack_id}
    return [
        *stores,
        Service("web", web, lambda _: ports.answers(plan.api_port), needs=names, env=env),
        Service("parent", (sys.executable, "-c", PARENT), lambda _: True, env=env),
    ]


if __name__ == "__main__":
    try:
        run_stack(Settings(), Narrator(lambda line: print(line, flush=True)).hear, small_services)
    except ConstellationError as error:
        sys.exit(fail(error.message))
