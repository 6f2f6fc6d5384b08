"""U-Net: a class per pixel from what surrounds it, at several scales."""

import torch  # noqa: TID253 - a network is torch; only the engine and training import this module
from torch import Tensor, nn  # noqa: TID253

from constellation_pipelines.domain.errors import ModelRefused

# One class is a regression. `width` is the finest level's, doubled at each of the `depth` levels.
UNET_LIMITS = {"bands": (1, 64), "classes": (1, 255), "width": (4, 256), "depth": (2, 6)}
WIDEST = 4096


def double_conv(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3x3 convolutions that keep height and width."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [
            nn.Conv2d(channels, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Down by max pooling, up by transposed convolutions, with every level joined across.

    Sides of chips must be multiples of 2 ** (depth - 1). A pixel's answer depends on pixels up to
    9 * 2 ** (depth - 1) away, so that a halo of a few dozen pixels hides nearly all of a border.
    """

    def __init__(self, bands: int, classes: int, width: int, depth: int) -> None:
        super().__init__()
        widths = [width << level for level in range(depth)]
        if widths[-1] > WIDEST:
            raise ModelRefused(f"a U-Net's deepest level must not be wider than {WIDEST}")
        self.encoders = nn.ModuleList(
            double_conv(before, after)
            for before, after in zip([bands, *widths], widths, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        upwards = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(deep, fine, 2, 2) for deep, fine in upwards)
        self.decoders = nn.ModuleList(double_conv(2 * fine, fine) for _, fine in upwards)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Chips (n, bands, h, w), normalised -> class scores (n, classes, h, w)."""
        levels: list[Tensor] = []
        for encoder in self.encoders:
            x = encoder(self.pool(x) if levels else x)
            levels.append(x)
        levels.pop()
        for up, decoder in zip(self.ups, self.decoders, strict=True):
            x = decoder(torch.cat([up(x), levels.pop()], 1))
        scores: Tensor = self.head(x)
        return scores
