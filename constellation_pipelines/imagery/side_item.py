"""The STAC Item beside a raster: what a user tells of its bands and time."""

import json
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from constellation_pipelines.domain.errors import SceneRefused
from constellation_pipelines.domain.quality import QualityKind

MAX_ITEM_BYTES = 2**20
MAX_TEXT_CHARS = 64
MAX_NAME_CHARS = 255
MAX_BANDS = 1_000
VERSIONS = ("1.0", "1.1")
MAX_WAVELENGTH_UM = 100
# Keys of assets, as Sentinel-2's and Landsat's own Items and the large catalogues have them.
MASKS = {"scl": QualityKind.SCL, "qa_pixel": QualityKind.QA_PIXEL}


@dataclass(frozen=True, slots=True)
class ItemBand:
    """What an Item says of one band. `offset` is given wherever `scale` is."""

    name: str | None
    common_name: str | None
    scale: float | None
    offset: float | None
    wavelength_um: float | None = None


@dataclass(frozen=True, slots=True)
class ItemMask:
    """A quality mask that an Item names: a file beside the raster."""

    file_name: str
    kind: QualityKind


@dataclass(frozen=True, slots=True)
class SideItem:
    """What is taken from the Item beside a raster. `bands` is empty when it tells of none."""

    file_name: str
    bands: tuple[ItemBand, ...]
    platform: str | None
    start_at: datetime | None
    end_at: datetime | None
    mask: ItemMask | None = None


def read_side_item(raster: Path) -> SideItem | None:
    """The STAC Item (1.0 or 1.1) `<stem>.json` beside a raster; None when there is no such file.

    Raises SceneRefused when the file is there but is not an Item that describes this raster.
    """
    path = raster.with_suffix(".json")
    text = _read(path)
    if text is None:
        return None
    reader = _Reader(path.name)
    document = reader.parse(text)
    properties = reader.mapping(document.get("properties"), "properties")
    assets = reader.mapping(document.get("assets"), "assets")
    asset = reader.asset_of(assets, raster.name)
    start_at, end_at = reader.times(properties)
    return SideItem(
        file_name=path.name,
        bands=reader.bands(asset, properties),
        platform=reader.text(properties.get("platform"), "properties.platform"),
        start_at=start_at,
        end_at=end_at,
        mask=reader.mask(assets),
    )


