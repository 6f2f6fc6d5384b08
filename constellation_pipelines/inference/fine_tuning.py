"""A network of timm's with weights learned elsewhere, fitted to EuroSAT: slower and surer."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch  # noqa: TID253 - training is torch; only the training assets import this module
from torch import Tensor, nn  # noqa: TID253

from constellation_pipelines.domain.errors import InvalidInput
from constellation_pipelines.domain.model import Model, WeightsFormat
from constellation_pipelines.inference import eurosat
from constellation_pipelines.inference.architectures import build
from constellation_pipelines.inference.augment import resize
from constellation_pipelines.inference.depthwise import with_fast_depthwise
from constellation_pipelines.inference.eurosat_card import describe
from constellation_pipelines.inference.eurosat_package import check_free, learn
from constellation_pipelines.inference.loading import first_difference
from constellation_pipelines.inference.package import file_sha256, write_package
from constellation_pipelines.inference.timm_networks import PREFIX
from constellation_pipelines.inference.train import Progress, Start, Trained
from constellation_pipelines.inference.training_plan import TrainingPlan

NAME = "eurosat-landcover-large"
TITLE = "EuroSAT land cover, ten classes, the larger network"
EXPORTED_FILE = "network.pt2"
OPTIONS = {"bands": len(eurosat.BANDS), "classes": len(eurosat.CLASSES)}


class Enlarged(nn.Module):
    """A network that sees its chips enlarged, as it did when it learned."""

    def __init__(self, network: nn.Module, px: int) -> None:
        super().__init__()
        self.network = network
        self.px = px

    def forward(self, chips: Tensor) -> Tensor:
        """Chips (n, bands, px, px), normalised -> class scores (n, classes)."""
        scores: Tensor = self.network(resize(chips, self.px))
        return scores


def fine_tune(
    data: Path,
    weights: Path,
    folder: Path,
    *,
    version: str,
    plan: TrainingPlan,
    progress: Progress,
    checkpoints: Path | None = None,
) -> tuple[Model, Trained]:
    """Go on from weights of `plan.architecture`, a safetensors file with timm's names, and write a
    package of the exported network, which needs no timm. An existing package is never overwritten.

    Raises InvalidInput for an archive that is not EuroSAT's and for weights that do not fit,
    ModelRefused without timm, Conflict where a package stands.
    """
    check_free(folder)
    start = start_from(weights, plan.architecture)
    return learn(
        data,
        plan,
        origins=[file_sha256(weights)],
        start=start,
        teacher=None,
        progress=progress,
        checkpoints=checkpoints,
        write=lambda trained, sha256: publish(trained, folder, version=version, data_sha256=sha256),
    )


def start_from(weights: Path, architecture: str) -> Start:
    """timm's network with these weights but for the last layer, whose classes are others."""
    if not architecture.startswith(PREFIX):
        raise InvalidInput(f"{architecture!r} is no {PREFIX}<name>", field="architecture")
    network: Any = build(architecture, OPTIONS)
    load(network, weights)
    known = network.pretrained_cfg
    return Start(
        reference=f"{architecture} with weights {file_sha256(weights)[:12]}",
        network=with_fast_depthwise(network),
        architecture=architecture,
        width=0,
        mean=tuple(known["mean"]),
        std=tuple(known["std"]),
    )


def load(network: Any, path: Path) -> None:
    """Fill a timm network but for its last layer. Raises InvalidInput where something is missing or
    of another shape.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    own: Mapping[str, Tensor] = network.state_dict()
    last = f"{network.pretrained_cfg['classifier']}."
    try:
        found = {name: value for name, value in load_file(path).items() if name in own}
        kept = {name: value for name, value in own.items() if name.startswith(last)}
        network.load_state_dict(found | kept)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise InvalidInput(
            f"{path.name} is no safetensors file of this network's weights: "
            f"{first_difference(error)}",
            field="weights",
        ) from error
    if not all(bool(value.isfinite().all()) for value in found.values()):
        raise InvalidInput(f"{path.name} holds values that are no numbers", field="weights")


def publish(trained: Trained, folder: Path, *, version: str, data_sha256: str) -> Model:
    """Write a trained network as an exported package."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".draft.{EXPORTED_FILE}"
    export(plain(trained), trained.plan.phases[-1].enlarged_px, draft)
    document = describe(
        replace(trained, network=plain(trained)),
        version=version,
        weights_bytes=draft.stat().st_size,
        weights_sha256=file_sha256(draft),
        data_sha256=data_sha256,
        name=NAME,
        title=TITLE,
        weights_format=WeightsFormat.EXPORTED,
        weights_file=EXPORTED_FILE,
    )
    return write_package(folder, document, draft)


def plain(trained: Trained) -> nn.Module:
    """The network as timm makes it, in eval mode."""
    network = build(trained.plan.architecture, OPTIONS)
    network.load_state_dict(trained.network.state_dict())
    return network.eval()


def export(network: nn.Module, px: int, path: Path) -> None:
    """Save it with torch.export, for any number of chips."""
    chips = torch.zeros(2, len(eurosat.BANDS), eurosat.CHIP_PX, eurosat.CHIP_PX)
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(Enlarged(network, px), (chips,), dynamic_shapes=shapes)
    torch.export.save(program, path)
