"""A dry run of a package in a process of its own, before anybody relies on it.

    python -m constellation_pipelines.inference.trial FOLDER

prints one line of JSON. The process has limits of memory and time, no GPU, and is thrown away: a
package that crashes, hangs or eats memory takes nothing else with it.
"""

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from constellation_pipelines.domain.errors import ConstellationError, ModelRefused
from constellation_pipelines.domain.model import ModelCard, Task
from constellation_pipelines.inference.package import load_package

if TYPE_CHECKING:
    from torch import Tensor, nn

CHIPS = 2
TIMED_S = 0.5  # how long batches are run to tell the speed
TIMED_CHIPS = 16
TIMEOUT_S = 180.0
MEMORY_MB = 16_384
OUTPUT_SHAPE = "properties.mlm:output[0].result.shape"


@dataclass(frozen=True, slots=True)
class Trial:
    """What a dry run found. The speed is that of one thread of this host's processor."""

    parameters: int
    output_shape: tuple[int, ...]
    chips_per_s: float
    load_s: float


def try_package(folder: Path, *, timeout_s: float = TIMEOUT_S, memory_mb: int = MEMORY_MB) -> Trial:
    """Run the package in a process of its own. Raises ModelRefused with what is wrong with it."""
    command = [sys.executable, "-m", __name__, str(folder), "--memory-mb", str(memory_mb)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        raise ModelRefused(
            f"the dry run of {CHIPS} chips did not end within {timeout_s:g} s; --timeout gives it "
            "longer"
        ) from error
    return trial_of(done, memory_mb)


def trial_of(done: "subprocess.CompletedProcess[str]", memory_mb: int) -> Trial:
    """What the process said last. Raises ModelRefused for a refusal, or where it said nothing."""
    lines = done.stdout.splitlines()
    try:
        said: dict[str, Any] = json.loads(lines[-1])
    except (ValueError, IndexError):
        said = {}
    if "trial" in said:
        found = said["trial"]
        return Trial(**{**found, "output_shape": tuple(found["output_shape"])})
    if "refused" in said:
        raise ModelRefused(said["refused"], field=said["field"])
    ended = f"by signal {-done.returncode}" if done.returncode < 0 else f"with {done.returncode}"
    last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    raise ModelRefused(
        f"the dry run ended {ended}: {last[:300]} (it may take {memory_mb} MB; --memory-mb gives "
        "it more)"
    )


def run_trial(folder: Path) -> Trial:
    """Load the package and run it: zeros and noise, two chips each, then some for the speed."""
    import torch

    from constellation_pipelines.inference.loading import load_module

    torch.set_num_threads(1)
    torch.manual_seed(0)
    card = load_package(folder).card
    began = time.perf_counter()
    module = load_module(folder, card)
    load_s = time.perf_counter() - began
    shape = (CHIPS, len(card.bands), card.chip_px, card.chip_px)
    with torch.inference_mode():
        for chips in (torch.zeros(shape), torch.randn(shape)):
            check_output(module, chips, card)
        speed = measured(module, card)
    count = sum(parameter.numel() for parameter in module.parameters())
    return Trial(count, expected_shape(card), round(speed, 1), round(load_s, 3))


def check_output(module: "nn.Module", chips: "Tensor", card: ModelCard) -> None:
    """Raises ModelRefused unless the output has the card's shape and finite numbers."""
    import torch

    try:
        found = module(chips)
    except ConstellationError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelRefused(
            f"{card.reference} cannot compute chips of {list(chips.shape[1:])}: {reason[:300]}"
        ) from error
    wanted = (len(chips), *expected_shape(card)[1:])
    if not isinstance(found, torch.Tensor) or tuple(found.shape) != wanted:
        got = list(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        raise ModelRefused(
            f"{card.reference} gives {got} for {len(chips)} chips, and its card says "
            f"{list(expected_shape(card))}",
            field=OUTPUT_SHAPE,
        )
    if not found.is_floating_point() or not bool(found.isfinite().all()):
        raise ModelRefused(f"{card.reference} gives values that are no finite numbers")


def expected_shape(card: ModelCard) -> tuple[int, ...]:
    """The shape of the output, -1 for the batch."""
    size = (card.chip_px, card.chip_px) if card.dense else ()
    return (-1, card.channels, *size)


def measured(module: "nn.Module", card: ModelCard) -> float:
    """Chips per second, in float32 with this process's threads."""
    import torch

    count = 1 if card.dense or card.task is Task.EMBEDDING else TIMED_CHIPS
    chips = torch.randn(count, len(card.bands), card.chip_px, card.chip_px)
    began, done = time.perf_counter(), 0
    while (taken := time.perf_counter() - began) < TIMED_S or done == 0:
        module(chips)
        done += count
    return done / max(taken, 1e-9)


def main() -> None:
    """Entry of the process."""
    folder, _, memory_mb = sys.argv[1:]
    limit = int(memory_mb) << 20
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        print(json.dumps({"trial": asdict(run_trial(Path(folder)))}), flush=True)
    except ModelRefused as error:
        print(json.dumps({"refused": error.message, "field": error.field}), flush=True)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        reason = f"the dry run of {CHIPS} chips needs more than {memory_mb} MB of memory"
        print(json.dumps({"refused": reason, "field": None}), flush=True)


if __name__ == "__main__":
    main()
    os._exit(0)  # nothing of the package's is asked to tidy up
