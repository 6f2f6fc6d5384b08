"""`constellation up`, `status`, `down`, `migrate`, and the services that `up` runs."""

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from constellation_pipelines.commands.output import JsonFlag
from constellation_pipelines.domain.errors import ConstellationError, ServiceUnavailable

if TYPE_CHECKING:
    from constellation_pipelines.settings import Settings

app = typer.Typer()


@app.command(rich_help_panel="The stack")
def up(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return once everything is ready.")
    ] = False,
    simulate_gpus: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=64,
            metavar="N",
            help="Offer N simulated GPUs that compute on the processor, real ones or not.",
        ),
    ] = None,
) -> None:
    """Start everything on this machine; Ctrl-C stops it."""
    from constellation_pipelines.stack.detached import start_detached
    from constellation_pipelines.stack.narrator import Narrator
    from constellation_pipelines.stack.up import refuse_second, run_stack

    if simulate_gpus is not None:
        os.environ["CONSTELLATION_SIMULATE_GPUS"] = str(simulate_gpus)
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # leaves no real one to the worker
    settings = load_settings()
    refuse_second(settings.data_dir)
    narrator = Narrator(typer.echo)
    typer.echo(f"starting in {settings.data_dir}")
    if detach:
        start_detached(settings, narrator.hear)
        typer.echo("`constellation status` shows it, `constellation down` stops it")
    else:
        run_stack(settings, narrator.hear)
        typer.echo("stopped")


@app.command(rich_help_panel="The stack")
def status(as_json: JsonFlag = False) -> None:
    """Tell what is up, and where. Exit code 0 when everything is."""
    from constellation_pipelines.stack import status as statuses
    from constellation_pipelines.stack.narrator import ready_text, status_table

    settings = load_settings()
    stack = statuses.read(settings.data_dir)
    if stack is None or not stack.is_running:
        if as_json:
            typer.echo(json.dumps({"running": False, "data_dir": str(settings.data_dir)}))
        else:
            typer.echo(f"nothing is up in {settings.data_dir}: start it with `constellation up`")
        raise typer.Exit(1)
    if as_json:
        facts = {"running": True, "all_up": stack.all_up, "data_dir": str(settings.data_dir)}
        typer.echo(json.dumps(facts | stack.as_json(), indent=2))
    else:
        typer.echo(status_table(stack, datetime.now(UTC)))
        typer.echo(ready_text(stack) if stack.ready else "not ready yet")
    raise typer.Exit(0 if stack.all_up else 1)


@app.command(rich_help_panel="The stack")
def down() -> None:
    """Stop everything that `up` started here, and wait until it has ended."""
    from constellation_pipelines.stack.up import stop_stack

    settings = load_settings()
    stopped = stop_stack(settings.data_dir)
    typer.echo("stopped" if stopped else f"nothing was up in {settings.data_dir}")


@app.command(rich_help_panel="Single services")
def migrate() -> None:
    """Bring the database to the newest schema, ours and Dagster's."""
    from constellation_pipelines.stack.schema import prepare_database

    prepare_database(database_url(load_settings()))


@app.command(rich_help_panel="Single services")
def api() -> None:
    """Serve the REST API, the WebSocket and the dashboard."""
    import uvicorn

    from api import pauses
    from api.live.sockets import SERVING, take_descriptors
    from api.main import create_app
    from constellation_pipelines.observability.logs import configure_logging
    from constellation_pipelines.stack.attach import attached
    from constellation_pipelines.stack.plan import check_host

    settings = attached(load_settings())
    check_host(settings)
    configure_logging()
    take_descriptors()
    app = create_app(settings)
    pauses.shorten()
    uvicorn.run(
        app,
        host=settings.api_host,
        port=settings.api_port,
        log_config=None,  # its lines go with ours
        access_log=False,
        timeout_graceful_shutdown=5,
        **SERVING,
    )


@app.command(rich_help_panel="Single services")
def dispatcher() -> None:
    """Turn pending jobs into Dagster runs and relay events."""
    from constellation_pipelines.dispatcher.main import run
    from constellation_pipelines.observability.logs import configure_logging
    from constellation_pipelines.stack.attach import attached

    configure_logging("WARNING")  # Dagster and Alembic chat at INFO
    run(attached(load_settings()))


@app.command(rich_help_panel="Single services")
def worker() -> None:
    """Run models on this host's devices."""
    from constellation_pipelines.stack.attach import attached
    from constellation_pipelines.worker.main import run

    run(attached(load_settings()))


def load_settings() -> "Settings":
    """The settings of the environment. Raises ConstellationError naming a value that is wrong."""
    from pydantic import ValidationError

    from constellation_pipelines.settings import Settings

    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = f"CONSTELLATION_{'_'.join(str(part) for part in first['loc'])}".upper()
        raise ConstellationError(f"{name}: {first['msg']}") from None


def database_url(settings: "Settings") -> str:
    """The named database, else that of the running stack. Raises ServiceUnavailable without one."""
    from constellation_pipelines.stack.attach import attached

    url = attached(settings).database_url
    if url is None:
        raise ServiceUnavailable(
            "no database: name one in CONSTELLATION_DATABASE_URL, or start `constellation up`"
        )
    return url
