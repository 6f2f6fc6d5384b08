"""Training of a chip classifier: seeded, pure torch, on the processor or one GPU."""

import copy
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch  # noqa: TID253 - training is torch; only the training asset imports this module
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn  # noqa: TID253

from constellation_pipelines.inference import augment
from constellation_pipelines.inference.architectures import build
from constellation_pipelines.inference.eurosat import LabelledChips
from constellation_pipelines.inference.network import fastest_type

MIXED_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Phase:
    """A share of the epochs: the side of the chips that are trained on, whether they are mixed."""

    share: float
    px: int
    mixed: bool


# Small chips first: at 40 pixels a step costs half of one at 64. The last epochs see chips as they
# will come, unmixed and then whole.
PHASES = (
    Phase(20 / 64, 40, mixed=True),
    Phase(32 / 64, 48, mixed=True),
    Phase(5 / 64, 48, mixed=False),
    Phase(7 / 64, 64, mixed=False),
)


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What decides the outcome, beside the chips. `threads` is the count of processor threads."""

    epochs: int = 64
    seed: int = 17
    batch_size: int = 128
    peak_rate: float = 0.1
    warm_up_epochs: float = 2.0
    cool_down_share: float = 0.32
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.05
    colour: float = 0.5
    average_decay: float = 0.998
    phases: tuple[Phase, ...] = PHASES
    architecture: str = "resnet-d-compact"
    width: int = 32
    validate_every: int = 4
    threads: int = 1

    def measures(self, epoch: int) -> bool:
        """Whether the validation chips are looked at after this epoch; it costs a tenth of one."""
        return epoch % self.validate_every == 0 or epoch == self.epochs

    def phase(self, epoch: int) -> Phase:
        """The phase of an epoch, which counts from 1."""
        passed = 0.0
        for phase in self.phases:
            passed += phase.share
            if epoch - 0.5 < passed * self.epochs:
                return phase
        return self.phases[-1]


@dataclass(frozen=True, slots=True)
class EpochReport:
    """One epoch: mean training loss, validation accuracy where it was measured, seconds so far."""

    epoch: int
    epochs: int
    loss: float
    accuracy: float | None
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
    checkpoint: Path | None = None,
) -> Trained:
    """Train from random weights; the same plan on the same machine gives the same network.

    Calls `progress` after each epoch. Weights stay float32; arithmetic is bfloat16 where the
    device is faster at it. With a checkpoint, an interrupted training goes on after the last
    epoch that it wrote there; the file must be of the same plan and chips, which its name says.
    """
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    mean, std = statistics(training.chips)
    options = {"bands": training.chips.shape[1], "classes": classes, "width": plan.width}
    network = build(plan.architecture, options)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    trainer = Trainer(network, plan, device, Normaliser(mean, std, device), len(training), classes)
    reports = trainer.resume(checkpoint) if checkpoint else []
    before_s = reports[-1].elapsed_s if reports else 0.0
    began = time.monotonic()
    for epoch in range(len(reports) + 1, plan.epochs + 1):
        loss = trainer.run_epoch(training, epoch)
        accuracy = trainer.accuracy(validation) if plan.measures(epoch) else None
        elapsed_s = before_s + time.monotonic() - began
        reports.append(EpochReport(epoch, plan.epochs, loss, accuracy, elapsed_s))
        if checkpoint:
            trainer.save(checkpoint, reports)
        progress(reports[-1])
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
        elapsed_s=before_s + time.monotonic() - began,
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
    threads = torch.get_num_threads()
    counted = "1 thread" if threads == 1 else f"{threads} threads"
    return f"{names[0]}, {counted}" if names else "processor"


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


class Average:
    """A copy of a network whose numbers follow it slowly: the mean over its last few epochs."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay, self.steps = decay, 0
        self.pairs = [
            (own, theirs)
            for own, theirs in zip(state(self.network), state(network), strict=True)
            if own.is_floating_point()
        ]

    @torch.no_grad()
    def follow(self) -> None:
        """Take one step towards the network; longer ones at first, when it has just begun."""
        self.steps += 1
        pace = 1 - min(self.decay, self.steps / (self.steps + 10))
        own, theirs = ([pair[side] for pair in self.pairs] for side in (0, 1))
        torch._foreach_lerp_(own, theirs, pace)


def state(network: nn.Module) -> list[Tensor]:
    """The network's parameters and buffers, which keep their place while it is trained."""
    return list(network.state_dict().values())


