"""`constellation demo`: real scenes through a real model on this machine."""

import os
import signal
import threading
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from constellation_pipelines.settings import Settings


def demo(
    exit_when_done: Annotated[
        bool, typer.Option("--exit", help="Stop the stack at the end; exit code 0 if all is well.")
    ] = False,
) -> None:
    """Start the stack, register scenes, submit jobs, watch them, and check the results."""
    from rich.console import Console

    from constellation_pipelines.demo import scenes as demo_scenes
    from constellation_pipelines.demo.show import show
    from constellation_pipelines.settings import Settings
    from constellation_pipelines.stack.up import stop_stack

    for number in (signal.SIGTERM, signal.SIGHUP):  # end as by Ctrl-C: no stack is left behind
        signal.signal(number, signal.default_int_handler)
    console = Console()
    found = demo_scenes.find(Settings().data_dir, console.print)
    console.print(f"The demonstration takes {found.remark}.")
    os.environ.setdefault("CONSTELLATION_SCENE_ROOTS", str(found.folder))
    settings = Settings()
    urls, ours = running_stack(settings)
    try:
        well = show(console, urls["api"], urls["dagster"], found)
        if ours and not exit_when_done:
            console.print("The stack stays up. Ctrl-C stops it.")
            wait_for_interrupt()
    finally:
        if ours:
            stop_stack(settings.data_dir)
    raise typer.Exit(0 if well else 1)


def running_stack(settings: "Settings") -> tuple[dict[str, str], bool]:
    """Addresses of the stack, and whether it was started here: one that is up is used as it is."""
    from constellation_pipelines.stack import status
    from constellation_pipelines.stack.detached import start_detached
    from constellation_pipelines.stack.narrator import Narrator

    present = status.read(settings.data_dir)
    if present is not None and present.is_running:
        typer.echo(f"using the stack that is up in {settings.data_dir}")
        return dict(present.urls), False
    return dict(start_detached(settings, Narrator(typer.echo).hear).urls), True


def wait_for_interrupt() -> None:
    """Wait for Ctrl-C or SIGTERM."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    while not stop.wait(0.5):
        pass
