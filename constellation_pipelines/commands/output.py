"""How commands print: tables for people, JSON for programs."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

WIDE = 1000

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def print_json(value: Any) -> None:
    """Print JSON, indented."""
    typer.echo(json.dumps(value, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
    """Print a table, or one line when there are no rows. Columns of numbers are right-aligned."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    listed = list(rows)
    for at, name in enumerate(columns):
        numbers = all(isinstance(row[at], int | float) for row in listed)
        table.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for row in listed:
        table.add_row(*(Text(cell(value)) for value in row))
    if listed:
        # A file or pipe has no edge to wrap at.
        console = Console() if sys.stdout.isatty() else Console(width=WIDE)
        console.print(table)
    else:
        typer.echo(empty)


def print_facts(facts: dict[str, Any]) -> None:
    """Print names and values, one pair a line, leaving out what is not known."""
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        if value is not None:
            typer.echo(f"{name.ljust(width)}  {cell(value)}")


def cell(value: Any) -> str:
    """A value as people read it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3g}"
    if isinstance(value, list | tuple):
        return ", ".join(cell(item) for item in value)
    return printable(str(value))


def moment(text: str | None) -> str | None:
    """An instant of the API in the person's time zone, to the second."""
    if text is None:
        return None
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def printable(text: str) -> str:
    """`text` without what could move the cursor or colour the terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)
