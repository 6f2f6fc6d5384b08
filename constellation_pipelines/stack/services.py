"""The programs of the stack, in start order."""

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from constellation_pipelines.domain.errors import Conflict, InvalidInput
from constellation_pipelines.settings import Settings
from constellation_pipelines.stack import checks, dagster_home, ports
from constellation_pipelines.stack.nats import EmbeddedNats
from constellation_pipelines.stack.postgres import EmbeddedPostgres
from constellation_pipelines.stack.process import MARK
from constellation_pipelines.stack.service import Service
from constellation_pipelines.stack.url import masked

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")
DAGSTER_PORT = 3000


@dataclass(frozen=True)
class Plan:
    """Where everything of one stack runs. URLs may hold passwords: show them `masked`."""

    settings: Settings
    stack_id: str
    postgres: EmbeddedPostgres | None
    nats: EmbeddedNats | None
    database_url: str
    nats_url: str
    api_port: int
    dagster_port: int
    code_port: int
    dagster_dir: Path

    @property
    def api_url(self) -> str:
        """Where the API and the dashboard are."""
        return f"http://{ports.LOOPBACK}:{self.api_port}"

    @property
    def dagster_url(self) -> str:
        """Where Dagster's web server is."""
        return f"http://{ports.LOOPBACK}:{self.dagster_port}"

    @property
    def urls(self) -> Mapping[str, str]:
        """URLs other commands use. Named services are left out: whoever named them knows them."""
        urls = {"api": self.api_url, "dashboard": f"{self.api_url}/", "dagster": self.dagster_url}
        if self.postgres:
            urls["database"] = self.database_url
        if self.nats:
            urls["nats"] = self.nats_url
        return urls


def make_plan(settings: Settings, stack_id: str) -> Plan:
    """Choose ports and prepare folders. Raises where a setting or a missing program forbids it."""
    check_host(settings.api_host)
    book = ports.PortBook(settings.data_dir / "ports.json")
    api_port, code_port = choose_api_port(settings, book), book.choose("dagster-code")
    postgres = nats = None
    if settings.database_url is None:
        postgres = EmbeddedPostgres(settings.data_dir / "postgres")
    if settings.nats_url is None:
        nats = EmbeddedNats(settings.data_dir / "nats", port=book.choose("nats"))
    return Plan(
        settings=settings,
        stack_id=stack_id,
        postgres=postgres,
        nats=nats,
        database_url=settings.database_url or (postgres.url if postgres else ""),
        nats_url=settings.nats_url or (nats.url if nats else ""),
        api_port=api_port,
        dagster_port=book.choose("dagster-webserver", DAGSTER_PORT),
        code_port=code_port,
        dagster_dir=dagster_home.write(settings.data_dir, code_port, settings.definitions),
    )


def check_host(host: str) -> None:
    """Raises InvalidInput for an address others could reach: the API has no authentication yet."""
    if host not in LOOPBACK_HOSTS:
        raise InvalidInput(
            f"CONSTELLATION_API_HOST={host} would open the API to others, and it has no "
            "authentication yet: use 127.0.0.1",
            field="api_host",
        )


def choose_api_port(settings: Settings, book: ports.PortBook) -> int:
    """The port that was asked for; where none was, 8080 or any free one.

    Raises Conflict when the port that was asked for is taken.
    """
    asked = settings.api_port if "api_port" in settings.model_fields_set else 0
    if asked and not ports.is_free(asked):
        raise Conflict(
            f"CONSTELLATION_API_PORT={asked} is taken by another program: name another port, or "
            "unset it to have a free one chosen",
            field="api_port",
        )
    return asked or book.choose("api", Settings.model_fields["api_port"].default)


def environment(plan: Plan) -> dict[str, str]:
    """What every service is told. The mark lets us find processes that outlive their service."""
    settings = plan.settings
    scene_roots = [str(root.absolute()) for root in settings.allowed_scene_roots]
    told = {
        MARK: plan.stack_id,
        "CONSTELLATION_DATABASE_URL": plan.database_url,
        "CONSTELLATION_NATS_URL": plan.nats_url,
        "CONSTELLATION_DAGSTER_DATABASE_URL": dagster_home.dagster_database_url(plan.database_url),
        "CONSTELLATION_DATA_DIR": str(settings.data_dir),
        "CONSTELLATION_SCENE_ROOTS": os.pathsep.join(scene_roots),
        "CONSTELLATION_MODELS_DIR": str(settings.models_dir),
        "CONSTELLATION_API_HOST": settings.api_host,
        "CONSTELLATION_API_PORT": str(plan.api_port),
        "CONSTELLATION_API_URL": plan.api_url,
        "CONSTELLATION_DAGSTER_URL": plan.dagster_url,
        "DAGSTER_HOME": str(plan.dagster_dir),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "DAGSTER_EVENT_BATCH_SIZE": "1000",  # one insert per thousand events, not per event
        "OPENBLAS_NUM_THREADS": "1",  # numpy's threads do not survive the zygote's forks
        "CONSTELLATION_DEBUG": "1",  # what nobody foresaw goes into the service's log in full
        "PYTHONUNBUFFERED": "1",  # log lines appear when they are written
    }
    if settings.training_data:
        told["CONSTELLATION_TRAINING_DATA"] = str(settings.training_data.absolute())
    return told


def make_services(plan: Plan) -> list[Service]:
    """All services of a plan. Those that need the same start together."""
    told = environment(plan)
    ready_stores = ("migrate", *(["nats"] if plan.nats else []))
    workspace = ("-w", str(plan.dagster_dir / "workspace.yaml"))
    return [
        *make_stores(plan),
        Service(
            "migrate",
            _constellation("migrate"),
            ready=lambda _: False,
            needs=("postgres",) if plan.postgres else (),
            address="" if plan.postgres else masked(plan.database_url),
            env=told,
            once=True,
        ),
        Service(
            "dagster-code",
            _code_server(plan),
            # Not before: it would make Dagster's tables outside the schema they belong in.
            needs=("migrate",),
            ready=lambda _: ports.answers(plan.code_port),
            address=f"{ports.LOOPBACK}:{plan.code_port}",
            env=told,
        ),
        Service(
            "api",
            _constellation("api"),
            ready=checks.http_ok(f"{plan.api_url}/healthz"),
            needs=ready_stores,
            address=plan.api_url,
            env=told,
        ),
        Service(
            "dispatcher",
            _constellation("dispatcher"),
            ready=checks.dispatcher_leads(plan.database_url),
            needs=ready_stores,
            env=told,
        ),
        Service(
            "worker",
            _constellation("worker"),
            ready=checks.worker_beats(plan.database_url, plan.settings.host_name),
            needs=ready_stores,
            env=told,
            stop_grace_s=20.0,
        ),
        Service(
            "dagster-webserver",
            _program("dagster-webserver", *workspace, *_bound(plan.dagster_port)),
            ready=checks.http_ok(f"{plan.dagster_url}/server_info"),
            needs=("migrate", "dagster-code"),
            address=plan.dagster_url,
            env=told,
        ),
        Service(
            "dagster-daemon",
            _program("dagster-daemon", "run", *workspace),
            ready=checks.daemon_beats(plan.database_url),
            needs=("migrate", "dagster-code"),
            env=told,
        ),
    ]


def make_stores(plan: Plan) -> list[Service]:
    """The embedded services of a plan; those that the person named run elsewhere."""
    return [*_postgres(plan), *_nats(plan)]


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
    return [
        Service(
            "nats",
            tuple(server.command),
            ready=lambda _: server.is_ready(),
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
