"""A small picture of what a run found."""

import base64
import math
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assets.plan import Plan
from constellation_pipelines.domain.model import Task
from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.work_raster import NOTHING, WorkRaster, layouts
from constellation_pipelines.lake.files import whole_file

LONGEST_PX = 512
SAMPLE_BYTES = 32_000_000  # of embeddings that a preview looks at
TURNS = 12  # of the search for principal components; the picture settles long before

Pixels = NDArray[np.uint8]  # (rows, columns, 4): red, green, blue, alpha

# Viridis, in equal steps: equally bright steps look equally large, to the colour-blind too.
RAMP = np.array(
    [
        (68, 1, 84),
        (72, 40, 120),
        (62, 74, 137),
        (49, 104, 142),
        (38, 130, 142),
        (31, 158, 137),
        (53, 183, 121),
        (110, 206, 88),
        (181, 222, 43),
        (253, 231, 37),
    ]
)


def write_preview(plan: Plan) -> None:
    """Write the run's picture: classes in their colours, values in a ramp from their 2nd to their
    98th percentile, embeddings by their first three principal components.
    """
    task = plan.model.card.task
    if task is Task.EMBEDDING:
        pixels = of_embeddings(plan)
    elif task is Task.REGRESSION:
        pixels = of_values(plan.files.values)
    else:
        pixels = of_classes(plan.files.classes)
    with whole_file(plan.files.preview) as partial:
        partial.write_bytes(png(pixels))


def of_classes(path: Path) -> Pixels:
    """A class raster in its own colours."""
    import rasterio

    with rasterio.open(path, driver="GTiff") as source:
        classes = source.read(1, out_shape=small(source.shape))
        palette = np.zeros((256, 4), np.uint8)
        for value, color in source.colormap(1).items():
            palette[value] = color
    palette[NOTHING, 3] = 0
    return np.asarray(palette[classes])


def of_values(path: Path) -> Pixels:
    """A raster of numbers as a ramp of colours."""
    import rasterio

    with rasterio.open(path, driver="GTiff") as source:
        return ramped(source.read(1, out_shape=small(source.shape)))


def ramped(values: NDArray[np.float32]) -> Pixels:
    """Numbers as colours; what is none is transparent."""
    there = np.isfinite(values)
    pixels = np.zeros((*values.shape, 4), np.uint8)
    if there.any():
        low, high = np.percentile(values[there], (2, 98))
        place = (values[there] - low) / (high - low) if high > low else np.full(there.sum(), 0.5)
        steps = np.linspace(0, 1, len(RAMP))
        for band in range(3):
            pixels[there, band] = np.interp(place, steps, RAMP[:, band]).round()
        pixels[there, 3] = 255
    return pixels


def of_embeddings(plan: Plan) -> Pixels:
    """One pixel per chip, or per so many: near colours are near vectors."""
    (layout,) = layouts(plan.model.card)
    rows, columns, channels = layout.shape(plan.fit.grid)
    room = math.sqrt(SAMPLE_BYTES / (4 * channels))
    step = math.ceil(max(1.0, max(rows, columns) / LONGEST_PX, math.sqrt(rows * columns) / room))
    cell_px, width_px = layout.cell_px, plan.fit.grid.width_px
    with WorkRaster(plan.files.work, layout, plan.fit.grid) as raster:
        sample = np.concatenate(
            [
                raster.read(Window(row * cell_px, 0, 1, width_px))[:, ::step]
                for row in range(0, rows, step)
            ]
        )
    return principal(sample)


def principal(vectors: NDArray[np.float32]) -> Pixels:
    """Vectors (rows, columns, channels) as colours of their first three principal components."""
    there = np.isfinite(vectors).all(axis=2)
    pixels = np.zeros((*there.shape, 4), np.uint8)
    if not there.any():
        return pixels
    found = vectors[there] - vectors[there].mean(axis=0)
    axes = np.linalg.qr(np.random.default_rng(0).standard_normal((found.shape[1], 3)))[0]
    for _ in range(TURNS):
        axes = np.linalg.qr(found.T @ (found @ axes))[0]
    parts = found @ axes
    low, high = np.percentile(parts, (2, 98), axis=0)
    shares = np.divide(parts - low, high - low, out=np.full_like(parts, 0.5), where=high > low)
    pixels[there, : parts.shape[1]] = (shares.clip(0, 1) * 255).round()
    pixels[there, 3] = 255
    return pixels


def small(shape: tuple[int, int]) -> tuple[int, int]:
    """A raster's size, shrunk where it is larger than a preview."""
    shrink = max(1.0, max(shape) / LONGEST_PX)
    return max(1, round(shape[0] / shrink)), max(1, round(shape[1] / shrink))


def png(pixels: Pixels) -> bytes:
    """As a PNG file."""
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.io import MemoryFile

    height_px, width_px, count = pixels.shape
    profile = {"driver": "PNG", "width": width_px, "height": height_px, "count": count}
    with MemoryFile() as memory, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # a picture has no place on Earth
        with memory.open(dtype="uint8", **profile) as picture:
            picture.write(np.moveaxis(pixels, -1, 0))
        return bytes(memory.read())


def markdown(path: Path) -> str:
    """A picture that Dagster's UI shows in place."""
    text = base64.b64encode(path.read_bytes()).decode()
    return f"![preview](data:image/png;base64,{text})"
