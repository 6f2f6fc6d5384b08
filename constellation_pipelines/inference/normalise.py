"""From stored values to what a network expects."""

import torch  # noqa: TID253 - runs on the device beside the network; only the engine imports this
from torch import Tensor  # noqa: TID253

from constellation_pipelines.domain.fit import Radiometry, radiometry
from constellation_pipelines.domain.model import ModelCard
from constellation_pipelines.domain.scene import Band

WHITE_8_BIT = 255.0


class Normaliser:
    """Stored values -> 0..1 -> (value - mean) / std, per band, in float32.

    8-bit true colour is divided by 255. Reflectance, stored * scale + offset, is divided by the
    card's `reflectance_white` and clipped to 0..1, which is how true colour is made of it.
    """

    def __init__(self, card: ModelCard, bands: tuple[Band, ...], device: torch.device) -> None:
        lines = [to_unit(band, card) for band in bands]
        self.gain = column([gain for gain, _ in lines], device)
        self.offset = column([offset for _, offset in lines], device)
        self.mean = column(list(card.mean), device)
        self.std = column(list(card.std), device)

    def __call__(self, chips: Tensor, valid: Tensor | None) -> Tensor:
        """Chips (n, bands, px, px) of any real type -> float32 of the same shape, channels last.

        `valid` (n, px, px) marks pixels with data, None means all. A pixel without data takes the
        mean of its chip's other pixels, so that holes add no edges; NaN never gets through.
        """
        unit = (chips.to(torch.float32) * self.gain + self.offset).clamp_(0, 1)
        if valid is not None:
            unit = fill_holes(unit, valid.unsqueeze(1))
        result = (unit - self.mean) / self.std
        return result.contiguous(memory_format=torch.channels_last)


def to_unit(band: Band, card: ModelCard) -> tuple[float, float]:
    """Gain and offset that bring stored values to 0..1, before clipping."""
    if radiometry(band) is Radiometry.TRUE_COLOUR:
        return 1 / WHITE_8_BIT, 0.0
    white = card.reflectance_white
    scale = 1.0 if band.scale is None else band.scale
    return scale / white, (band.offset or 0.0) / white


def fill_holes(unit: Tensor, valid: Tensor) -> Tensor:
    """Replace pixels that are not valid by their chip's and band's mean of those that are."""
    kept = torch.where(valid, unit, 0.0)
    mean = kept.sum((2, 3), keepdim=True) / valid.sum((2, 3), keepdim=True).clamp_(min=1)
    return torch.where(valid, kept, mean)


def column(values: list[float], device: torch.device) -> Tensor:
    """One number per band, shaped to act on chips."""
    return torch.tensor(values, dtype=torch.float32, device=device).view(1, -1, 1, 1)
