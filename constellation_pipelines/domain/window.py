"""A rectangle of pixels."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """Pixels [row_off_px, row_off_px + height_px) x [col_off_px, col_off_px + width_px)."""

    row_off_px: int
    col_off_px: int
    height_px: int
    width_px: int

    @property
    def row_end_px(self) -> int:
        """First row below the window."""
        return self.row_off_px + self.height_px

    @property
    def col_end_px(self) -> int:
        """First column right of the window."""
        return self.col_off_px + self.width_px
