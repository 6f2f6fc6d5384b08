"""`constellation dispatcher`: one leader at a time, a second one stands by."""

import asyncio
import importlib
import os
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import psycopg
from dagster import DagsterInstance, RepositoryDefinition
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.exc import DBAPIError

from constellation_pipelines.dispatcher import pending
from constellation_pipelines.dispatcher.dagster_door import DagsterDoor
from constellation_pipelines.dispatcher.leftovers import Leftovers
from constellation_pipelines.dispatcher.planner import Planner
from constellation_pipelines.dispatcher.pruner import Kept, pruning_of
from constellation_pipelines.dispatcher.registrar import Registrar
from constellation_pipelines.dispatcher.relay import run_relay
from constellation_pipelines.dispatcher.spending import Spending
from constellation_pipelines.dispatcher.surveyor import surveying
from constellation_pipelines.dispatcher.webhooks import sending
from constellation_pipelines.domain.errors import ServiceUnavailable
from constellation_pipelines.launcher.instances import pool_connections
from constellation_pipelines.settings import Settings
from constellation_pipelines.store import webhooks
from constellation_pipelines.store.database import Connection, Database
from constellation_pipelines.store.vault import Vault

OUTAGES = (ServiceUnavailable, psycopg.OperationalError, DBAPIError, DagsterPostgresException)
LEADER_LOCK = 0x646973706174  # any number, the same for all dispatchers
POLL_S = 1.0  # for a lost notification


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises ServiceUnavailable when a URL is not set."""
    if settings.database_url is None or settings.nats_url is None:
        raise ServiceUnavailable(
            "CONSTELLATION_DATABASE_URL and CONSTELLATION_NATS_URL must be set; "
            "`constellation up` sets them"
        )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    database = Database(settings.database_url)
    door = open_door(settings.definitions)
    planner = Planner(database, door)
    while not stop.is_set():
        try:
            lead(settings, database, planner, door, stop)
        except OUTAGES as error:
            print(f"the lead is given up: {error}", flush=True)
            stop.wait(POLL_S)
    database.close()


def open_door(definitions: str) -> DagsterDoor:
    """Load Dagster and the definitions. Takes seconds, so it is done before leading."""
    instance = DagsterInstance.get()
    pool_connections(instance)
    module = importlib.import_module(definitions)
    return DagsterDoor(
        instance,
        module.defs.get_repository_def(),
        definitions=definitions,
        workspace=Path(os.environ["DAGSTER_HOME"]) / "workspace.yaml",
        load=lambda: repository_of(importlib.reload(module)),
    )


def repository_of(module: ModuleType) -> RepositoryDefinition:
    """What a module's `defs` hold, resolved."""
    repository: RepositoryDefinition = module.defs.get_repository_def()
    return repository


def lead(
    settings: Settings,
    database: Database,
    planner: Planner,
    door: DagsterDoor,
    stop: threading.Event,
) -> None:
    """Wait for the lead, then work until told to stop or the database goes away."""
    listener = database.listen(pending.JOBS_CHANNEL, pending.CANCEL_CHANNEL, pending.SCENES_CHANNEL)
    try:
        while not stop.is_set() and not takes_lead(listener):
            stop.wait(POLL_S)
        registrar = Registrar(database, settings.models_dir, door.reload)
        registrar.register()
        planner.hear_first()
        spending = Spending(database)
        vault = Vault(settings.secret_key_file)
        with database.transaction() as connection:
            webhooks.seal_all(connection, vault)
        leftovers = Leftovers(database, settings.lake_dir)
        print("leading", flush=True)
        with (
            relaying(settings.database_url or "", settings.nats_url or "") as relay,
            sending(database, frozenset(settings.webhook_private_hosts), vault),
            pruning_of(database, Kept.of(settings)),
            surveying(database),
        ):
            while relay.is_alive() and not stop.is_set():
                registrar.look()
                planner.turn()
                spending.look()
                leftovers.sweep()
                select.select([listener.fileno()], [], [], POLL_S)
                database.notifications(listener)
    finally:
        listener.close()


def takes_lead(listener: Connection) -> bool:
    """Try for the lead; it is held until the connection closes, however that comes about."""
    row = listener.execute("select pg_try_advisory_lock(%s) as ours", (LEADER_LOCK,)).fetchone()
    return row is not None and bool(row["ours"])


@contextmanager
def relaying(database_url: str, nats_url: str) -> Iterator[threading.Thread]:
    """Relay events in a thread of its own while the body runs."""
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    relay = threading.Thread(
        target=loop.run_until_complete, args=(run_relay(database_url, nats_url, stop),)
    )
    relay.start()
    try:
        yield relay
    finally:
        loop.call_soon_threadsafe(stop.set)
        relay.join()
        loop.close()
