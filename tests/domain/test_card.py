"""A model package's card, and what is wrong with it."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation_pipelines.domain.card import parse_card
from constellation_pipelines.domain.errors import ModelRefused

CARD = Path(__file__).parent.parent.parent / "models" / "eurosat-landcover" / "1" / "model.json"
GONE = object()
NAN, INFINITY = float("nan"), float("inf")
CLASSES = "properties.mlm:output[0].classification:classes"
CHECKSUM = "assets.weights.file:checksum"


def document() -> dict[str, Any]:
    return dict(json.loads(CARD.read_text()))


def steps(path: str) -> list[str | int]:
    """`a.b[0].c` as keys and indices."""
    found = re.findall(r"\[(\d+)\]|([^.\[\]]+)", path)
    return [int(index) if index else key for index, key in found]


def changed(path: str, value: Any) -> dict[str, Any]:
    result = document()
    *way, last = steps(path)
    place: Any = result
    for step in way:
        place = place[step]
    if value is GONE:
        del place[last]
    else:
        place[last] = value
    return result


def test_the_committed_card_is_read_whole() -> None:
    card = parse_card(document())
    assert card.reference == "eurosat-landcover@1"
    assert [band.common_name for band in card.bands] == ["red", "green", "blue"]
    assert (card.chip_px, card.halo_px, card.gsd_min_m, card.gsd_max_m) == (64, 0, 5, 20)
    assert [found.value for found in card.classes] == list(range(10))
    assert card.classes[9].name == "SeaLake"
    assert all(re.fullmatch("#[0-9a-f]{6}", found.color) for found in card.classes)
    assert len(card.mean) == len(card.std) == 3


LIES: list[tuple[str, Any]] = [
    ("type", "FeatureCollection"),
    ("properties", GONE),
    ("properties", []),
    ("properties.mlm:name", GONE),
    ("properties.mlm:name", "../../etc"),
    ("properties.mlm:name", "Name With Blanks"),
    ("properties.mlm:name", "a" * 64),
    ("properties.mlm:name", "line\nbreak"),
    ("properties.mlm:name", 7),
    ("properties.version", "1/../2"),
    ("properties.version", ""),
    ("properties.version", 1),
    ("properties.mlm:architecture", None),
    ("properties.mlm:architecture", "x" * 1000),
    ("properties.mlm:tasks", ["object-detection"]),
    ("properties.mlm:tasks", "scene-classification"),
    ("properties.mlm:input", []),
    ("properties.mlm:input[0].bands", []),
    ("properties.mlm:input[0].bands", ["red", "red", "blue"]),
    ("properties.mlm:input[0].bands", [1, 2, 3]),
    ("properties.mlm:input[0].value_scaling", []),
    ("properties.mlm:input[0].value_scaling[0].type", "processing"),
    ("properties.mlm:input[0].value_scaling[1].mean", NAN),
    ("properties.mlm:input[0].value_scaling[1].mean", 127),
    ("properties.mlm:input[0].value_scaling[1].stddev", 0),
    ("properties.mlm:input[0].value_scaling[1].stddev", "0.1"),
    ("properties.mlm:input[0].input.shape", [-1, 3, 32, 32]),
    ("properties.mlm:output[0].result.shape", [-1, 11]),
    (CLASSES, []),
    (f"{CLASSES}[3].value", 255),
    (f"{CLASSES}[3].value", 4),
    (f"{CLASSES}[3].value", True),
    (f"{CLASSES}[3].name", "Forest"),
    (f"{CLASSES}[3].name", "<script>"),
    (f"{CLASSES}[3].color_hint", "#7F7F7F"),
    ("properties.constellation:chip_px", 10**9),
    ("properties.constellation:chip_px", 64.5),
    ("properties.constellation:halo_px", 8),
    ("properties.constellation:gsd_min_m", -1),
    ("properties.constellation:gsd_min_m", INFINITY),
    ("properties.constellation:gsd_max_m", 1),
    ("properties.constellation:reflectance_white", 0),
    ("properties.constellation:reflectance_white", 2750),
    ("properties.constellation:architecture_options", []),
    ("properties.constellation:architecture_options", {"width": [32]}),
    ("properties.constellation:architecture_options", {"width": NAN}),
    ("assets", {}),
    ("assets.weights.href", "../weights.safetensors"),
    ("assets.weights.href", "/etc/passwd"),
    ("assets.weights.href", "https://example.com/weights.safetensors"),
    ("assets.weights.href", "weights.pt"),
    ("assets.weights.href", "weights.pkl"),
    ("assets.weights.href", ".safetensors"),
    (CHECKSUM, GONE),
    (CHECKSUM, "1220" + "0" * 63),
    (CHECKSUM, "1220" + "G" * 64),
    (CHECKSUM, "1114" + "0" * 64),
    (CHECKSUM, 0),
]


@pytest.mark.parametrize(("path", "value"), LIES)
def test_a_card_that_lies_is_refused_with_the_field_that_lies(path: str, value: Any) -> None:
    with pytest.raises(ModelRefused) as refusal:
        parse_card(changed(path, value))
    field = refusal.value.field
    assert field is not None
    assert field.startswith(path) or path.startswith(field)
    assert field in refusal.value.message


def test_bands_and_their_scalings_must_be_equally_many() -> None:
    with pytest.raises(ModelRefused, match="value_scaling must be a list of 2"):
        parse_card(changed("properties.mlm:input[0].bands", ["red", "green"]))


@pytest.mark.parametrize("rubbish", [None, [], "card", 3, {}, {"type": "Feature"}])
def test_what_is_no_card_at_all_is_refused(rubbish: object) -> None:
    with pytest.raises(ModelRefused):
        parse_card(rubbish)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def paths(value: Any, at: str = "") -> list[str]:
    """Every place in a document."""
    if isinstance(value, dict):
        below = [(f"{at}.{key}" if at else key, member) for key, member in value.items()]
    elif isinstance(value, list):
        below = [(f"{at}[{i}]", member) for i, member in enumerate(value)]
    else:
        return [at]
    return [at] * bool(at) + [place for name, member in below for place in paths(member, name)]


@given(st.sampled_from(paths(document())), json_values)
def test_whatever_stands_in_a_card_it_is_read_or_refused(path: str, value: Any) -> None:
    spoilt = changed(path, copy.deepcopy(value))
    try:
        card = parse_card(spoilt)
    except ModelRefused:
        return
    assert len(card.bands) == len(card.mean) == len(card.std)
    assert "/" not in card.weights_file
