"""Grids to test with."""

from constellation_pipelines.domain.scene import Grid


def utm(width_px: int = 2000, height_px: int = 1500, block_px: int = 512) -> Grid:
    """North-up, 10 m, in UTM zone 33N."""
    return Grid(
        "EPSG:32633", (10, 0, 500_000, 0, -10, 5_000_000), width_px, height_px, block_px, block_px
    )


def grid(
    crs: str, transform: tuple[float, float, float, float, float, float], side_px: int = 1024
) -> Grid:
    """A square grid in blocks of 512 px."""
    return Grid(crs, transform, side_px, side_px, 512, 512)


ROTATED = grid("EPSG:32633", (8.0, 6.0, 500_000, 6.0, -8.0, 5_000_000))
ANTARCTIC = grid("EPSG:3031", (100.0, 0, -51_200, 0, -100.0, 51_200))  # the pole in its middle
ARCTIC_CORNER = grid("EPSG:3413", (100.0, 0, 0, 0, -100.0, 0))  # the pole is its upper left corner
DEGREES = grid("EPSG:4326", (1e-4, 0, -76.7, 0, -1e-4, 34.7))
DATELINE_UTM = grid("EPSG:32660", (100.0, 0, 650_000, 0, -100.0, 5_800_000))
DATELINE_DEGREES = grid("EPSG:4326", (1e-3, 0, 179.5, 0, -1e-3, 10.0))
DATELINE_MERCATOR = grid("EPSG:3857", (100.0, 0, 20_000_000, 0, -100.0, 1_000_000))
EVERYWHERE = (
    utm(),
    ROTATED,
    ANTARCTIC,
    ARCTIC_CORNER,
    DEGREES,
    DATELINE_UTM,
    DATELINE_DEGREES,
    DATELINE_MERCATOR,
)
