"""Forms of scenes."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints, WithJsonSchema, model_validator

from api.schemas.base import NO_CONTROLS, Line, Number, Reference, Reply, Request, Whole
from constellation_pipelines.domain.quality import QualityKind
from constellation_pipelines.domain.scene import Scene

BandName = Annotated[
    str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_ .:/()-]*$")
]

# What refuses another key says more than a pattern could.
SceneKey = Annotated[
    Line,
    WithJsonSchema(
        {
            "type": "string",
            "minLength": 1,
            "maxLength": 100,
            "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$",
        }
    ),
]


class QualityRequest(Request):
    """A mask that tells which pixels are clouded."""

    path: Reference = Field(description="A path under one of the allowed folders.")
    kind: QualityKind = Field(
        description="scl: Sentinel-2 scene classification; qa_pixel: Landsat Collection 2."
    )
    index: Whole = Field(default=1, ge=1, le=1000, description="The number of the band.")


class SceneRequest(Request):
    """A raster to register, by path or by URL. What is left out is read from the file or, for a
    path, from the STAC Item beside it.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "example": {"path": "s2_cape_lookout.tif", "bands": ["red", "green", "blue"]}
        },
    )

    path: Reference | None = Field(
        default=None, description="A path under one of the allowed folders."
    )
    url: (
        Annotated[str, StringConstraints(min_length=1, max_length=2048, pattern=NO_CONTROLS)] | None
    ) = Field(
        default=None,
        description="https://, http:// or s3:// URL of a GeoTIFF on one of the allowed hosts; "
        "instead of a path.",
    )
    bands: Annotated[list[BandName], Field(min_length=1, max_length=200)] | None = Field(
        default=None, description="Common names in the order of the file, - for a band without one."
    )
    scale: Number | None = Field(
        default=None, gt=0, le=1e6, description="Physical value = stored value * scale + offset."
    )
    offset: Number | None = Field(default=None, ge=-1e6, le=1e6)
    key: SceneKey | None = Field(
        default=None,
        description="Its short unique name, without `..` and no id; else the file's.",
    )
    quality: QualityRequest | None = Field(
        default=None, description="Else a band called SCL or QA_PIXEL, or a file the Item names."
    )

    @model_validator(mode="after")
    def one_place(self) -> Self:
        """A raster is in one place."""
        if (self.path is None) == (self.url is None):
            raise ValueError("give either path or url")
        return self


class BandReply(Reply):
    """One band of a scene."""

    index: int
    name: str
    common_name: str | None
    dtype: str
    scale: float | None
    offset: float | None
    wavelength_um: float | None


class QualityReply(Reply):
    """Where a scene's quality mask is."""

    kind: QualityKind
    uri: str
    index: int


class SceneReply(Reply):
    """A registered scene."""

    id: UUID
    key: str
    uri: str
    digest: str
    crs: str
    width_px: int
    height_px: int
    gsd_m: float
    area_km2: float
    bands: list[BandReply]
    nodata: float | None
    quality: QualityReply | None
    footprint: dict[str, Any] = Field(description="GeoJSON, lon/lat, split at 180 degrees.")
    start_at: datetime | None
    end_at: datetime | None
    created_at: datetime | None

    @classmethod
    def of(cls, scene: Scene) -> Self:
        """The form of this scene."""
        return cls(**cls.fields(scene))

    @staticmethod
    def fields(scene: Scene) -> dict[str, Any]:
        """Members of the form."""
        return {
            "id": scene.id,
            "key": scene.key,
            "uri": scene.uri,
            "digest": scene.digest,
            "crs": scene.grid.crs,
            "width_px": scene.grid.width_px,
            "height_px": scene.grid.height_px,
            "gsd_m": scene.gsd_m,
            "area_km2": scene.area_km2,
            "bands": [BandReply.model_validate(band) for band in scene.bands],
            "nodata": scene.nodata,
            "quality": scene.quality and QualityReply.model_validate(scene.quality),
            "footprint": scene.footprint,
            "start_at": scene.start_at,
            "end_at": scene.end_at,
            "created_at": scene.created_at,
        }


class SceneDetail(SceneReply):
    """A scene with its STAC Item."""

    item: dict[str, Any]

    @classmethod
    def of(cls, scene: Scene) -> Self:
        """The form of this scene."""
        return cls(**cls.fields(scene), item=scene.item)


class ScenePage(Reply):
    """Scenes by key. `next` is the cursor of the following page, null on the last."""

    items: list[SceneReply]
    next: str | None
