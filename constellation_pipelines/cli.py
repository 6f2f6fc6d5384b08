"""The `constellation` command."""

import importlib
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from constellation_pipelines.domain.errors import ConstellationError

COMMANDS = "constellation_pipelines.commands"
GROUPS = {
    "scenes": "Register and look at scenes.",
    "areas": "Keep shapes that jobs can name.",
    "models": "Add, check and look at models.",
    "jobs": "Submit and follow jobs.",
    "runs": "Look at a job's runs and their tiles.",
    "analytics": "Count what models found.",
    "coverage": "Look at what models covered, as a map.",
    "webhooks": "Have other programs told of jobs.",
    "accounts": "Make accounts and say what each may use.",
    "keys": "Make and revoke keys.",
}
PLAIN = ("gpus", "samples", "limits", "audit", "usage", "whoami", "completion")


def print_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        from importlib.metadata import version

        typer.echo(f"constellation {version('constellation-eo')}")
        raise typer.Exit


def top(
    version: Annotated[
        bool,
        typer.Option("--version", callback=print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Run PyTorch models over satellite imagery on the GPUs you own, and watch it live."""


def make_app() -> typer.Typer:
    """The command with all its subjects. Their modules import what they need when they run."""
    app = typer.Typer(
        name="constellation",
        callback=top,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for name in ("stack", *PLAIN):
        app.add_typer(subject(name).app)
    for name, text in GROUPS.items():
        app.add_typer(subject(name).app, name=name, help=text, no_args_is_help=True)
    app.command(rich_help_panel="The stack")(subject("demo").demo)
    return app


def subject(name: str) -> ModuleType:
    """The module of one subject's commands."""
    return importlib.import_module(f"{COMMANDS}.{name}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and end the process: 0 when well, 1 with one clear line when not."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    try:
        if "_CONSTELLATION_COMPLETE" in os.environ:
            subject("completion").answer()
        typer.main.get_command(make_app()).main(list(arguments), prog_name="constellation")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except ConstellationError as error:
        return fail(error.message)
    except Exception:
        if os.environ.get("CONSTELLATION_DEBUG") == "1":
            raise
        return fail(f"this should not have happened; the details are in {keep_traceback()}")
    return 0


def fail(message: str) -> int:
    """Say one line on stderr; return the exit code of a failure."""
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return 1


def keep_traceback() -> Path:
    """Write the current exception into a file only its owner can read."""
    handle, name = tempfile.mkstemp(prefix="constellation-error-", suffix=".log")
    with os.fdopen(handle, "w") as file:
        file.write(traceback.format_exc())
    return Path(name)


if __name__ == "__main__":
    main()