class Trainer:
    """The loop's state: network, its average, optimiser."""

    def __init__(
        self,
        network: nn.Module,
        plan: TrainingPlan,
        device: torch.device,
        normaliser: Normaliser,
        chips: int,
        classes: int,
    ) -> None:
        self.network, self.plan, self.device, self.classes = network, plan, device, classes
        self.normaliser = normaliser
        self.average = Average(network, plan.average_decay)
        self.batch = min(plan.batch_size, chips)
        self.steps = chips // self.batch
        self.optimiser = torch.optim.SGD(
            decayed(network, plan.weight_decay),
            lr=plan.peak_rate,
            momentum=plan.momentum,
            nesterov=True,
            fused=True,
        )

    def run_epoch(self, data: LabelledChips, epoch: int) -> float:
        """One pass in a new random order, the rest of the last batch left out; the mean loss.

        Chance depends on seed and epoch alone, so that a resumed training is the same one.
        """
        self.network.train()
        draw = np.random.default_rng([self.plan.seed, epoch])
        torch.manual_seed(int(draw.integers(2**62)))
        order = draw.permutation(len(data))
        total = 0.0
        for step in range(self.steps):
            picked = order[step * self.batch : (step + 1) * self.batch]
            self.set_rate(epoch - 1 + step / self.steps)
            values, targets = self.prepare(data, picked, self.plan.phase(epoch), draw)
            with self.mixed_precision():
                scores = self.network(self.normaliser.standardise(values))
            loss = nn.functional.cross_entropy(
                scores.float(), targets, label_smoothing=self.plan.label_smoothing
            )
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
            self.average.follow()
            total += float(loss.detach())
        return total / self.steps

    def prepare(
        self, data: LabelledChips, picked: NDArray[np.int64], phase: Phase, draw: Generator
    ) -> tuple[Tensor, Tensor]:
        """Values 0..1 of the picked chips, varied, and the share of each class in each."""
        labels = torch.from_numpy(data.labels[picked]).to(self.device)
        targets = nn.functional.one_hot(labels, self.classes).float()
        values = augment.crop(self.normaliser.scale(data.chips[picked]), phase.px, draw)
        values = augment.recolour(values, self.plan.colour)
        if phase.mixed and draw.random() < MIXED_SHARE:
            values, targets = augment.mix(values, targets, draw)
        return values, targets

    def set_rate(self, epochs: float) -> None:
        """Rise during the first epochs, stay, then fall in a line to nothing."""
        plan = self.plan
        rise = (epochs + 1 / self.steps) / plan.warm_up_epochs
        fall = (plan.epochs - epochs) / (plan.epochs * plan.cool_down_share)
        for group in self.optimiser.param_groups:
            group["lr"] = plan.peak_rate * min(1.0, rise, fall)

    def accuracy(self, data: LabelledChips) -> float:
        """Share of chips whose class is found."""
        return float((self.predict(data) == data.labels).mean())

    def predict(self, data: LabelledChips, *, exact: bool = False) -> NDArray[np.int64]:
        """Class per chip by the averaged network; in float32 throughout when `exact`."""
        found = []
        with torch.inference_mode(), self.mixed_precision(enabled=not exact):
            for start in range(0, len(data), 256):
                values = self.normaliser.scale(data.chips[start : start + 256])
                scores = self.average.network(self.normaliser.standardise(values))
                found.append(scores.argmax(1).cpu().numpy())
        return np.concatenate(found)

    def mixed_precision(self, *, enabled: bool = True) -> AbstractContextManager[Any]:
        """bfloat16 where the device computes it natively; emulated, it would only be slower."""
        return torch.autocast(
            self.device.type,
            torch.bfloat16,
            enabled=enabled and fastest_type(self.device) is torch.bfloat16,
        )

    def save(self, path: Path, reports: list[EpochReport]) -> None:
        """Write all that the next epoch needs, in the file's place at once."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        torch.save(
            {
                "network": self.network.state_dict(),
                "average": self.average.network.state_dict(),
                "steps": self.average.steps,
                "optimiser": self.optimiser.state_dict(),
                "reports": [(r.loss, r.accuracy, r.elapsed_s) for r in reports],
            },
            draft,
        )
        draft.replace(path)

    def resume(self, path: Path) -> list[EpochReport]:
        """Take up what `save` wrote; the epochs that it holds, none where there is no file."""
        if not path.is_file():
            return []
        saved = torch.load(path, map_location=self.device, weights_only=True)
        self.network.load_state_dict(saved["network"])
        self.average.network.load_state_dict(saved["average"])
        self.average.steps = saved["steps"]
        self.optimiser.load_state_dict(saved["optimiser"])
        return [
            EpochReport(epoch, self.plan.epochs, *figures)
            for epoch, figures in enumerate(saved["reports"], 1)
        ]


def decayed(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """The optimiser's groups: only the weights of convolutions and linear layers decay."""
    weights = [value for value in network.parameters() if value.ndim > 1]
    others = [value for value in network.parameters() if value.ndim <= 1]
    return [
        {"params": weights, "weight_decay": decay},
        {"params": others, "weight_decay": 0.0},
    ]
