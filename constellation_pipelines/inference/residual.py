"""A small residual classifier for chips: ResNet-D's shortcuts, some squeeze and excitation."""

from torch import (  # noqa: TID253 - a network is torch; only the engine and training import this
    Tensor,
    nn,
)

# Blocks per stage. One block at the finest stage, where most of the time goes and little is
# learned; most of them at the third, where a position has seen a fifth of the chip.
DEPTHS = (1, 2, 3, 1)
SQUEEZED_STAGES = (2, 3)


class Excitation(nn.Module):
    """Weigh each channel by what the whole chip holds (squeeze and excitation)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(
            nn.Linear(channels, channels // 4),
            nn.ReLU(inplace=True),
            nn.Linear(channels // 4, channels),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """NCHW in, the same shape out."""
        weights: Tensor = self.weigh(x.mean((2, 3)))
        return x * weights[:, :, None, None]


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut; a shortcut of stride 2 averages, so sees all."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, squeezed: bool) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
            Excitation(outputs) if squeezed else nn.Identity(),
        )
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.skip = nn.Sequential(
                nn.AvgPool2d(stride, ceil_mode=True) if stride != 1 else nn.Identity(),
                nn.Conv2d(inputs, outputs, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """NCHW in, NCHW out; height and width divided by the stride, rounded up."""
        result: Tensor = self.relu(self.main(x) + self.skip(x))
        return result


class CompactResNetD(nn.Module):
    """Four stages after two 3x3 convolutions, the first of stride 2; widths double."""

    def __init__(self, bands: int, classes: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(bands, width, 3, 2, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        inputs = width
        for stage, depth in enumerate(DEPTHS):
            outputs = width << stage
            for position in range(depth):
                stride = 2 if stage and not position else 1
                squeezed = stage in SQUEEZED_STAGES
                layers.append(Block(inputs, outputs, stride=stride, squeezed=squeezed))
                inputs = outputs
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Chips (n, bands, height, width), normalised -> class scores (n, classes)."""
        scores: Tensor = self.head(self.features(x).mean((2, 3)))
        return scores
