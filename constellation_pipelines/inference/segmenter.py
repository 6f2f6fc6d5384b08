"""Training of a segmenter on weakly labelled scenes: seeded, pure torch."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch  # noqa: TID253 - training is torch; only the training assets import this module
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn  # noqa: TID253

from constellation_pipelines.domain.errors import InvalidInput
from constellation_pipelines.inference import augment
from constellation_pipelines.inference.architectures import build
from constellation_pipelines.inference.network import fastest_type
from constellation_pipelines.inference.train import confusion_matrix, device_name
from constellation_pipelines.inference.weak_labels import (
    CLASSES,
    INPUTS,
    UNLABELLED,
    LabelledScene,
)

# The eastern share of every scene is for validation, so that no pixel near a validated one was
# trained on; a strip between the two belongs to neither.
VALIDATION_SHARE = 0.3
GAP_PX = 16
SCALES = (0.7, 1.4)
LIGHT = 0.5  # brightness varies by e to the power of this, up and down
MEAN, STD = (0.3, 0.3, 0.3), (0.25, 0.25, 0.25)
SMALLEST_PX = 64


@dataclass(frozen=True, slots=True)
class SegmenterPlan:
    """What decides the outcome, beside the scenes. `chip_px` is the side of training chips."""

    steps: int = 900
    seed: int = 17
    batch_size: int = 8
    chip_px: int = 192
    peak_rate: float = 2e-3
    weight_decay: float = 0.01
    width: int = 16
    depth: int = 4
    threads: int = 1


@dataclass(frozen=True, slots=True)
class StepReport:
    """Mean loss since the last report, and seconds since training began."""

    step: int
    steps: int
    loss: float
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class Segmenter:
    """A trained network with how it was measured, against weak labels and nothing better.

    `confusion` counts labelled pixels of all validation regions, rows by weak label, columns by
    prediction; `regions` has the same per scene.
    """

    network: nn.Module
    plan: SegmenterPlan
    options: dict[str, int]
    regions: dict[str, NDArray[np.int64]]
    scenes: tuple[LabelledScene, ...]
    trained_at: datetime
    elapsed_s: float
    device: str

    @property
    def confusion(self) -> NDArray[np.int64]:
        """All regions together."""
        return sum(self.regions.values(), np.zeros((len(CLASSES),) * 2, np.int64))


Progress = Callable[[StepReport], None]


def train_segmenter(
    scenes: Sequence[LabelledScene], plan: SegmenterPlan, *, progress: Progress
) -> Segmenter:
    """Train a U-Net from random weights on the western part of every scene.

    Raises InvalidInput where there is nothing to train on.
    """
    usable = [scene for scene in scenes if min(western(scene).labels.shape) >= SMALLEST_PX]
    if not usable:
        raise InvalidInput("no scene with red, green, blue and near infrared is large enough")
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    options = {
        "bands": len(INPUTS),
        "classes": len(CLASSES),
        "width": plan.width,
        "depth": plan.depth,
    }
    network = build("unet", options)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    began = time.monotonic()
    learn(network, [western(scene) for scene in usable], plan, device, progress)
    network = network.eval()
    regions = {scene.name: measure(network, eastern(scene), device) for scene in usable}
    return Segmenter(
        network=network.cpu(),
        plan=plan,
        options=options,
        regions=regions,
        scenes=tuple(usable),
        trained_at=datetime.now(UTC),
        elapsed_s=time.monotonic() - began,
        device=device_name(device),
    )


def learn(
    network: nn.Module,
    scenes: Sequence[LabelledScene],
    plan: SegmenterPlan,
    device: torch.device,
    progress: Progress,
) -> None:
    """Run the plan's steps of AdamW under a one-cycle schedule."""
    draw = np.random.default_rng(plan.seed)
    sampler = Sampler(scenes, plan.chip_px, draw)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=plan.peak_rate, weight_decay=plan.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, plan.peak_rate, total_steps=plan.steps, pct_start=0.2
    )
    mixed = fastest_type(device) is torch.bfloat16
    network.train()
    began, every, total = time.monotonic(), max(plan.steps // 10, 1), 0.0
    for step in range(1, plan.steps + 1):
        values, labels = (part.to(device) for part in sampler.batch(plan.batch_size))
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            scores = network(standardise(relight(values)))
        loss = nn.functional.cross_entropy(scores.float(), labels, ignore_index=UNLABELLED)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        total += float(loss.detach())
        if step % every == 0:
            progress(StepReport(step, plan.steps, total / every, time.monotonic() - began))
            total = 0.0


class Sampler:
    """Draws chips: first a class, then a scene that has it, then a pixel of the class to be in.

    Classes that cover little of the ground come as often as the others.
    """

    def __init__(self, scenes: Sequence[LabelledScene], px: int, draw: Generator) -> None:
        self.scenes, self.px, self.draw = scenes, px, draw
        self.places: list[list[tuple[LabelledScene, NDArray[np.int64]]]] = []
        for value in range(len(CLASSES)):
            found = [(scene, np.flatnonzero(scene.labels == value)) for scene in scenes]
            kept = [(scene, places) for scene, places in found if len(places)]
            if kept:
                self.places.append(kept)
        if not self.places:
            raise InvalidInput("the scenes' spectral indices give no label at all")

    def batch(self, count: int) -> tuple[Tensor, Tensor]:
        """Values 0..1 (n, 3, px, px) and labels (n, px, px)."""
        chips = [self.chip() for _ in range(count)]
        values = torch.stack([values for values, _ in chips])
        return values, torch.stack([labels for _, labels in chips])

    def chip(self) -> tuple[Tensor, Tensor]:
        """One chip, turned and scaled; beyond the scene it is mirrored, without labels."""
        found = self.places[self.draw.integers(len(self.places))]
        scene, places = found[self.draw.integers(len(found))]
        height, width = scene.labels.shape
        row, col = divmod(int(places[self.draw.integers(len(places))]), width)
        side = round(self.px * self.draw.uniform(*SCALES))
        top, left = row - int(self.draw.integers(side)), col - int(self.draw.integers(side))
        rows, cols = np.arange(top, top + side), np.arange(left, left + side)
        mirrored = np.ix_(mirror(rows, height), mirror(cols, width))
        labels = scene.labels[mirrored].copy()
        labels[(rows < 0) | (rows >= height)] = UNLABELLED
        labels[:, (cols < 0) | (cols >= width)] = UNLABELLED
        values = torch.from_numpy(scene.values[:, mirrored[0], mirrored[1]])[None]
        symmetry = int(self.draw.integers(augment.SYMMETRIES))
        # Labels are picked, not averaged: between two classes there is no third.
        picked = nn.functional.interpolate(
            torch.from_numpy(labels)[None, None].float(), (self.px, self.px), mode="nearest-exact"
        )
        turned = augment.turn(augment.resize(values, self.px), symmetry)
        return turned[0], augment.turn(picked, symmetry)[0, 0].long()


def mirror(positions: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Positions outside 0..size-1 folded back into it."""
    folded = np.mod(positions, 2 * size)
    nearest: NDArray[np.int64] = np.minimum(folded, 2 * size - 1 - folded)
    return nearest


def relight(values: Tensor) -> Tensor:
    """Colours as other sensors, stretches and dates would have them."""
    noise = torch.rand((len(values), 1, 1, 1), device=values.device)
    bright = values * torch.exp((2 * noise - 1) * LIGHT)
    return augment.recolour(bright.clamp_(0, 1), 1.5)


def standardise(values: Tensor) -> Tensor:
    """Values 0..1 -> the network's input."""
    mean, std = (torch.tensor(v, device=values.device).view(1, -1, 1, 1) for v in (MEAN, STD))
    return ((values - mean) / std).contiguous(memory_format=torch.channels_last)


def western(scene: LabelledScene) -> LabelledScene:
    """The part to train on."""
    return columns(scene, slice(0, max(border(scene) - GAP_PX, 0)))


def eastern(scene: LabelledScene) -> LabelledScene:
    """The part to measure on."""
    return columns(scene, slice(border(scene), None))


def border(scene: LabelledScene) -> int:
    """First column of the validation region."""
    width_px: int = scene.labels.shape[1]
    return math.ceil(width_px * (1 - VALIDATION_SHARE))


def columns(scene: LabelledScene, kept: slice) -> LabelledScene:
    """Some columns of a scene."""
    return LabelledScene(
        scene.name, scene.sha256, scene.gsd_m, scene.values[:, :, kept], scene.labels[:, kept]
    )


def measure(network: nn.Module, region: LabelledScene, device: torch.device) -> NDArray[np.int64]:
    """Confusion of a region in one piece, in float32, over its labelled pixels."""
    height, width = region.labels.shape
    multiple = 32  # of 2 ** (depth - 1), whatever the depth
    padding = (0, -width % multiple, 0, -height % multiple)
    values = torch.from_numpy(np.ascontiguousarray(region.values))[None].to(device)
    padded = nn.functional.pad(values, padding, mode="replicate")
    with torch.inference_mode():
        scores = network(standardise(padded))[:, :, :height, :width]
    found = scores.argmax(1)[0].cpu().numpy()
    known = region.labels != UNLABELLED
    return confusion_matrix(region.labels[known].astype(np.int64), found[known], len(CLASSES))


def iou(confusion: NDArray[np.int64]) -> dict[str, float]:
    """Intersection over union per class that is there, in labels or predictions."""
    both = np.diag(confusion)
    either = confusion.sum(0) + confusion.sum(1) - both
    return {
        name: float(both[value] / either[value])
        for value, name in enumerate(CLASSES)
        if either[value]
    }


def figures(confusion: NDArray[np.int64]) -> dict[str, Any]:
    """Mean IoU, accuracy and IoU per class, to four digits."""
    per_class = iou(confusion)
    return {
        "mean_iou": round(float(np.mean(list(per_class.values()))), 4),
        "accuracy": round(float(np.trace(confusion) / confusion.sum()), 4),
        "iou": {name: round(value, 4) for name, value in per_class.items()},
    }
