"""From stored values to what a network expects."""

import torch  # noqa: TID253 - runs on the device beside the network; only the engine imports this
from torch import Tensor  # noqa: TID253

from constellation_pipelines.domain.fit import Radiometry, radiometry
from constellation_pipelines.domain.model import InputUnit, ModelCard
from constellation_pipelines.domain.scene import Band

WHITE_8_BIT = 255.0
ENDLESS = 1e30  # what is not clipped stays below this, so that no network overflows at once
CHUNK_VALUES = 1 << 16  # converted at once on the processor: 256 kB in float32, a core's own cache

Line = tuple[float, float]


class Normaliser:
    """Stored values -> the card's unit -> (value - mean) / std, per band.

    In display units, 8-bit true colour is divided by 255; reflectance, stored * scale + offset, is
    divided by the card's `reflectance_white` and clipped to 0..1, which is how true colour is made
    of it. The two steps are one multiplication and one addition in float32; the result is rounded
    to `dtype` once, at the end.
    """

    def __init__(
        self,
        card: ModelCard,
        bands: tuple[Band, ...],
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.device = device
        self.dtype = dtype
        lines = [to_unit(band, card) for band in bands]
        standards = list(zip(card.mean, card.std, strict=True))
        shown = card.input_unit is InputUnit.DISPLAY
        low, high = (0.0, 1.0) if shown else (-ENDLESS, ENDLESS)
        pairs = list(zip(lines, standards, strict=True))
        self.gain = [gain / std for (gain, _), (_, std) in pairs]
        self.offset = [(offset - mean) / std for (_, offset), (mean, std) in pairs]
        self.low = [(low - mean) / std for mean, std in standards]
        self.high = [(high - mean) / std for mean, std in standards]
        self._columns = [column(one, device) for one in (self.gain, self.offset)]
        self._limits = [column(one, device) for one in (self.low, self.high)]

    def __call__(self, chips: Tensor, valid: Tensor | None) -> Tensor:
        """Chips (n, bands, px, px) of any real type -> `dtype`, same shape.

        `valid` (n, px, px) marks pixels with data, None means all. A pixel without data takes the
        mean of its chip's other pixels, so that holes add no edges; NaN never gets through.
        """
        if self.device.type == "cpu":
            result = torch.empty(chips.shape, dtype=self.dtype)
            self.fill(result, chips, valid)
            return result
        return self.at_once(chips, valid)

    def at_once(self, chips: Tensor, valid: Tensor | None) -> Tensor:
        """The same as a GPU does it: all bands of all chips together."""
        values = torch.addcmul(self._columns[1], chips.to(torch.float32), self._columns[0])
        return self._finish(values.clamp(*self._limits), valid).to(self.dtype)

    def fill(self, result: Tensor, chips: Tensor, valid: Tensor | None) -> None:
        """The same on the processor into `result`, of a type of its own. Chips may be views.

        Band by band with plain numbers, few chips at a time: broadcasting a column is half as fast
        here, and so is memory beyond the core's own. Product and sum are rounded one by one, so
        that a value is the same wherever it stands.
        """
        side = chips.shape[2:]
        count = max(CHUNK_VALUES // max(side.numel(), 1), 1)
        scratch = torch.empty((min(count, len(chips)), 1, *side), dtype=torch.float32)
        for start in range(0, len(chips), count):
            part = slice(start, start + count)
            holes = None if valid is None or bool(valid[part].all()) else valid[part]
            for i, gain in enumerate(self.gain):
                stored = chips[part, i : i + 1]
                values = scratch[: len(stored)].copy_(stored)
                values.mul_(gain).add_(self.offset[i]).clamp_(self.low[i], self.high[i])
                result[part, i : i + 1].copy_(self._finish(values, holes))

    def _finish(self, values: Tensor, valid: Tensor | None) -> Tensor:
        return values if valid is None else fill_holes(values, valid.unsqueeze(1))


def to_unit(band: Band, card: ModelCard) -> Line:
    """Gain and offset that bring stored values to the card's unit, before clipping."""
    if card.input_unit is InputUnit.STORED:
        return 1.0, 0.0
    scale = 1.0 if band.scale is None else band.scale
    if card.input_unit is InputUnit.REFLECTANCE:
        return scale, band.offset or 0.0
    if radiometry(band) is Radiometry.TRUE_COLOUR:
        return 1 / WHITE_8_BIT, 0.0
    white = card.reflectance_white
    return scale / white, (band.offset or 0.0) / white


def fill_holes(values: Tensor, valid: Tensor) -> Tensor:
    """Replace pixels that are not valid by their chip's and band's mean of those that are."""
    kept = torch.where(valid, values, 0.0)
    mean = kept.sum((2, 3), keepdim=True) / valid.sum((2, 3), keepdim=True).clamp_(min=1)
    return torch.where(valid, kept, mean)


def column(values: list[float], device: torch.device) -> Tensor:
    """One number per band, shaped to act on chips."""
    return torch.tensor(values, dtype=torch.float32, device=device).view(1, -1, 1, 1)
