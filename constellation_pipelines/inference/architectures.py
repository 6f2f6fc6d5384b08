"""Network architectures that weights can name.

Only these are ever built: a package brings numbers, never code.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch  # noqa: TID253 - a network is torch; only the engine and training import this module
from torch import Tensor, nn  # noqa: TID253

from constellation_pipelines.domain.errors import ModelRefused
from constellation_pipelines.inference.residual import CompactResNetD
from constellation_pipelines.inference.resnet import DEPTHS, ResNet
from constellation_pipelines.inference.timm_networks import PREFIX, build_timm
from constellation_pipelines.inference.unet import UNET_LIMITS, UNet

OPTIONS = "properties.constellation:architecture_options"


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, as in ResNet-18."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1: nn.Module = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2: nn.Module = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.skip = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """NCHW in, NCHW out; height and width divided by the stride."""
        y = self.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        result: Tensor = self.relu(y + self.skip(x))
        return result


class CompactResNet18(nn.Module):
    """ResNet-18's four stages of two blocks, with a small base width and a 3x3 stem of stride 2.

    The 3x3 stem without max pooling keeps 32 x 32 positions of a 64-pixel chip for the first
    stage, where the usual 7x7 stem and pooling would leave 16 x 16.
    """

    def __init__(self, bands: int, classes: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(bands, width, 3, 2, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        inputs = width
        for stage in range(4):
            outputs = width << stage
            layers.append(ResidualBlock(inputs, outputs, 1 if stage == 0 else 2))
            layers.append(ResidualBlock(outputs, outputs))
            inputs = outputs
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Chips (n, bands, height, width), normalised -> class scores (n, classes)."""
        scores: Tensor = self.head(self.features(x).mean((2, 3)))
        return scores


LIMITS = {"bands": (1, 64), "classes": (2, 255), "width": (4, 256)}
RESNET_LIMITS = {"bands": (1, 64), "classes": (0, 4096)}  # without classes: features
TIMM_LIMITS = {**RESNET_LIMITS, "img_px": (8, 4096)}


def compact_resnet18(options: Mapping[str, Any]) -> nn.Module:
    """Options: bands (1..64), classes (2..255), width (4..256), all required, nothing else."""
    return CompactResNet18(**checked("resnet18-compact", options))


def compact_resnet_d(options: Mapping[str, Any]) -> nn.Module:
    """Options as those of resnet18-compact."""
    return CompactResNetD(**checked("resnet-d-compact", options))


def unet(options: Mapping[str, Any]) -> nn.Module:
    """Options: those of resnet18-compact, one class too, and depth (2..6), the count of levels."""
    return UNet(**checked("unet", options, UNET_LIMITS))


def resnet(name: str) -> Callable[[Mapping[str, Any]], nn.Module]:
    """Maker of a ResNet. Options: bands (1..64), classes (0..4096), both required."""
    return lambda options: ResNet(name, **checked(name, options, RESNET_LIMITS))


def checked(
    architecture: str,
    options: Mapping[str, Any],
    limits: Mapping[str, tuple[int, int]] = LIMITS,
    optional: Collection[str] = (),
) -> Mapping[str, Any]:
    """The options, when they are just those with limits, each a whole number within its own."""
    unknown = sorted(set(options) - set(limits))
    if unknown:
        raise ModelRefused(f"{architecture} has no option {unknown[0]!r}", field=OPTIONS)
    for name, (low, high) in limits.items():
        value = options.get(name)
        if value is None and name in optional and name not in options:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ModelRefused(
                f"option {name!r} of {architecture} must be {low} to {high}", field=OPTIONS
            )
    return options


ARCHITECTURES: Mapping[str, Callable[[Mapping[str, Any]], nn.Module]] = {
    "resnet18-compact": compact_resnet18,
    "resnet-d-compact": compact_resnet_d,
    **{name: resnet(name) for name in DEPTHS},
    "unet": unet,
}


def build(architecture: str, options: Mapping[str, Any]) -> nn.Module:
    """A network with random weights. Raises ModelRefused for an unknown name or a bad option."""
    if architecture.startswith(PREFIX):
        return build_timm(
            architecture, checked(architecture, options, TIMM_LIMITS, optional=("img_px",))
        )
    maker = ARCHITECTURES.get(architecture)
    if maker is None:
        known = ", ".join(sorted(ARCHITECTURES))
        raise ModelRefused(
            f"architecture {architecture!r} is not known; known are: {known}, and {PREFIX}<name> "
            "where timm is installed",
            field="properties.mlm:architecture",
        )
    return maker(options)


def build_empty(architecture: str, options: Mapping[str, Any]) -> nn.Module:
    """A network to be filled from a file.

    Of our own networks only shapes are made: nothing is allocated or initialised. Those of timm
    compute some of their numbers when they are made, and no file brings these.
    """
    if architecture.startswith(PREFIX):
        return build(architecture, options)
    with torch.device("meta"):
        return build(architecture, options)
