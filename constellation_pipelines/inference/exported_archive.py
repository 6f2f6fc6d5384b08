"""What may be in a `torch.export` archive, and reading it: a zip of JSON and raw numbers.

Torch's own reader unpickles sample inputs, and whatever else an archive says is pickled. This one
opens only what it knows to be JSON or numbers. No torch is needed here.
"""

import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from constellation_pipelines.domain.errors import ModelRefused

MOST_ENTRIES = 20_000
LARGEST_JSON_BYTES = 256 << 20
# By their paths below the archive's own folder. `read` are opened, `left` never.
READ = re.compile(
    r"archive_format|archive_version|byteorder"
    r"|models/[\w-]{1,64}\.json"
    r"|data/weights/([\w-]{1,64}_weights_config\.json|weight_\d{1,6})"
    r"|data/constants/([\w-]{1,64}_constants_config\.json|tensor_\d{1,6})"
)
LEFT = re.compile(r"\.data/(version|serialization_id)|data/sample_inputs/[\w-]{1,64}\.pt")
# Why others are refused, by how their paths begin.
REASONS = {
    "data/aotinductor/": "compiled code",
    "data/constants/custom_obj_": "a pickled object",
    "data/constants/opaque_obj_": "a pickled object",
    "data/constants/": "a pickle",
    "data/weights/": "a pickle",
}
DEFAULT_REASON = "not part of torch.export's plain format"


class ExportedArchive:
    """An archive whose listing is in order: names, sizes, one model. Close it by `with`."""

    def __init__(self, path: Path) -> None:
        """Raises ModelRefused for what is no such archive, or has more in it than it may."""
        self.name = path.name
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise self.refused("is no archive that torch.export.save writes") from error
        try:
            self._entries = self._checked(path.stat().st_size)
            self.model = self._only_model()
            self._check_header()
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> "ExportedArchive":
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def refused(self, reason: str) -> ModelRefused:
        """An error about this file."""
        return ModelRefused(f"{self.name} {reason}", field="assets.weights.href")

    def _checked(self, size_bytes: int) -> dict[str, zipfile.ZipInfo]:
        """The entries by their path below the archive's folder, each allowed, none compressed."""
        listed = self._zip.infolist()
        if not 0 < len(listed) <= MOST_ENTRIES:
            raise self.refused(f"has {len(listed)} entries, and 1 to {MOST_ENTRIES} are allowed")
        # Entries that are not compressed and do not overlap are no larger than their archive.
        if sum(entry.file_size for entry in listed) > size_bytes:
            raise self.refused("says that its entries are larger than itself")
        root = listed[0].filename.partition("/")[0] + "/"
        entries: dict[str, zipfile.ZipInfo] = {}
        for entry in listed:
            name = entry.filename.removeprefix(root)
            if not entry.filename.startswith(root) or name in entries:
                raise self.refused(f"holds {shown(entry.filename)} twice or outside its folder")
            if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
                raise self.refused(f"holds {shown(name)} compressed or encrypted")
            if not READ.fullmatch(name) and not LEFT.fullmatch(name):
                reasons = (why for start, why in REASONS.items() if name.startswith(start))
                raise self.refused(f"holds {shown(name)}, {next(reasons, DEFAULT_REASON)}")
            entries[name] = entry
        return entries

    def _only_model(self) -> str:
        names = [name for name in self._entries if name.startswith("models/")]
        if len(names) != 1:
            raise self.refused(f"holds {len(names)} programs, and it must be one")
        return names[0].removeprefix("models/").removesuffix(".json")

    def _check_header(self) -> None:
        for name, expected in (("archive_format", b"pt2"), ("byteorder", b"little")):
            if self.read(name, 16) != expected:
                raise self.refused(f"says something else than {expected.decode()} in {name}")

    def read(self, name: str, most_bytes: int | None = None) -> bytes:
        """An entry's bytes, its checksum compared. Only what is JSON or numbers is ever read."""
        entry = self._entries.get(name)
        if entry is None or not READ.fullmatch(name):
            raise self.refused(f"has no {shown(name)}")
        if most_bytes is not None and entry.file_size > most_bytes:
            raise self.refused(f"holds a {shown(name)} of more than {most_bytes} bytes")
        try:
            return self._zip.read(entry)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
            raise self.refused(f"is damaged: {shown(name)} cannot be read") from error

    def json(self, name: str) -> dict[str, Any]:
        """An entry that is a JSON object."""
        try:
            document = json.loads(self.read(name, LARGEST_JSON_BYTES))
        except (ValueError, RecursionError) as error:
            raise self.refused(f"holds a {shown(name)} that is no JSON") from error
        if not isinstance(document, dict):
            raise self.refused(f"holds a {shown(name)} that is no JSON object")
        return document

    def payloads(self, kind: str) -> "list[Payload]":
        """What `weights` or `constants` there are, by the names the program knows them by."""
        config = self.json(f"data/{kind}/{self.model}_{kind}_config.json").get("config")
        if not isinstance(config, dict):
            raise self.refused(f"has no list of {kind}")
        return [self._payload(kind, name, said) for name, said in config.items()]

    def _payload(self, kind: str, name: str, said: Any) -> "Payload":
        if not isinstance(said, dict) or said.get("use_pickle") is not False:
            raise self.refused(f"holds {shown(name)} as a pickle, which is never opened")
        meta = said.get("tensor_meta")
        file = f"data/{kind}/{said.get('path_name')}"
        if not isinstance(meta, dict) or file not in self._entries or file.endswith(".json"):
            raise self.refused(f"has no numbers for {shown(name)}")
        if meta.get("layout") != STRIDED:
            raise self.refused(f"holds {shown(name)} in another layout than strided")
        return Payload(
            name,
            file,
            dtype=whole(meta.get("dtype")),
            sizes=self._wholes(meta.get("sizes"), name),
            strides=self._wholes(meta.get("strides"), name),
            offset=self._wholes([meta.get("storage_offset")], name)[0],
        )

    def _wholes(self, values: Any, name: str) -> tuple[int, ...]:
        if not isinstance(values, list) or len(values) > MOST_DIMENSIONS:
            raise self.refused(f"does not give the shape of {shown(name)}")
        found = tuple(whole(v.get("as_int")) if isinstance(v, dict) else -1 for v in values)
        if min(found, default=0) < 0:
            raise self.refused(f"does not give the shape of {shown(name)} in whole numbers")
        return found


STRIDED = 7
MOST_DIMENSIONS = 8


@dataclass(frozen=True, slots=True)
class Payload:
    """One tensor of an archive: its name, its entry, and its place in that (counted in elements).

    `dtype` is the number of a type in the archive's schema.
    """

    name: str
    file: str
    dtype: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int


def whole(value: Any) -> int:
    """The value where it is a whole number that a tensor's shape could hold, else -1."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 48:
        return value
    return -1


def shown(text: str) -> str:
    """A name out of the archive, fit to be shown."""
    return repr(text[:80])
