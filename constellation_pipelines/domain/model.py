"""A model: a named, versioned, digested package that turns chips into predictions."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


class Task(StrEnum):
    """What a model makes of a chip, in the words of the STAC MLM extension."""

    SCENE_CLASSIFICATION = "scene-classification"  # one class per chip
    SEGMENTATION = "semantic-segmentation"  # one class per pixel
    REGRESSION = "regression"  # one number per pixel
    EMBEDDING = "similarity-search"  # one vector per chip


class WeightsFormat(StrEnum):
    """How a package holds its network. None of them is read with pickle."""

    SAFETENSORS = "safetensors"  # numbers alone; the card names the architecture
    EXPORTED = "pt2"  # torch.export: graph and numbers
    ONNX = "onnx"


class InputUnit(StrEnum):
    """What a network's input is before mean and standard deviation."""

    DISPLAY = "display"  # 0..1: 8-bit colour / 255, or reflectance / reflectance_white, clipped
    REFLECTANCE = "reflectance"  # stored value * scale + offset, as it is
    STORED = "stored"  # the stored value as it is


class GsdPolicy(StrEnum):
    """What happens to a scene whose pixels are outside the model's range of sizes."""

    REFUSE = "refuse"  # unless the job accepts the mismatch
    RESAMPLE = "resample"  # read at the model's own gsd_m


@dataclass(frozen=True, slots=True)
class ModelBand:
    """A band that a network wants: found by common name, else by its centre wavelength."""

    name: str
    common_name: str | None = None
    wavelength_um: float | None = None


@dataclass(frozen=True, slots=True)
class ModelClass:
    """One class of a classifier: its value in rasters, its name and its map colour (#rrggbb)."""

    value: int
    name: str
    color: str


@dataclass(frozen=True, slots=True)
class Vectors:
    """Polygons to make of a class raster: of these class values, none smaller than this."""

    values: tuple[int, ...]
    min_area_m2: float = 0.0


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What the engine needs of a package's STAC MLM `model.json`, already validated.

    `bands` are in the order the network expects them. Its input is what `input_unit` says and then
    (value - mean) / std per band. `halo_px` is on each side: chips of a dense model overlap by
    twice as much, and what two of them say there is blended. `channels` are the numbers per output:
    classes, 1 for a regression, the length of an embedding. `architecture` is None where the
    weights bring their own graph. `gsd_m` is the pixel size to resample to.
    """

    name: str
    version: str
    architecture: str | None
    architecture_options: dict[str, Any]
    task: Task
    bands: tuple[ModelBand, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    reflectance_white: float
    chip_px: int
    halo_px: int
    gsd_min_m: float
    gsd_max_m: float
    classes: tuple[ModelClass, ...]
    weights_file: str
    weights_sha256: str
    weights_format: WeightsFormat = WeightsFormat.SAFETENSORS
    input_unit: InputUnit = InputUnit.DISPLAY
    channels: int = 0
    unit: str | None = None  # of a regression's numbers, such as "m"
    gsd_policy: GsdPolicy = GsdPolicy.REFUSE
    gsd_m: float | None = None
    scores: bool = False  # write the probability of the class as well
    vectors: Vectors | None = None

    @property
    def reference(self) -> str:
        """`name@version`, the way people name a model."""
        return f"{self.name}@{self.version}"

    @property
    def dense(self) -> bool:
        """Whether the network answers per pixel, not per chip."""
        return self.task in (Task.SEGMENTATION, Task.REGRESSION)

    @property
    def stride_px(self) -> int:
        """From one chip to the next."""
        return self.chip_px - 2 * self.halo_px

    @property
    def tile_unit_px(self) -> int:
        """What the sides of tiles are multiples of: whole chips, or anything for a dense model."""
        return 1 if self.dense else self.chip_px


@dataclass(frozen=True, slots=True)
class Model:
    """A registered model package. `digest` covers card and weights; `folder` is its package."""

    id: UUID
    digest: str
    folder: str
    card: ModelCard
    document: dict[str, Any]
    created_at: datetime | None = None
