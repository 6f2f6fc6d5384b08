"""Model packages on disk: a folder with a card, `model.json`, and weights beside it."""

import hashlib
import json
import logging
import os
import struct
from pathlib import Path
from typing import Any

from constellation_pipelines.domain.card import parse_card
from constellation_pipelines.domain.errors import ModelRefused
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.domain.model import Model, WeightsFormat
from constellation_pipelines.domain.names import identifier
from constellation_pipelines.inference.exported_archive import ExportedArchive
from constellation_pipelines.inference.onnx_file import check_onnx

CARD_FILE = "model.json"
LARGEST_CARD_BYTES = 1_000_000
LARGEST_HEADER_BYTES = 100_000_000  # the safetensors format's own limit
CHUNK_BYTES = 1 << 20
# How files begin that Python's pickle could be asked to read: a zip of pickles, or a bare pickle.
CODE_CARRIERS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")

log = logging.getLogger(__name__)


def load_package(folder: Path) -> Model:
    """A package whose card is valid and whose weights are the ones the card names.

    Reads the whole weights file once to check its digest; gives no opinion on whether the weights
    fit the architecture, which needs torch. Raises ModelRefused, saying what to mend.
    """
    content = read_card(folder / CARD_FILE)
    document = decode_card(content)
    card = parse_card(document)
    weights = folder / card.weights_file
    if weights.is_symlink() or not weights.is_file():
        raise ModelRefused(f"the package of {card.reference} has no file {card.weights_file}")
    check_format(weights, card.weights_format)
    if file_sha256(weights) != card.weights_sha256:
        raise ModelRefused(
            f"the weights of {card.reference} are not those its card names: their sha256 differs",
            field="assets.weights.file:checksum",
        )
    digest = hashlib.sha256(content + card.weights_sha256.encode()).hexdigest()
    return Model(new_id(), digest, str(folder.absolute()), card, document)


def discover(models_dir: Path) -> list[Model]:
    """The packages in <models_dir>/<name>/<version>/, by name and version.

    A package that is refused is left out and said in the log: one bad folder must not take the
    others away. Of two names that Dagster cannot tell apart, a-b and a_b, the first is taken.
    """
    found: list[Model] = []
    names: dict[str, str] = {}
    for path in sorted(models_dir.glob(f"*/*/{CARD_FILE}")):
        try:
            model = load_package(path.parent)
            if (model.card.name, model.card.version) != path.parts[-3:-1]:
                raise ModelRefused(f"the card says it is {model.card.reference}")
            first = names.setdefault(identifier(model.card.name), model.card.name)
            if first != model.card.name:
                raise ModelRefused(f"Dagster cannot tell its name from that of {first}")
        except ModelRefused as error:
            log.warning("model package %s left out: %s", "/".join(path.parts[-3:-1]), error)
            continue
        found.append(model)
    return found


def read_card(path: Path) -> bytes:
    """The card's bytes, at most a megabyte."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_CARD_BYTES + 1)
    except OSError as error:
        raise ModelRefused(f"the package has no readable {CARD_FILE}") from error
    if len(content) > LARGEST_CARD_BYTES:
        raise ModelRefused(f"{CARD_FILE} is larger than {LARGEST_CARD_BYTES} bytes")
    return content


def decode_card(content: bytes) -> dict[str, Any]:
    """The card as JSON; NaN and infinities, which JSON does not have, are refused."""
    try:
        document = json.loads(content, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ModelRefused(f"{CARD_FILE} is not valid JSON") from error
    if not isinstance(document, dict):
        raise ModelRefused(f"{CARD_FILE} must hold a JSON object")
    return document


def refuse_constant(name: str) -> None:
    """Called by the JSON parser for NaN, Infinity and -Infinity."""
    raise ValueError(name)


def check_format(weights: Path, kind: WeightsFormat) -> None:
    """Refuse what is not of the format that its name says, by what the file holds."""
    if kind is WeightsFormat.EXPORTED:
        with ExportedArchive(weights):  # it looks at the listing
            return
    with weights.open("rb") as file:
        start = file.read(9)
    if start.startswith(CODE_CARRIERS):
        raise ModelRefused(
            f"{weights.name} is a pickle or an archive of pickles, which can run code when read; "
            "save the weights with safetensors"
        )
    if kind is WeightsFormat.ONNX:
        check_onnx(weights)
        return
    header_bytes = struct.unpack("<Q", start[:8])[0] if len(start) == 9 else 0
    within = 2 <= header_bytes <= min(LARGEST_HEADER_BYTES, weights.stat().st_size - 8)
    if not within or not start.endswith(b"{"):
        raise ModelRefused(f"{weights.name} is not a safetensors file")


def file_sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def write_package(folder: Path, document: dict[str, Any], weights: Path) -> Model:
    """Move weights and card into the folder, the card last and whole, and load the result."""
    folder.mkdir(parents=True, exist_ok=True)
    os.replace(weights, folder / document["assets"]["weights"]["href"])
    draft = folder / f".{CARD_FILE}.draft"
    draft.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(draft, folder / CARD_FILE)
    return load_package(folder)
