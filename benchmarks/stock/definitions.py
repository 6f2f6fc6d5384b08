"""The peer's code location: the same tile through the same weights, in the run process."""

import os
import time
from pathlib import Path

import dagster as dg
import numpy
import rasterio
import torch

from constellation_pipelines.inference.loading import load_module
from constellation_pipelines.inference.package import load_package


@dg.asset
def first_tile(context: dg.AssetExecutionContext) -> None:
    """Classify the scene's first 512 x 512 pixels and note when that was done."""
    model = load_package(Path(os.environ["STOCK_MODEL"]))
    network = load_module(Path(model.folder), model.card).eval()
    with rasterio.open(os.environ["STOCK_SCENE"]) as scene:
        pixels = scene.read((1, 2, 3), window=((0, 512), (0, 512)))
    chips = torch.from_numpy(numpy.ascontiguousarray(pixels)).unfold(1, 64, 64).unfold(2, 64, 64)
    batch = chips.permute(1, 2, 0, 3, 4).reshape(-1, 3, 64, 64).float() / 255
    mean = torch.tensor(model.card.mean)[:, None, None]
    std = torch.tensor(model.card.std)[:, None, None]
    with torch.inference_mode():
        classes = network((batch - mean) / std).argmax(1)
    done_at = time.time()
    context.log.info(f"{len(classes)} chips")
    Path(os.environ["STOCK_MARKS"], context.run_id).write_text(str(done_at))


defs = dg.Definitions(assets=[first_tile], executor=dg.in_process_executor)
