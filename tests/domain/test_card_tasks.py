"""What a card says of each task, of its input, and of what becomes of other scenes."""

from typing import Any

import pytest

from constellation_pipelines.domain.card import parse_card
from constellation_pipelines.domain.errors import ModelRefused
from constellation_pipelines.domain.model import (
    GsdPolicy,
    InputUnit,
    ModelBand,
    Task,
    Vectors,
    WeightsFormat,
)
from tests.inference.packages import card_of, document_of


def test_a_segmenter_answers_per_pixel_and_has_a_halo() -> None:
    card = card_of(task="semantic-segmentation", classes=5, chip_px=64, halo_px=12)
    assert (card.task, card.dense, card.channels) == (Task.SEGMENTATION, True, 5)
    assert (card.halo_px, card.stride_px) == (12, 40)


def test_a_regression_has_one_number_per_pixel_and_a_unit() -> None:
    card = card_of(task="regression", classes=1, **{"constellation:unit": "t/ha"})
    assert (card.channels, card.classes, card.unit) == (1, (), "t/ha")


def test_an_embedding_has_the_length_of_its_output() -> None:
    card = card_of(task="similarity-search", classes=384)
    assert (card.channels, card.classes, card.dense) == (384, (), False)


@pytest.mark.parametrize(
    ("weights", "kind"),
    [
        ("model.pt2", WeightsFormat.EXPORTED),
        ("model.onnx", WeightsFormat.ONNX),
        ("weights.safetensors", WeightsFormat.SAFETENSORS),
    ],
)
def test_only_weights_without_a_graph_name_an_architecture(
    weights: str, kind: WeightsFormat
) -> None:
    card = card_of(weights=weights)
    assert card.weights_format is kind
    named = kind is WeightsFormat.SAFETENSORS
    assert (card.architecture is not None) == named
    assert bool(card.architecture_options) == named


def test_bands_are_told_more_of_by_their_list() -> None:
    document = document_of(bands=3)
    document["properties"]["bands"] = [
        {"name": "red", "eo:common_name": "red", "eo:center_wavelength": 0.665},
        {"name": "green", "eo:center_wavelength": 0.56},
        {"name": "unused", "eo:common_name": "nir"},
        {"name": "blue"},
    ]
    assert parse_card(document).bands == (
        ModelBand("red", "red", 0.665),
        ModelBand("green", None, 0.56),
        ModelBand("blue", "blue", None),
    )


def test_a_band_may_be_an_object_with_a_name() -> None:
    document = document_of(bands=2)
    document["properties"]["mlm:input"][0]["bands"] = ["red", {"name": "nir"}]
    assert [band.name for band in parse_card(document).bands] == ["red", "nir"]


SCALINGS: list[tuple[Any, tuple[float, ...], tuple[float, ...]]] = [
    (None, (0.0, 0.0), (1.0, 1.0)),
    ([{"type": "z-score", "mean": 0.3, "stddev": 0.1}], (0.3, 0.3), (0.1, 0.1)),
    (
        [
            {"type": "min-max", "minimum": 0.25, "maximum": 0.75},
            {"type": "z-score", "mean": 0.5, "stddev": 0.2},
        ],
        (0.25, 0.5),
        (0.5, 0.2),
    ),
    ([{"type": "offset", "value": 0.5}, {"type": "scale", "value": 0.5}], (0.5, 0), (1, 0.5)),
]


