"""What a nodata value says of a pixel that has it in some of its bands."""

import math

LARGEST_STORED = 65_535.0  # of 16 bits, in which most sensors' values come


def is_no_measurement(nodata: float | None) -> bool:
    """Whether a band with this value certainly holds no data, such as -9999 or 1e20.

    Values from 0 to 65,535 may be dark, white or saturated in one band: with them a pixel is
    missing only where all of its bands have it.
    """
    return nodata is not None and math.isfinite(nodata) and not 0 <= nodata <= LARGEST_STORED
