"""Tiny seeded networks of every task, and orders for them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from constellation_pipelines.domain.model import (
    InputUnit,
    ModelBand,
    ModelCard,
    ModelClass,
    Task,
)
from constellation_pipelines.domain.scene import Band
from constellation_pipelines.inference.network import Network
from constellation_pipelines.inference.protocol import PredictOrder
from tests.inference.conftest import describe, square_tiles

CPU = torch.device("cpu")


class Dense(nn.Module):
    """Two convolutions that see 5 pixels around each."""

    def __init__(self, bands: int, channels: int) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layers = nn.Sequential(
            nn.Conv2d(bands, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, channels, 3, padding=1)
        )

    def forward(self, chips: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layers(chips)
        return found


class Pooled(Dense):
    """The same, its mean over the chip."""

    def forward(self, chips: torch.Tensor) -> torch.Tensor:
        return super().forward(chips).mean((2, 3))


def card_of(
    base: ModelCard, task: Task, *, chip_px: int = 32, halo_px: int = 4, channels: int = 4
) -> ModelCard:
    """A card of this task for two bands of stored values."""
    classes = tuple(ModelClass(10 * i, f"class {i}", "#112233") for i in range(channels))
    ranked = task in (Task.SEGMENTATION, Task.SCENE_CLASSIFICATION)
    return replace(
        base,
        task=task,
        bands=(ModelBand("a"), ModelBand("b")),
        mean=(100.0, 120.0),
        std=(60.0, 50.0),
        input_unit=InputUnit.STORED,
        chip_px=chip_px,
        halo_px=halo_px,
        classes=classes if ranked else (),
        channels=1 if task is Task.REGRESSION else channels,
    )


def network_of(card: ModelCard) -> Network:
    """A network of the card's task in float32."""
    module = (Dense if card.dense else Pooled)(len(card.bands), card.channels)
    network = Network(module.eval(), card, CPU)
    network.dtype = torch.float32
    network.near_ties = None
    network.module = module.eval()
    return network


def order_of(path: Path, work: Path, tile_px: int = 64) -> PredictOrder:
    """An order over a raster of two bands, cut into square tiles."""
    grid, dtype, nodata = describe(path)
    return PredictOrder(
        run_id="0190-test",
        model_folder="",
        model_digest="",
        uri=str(path),
        grid=grid,
        bands=(Band(1, "a", None, dtype, 1.0), Band(2, "b", None, dtype, 1.0)),
        nodata=nodata,
        windows=square_tiles(grid, tile_px),
        work=str(work),
    )


@torch.inference_mode()
def classify(network: Network, chips: torch.Tensor) -> NDArray[np.int64]:
    """Normalised chips -> index of the class of each, near ties decided as in a lane."""
    logits = network.answer(chips)
    if network.near_ties is not None:
        network.near_ties.decide(logits, lambda i: chips[i : i + 1].float())
    found: NDArray[np.int64] = logits.argmax(1).numpy()
    return found
