"""Asks an engine for a scene and writes the class map as a COG, as a run process does.

    python -m benchmarks.engine.client SOCKET ORDER.json OUT.tif

A process of its own, so that its processor time and memory can be told from the benchmark's. It
prints one line of JSON.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path

from benchmarks.engine.counters import cpu_s
from constellation_pipelines.domain.states import TileState
from constellation_pipelines.inference.client import EngineClient
from constellation_pipelines.inference.package import load_package
from constellation_pipelines.inference.products import raster_layouts, write_raster
from constellation_pipelines.inference.protocol import PredictOrder


def main(socket: Path, order_path: Path, out: Path) -> None:
    """Predict and write; what came back in numbers."""
    import pyarrow  # noqa: F401 - a run process has both loaded by the time they are needed
    import rasterio  # noqa: F401

    order = PredictOrder.from_json(json.loads(order_path.read_text()))
    card = load_package(Path(order.model_folder)).card
    (layout,) = raster_layouts(card)
    client, pid = EngineClient(socket), os.getpid()
    began_cpu_s, began_s = cpu_s(pid), time.perf_counter()
    results = list(client.predict(order))
    predicted_s = time.perf_counter()
    write_raster(Path(order.work), layout, (order.grid, order.grid), card, out, {})
    ended_s, ended_cpu_s = time.perf_counter(), cpu_s(pid)
    shutil.rmtree(order.work)
    told = {
        "cpu_s": ended_cpu_s - began_cpu_s,
        "wall_s": ended_s - began_s,
        "write_s": ended_s - predicted_s,
        "tiles": len(results),
        "failed": sum(result.state is not TileState.COMPLETED for result in results),
        "summary": client.summary,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
