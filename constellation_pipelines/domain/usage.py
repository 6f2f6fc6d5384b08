"""Usage: what an account has used of the devices, and what came of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used on a day with a model; '' and None where it is a sum over them.

    `gpu_s` are seconds for which slots of devices were leased. `energy_j` is None where no device
    told what it took.
    """

    account: str
    day: date | None
    model: str
    gpu_s: float
    energy_j: float | None
    tiles: int
    area_km2: float


def by_day(rows: Iterable[Usage]) -> list[Usage]:
    """Summed over models, by day."""
    return summed(rows, lambda row: (row.account, row.day, ""))


def by_model(rows: Iterable[Usage]) -> list[Usage]:
    """Summed over days, by model."""
    return summed(rows, lambda row: (row.account, None, row.model))


def by_account(rows: Iterable[Usage]) -> list[Usage]:
    """Summed over days and models, by account."""
    return summed(rows, lambda row: (row.account, None, ""))


def summed(rows: Iterable[Usage], key: Callable[[Usage], tuple[Any, ...]]) -> list[Usage]:
    """Rows with the same key added up, in the order in which keys come first."""
    groups: dict[tuple[Any, ...], list[Usage]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return [total(account, day, model, group) for (account, day, model), group in groups.items()]


def total(account: str, day: date | None, model: str, rows: list[Usage]) -> Usage:
    """The sum of rows."""
    told = [row.energy_j for row in rows if row.energy_j is not None]
    return Usage(
        account=account,
        day=day,
        model=model,
        gpu_s=sum(row.gpu_s for row in rows),
        energy_j=sum(told) if told else None,
        tiles=sum(row.tiles for row in rows),
        area_km2=sum(row.area_km2 for row in rows),
    )
