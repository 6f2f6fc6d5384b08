"""`constellation completion`: let the shell complete commands and options."""

from enum import StrEnum
from typing import Annotated

import typer

PROGRAM = "constellation"
VARIABLE = "_CONSTELLATION_COMPLETE"  # set by the shell when it asks for completions

app = typer.Typer()


class Shell(StrEnum):
    """A shell that can be taught."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@app.command()
def completion(shell: Annotated[Shell, typer.Argument(help="Which shell.")]) -> None:
    """Print what a shell needs to complete commands: eval "$(constellation completion bash)"."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    typer.echo(get_completion_script(prog_name=PROGRAM, complete_var=VARIABLE, shell=shell.value))


def answer() -> None:
    """Make ready to answer a shell that asks for completions."""
    from typer.completion import completion_init  # type: ignore[attr-defined]

    completion_init()
