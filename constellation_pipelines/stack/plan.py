"""Where everything of one stack runs, and what its services are told."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from constellation_pipelines.domain.errors import Conflict, InvalidInput
from constellation_pipelines.settings import Settings
from constellation_pipelines.stack import dagster_home, ports
from constellation_pipelines.stack.nats import EmbeddedNats
from constellation_pipelines.stack.postgres import EmbeddedPostgres
from constellation_pipelines.stack.process import MARK

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")
ANY_HOST = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # where this machine reaches what listens on all
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
    book: ports.PortBook  # keeps the ports ours

    @property
    def api_url(self) -> str:
        """Where the API and the dashboard are."""
        host = ANY_HOST.get(self.settings.api_host, self.settings.api_host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.api_port}"

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
    check_host(settings)
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
        book=book,
    )


def check_host(settings: Settings) -> None:
    """Raises InvalidInput for an address that others could reach, while nobody has to say who they
    are.
    """
    host = settings.api_host
    if host not in LOOPBACK_HOSTS and settings.auth != "required":
        raise InvalidInput(
            f"CONSTELLATION_API_HOST={host} would open the API to others without authentication: "
            "set CONSTELLATION_AUTH=required, or use 127.0.0.1",
            field="api_host",
        )


def choose_api_port(settings: Settings, book: ports.PortBook) -> int:
    """The port that was asked for; where none was, 8080 or any free one.

    Raises Conflict when the port that was asked for is taken.
    """
    asked = settings.api_port if "api_port" in settings.model_fields_set else 0
    if asked and not book.claim("api", asked):
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
        # The zygote forks, which only a process of one thread may: not numpy's, not pyarrow's.
        "OPENBLAS_NUM_THREADS": "1",
        "JE_ARROW_MALLOC_CONF": "background_thread:false",
        "CONSTELLATION_DEBUG": "1",  # what nobody foresaw goes into the service's log in full
        "PYTHONUNBUFFERED": "1",  # log lines appear when they are written
    }
    if settings.simulation:
        told["CONSTELLATION_SIMULATION"] = str(settings.simulation)
    if settings.training_data:
        told["CONSTELLATION_TRAINING_DATA"] = str(settings.training_data.absolute())
    return told
