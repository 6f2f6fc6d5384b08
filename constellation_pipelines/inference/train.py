"""Training of a chip classifier: seeded, pure torch, on the processor or one GPU."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch  # noqa: TID253 - training is torch; only the training asset imports this module
from numpy.typing import NDArray
from torch import nn  # noqa: TID253

from constellation_pipelines.inference.architectures import build
from constellation_pipelines.inference.eurosat import LabelledChips
from constellation_pipelines.inference.trainer import Normaliser, Teaches, Trainer
from constellation_pipelines.inference.training_plan import EpochReport, TrainingPlan


@dataclass(frozen=True, slots=True)
class Start:
    """A trained network to go on from: its name@version, how it is built, what its input is
    normalised by.
    """

    reference: str
    network: nn.Module
    architecture: str
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


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
    began_from: str | None = None
    taught_by: str | None = None

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
    start: Start | None = None,
    teacher: Teaches | None = None,
    checkpoint: Path | None = None,
) -> Trained:
    """Train from random weights, or go on from a start; the same plan on the same machine gives the
    same network.

    With a teacher, the share `plan.teacher_share` of each target is what it says of the very chip
    that is learned, turned, coloured and mixed as it is. A network taught by its equal ends up
    better than it (Furlanello et al., Born Again Neural Networks, ICML 2018; Beyer et al.,
    Knowledge distillation: a good teacher is patient and consistent, CVPR 2022).

    Calls `progress` after each epoch. Weights stay float32; arithmetic is bfloat16 where the
    device is faster at it. With a checkpoint, an interrupted training goes on after the last
    epoch that it wrote there; the file must be of the same plan and chips, which its name says.
    """
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    device = device_for_training()
    mean, std = (start.mean, start.std) if start else statistics(training.chips)
    options = {"bands": training.chips.shape[1], "classes": classes, "width": plan.width}
    network = beginning(plan, options, start, device)
    normaliser = Normaliser(mean, std, device)
    trainer = Trainer(network, plan, device, normaliser, len(training), classes, teacher)
    reports = run_epochs(trainer, training, validation, checkpoint, progress)
    found = trainer.predict(validation, exact=True)
    return Trained(
        network=trainer.average.network.eval().cpu(),
        plan=plan,
        options=options,
        mean=mean,
        std=std,
        confusion=confusion_matrix(validation.labels, found, classes),
        training_chips=len(training),
        validation_chips=len(validation),
        trained_at=datetime.now(UTC),
        elapsed_s=reports[-1].elapsed_s,
        device=device_name(device),
        epochs=tuple(reports),
        began_from=start.reference if start else None,
        taught_by=teacher.reference if teacher else None,
    )


def device_for_training() -> torch.device:
    """The first GPU that this process sees, or the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def beginning(
    plan: TrainingPlan, options: dict[str, Any], start: Start | None, device: torch.device
) -> nn.Module:
    """The network to train: the start's, or one with random weights."""
    made = copy.deepcopy(start.network) if start else build(plan.architecture, options)
    network: nn.Module = made.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.requires_grad_()


def run_epochs(
    trainer: Trainer,
    training: LabelledChips,
    validation: LabelledChips,
    checkpoint: Path | None,
    progress: Progress,
) -> list[EpochReport]:
    """All epochs that the checkpoint does not hold yet; the reports of all there are."""
    plan = trainer.plan
    reports = trainer.resume(checkpoint) if checkpoint else []
    began = time.monotonic() - (reports[-1].elapsed_s if reports else 0.0)
    for epoch in range(len(reports) + 1, plan.epochs + 1):
        loss = trainer.run_epoch(training, epoch)
        accuracy = trainer.accuracy(validation) if plan.measures(epoch) else None
        elapsed_s = time.monotonic() - began
        reports.append(EpochReport(epoch, plan.epochs, loss, accuracy, elapsed_s))
        if checkpoint:
            trainer.save(checkpoint, reports)
        progress(reports[-1])
    return reports


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
    threads = torch.get_num_threads()
    counted = "1 thread" if threads == 1 else f"{threads} threads"
    return f"{names[0]}, {counted}" if names else "processor"