def _read(path: Path) -> bytes | None:
    """The file's bytes. A link is not followed: it could lead out of the allowed folders."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SceneRefused(f"{path.name} beside the raster cannot be read, or is a link") from error
    with os.fdopen(handle, "rb") as file:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > MAX_ITEM_BYTES:
            raise SceneRefused(
                f"{path.name} beside the raster is no STAC Item: it must be a file of at most "
                f"{MAX_ITEM_BYTES // 2**20} MiB"
            )
        return file.read(MAX_ITEM_BYTES)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Takes an Item apart; refuses with the file's name and the place."""

    file_name: str

    def refuse(self, at: str, text: str) -> NoReturn:
        raise SceneRefused(
            f"{self.file_name} beside the raster: {at} {text}; correct the Item or remove it"
        )

    def parse(self, text: bytes) -> dict[str, Any]:
        try:
            document = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise SceneRefused(
                f"{self.file_name} beside the raster is not valid JSON; correct or remove it"
            ) from error
        if not isinstance(document, dict) or document.get("type") != "Feature":
            self.refuse("the document", "is not a STAC Item")
        version = document.get("stac_version")
        if not isinstance(version, str) or not version.startswith(VERSIONS):
            self.refuse("stac_version", "must be 1.0 or 1.1")
        return document

    def mapping(self, value: object, at: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            self.refuse(at, "must be an object")
        return value

    def asset_of(self, assets: Mapping[str, Any], raster_name: str) -> dict[str, Any]:
        """The asset whose href ends in the raster's name, else the only one there is."""
        found = [
            asset
            for asset in assets.values()
            if isinstance(asset, dict)
            and isinstance(asset.get("href"), str)
            and asset["href"].rpartition("/")[2] == raster_name
        ]
        if not found and len(assets) == 1:
            found = list(assets.values())
        if len(found) != 1:
            self.refuse("assets", f"must hold one asset whose href is {raster_name}")
        return self.mapping(found[0], "the asset")

    def mask(self, assets: Mapping[str, Any]) -> ItemMask | None:
        """The asset that is a quality mask; where there are several, the first."""
        for key, asset in assets.items():
            if not isinstance(asset, dict) or not isinstance(asset.get("href"), str):
                continue
            name = asset["href"].rpartition("/")[2]
            kind = _mask_kind(key, name, asset.get("roles"))
            if kind is not None and name:
                return ItemMask(self.file_name_of(name), kind)
        return None

    def file_name_of(self, name: str) -> str:
        if len(name) > MAX_NAME_CHARS or not name.isprintable():
            self.refuse("the href of its quality mask", "is no name of a file")
        return name

    def bands(
        self, asset: Mapping[str, Any], properties: Mapping[str, Any]
    ) -> tuple[ItemBand, ...]:
        source = asset if any(_band_lists(asset)) else properties
        bands, eo, raster = (self.list_of_mappings(value) for value in _band_lists(source))
        if bands:
            return tuple(self.band(band, band, asset) for band in bands)
        if eo and raster and len(eo) != len(raster):
            self.refuse("eo:bands and raster:bands", "differ in length")
        count = max(len(eo), len(raster))
        none: list[dict[str, Any]] = [{}] * count
        return tuple(
            self.band(name, values, asset)
            for name, values in zip(eo or none, raster or none, strict=True)
        )

    def list_of_mappings(self, value: object) -> list[dict[str, Any]]:
        if value is None:
            return []
        if not isinstance(value, list) or len(value) > MAX_BANDS:
            self.refuse("its bands", f"must be a list of at most {MAX_BANDS} objects")
        return [self.mapping(band, "each band") for band in value]

    def band(
        self, names: Mapping[str, Any], values: Mapping[str, Any], asset: Mapping[str, Any]
    ) -> ItemBand:
        """Fields of STAC 1.1 (`eo:common_name`, `raster:scale`) or 1.0 (`common_name`, `scale`)."""
        common = self.text(
            names.get("eo:common_name", names.get("common_name")), "a band's common name"
        )
        scale = self.number(_first(values, asset, "scale"), "a band's scale")
        offset = self.number(_first(values, asset, "offset"), "a band's offset")
        if scale == 0:
            self.refuse("a band's scale", "must not be 0")
        if scale is None and offset is not None:
            scale = 1.0
        return ItemBand(
            name=self.text(names.get("name"), "a band's name"),
            common_name=common.lower() if common else None,
            scale=scale,
            offset=(offset or 0.0) if scale is not None else None,
            wavelength_um=self.wavelength_um(names),
        )

    def wavelength_um(self, names: Mapping[str, Any]) -> float | None:
        centre_um = self.number(
            names.get("eo:center_wavelength", names.get("center_wavelength")),
            "a band's centre wavelength",
        )
        if centre_um is not None and not 0 < centre_um <= MAX_WAVELENGTH_UM:
            self.refuse("a band's centre wavelength", f"must be 0 to {MAX_WAVELENGTH_UM} um")
        return centre_um

    def text(self, value: object, at: str) -> str | None:
        if value is None or value == "":
            return None
        if not isinstance(value, str) or len(value) > MAX_TEXT_CHARS or not value.isprintable():
            self.refuse(at, f"must be a text of at most {MAX_TEXT_CHARS} printable characters")
        return value

    def number(self, value: object, at: str) -> float | None:
        if value is None:
            return None
        try:
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                number = float(value)
                if math.isfinite(number):
                    return number
        except OverflowError:
            pass
        self.refuse(at, "must be a finite number")

    def times(self, properties: Mapping[str, Any]) -> tuple[datetime, datetime] | tuple[None, None]:
        at = self.time(properties.get("datetime"), "properties.datetime")
        start_at = self.time(properties.get("start_datetime"), "properties.start_datetime") or at
        end_at = self.time(properties.get("end_datetime"), "properties.end_datetime") or at
        if start_at is None or end_at is None:
            return None, None
        if start_at > end_at:
            self.refuse("properties.start_datetime", "is after end_datetime")
        return start_at, end_at

    def time(self, value: object, at: str) -> datetime | None:
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(value if isinstance(value, str) else "")
            if moment.tzinfo is None:
                raise ValueError("a local time")
            return moment.astimezone(UTC)
        except (ValueError, OverflowError):
            self.refuse(at, "must be a time with its offset, such as 2020-07-01T10:30:00Z")


def _mask_kind(key: str, file_name: str, roles: object) -> QualityKind | None:
    """By the asset's key, else, where its role is `cloud`, by the name of its file."""
    found = MASKS.get(key.lower())
    if found is None and isinstance(roles, list) and "cloud" in roles:
        stem = file_name.lower().rpartition(".")[0]
        found = next((kind for word, kind in MASKS.items() if word in stem), None)
    return found


def _band_lists(source: Mapping[str, Any]) -> tuple[object, object, object]:
    return source.get("bands"), source.get("eo:bands"), source.get("raster:bands")


def _first(values: Mapping[str, Any], asset: Mapping[str, Any], name: str) -> object:
    """A raster field of a band, else of its asset, which then holds for every band."""
    for source, key in ((values, f"raster:{name}"), (values, name), (asset, f"raster:{name}")):
        if source.get(key) is not None:
            return source[key]
    return None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
