"""TorchGeo as its tutorials show it: RasterDataset, GridGeoSampler, DataLoader, eager float32.

    .venv-peers/bin/python -m benchmarks.engine.peers.torchgeo_loop JOB.json

TorchGeo imports torchvision, whose compiled operators do not load beside every torch. Where they do
not, their names are declared first: then the import goes through, and nothing here uses them.
"""

import importlib.util
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.engine.peers.job import ClassMap, Job, job_of_command_line, measured

BATCH = {False: 64, True: 8}  # chips, of a classifier and of a dense network


def declare_torchvision() -> list[str]:
    """Declare the operators that torchvision describes and could not load; their names."""
    try:
        operators: Any = torch.ops
        operators.load_library(str(folder_of("torchvision") / "_C.so"))
        return []
    except OSError:
        pass
    text = (folder_of("torchvision") / "_meta_registrations.py").read_text()
    names = sorted(set(re.findall(r'register_meta\("(\w+)"|torchvision::(\w+)', text)))
    flat = sorted({name for pair in names for name in pair if name})
    libraries: Any = torch.library
    library = libraries.Library("torchvision", "DEF")
    for name in flat:
        library.define(f"{name}(Tensor x) -> Tensor")
    KEPT.append(library)
    return flat


KEPT: list[object] = []  # a library's names last as long as it does


def folder_of(package: str) -> Path:
    """Where an installed package lies; it is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(package)
    return Path(spec.submodule_search_locations[0])


def main() -> None:
    warnings.simplefilter("ignore")
    job = job_of_command_line()
    torch.set_num_threads(1)  # more chips per CPU-second than with torch's own choice
    declared = declare_torchvision()
    import shapely
    import torchgeo
    from torchgeo.datasets import RasterDataset, stack_samples
    from torchgeo.samplers import GridGeoSampler, Units

    class Scene(RasterDataset):  # type: ignore[misc, unused-ignore]
        filename_glob = job.scene.name
        is_image = True
        separate_files = False

    scene = Scene(str(job.scene.parent))
    network = job.network()
    bands = [band - 1 for band in job.bands]

    def run() -> int:
        sampler = GridGeoSampler(
            scene,
            size=job.chip_px,
            stride=job.stride_px,
            roi=shapely.box(*area(job)),
            units=Units.PIXELS,
        )
        loader: Any = torch.utils.data.DataLoader(
            scene, batch_size=BATCH[job.dense], sampler=sampler, collate_fn=stack_samples
        )
        out, done = ClassMap(job), 0
        with torch.no_grad():
            for sample in loader:
                scores = network(job.normalised(sample["image"][:, bands].float()))
                for classes in job.values[scores.argmax(1)].numpy():
                    # The sampler goes from the lower left corner, row by row upwards or downwards
                    # by version; which chip is where makes no difference to the time.
                    if done < job.rows * job.columns:
                        out.put(done // job.columns, done % job.columns, classes)
                    done += 1
        out.write()
        return done

    network(torch.zeros(BATCH[job.dense], len(bands), job.chip_px, job.chip_px))
    what = f"TorchGeo {torchgeo.__version__} itself"
    if declared:
        what += f"; {len(declared)} operators of torchvision declared, as they did not load"
    measured(job, run, what)


def area(job: Job) -> tuple[float, float, float, float]:
    """West, south, east, north of the rows to do."""
    # Less than a whole chip, and the sampler has none.
    bottom_px = min((job.rows - 1) * job.stride_px + job.chip_px, job.height_px)
    west, north = job.transform @ (0, 0)
    east, south = job.transform @ (job.width_px, bottom_px)
    return (
        float(np.minimum(west, east)),
        float(np.minimum(south, north)),
        float(np.maximum(west, east)),
        float(np.maximum(south, north)),
    )


if __name__ == "__main__":
    main()
