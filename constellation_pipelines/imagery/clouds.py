"""Which pixels of a quality mask are clouded."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from constellation_pipelines.domain.quality import QualityKind

# Sentinel-2 Level-2A scene classification. Dark areas (2) and unclassified pixels (7) are no
# clouds: they are mostly topographic shadow, water and bare ground.
SCL_NOTHING = 0
SCL_CLOUDED = (3, 8, 9, 10)  # cloud shadow, medium and high probability, thin cirrus
# Landsat Collection 2 QA_PIXEL, bits from the least significant; Landsat 4-7 never set cirrus.
QA_FILL = 1 << 0
QA_CLOUDED = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4  # dilated cloud, cirrus, cloud, cloud shadow


def cloud_mask(kind: QualityKind, values: NDArray[Any]) -> NDArray[np.bool_]:
    """True where a cloud, its rim or its shadow hides the ground; same shape as `values`.

    Shadow counts, for what a model sees there is not the ground as it was trained on. Pixels
    without data are no clouds. `values` are whole numbers, as stored in the mask.
    """
    if kind is QualityKind.SCL:
        return np.asarray(np.isin(values, SCL_CLOUDED))
    return np.asarray(((values & QA_CLOUDED) != 0) & ((values & QA_FILL) == 0))


def observed_mask(kind: QualityKind, values: NDArray[Any]) -> NDArray[np.bool_]:
    """True where the sensor saw anything at all; same shape as `values`."""
    if kind is QualityKind.SCL:
        return np.asarray(values != SCL_NOTHING)
    return np.asarray((values & QA_FILL) == 0)


def cloud_fraction(kind: QualityKind, values: NDArray[Any]) -> float:
    """The clouded share of the pixels with data, 0 to 1; 0 where there are none."""
    observed = int(np.count_nonzero(observed_mask(kind, values)))
    clouded = int(np.count_nonzero(cloud_mask(kind, values)))
    return clouded / observed if observed else 0.0
