"""The loop of a training: a network, its average, its optimiser, perhaps its teacher."""

import copy
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch  # noqa: TID253 - training is torch; only the training asset imports this module
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn  # noqa: TID253

from constellation_pipelines.inference import augment
from constellation_pipelines.inference.eurosat import LabelledChips
from constellation_pipelines.inference.network import fastest_type
from constellation_pipelines.inference.training_plan import EpochReport, Phase, TrainingPlan


class Teaches(Protocol):
    """Who says what chips show, and is known by a name."""

    @property
    def reference(self) -> str:
        """Name and version."""

    def __call__(self, values: Tensor) -> Tensor:
        """Values 0..1 (n, bands, px, px) -> the probability of each class (n, classes)."""


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
        teacher: Teaches | None = None,
    ) -> None:
        self.network, self.plan, self.device, self.classes = network, plan, device, classes
        self.normaliser = normaliser
        self.teacher = teacher
        self.average = Average(network, plan.average_decay)
        self.batch = min(plan.batch_size, chips)
        self.steps = chips // self.batch
        self.optimiser = optimiser_of(network, plan)

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
            phase = self.plan.phase(epoch)
            values, targets = self.prepare(data, picked, phase, draw)
            targets = self.taught(values, targets)
            values = augment.resize(values, phase.enlarged_px or phase.px)
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
        values = augment.recolour(values, phase.colour)
        if phase.mixed and draw.random() < self.plan.mixed_share:
            values, targets = augment.mix(values, targets, draw)
        return values, targets

    def taught(self, values: Tensor, targets: Tensor) -> Tensor:
        """The targets, a share of them by what the teacher sees; themselves where there is none."""
        if self.teacher is None:
            return targets
        return torch.lerp(targets, self.teacher(values), self.plan.teacher_share)

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
        found, enlarged_px = [], self.plan.phases[-1].enlarged_px
        with torch.inference_mode(), self.mixed_precision(enabled=not exact):
            for start in range(0, len(data), 256):
                values = self.normaliser.scale(data.chips[start : start + 256])
                values = augment.resize(values, enlarged_px or values.shape[2])
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


def optimiser_of(network: nn.Module, plan: TrainingPlan) -> torch.optim.Optimizer:
    """What moves the network's parameters."""
    groups = decayed(network, plan.weight_decay)
    if plan.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=plan.peak_rate, fused=True)
    momentum = plan.momentum
    return torch.optim.SGD(groups, lr=plan.peak_rate, momentum=momentum, nesterov=True, fused=True)


def decayed(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """The optimiser's groups: only the weights of convolutions and linear layers decay."""
    weights = [value for value in network.parameters() if value.ndim > 1]
    others = [value for value in network.parameters() if value.ndim <= 1]
    return [
        {"params": weights, "weight_decay": decay},
        {"params": others, "weight_decay": 0.0},
    ]
