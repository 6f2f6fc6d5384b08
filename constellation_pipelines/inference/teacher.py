"""A package that teaches: what it sees in chips, another network learns to see."""

from pathlib import Path

import torch  # noqa: TID253 - training is torch; only the training assets import this module
from torch import Tensor, nn  # noqa: TID253

from constellation_pipelines.domain.model import Model
from constellation_pipelines.inference.augment import resize
from constellation_pipelines.inference.loading import load_module
from constellation_pipelines.inference.network import Network
from constellation_pipelines.inference.trainer import Normaliser


class Teacher:
    """A package's network as an engine holds it: in the device's fastest safe type, one graph."""

    def __init__(self, model: Model, device: torch.device) -> None:
        card = model.card
        self._card = card
        self._network = Network(load_module(Path(model.folder), card), card, device)
        self._normaliser = Normaliser(card.mean, card.std, device)

    @property
    def reference(self) -> str:
        """The package's name and version."""
        return self._card.reference

    def __call__(self, values: Tensor) -> Tensor:
        """Values 0..1 (n, bands, px, px) -> the probability of each class (n, classes)."""
        chips = self._normaliser.standardise(resize(values, self._card.chip_px))
        scores = torch.cat([self._scores(part) for part in torch.split(chips, self._network.slice)])
        return scores.softmax(1)

    def _scores(self, chips: Tensor) -> Tensor:
        """Of a slice's chips, filled up to the one size that its kernels are set up for."""
        missing = self._network.slice - len(chips)
        filled = nn.functional.pad(chips, (0, 0, 0, 0, 0, 0, 0, missing))
        # Copied, because what comes of inference mode cannot take part in learning.
        return self._network.answer(filled)[: len(chips)].clone()


class Together:
    """Teachers of different kinds: each is wrong elsewhere, and their mean is right more often."""

    def __init__(self, *teachers: Teacher) -> None:
        self._teachers = teachers

    @property
    def reference(self) -> str:
        """The names of all."""
        return " and ".join(one.reference for one in self._teachers)

    def __call__(self, values: Tensor) -> Tensor:
        """Values 0..1 (n, bands, px, px) -> the mean probability of each class (n, classes)."""
        return torch.stack([teacher(values) for teacher in self._teachers]).mean(0)