@pytest.mark.parametrize(("said", "mean", "std"), SCALINGS)
def test_scalings_become_mean_and_deviation(
    said: Any, mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    document = document_of(bands=2)
    document["properties"]["mlm:input"][0]["value_scaling"] = said
    card = parse_card(document)
    assert card.mean == pytest.approx(mean)
    assert card.std == pytest.approx(std)


def test_no_scaling_at_all_is_none() -> None:
    document = document_of(bands=1)
    del document["properties"]["mlm:input"][0]["value_scaling"]
    assert (parse_card(document).mean, parse_card(document).std) == ((0.0,), (1.0,))


def test_stored_values_have_means_of_their_own_size() -> None:
    document = document_of(bands=1)
    document["properties"]["constellation:input_unit"] = "stored"
    del document["properties"]["constellation:reflectance_white"]
    document["properties"]["mlm:input"][0]["value_scaling"] = [
        {"type": "z-score", "mean": 1353.7, "stddev": 897.3}
    ]
    card = parse_card(document)
    assert (card.input_unit, card.mean, card.reflectance_white) == (
        InputUnit.STORED,
        (1353.7,),
        1.0,
    )


def test_other_pixel_sizes_are_refused_or_resampled() -> None:
    assert card_of().gsd_policy is GsdPolicy.REFUSE
    said: dict[str, Any] = {"constellation:gsd_policy": "resample", "constellation:gsd_m": 10}
    card = card_of(**said)
    assert (card.gsd_policy, card.gsd_m) == (GsdPolicy.RESAMPLE, 10.0)


def test_scores_and_vectors_are_asked_for() -> None:
    said: dict[str, Any] = {
        "constellation:scores": True,
        "constellation:vectors": {"values": [1, 3], "min_area_m2": 400},
    }
    card = card_of(task="semantic-segmentation", **said)
    assert (card.scores, card.vectors) == (True, Vectors((1, 3), 400.0))
    assert card_of().vectors is None


PROPERTIES = "properties"
INPUT = "properties.mlm:input[0]"
RESULT = "properties.mlm:output[0].result.shape"
SEGMENTER: dict[str, Any] = {"task": "semantic-segmentation", "chip_px": 32}
REGRESSION: dict[str, Any] = {"task": "regression", "classes": 1}

LIES: list[tuple[dict[str, Any], str]] = [
    ({**SEGMENTER, "halo_px": 16}, f"{PROPERTIES}.constellation:halo_px"),
    ({**SEGMENTER, "halo_px": -1}, f"{PROPERTIES}.constellation:halo_px"),
    ({"task": "similarity-search", "halo_px": 1}, f"{PROPERTIES}.constellation:halo_px"),
    ({"task": "similarity-search", "classes": 5000}, f"{RESULT}[1]"),
    ({"task": "regression", "classes": 2}, RESULT),
    ({"constellation:unit": "m"}, f"{PROPERTIES}.constellation:unit"),
    ({**REGRESSION, "constellation:unit": "<b>"}, f"{PROPERTIES}.constellation:unit"),
    ({**REGRESSION, "constellation:scores": True}, f"{PROPERTIES}.constellation:scores"),
    ({"constellation:scores": 1}, f"{PROPERTIES}.constellation:scores"),
    (
        {**REGRESSION, "constellation:vectors": {"values": [1]}},
        f"{PROPERTIES}.constellation:vectors",
    ),
    (
        {"constellation:vectors": {"values": [9]}},
        f"{PROPERTIES}.constellation:vectors.values",
    ),
    (
        {"constellation:vectors": {"values": [1, 1]}},
        f"{PROPERTIES}.constellation:vectors.values",
    ),
    (
        {"constellation:vectors": {"values": [1], "min_area_m2": -1}},
        f"{PROPERTIES}.constellation:vectors.min_area_m2",
    ),
    ({"constellation:input_unit": "kelvin"}, f"{PROPERTIES}.constellation:input_unit"),
    ({"constellation:gsd_policy": "resample"}, f"{PROPERTIES}.constellation:gsd_m"),
    ({"constellation:gsd_policy": "guess"}, f"{PROPERTIES}.constellation:gsd_policy"),
    (
        {"constellation:gsd_policy": "resample", "constellation:gsd_m": 1e5},
        f"{PROPERTIES}.constellation:gsd_m",
    ),
    ({"bands": [{"name": "red"}, {"name": "red"}]}, f"{PROPERTIES}.bands[1].name"),
    ({"bands": [{"name": "red", "eo:center_wavelength": "x"}]}, f"{PROPERTIES}.bands[0]."),
    ({"weights": "model.ckpt"}, "assets.weights.href"),
    ({"weights": "m.safetensors", "mlm:architecture": "a:b"}, f"{PROPERTIES}.mlm:architecture"),
]


@pytest.mark.parametrize(("said", "field"), LIES)
def test_a_lie_is_refused_with_its_field(said: dict[str, Any], field: str) -> None:
    said = dict(said)
    described = said.pop("bands", None) if isinstance(said.get("bands"), list) else None
    document = document_of(**said)
    if described is not None:
        document["properties"]["bands"] = described
    with pytest.raises(ModelRefused) as refusal:
        parse_card(document)
    assert refusal.value.field is not None
    assert refusal.value.field.startswith(field)


@pytest.mark.parametrize(
    "band", [{"name": "ndvi", "format": "python", "expression": "B08"}, {"name": ""}, {}, 3]
)
def test_bands_that_are_to_be_computed_are_refused(band: Any) -> None:
    document = document_of(bands=1)
    document["properties"]["mlm:input"][0]["bands"] = [band]
    with pytest.raises(ModelRefused) as refusal:
        parse_card(document)
    assert (refusal.value.field or "").startswith(f"{INPUT}.bands[0]")
