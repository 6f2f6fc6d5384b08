"""About how many positions of GeoJSON a body has, told from its bytes as they pass."""

import re

# An array that begins with a number is a position. Brackets within text count too: that decides
# only with which words a body that is too large is refused.
POSITION = re.compile(rb"\[\s*+[-0-9]")
FIRST_NUMBER = re.compile(rb"\s*[-0-9]")


class Vertices:
    """Counts positions in parts of a body, however they are cut. Nothing of a part is kept."""

    def __init__(self) -> None:
        self.count = 0
        self._is_open = False  # whether the part before ended with a bracket

    def take(self, part: bytes) -> None:
        """Count what this part of the body adds."""
        if self._is_open and FIRST_NUMBER.match(part):
            self.count += 1
        self.count += len(POSITION.findall(part))
        end = part.rstrip()
        self._is_open = end.endswith(b"[") if end else self._is_open
