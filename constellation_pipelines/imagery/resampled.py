"""A raster read on another grid of its own CRS: larger or smaller pixels over the same ground."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.imagery.nodata import is_no_measurement


@contextmanager
def open_on_grid(dataset: Any, grid: Grid, resampling: Any) -> Iterator[Any]:
    """A WarpedVRT of an open dataset on `grid`, which has the dataset's CRS and extent.

    Bands keep their numbers. `resampling` is a rasterio.enums.Resampling. With `nearest` pixels
    keep their type and value: that is for masks and classes. With any other, pixels are floats that
    do not depend on the window they are read in, NaN where the dataset has no data by its nodata
    value (in all bands at once, or in a band by itself, as where it is read directly), mask or
    alpha band; what has data is
    not mixed with what has none. The VRT is made of the open dataset and of numbers, never of a
    text from a user.
    """
    from affine import Affine
    from rasterio.enums import Resampling
    from rasterio.vrt import WarpedVRT

    means = {} if resampling is Resampling.nearest else _measurements(dataset)
    across, down = _scale(dataset.transform, grid)
    with WarpedVRT(
        dataset,
        crs=dataset.crs,
        transform=Affine(*grid.transform),
        width=grid.width_px,
        height=grid.height_px,
        resampling=resampling,
        XSCALE=repr(across),  # else the width of the filter follows the shape of each window
        YSCALE=repr(down),
        **means,
    ) as warped:
        yield warped


def _measurements(dataset: Any) -> dict[str, Any]:
    """Options for values that are averaged: what is missing, and how that is said."""
    from rasterio.enums import ColorInterp, MaskFlags

    alpha = _alpha_band(dataset, ColorInterp.alpha)
    own_mask = any(MaskFlags.per_dataset in flags for flags in dataset.mask_flag_enums)
    small = all(np.dtype(name).itemsize <= 2 or name == "float32" for name in dataset.dtypes)
    return {
        "dtype": "float32" if small else "float64",
        "nodata": math.nan,
        # GDAL would follow the nodata value and not look at the mask.
        "src_nodata": None if own_mask or alpha else dataset.nodata,
        "UNIFIED_SRC_NODATA": "NO" if is_no_measurement(dataset.nodata) else "YES",
        # Half transparent is there, as where the alpha band is read directly.
        **({"src_alpha": alpha, "SRC_ALPHA_MAX": "1"} if alpha else {}),
    }


def _alpha_band(dataset: Any, alpha: Any) -> int | None:
    """The number of the alpha band, from 1."""
    try:
        found = [index for index, kind in enumerate(dataset.colorinterp, 1) if kind is alpha]
    except ValueError:  # an interpretation newer than the library
        return None
    return found[0] if found else None


def _scale(transform: Any, grid: Grid) -> tuple[float, float]:
    """Target pixels per source pixel, across and down."""
    a, b, _, d, e, _ = grid.transform
    return (
        math.hypot(transform.a, transform.d) / math.hypot(a, d),
        math.hypot(transform.b, transform.e) / math.hypot(b, e),
    )
