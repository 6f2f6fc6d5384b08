"""Networks of the timm library, where it is installed. Names only: nothing is ever downloaded."""

import sys
from collections.abc import Mapping
from typing import Any

import torch  # noqa: TID253 - a network is torch; only the engine imports this module
from torch import nn  # noqa: TID253

from constellation_pipelines.domain.errors import ModelRefused

PREFIX = "timm:"
ARCHITECTURE = "properties.mlm:architecture"
# What torchvision describes at its import, whether or not its compiled half could be loaded.
OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
declared: list[torch.library.Library] = []  # an operator lives as long as its library


def build_timm(name: str, options: Mapping[str, Any]) -> nn.Module:
    """The network behind a `timm:` name: in float32, with random weights.

    `options` has bands and classes (0: features), and `img_px` for a network of one size only.
    Raises ModelRefused without timm, or for a name that it does not know.
    """
    timm = import_timm()
    wanted = name.removeprefix(PREFIX)
    if not wanted.replace("_", "").replace(".", "").isalnum() or not timm.is_model(wanted):
        raise ModelRefused(f"timm {timm.__version__} knows no {wanted!r}", field=ARCHITECTURE)
    size = {"img_size": options["img_px"]} if "img_px" in options else {}
    try:
        module: nn.Module = timm.create_model(
            wanted,
            pretrained=False,
            in_chans=options["bands"],
            num_classes=options["classes"],
            **size,
        )
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ModelRefused(f"timm cannot make {wanted} of {dict(options)}: {error}") from error
    return module


def import_timm() -> Any:
    """The timm module. Raises ModelRefused, saying how to install it, where it is missing."""
    try:
        import_torchvision()
        import timm
    except ImportError as error:
        raise ModelRefused(
            "architectures of timm need the timm package: pip install 'constellation-eo[timm]'",
            field=ARCHITECTURE,
        ) from error
    return timm


def import_torchvision() -> None:
    """Import torchvision even where its compiled operators do not suit the installed torch.

    timm imports it for a helper, and its import fails beside a torch of another build: it
    describes operators that were never declared. They are declared then, without a body; no
    network here calls them.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "operator torchvision::" not in str(error) or declared:
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        declared.append(library)
        for schema in OPERATORS:
            library.define(schema)  # type: ignore[no-untyped-call]
        import torchvision  # noqa: F401
