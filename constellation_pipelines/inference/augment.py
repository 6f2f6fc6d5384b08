"""Chips varied as other places, dates and sensors would show them; chips and labels mixed."""

import numpy as np
import torch  # noqa: TID253 - training is torch; only the training assets import this module
from numpy.random import Generator
from torch import Tensor, nn  # noqa: TID253

MARGIN_PX = 6  # of mirrored surroundings, so that crops reach the chip's rim as often as its centre
SCALES = (0.85, 1.15)
SYMMETRIES = 8


def crop(values: Tensor, px: int, draw: Generator) -> Tensor:
    """Chips (n, bands, h, w) of values 0..1 -> (n, bands, px, px), turned, moved and scaled.

    Each eighth of the batch gets one of the square's eight symmetries - a chip seen from above has
    no right way up - and a window of its own; every other eighth keeps its pixel size, so that
    the network knows the texture that it will see.
    """
    padded = nn.functional.pad(values, (MARGIN_PX,) * 4, mode="reflect")
    parts = []
    for symmetry, part in enumerate(padded.chunk(SYMMETRIES)):
        scale = draw.uniform(*SCALES) if symmetry % 2 == draw.integers(2) else 1.0
        side = min(round(px * scale), *part.shape[2:])
        top, left = (int(draw.integers(size - side + 1)) for size in part.shape[2:])
        window = turn(part[:, :, top : top + side, left : left + side], int(draw.integers(8)))
        parts.append(resize(window, px))
    return torch.cat(parts)


def resize(values: Tensor, px: int) -> Tensor:
    """Chips of any size -> (n, bands, px, px), averaged where they shrink."""
    if values.shape[2] == px:
        return values
    resized: Tensor = nn.functional.interpolate(
        values, (px, px), mode="bilinear", antialias=values.shape[2] > px
    )
    return resized


def turn(values: Tensor, symmetry: int) -> Tensor:
    """One of the eight symmetries of the square, 0 to 7; 0 changes nothing."""
    values = values.rot90(symmetry % 4, (2, 3))
    return values.flip(3) if symmetry >= 4 else values


def recolour(values: Tensor, strength: float) -> Tensor:
    """Vary chips (n, bands, px, px) of values 0..1 in colour; strength 0 changes nothing.

    Each chip gets its own brightness, contrast and saturation, and each of its bands a slight
    gain and offset, as haze and atmospheric correction give.
    """
    n, bands = values.shape[:2]

    def around(centre: float, spread: float, *shape: int) -> Tensor:
        noise = torch.rand(shape, device=values.device)
        return noise.mul_(2 * spread * strength).add_(centre - spread * strength)

    grey = values.mean(1, keepdim=True)
    values = torch.lerp(grey, values, around(1, 0.2, n, 1, 1, 1))  # saturation
    level = values.mean((2, 3), keepdim=True)
    # contrast about the level, brightness and each band's gain and offset in one pass
    contrast = around(1, 0.2, n, 1, 1, 1)
    gain = around(1, 0.15, n, 1, 1, 1) * around(1, 0.05, n, bands, 1, 1)
    offset = around(0, 0.02, n, bands, 1, 1)
    return torch.addcmul(level * (1 - contrast) * gain + offset, values, contrast * gain).clamp_(
        0, 1
    )


def mix(values: Tensor, targets: Tensor, draw: Generator) -> tuple[Tensor, Tensor]:
    """Blend each chip with another of the batch, or paste a window of the other into it.

    `targets` (n, classes) are blended by the same share.
    """
    other = torch.from_numpy(draw.permutation(len(values))).to(values.device)
    if draw.random() < 0.5:
        share = float(np.clip(draw.beta(0.4, 0.4), 0, 1))
        values = torch.lerp(values[other], values, share)
    else:
        px = values.shape[2]
        side = round(px * float(np.sqrt(draw.uniform(0, 0.5))))
        top, left = (int(draw.integers(px - side + 1)) for _ in range(2))
        window = (..., slice(top, top + side), slice(left, left + side))
        values = values.clone()
        values[window] = values[other][window]
        share = 1 - side**2 / px**2
    return values, torch.lerp(targets[other], targets, share)
