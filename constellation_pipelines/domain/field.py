"""A value of a document that nobody has checked yet, and where it stands."""

import math
import re
from dataclasses import dataclass
from typing import Any

from constellation_pipelines.domain.errors import ModelRefused


@dataclass(frozen=True, slots=True)
class Field:
    """A value of the document and where it stands, such as `properties.mlm:input[0].bands`."""

    value: Any
    at: str

    def refused(self, reason: str) -> ModelRefused:
        """An error that points here."""
        return ModelRefused(f"{self.at or 'the card'} {reason}", field=self.at)

    def __getitem__(self, key: str) -> "Field":
        found = self.get(key)
        if found is None:
            raise Field(None, self._below(key)).refused("is missing")
        return found

    def get(self, key: str) -> "Field | None":
        """The member of this name, None where there is none. Refuses what is no object."""
        if not isinstance(self.value, dict):
            raise self.refused("must be an object")
        return Field(self.value[key], self._below(key)) if key in self.value else None

    def _below(self, key: str) -> str:
        return f"{self.at}.{key}" if self.at else key

    def items(self, least: int, most: int) -> list["Field"]:
        """The members of a list of `least` to `most` of them."""
        if not isinstance(self.value, list) or not least <= len(self.value) <= most:
            count = f"{least}" if least == most else f"{least} to {most}"
            raise self.refused(f"must be a list of {count} values")
        return [Field(member, f"{self.at}[{i}]") for i, member in enumerate(self.value)]

    def text(self, pattern: re.Pattern[str]) -> str:
        """A string of this form."""
        if not isinstance(self.value, str) or not pattern.fullmatch(self.value):
            raise self.refused(f"must be a text of the form {pattern.pattern}")
        return self.value

    def integer(self, low: int, high: int) -> int:
        """A whole number within [low, high]."""
        whole = isinstance(self.value, int) and not isinstance(self.value, bool)
        if not whole or not low <= self.value <= high:
            raise self.refused(f"must be a whole number from {low} to {high}")
        return int(self.value)

    def number(self, low: float, high: float) -> float:
        """A finite number within [low, high]."""
        numeric = isinstance(self.value, int | float) and not isinstance(self.value, bool)
        if not numeric or not math.isfinite(self.value) or not low <= self.value <= high:
            raise self.refused(f"must be a number from {low:g} to {high:g}")
        return float(self.value)

    def boolean(self) -> bool:
        """True or false."""
        if not isinstance(self.value, bool):
            raise self.refused("must be true or false")
        return self.value

    def one_of(self, choices: tuple[str, ...]) -> str:
        """One of these strings."""
        if not isinstance(self.value, str) or self.value not in choices:
            raise self.refused(f"must be one of: {', '.join(choices)}")
        return self.value
