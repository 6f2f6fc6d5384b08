"""Whether the map is right: beside a float32 reference that shares no code with the engine.

The reference reads with rasterio, normalises with numpy, runs the network as it was trained -
float32, nothing folded - and blends overlapping chips by its own arithmetic.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.engine.workload import Workload

SAMPLED_CHIPS = 4096
DENSE_SIDE = 5  # chips along one side of the corner that is compared
BATCH = 64
NOTHING = 255


@dataclass(frozen=True, slots=True)
class Verdict:
    """`agreement` is the share of compared chips, or pixels, of the same class."""

    agreement: float
    compared: int
    unwritten_px: int
    cog_errors: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Every pixel has a class and the file is a valid COG."""
        return self.unwritten_px == 0 and not self.cog_errors


def judge(workload: Workload, out: Path) -> Verdict:
    """Compare a class map with the reference, by samples."""
    import rasterio
    from rio_cogeo.cogeo import cog_validate

    valid, errors, _ = cog_validate(str(out), quiet=True)
    found = [*errors] if errors or valid else ["it is no COG"]
    with rasterio.open(out) as raster:
        if raster.shape != (workload.grid.height_px, workload.grid.width_px):
            return Verdict(0.0, 0, 0, (*found, f"its shape is {raster.shape}"))
        classes: NDArray[np.uint8] = raster.read(1)
    compare = compare_dense if workload.model.card.dense else compare_chips
    same, compared = compare(workload, classes)
    return Verdict(same / compared, compared, int((classes == NOTHING).sum()), tuple(found))


def compare_chips(workload: Workload, classes: NDArray[np.uint8]) -> tuple[int, int]:
    """Chips whose pixels all have the reference's class, and chips compared: some rows of them."""
    side = workload.model.card.chip_px
    rows, columns = (-(-length // side) for length in classes.shape)
    step = max(1, rows * columns // SAMPLED_CHIPS)
    same = compared = 0
    for row in range(0, rows, step):
        pixels = padded(workload, row * side, side, side * columns)
        chips = pixels.reshape(len(pixels), side, columns, side).transpose(2, 0, 1, 3)
        expected = values(workload)[probabilities(workload, chips).argmax(1)]
        strip = classes[row * side : (row + 1) * side]
        for column, value in enumerate(expected):
            same += bool((strip[:, column * side : (column + 1) * side] == value).all())
        compared += columns
    return same, compared


def compare_dense(workload: Workload, classes: NDArray[np.uint8]) -> tuple[int, int]:
    """Pixels of the reference's class in the upper left corner, and pixels compared there."""
    card = workload.model.card
    stride, halo = card.stride_px, card.halo_px
    count = min(DENSE_SIDE, -(-min(classes.shape) // stride))
    side = count * stride + 2 * halo
    pixels = padded(workload, -halo, side, side, left_px=-halo)
    weights = trapezoid(stride, halo)
    total = np.zeros((card.channels, side, side), np.float32)
    for row in range(count):
        for column in range(count):
            window = np.s_[:, row * stride :, column * stride :]
            chip = pixels[window][:, : card.chip_px, : card.chip_px]
            found = probabilities(workload, chip[None])[0]
            weighted = found * weights[:, None] * weights[None, :]
            total[window][:, : card.chip_px, : card.chip_px] += weighted
    # The last row and column of chips have no neighbour to blend with; and the first see beyond
    # the scene.
    end = min((count - 1) * stride, *classes.shape)
    expected = values(workload)[total[:, halo : halo + end, halo : halo + end].argmax(0)]
    return int((classes[:end, :end] == expected).sum()), end * end


def trapezoid(stride_px: int, halo_px: int) -> NDArray[np.float32]:
    """A chip's weight along one side: a ramp as long as the overlap at both ends."""
    if halo_px == 0:
        return np.ones(stride_px, np.float32)
    place = np.arange(stride_px + 2 * halo_px) + 0.5
    ramps = np.minimum(place, place[::-1]) / (2 * halo_px)
    weights: NDArray[np.float32] = ramps.clip(0, 1).astype(np.float32)
    return weights


def values(workload: Workload) -> NDArray[np.uint8]:
    """Class values in the order of the network's outputs."""
    return np.array([found.value for found in workload.model.card.classes], np.uint8)


def padded(
    workload: Workload, top_px: int, height_px: int, width_px: int, left_px: int = 0
) -> NDArray[Any]:
    """Stored values (bands, height, width) of a window that may reach over the edges: mirrored."""
    import rasterio
    from rasterio.windows import Window

    first, left = max(top_px, 0), max(left_px, 0)
    last = min(top_px + height_px, workload.grid.height_px)
    right = min(left_px + width_px, workload.grid.width_px)
    with rasterio.open(workload.scene.path) as raster:
        place = Window(left, first, right - left, last - first)
        pixels = raster.read([band.index for band in workload.bands], window=place)
    edges = (
        (0, 0),
        (first - top_px, top_px + height_px - last),
        (left - left_px, left_px + width_px - right),
    )
    return np.pad(pixels, edges, mode="symmetric")


def probabilities(workload: Workload, chips: NDArray[Any]) -> NDArray[np.float32]:
    """Stored chips (n, bands, px, px) -> probabilities (n, classes, ...), in float32."""
    import torch

    network = reference(workload)
    gain, offset, low, high = workload.unit()
    card = workload.model.card
    column = [np.array(part, np.float32)[:, None, None] for part in (gain, offset)]
    mean, std = (np.array(part, np.float32)[:, None, None] for part in (card.mean, card.std))
    found = []
    with torch.inference_mode():
        for start in range(0, len(chips), BATCH):
            unit = chips[start : start + BATCH].astype(np.float32) * column[0] + column[1]
            scaled = (unit.clip(low, high) - mean) / std
            found.append(network(torch.from_numpy(scaled.astype(np.float32))).softmax(1).numpy())
    return np.concatenate(found)


NETWORKS: dict[str, Any] = {}


def reference(workload: Workload) -> Any:
    """The network as it was trained."""
    from constellation_pipelines.inference.loading import load_module

    model = workload.model
    if model.digest not in NETWORKS:
        NETWORKS[model.digest] = load_module(Path(model.folder), model.card)
    return NETWORKS[model.digest]
