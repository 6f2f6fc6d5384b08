"""Training of a chip classifier: seeded, pure torch, on the processor or one GPU."""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch  # noqa: TID253 - training is torch; only the training asset imports this module
from numpy.typing import NDArray
from torch import Tensor, nn  # noqa: TID253

from constellation_pipelines.inference.architectures import build
from constellation_pipelines.inference.eurosat import LabelledChips
from constellation_pipelines.inference.network import fastest_type


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What decides the outcome, beside the chips. `threads` is the count of processor threads."""

    epochs: int = 16
    seed: int = 17
    batch_size: int = 128
    peak_rate: float = 3e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.05
    architecture: str = "resnet18-compact"
    width: int = 32
    threads: int = 2


@dataclass(frozen=True, slots=True)
class EpochReport:
    """One epoch: mean training loss, validation accuracy, seconds since training began."""

    epoch: int
    epochs: int
    loss: float
    accuracy: float
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained network with how it was measured.

    `confusion` counts validation chips, rows by true class, columns by predicted class. The
    network is the last epoch's; no epoch was picked by its validation accuracy.
    """

    network: nn.Module
    plan: TrainingPlan
    options: dict[str, Any]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    confusion: NDArray[np.int64]
    training_chips: int
    validation_chips: int
    trained_at: datetime
    elapsed_s: float
    device: str
    epochs: tuple[EpochReport, ...] = field(default=())

    @property
    def accuracy(self) -> float:
        """Share of validation chips whose class was found."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def recall(self) -> tuple[float, ...]:
        """Per class, the share of its validation chips that were found."""
        return tuple(float(v) for v in np.diag(self.confusion) / self.confusion.sum(1))


Progress = Callable[[EpochReport], None]


def train(
    training: LabelledChips,
    validation: LabelledChips,
    plan: TrainingPlan,
    *,
    classes: int,
    progress: Progress,
) -> Trained:
    """Train from random weights; the same plan on the same machine gives the same network.

    Calls `progress` after each epoch. Weights stay float32; arithmetic is bfloat16 where the
    device is faster at it.
    """
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    mean, std = statistics(training.chips)
    options = {"bands": training.chips.shape[1], "classes": classes, "width": plan.width}
    network = build(plan.architecture, options)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    trainer = Trainer(network, plan, device, Normaliser(mean, std, device), len(training))
    began = time.monotonic()
    reports = []
    for epoch in range(1, plan.epochs + 1):
        loss = trainer.run_epoch(training)
        accuracy = float((trainer.predict(validation) == validation.labels).mean())
        elapsed_s = time.monotonic() - began
        reports.append(EpochReport(epoch, plan.epochs, loss, accuracy, elapsed_s))
        progress(reports[-1])
    found = trainer.predict(validation, exact=True)
    return Trained(
        network=network.eval().cpu(),
        plan=plan,
        options=options,
        mean=mean,
        std=std,
        confusion=confusion_matrix(validation.labels, found, classes),
        training_chips=len(training),
        validation_chips=len(validation),
        trained_at=datetime.now(UTC),
        elapsed_s=time.monotonic() - began,
        device=device_name(device),
        epochs=tuple(reports),
    )


def statistics(chips: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per band of the values scaled to 0..1, to four digits."""
    counts = [np.bincount(chips[:, band].ravel(), minlength=256) for band in range(chips.shape[1])]
    values = np.arange(256) / 255
    means = [float((count * values).sum() / count.sum()) for count in counts]
    spread = [
        math.sqrt(float((count * (values - mean) ** 2).sum() / count.sum()))
        for count, mean in zip(counts, means, strict=True)
    ]
    return tuple(round(v, 4) for v in means), tuple(round(v, 4) for v in spread)


