"""Chips whose two best classes bfloat16 cannot tell apart are decided in float32.

How far apart is enough is measured for each network when it is loaded: both its forms see made-up
chips, and where their margins - best class less second best, in logits - differ by an error of
some standard deviation, a chip of three times that is told apart safely.

A network of which too many chips are undecided would take longer in both types than in float32
alone; that is decided once for each network, never by what came before in a scene, so that a chip's
result depends on nothing but itself.
"""

from collections.abc import Callable

import torch  # noqa: TID253 - only the engine imports this module
from torch import Tensor  # noqa: TID253

Forward = Callable[[Tensor], Tensor]

SAFE_DEVIATIONS = 3.0
LEAST_EXAMPLES = 16
# Of the examples, undecided: above this a network runs in float32 altogether. By cost that would
# begin at 22 % (a ResNet-18) to 65 % (eurosat-landcover). A fixed number, not measured on the host:
# a result must not depend on how busy that was.
MOST_UNDECIDED = 1 / 3
STEP = 4  # from one scale of made-up land to the next
MOST_FLAT = 1024  # flat chips whose logits are remembered
FAINTEST = 0.01  # contrast, in standard deviations of the model's data


class NearTies:
    """The network in float32, and the margin below which it is asked."""

    def __init__(self, exact: Forward, margin: float, share: float = 0.0) -> None:
        """`exact` takes one normalised chip (1, bands, px, px) in float32: always one, so that a
        chip's logits depend on no other, and no work goes into filling up. `share` of the examples
        were nearer than the margin.
        """
        self._exact = exact
        self._flat: dict[bytes, Tensor] = {}
        self.margin = margin
        self.share = share

    @property
    def too_many(self) -> bool:
        """Whether the network had better run in float32 altogether."""
        return self.share > MOST_UNDECIDED

    @torch.inference_mode()
    def decide(self, logits: Tensor, chip: Callable[[int], Tensor]) -> int:
        """Put float32's logits in the place of near ties' (n, classes); how many those were.

        `chip` gives the normalised pixels of the one with this number (1, bands, px, px); a flat
        chip, of a single value per band, as a view of that pixel.
        """
        near = (margins(logits) < self.margin).nonzero().flatten().tolist()
        for i in near:
            logits[i] = self._decided(chip(i))
        return len(near)

    def _decided(self, chip: Tensor) -> Tensor:
        """Logits (classes,) of one chip. Those of flat ones are remembered: what fills a scene
        beyond its edge can be half of it, each chip the same tie.
        """
        if chip.stride()[2:] != (0, 0):
            return self._exact(chip)[0]
        values = chip[0, :, 0, 0].numpy().tobytes()
        if (found := self._flat.get(values)) is None:
            found = self._exact(chip.contiguous())[0]
            if len(self._flat) >= MOST_FLAT:
                self._flat.clear()
            self._flat[values] = found
        return found


@torch.inference_mode()
def near_ties_of(exact: Forward, fast: Forward, examples: Tensor, size: int) -> NearTies:
    """Measure margin and share on examples (n, bands, px, px), normalised, in float32.

    `fast` takes bfloat16 and `size` chips at once, by which n can be divided.
    """
    rounded = examples.to(torch.bfloat16)
    parts = [rounded[start : start + size] for start in range(0, len(rounded), size)]
    found = torch.cat([fast(part).float() for part in parts])
    expected = torch.cat([exact(chip[None]) for chip in examples])
    best = found.topk(2).indices
    first, second = (found - expected).gather(1, best).unbind(1)
    deviation = (first - second).square().mean().sqrt().item()
    margin = SAFE_DEVIATIONS * deviation
    return NearTies(exact, margin, (margins(found) < margin).float().mean().item())


def margins(logits: Tensor) -> Tensor:
    """By how much the best of (n, classes) is ahead of the second, (n,). NaN where one is NaN."""
    first, second = logits.topk(2).values.unbind(1)
    return first - second


def made_up_land(count: int, bands: int, px: int) -> Tensor:
    """Seeded chips (n, bands, px, px) that vary as land does, in standard deviations.

    Patches of every size, from the whole chip to a few pixels, each of some contrast of its own
    and much the same in all bands. White noise would not do: networks make the same of all of it,
    and differ least there.
    """
    source = torch.Generator().manual_seed(0)
    chips = torch.zeros(count, bands, px, px)
    side = 1
    while side <= px:
        faintness = torch.rand(count, 1, 1, 1, generator=source) if side > 1 else torch.zeros(1)
        shared = torch.randn(count, 1, side, side, generator=source)
        own = torch.randn(count, bands, side, side, generator=source) / 2
        patches = torch.nn.functional.interpolate(shared + own, size=(px, px), mode="bilinear")
        chips += FAINTEST**faintness * patches
        side *= STEP
    return chips
