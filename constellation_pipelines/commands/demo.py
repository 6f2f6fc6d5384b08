"""`constellation demo`: real scenes through a real model on this machine."""

import os
import signal
import threading
from contextlib import suppress
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
    from constellation_pipelines.stack.key_file import key_of
    from constellation_pipelines.stack.up import stop_stack

    told_to_stop = on_signals()
    console = Console()
    found = demo_scenes.find(Settings().data_dir, console.print)
    console.print(f"The demonstration takes {found.remark}.")
    os.environ.setdefault("CONSTELLATION_SCENE_ROOTS", str(found.folder))
    settings = Settings()
    urls, ours = running_stack(settings)
    try:
        well = show(console, urls["api"], urls["dagster"], found, key=key_of(settings))
        if ours and not exit_when_done and not told_to_stop.is_set():
            console.print("The stack stays up. Ctrl-C stops it.")
            with suppress(KeyboardInterrupt):
                while not told_to_stop.wait(0.5):
                    pass
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


def on_signals() -> threading.Event:
    """Let SIGTERM and SIGHUP end this as Ctrl-C does, so that no stack is left behind.

    The event says that one came, for libraries have been seen to swallow the exception.
    """
    came = threading.Event()

    def stop(*_: object) -> None:
        came.set()
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    return came