def confusion_matrix(
    labels: NDArray[np.int64], found: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Counts, rows by true class, columns by found class."""
    cells = np.bincount(labels * classes + found, minlength=classes * classes)
    return cells.reshape(classes, classes)


def device_name(device: torch.device) -> str:
    """The hardware's name as people know it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with open("/proc/cpuinfo") as lines:
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {torch.get_num_threads()} threads" if names else "processor"


class Normaliser:
    """uint8 chips -> float32 (value / 255 - mean) / std, channels last."""

    def __init__(
        self, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
    ) -> None:
        self.device = device
        self.mean = torch.tensor(mean, device=device).view(1, -1, 1, 1)
        self.std = torch.tensor(std, device=device).view(1, -1, 1, 1)

    def scale(self, chips: NDArray[np.uint8]) -> Tensor:
        """Values 0..1 on the device."""
        return torch.from_numpy(chips).to(self.device).float().div_(255)

    def standardise(self, values: Tensor) -> Tensor:
        """Values 0..1 -> the network's input."""
        result = (values - self.mean) / self.std
        return result.contiguous(memory_format=torch.channels_last)


class Trainer:
    """The loop's state: network, optimiser, schedule and the order of chips."""

    def __init__(
        self,
        network: nn.Module,
        plan: TrainingPlan,
        device: torch.device,
        normaliser: Normaliser,
        chips: int,
    ) -> None:
        self.network, self.plan, self.device = network, plan, device
        self.normaliser = normaliser
        self.order = np.random.default_rng(plan.seed)
        self.batch = min(plan.batch_size, chips)
        self.steps = chips // self.batch
        self.optimiser = torch.optim.AdamW(
            network.parameters(), lr=plan.peak_rate, weight_decay=plan.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, plan.peak_rate, total_steps=plan.epochs * self.steps, pct_start=0.25
        )
        self.loss = nn.CrossEntropyLoss(label_smoothing=plan.label_smoothing)

    def run_epoch(self, data: LabelledChips) -> float:
        """One pass in a new random order, the rest of the last batch left out; the mean loss."""
        self.network.train()
        order = self.order.permutation(len(data))
        total = 0.0
        for step in range(self.steps):
            picked = order[step * self.batch : (step + 1) * self.batch]
            values = augment(self.normaliser.scale(data.chips[picked]))
            labels = torch.from_numpy(data.labels[picked]).to(self.device)
            with self.mixed_precision():
                scores = self.network(self.normaliser.standardise(values))
                loss = self.loss(scores, labels)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self.optimiser.step()
            self.schedule.step()
            total += float(loss.detach())
        return total / self.steps

    def predict(self, data: LabelledChips, *, exact: bool = False) -> NDArray[np.int64]:
        """Class per chip; in float32 throughout when `exact`."""
        self.network.eval()
        found = []
        with torch.inference_mode(), self.mixed_precision(enabled=not exact):
            for start in range(0, len(data), 256):
                values = self.normaliser.scale(data.chips[start : start + 256])
                scores = self.network(self.normaliser.standardise(values))
                found.append(scores.argmax(1).cpu().numpy())
        return np.concatenate(found)

    def mixed_precision(self, *, enabled: bool = True) -> AbstractContextManager[Any]:
        """bfloat16 where the device computes it natively; emulated, it would only be slower."""
        return torch.autocast(
            self.device.type,
            torch.bfloat16,
            enabled=enabled and fastest_type(self.device) is torch.bfloat16,
        )


def augment(values: Tensor) -> Tensor:
    """Vary chips (n, bands, px, px) of values 0..1 as other dates and sensors would.

    Each eighth of the batch gets one of the square's eight symmetries: a chip seen from above has
    no right way up. Each chip gets its own brightness, contrast and saturation, and each of its
    bands a slight gain and offset, as haze and atmospheric correction give.
    """
    turned = [turn(part, symmetry) for symmetry, part in enumerate(values.chunk(8))]
    values = torch.cat(turned)
    n, bands = values.shape[:2]

    def around(centre: float, spread: float, *shape: int) -> Tensor:
        noise = torch.rand(shape, device=values.device)
        return noise.mul_(2 * spread).add_(centre - spread)

    grey = values.mean(1, keepdim=True)
    values = grey + (values - grey) * around(1, 0.2, n, 1, 1, 1)  # saturation
    level = values.mean((2, 3), keepdim=True)
    values = level + (values - level) * around(1, 0.2, n, 1, 1, 1)  # contrast
    gain = around(1, 0.15, n, 1, 1, 1) * around(1, 0.05, n, bands, 1, 1)
    return (values * gain + around(0, 0.02, n, bands, 1, 1)).clamp_(0, 1)


def turn(values: Tensor, symmetry: int) -> Tensor:
    """One of the eight symmetries of the square, 0 to 7; 0 changes nothing."""
    values = values.rot90(symmetry % 4, (2, 3))
    return values.flip(3) if symmetry >= 4 else values
