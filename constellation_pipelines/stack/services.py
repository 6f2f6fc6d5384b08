"""The programs of the stack, in start order."""

import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from constellation_pipelines.stack import checks, ports
from constellation_pipelines.stack.plan import Plan, environment
from constellation_pipelines.stack.process import MARK
from constellation_pipelines.stack.service import Service
from constellation_pipelines.stack.url import masked
from constellation_pipelines.worker.stamp import models_stamp


def make_services(plan: Plan) -> list[Service]:
    """All services of a plan. Those that need the same start together."""
    told = environment(plan)
    return [*make_stores(plan), _migration(plan, told), *_own(plan, told), *_dagster(plan, told)]


def make_stores(plan: Plan) -> list[Service]:
    """The embedded services of a plan; those that the person named run elsewhere."""
    return [*_postgres(plan), *_nats(plan)]


def _migration(plan: Plan, told: Mapping[str, str]) -> Service:
    return Service(
        "migrate",
        _constellation("migrate"),
        ready=lambda _: False,
        needs=("postgres",) if plan.postgres else (),
        address="" if plan.postgres else masked(plan.database_url),
        env=told,
        once=True,
    )


def _own(plan: Plan, told: Mapping[str, str]) -> list[Service]:
    needs = ("migrate", "nats") if plan.nats else ("migrate",)
    return [
        Service(
            "api",
            _constellation("api"),
            ready=checks.serves(plan.api_port, f"{plan.api_url}/healthz"),
            needs=needs,
            address=plan.api_url,
            env=told,
        ),
        Service(
            "dispatcher",
            _constellation("dispatcher"),
            ready=checks.dispatcher_leads(plan.database_url),
            needs=needs,
            env=told,
        ),
        Service(
            "worker",
            _constellation("worker"),
            ready=checks.worker_beats(plan.database_url, plan.settings.host_name),
            needs=needs,
            env=told,
            stop_grace_s=20.0,
        ),
    ]


def _dagster(plan: Plan, told: Mapping[str, str]) -> list[Service]:
    workspace = ("-w", str(plan.dagster_dir / "workspace.yaml"))
    return [
        Service(
            "dagster-code",
            _code_server(plan),
            # Not before: it would make Dagster's tables outside the schema they belong in.
            needs=("migrate",),
            ready=checks.listens(plan.code_port),
            address=f"{ports.LOOPBACK}:{plan.code_port}",
            env=told,
            # Web server and daemon notice that it is another process, and read it anew.
            stamp=lambda: models_stamp(plan.settings.models_dir),
        ),
        Service(
            "dagster-webserver",
            _program("dagster-webserver", *workspace, *_bound(plan.dagster_port)),
            ready=checks.serves(plan.dagster_port, f"{plan.dagster_url}/server_info"),
            needs=("dagster-code",),
            address=plan.dagster_url,
            env=told,
        ),
        Service(
            "dagster-daemon",
            _program("dagster-daemon", "run", *workspace),
            ready=checks.daemon_beats(plan.database_url),
            needs=("dagster-code",),
            env=told,
        ),
    ]


def _postgres(plan: Plan) -> list[Service]:
    if plan.postgres is None:
        return []
    server = plan.postgres
    return [
        Service(
            "postgres",
            tuple(server.command),
            ready=lambda _: server.is_ready(),
            address=server.url,
            prepare=server.prepare,
            account=server.account,
            folder=server.home,
            env={MARK: plan.stack_id},
            stop_signal=signal.SIGINT,  # "fast": cut connections, keep committed work
            stop_grace_s=30.0,
        )
    ]


def _nats(plan: Plan) -> list[Service]:
    if plan.nats is None:
        return []
    server = plan.nats
    listens = checks.listens(server.port)
    return [
        Service(
            "nats",
            tuple(server.command),
            ready=lambda pid: listens(pid) and server.is_ready(),
            address=server.url,
            prepare=server.prepare,
            account=server.account,
            folder=server.home,
            env={MARK: plan.stack_id},
        )
    ]


def _constellation(command: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "constellation_pipelines.cli", command)


def _bound(port: int) -> tuple[str, ...]:
    return ("-h", ports.LOOPBACK, "-p", str(port))


def _code_server(plan: Plan) -> tuple[str, ...]:
    what = ("-m", plan.settings.definitions, "--empty-working-directory")
    return (sys.executable, "-m", "dagster", "api", "grpc", *what, *_bound(plan.code_port))


def _program(name: str, *args: str) -> tuple[str, ...]:
    return (str(Path(sys.executable).with_name(name)), *args)
