"""Looking through an ONNX file before a runtime does: no other file is named, no foreign operator.

ONNX is protobuf. The few messages that matter are walked here by their field numbers, so that
neither onnx nor its runtime is needed to refuse a file.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

from constellation_pipelines.domain.errors import ModelRefused

LARGEST_BYTES = 2 << 30  # protobuf's own limit
DEEPEST = 40  # messages, three to a graph
DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
# Which fields of a message hold which messages.
FIELDS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 8: "opset", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "function": {7: "node", 9: "opset", 11: "attribute"},
    "tensor": {},
    "opset": {},
}
OPSET_DOMAIN, NODE_DOMAIN, FUNCTION_DOMAIN = 1, 7, 10
TENSOR_EXTERNAL_DATA, TENSOR_DATA_LOCATION = 13, 14
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Malformed(Exception):
    """The bytes are no protobuf."""


def check_onnx(path: Path) -> None:
    """Raises ModelRefused for what is no ONNX, names other files, or needs a library of operators.

    A file must hold all its numbers: data beside it would not be covered by the card's digest.
    """
    if path.stat().st_size > LARGEST_BYTES:
        raise ModelRefused(f"{path.name} is larger than an ONNX file can be")
    try:
        with path.open("rb") as file:  # mapped: of the numbers only where they lie is looked at
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        graphs = walk(content, "model", path.name, 0)
    except (Malformed, IndexError, ValueError) as error:
        raise ModelRefused(f"{path.name} is not an ONNX file") from error
    if graphs == 0:
        raise ModelRefused(f"{path.name} is not an ONNX file: it holds no graph")


def walk(content: memoryview, kind: str, name: str, depth: int) -> int:
    """Look through a message and those in it; how many graphs it holds."""
    if depth > DEEPEST:
        raise ModelRefused(f"{name} nests its graphs too deeply")
    graphs = 0
    for number, value in fields(content):
        check_field(kind, number, value, name)
        below = FIELDS[kind].get(number)
        if below is None:
            continue
        if not isinstance(value, memoryview):
            raise Malformed
        graphs += (below == "graph") + walk(value, below, name, depth + 1)
    return graphs


def check_field(kind: str, number: int, value: memoryview | int, name: str) -> None:
    """Refuse a field that points outside the file, or at operators that a library would bring."""
    if kind == "tensor" and (
        number == TENSOR_EXTERNAL_DATA or (number == TENSOR_DATA_LOCATION and value != 0)
    ):
        raise ModelRefused(
            f"{name} keeps its numbers in another file: save it with all data in one file"
        )
    own_domain = {"opset": OPSET_DOMAIN, "node": NODE_DOMAIN, "function": FUNCTION_DOMAIN}
    if own_domain.get(kind) == number:
        domain = bytes(value).decode("utf-8", "replace") if isinstance(value, memoryview) else "?"
        if domain not in DOMAINS:
            raise ModelRefused(
                f"{name} uses operators of {domain[:60]!r}; only those of ONNX itself may run"
            )


def fields(content: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Field numbers and values of one message. Raises Malformed where it is none."""
    at = 0
    while at < len(content):
        key, at = varint(content, at)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise Malformed
        if wire == VARINT:
            whole, at = varint(content, at)
            yield number, whole
            continue
        if wire == BYTES:
            length, at = varint(content, at)
        elif wire in (FIXED64, FIXED32):
            length = 8 if wire == FIXED64 else 4
        else:
            raise Malformed
        if length > len(content) - at:
            raise Malformed
        yield number, content[at : at + length]
        at += length


def varint(content: memoryview, at: int) -> tuple[int, int]:
    """A whole number in protobuf's form, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise Malformed
