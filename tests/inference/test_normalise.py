"""From stored values to the network's input."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from constellation_pipelines.domain.model import InputUnit, Model
from constellation_pipelines.domain.scene import Band
from constellation_pipelines.inference.normalise import Normaliser

CPU = torch.device("cpu")


def bands(dtype: str, scale: float | None = None, offset: float | None = None) -> tuple[Band, ...]:
    colours = ("red", "green", "blue")
    return tuple(Band(i, c, c, dtype, scale, offset) for i, c in enumerate(colours, 1))


def chips(value: float, dtype: Any) -> torch.Tensor:
    return torch.from_numpy(np.full((2, 3, 8, 8), value, dtype))


def unit(model: Model, normalised: torch.Tensor) -> torch.Tensor:
    """Undo the standardisation."""
    card = model.card
    mean, std = torch.tensor(card.mean), torch.tensor(card.std)
    return normalised * std.view(1, 3, 1, 1) + mean.view(1, 3, 1, 1)


def test_true_colour_is_divided_by_255_and_standardised(model: Model) -> None:
    result = Normaliser(model.card, bands("uint8"), CPU)(chips(51, np.uint8), None)
    expected = [(0.2 - m) / s for m, s in zip(model.card.mean, model.card.std, strict=True)]
    assert result.dtype == torch.float32
    assert torch.allclose(result[0, :, 0, 0], torch.tensor(expected), atol=1e-6)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "int32", "uint32", "float32", "float64"])
def test_reflectance_is_scaled_to_the_cards_white(model: Model, dtype: str) -> None:
    normaliser = Normaliser(model.card, bands(dtype, 1e-4, -0.1), CPU)
    result = unit(model, normaliser(chips(2000, dtype), None))
    assert torch.allclose(result, torch.tensor(0.1 / model.card.reflectance_white), atol=1e-5)


def test_reflectance_of_half_white_looks_like_half_white_true_colour(model: Model) -> None:
    half = round(model.card.reflectance_white / 2 * 10_000)
    colour = Normaliser(model.card, bands("uint8"), CPU)(chips(127, np.uint8), None)
    reflectance = Normaliser(model.card, bands("uint16", 1e-4), CPU)(chips(half, np.uint16), None)
    assert torch.allclose(colour, reflectance, atol=0.03)


@pytest.mark.parametrize(("stored", "expected"), [(0, 0.0), (65535, 1.0)])
def test_reflectance_beyond_black_and_white_is_clipped(
    model: Model, stored: int, expected: float
) -> None:
    normaliser = Normaliser(model.card, bands("uint16", 2.75e-5, -0.2), CPU)
    result = unit(model, normaliser(chips(stored, np.uint16), None))
    assert torch.allclose(result, torch.tensor(expected), atol=1e-6)


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf, -9999.0])
def test_pixels_without_data_take_the_mean_of_their_chip(model: Model, hole: float) -> None:
    stored = chips(0.11, np.float32)
    valid = torch.ones((2, 8, 8), dtype=torch.bool)
    stored[0, :, 2:4, 2:4] = hole
    valid[0, 2:4, 2:4] = False
    result = unit(model, Normaliser(model.card, bands("float32", 1.0), CPU)(stored, valid))
    assert torch.allclose(result, torch.tensor(0.11 / model.card.reflectance_white), atol=1e-5)


def test_a_chip_without_any_data_still_gives_numbers(model: Model) -> None:
    stored = chips(np.nan, np.float32)
    valid = torch.zeros((2, 8, 8), dtype=torch.bool)
    result = Normaliser(model.card, bands("float32", 1.0), CPU)(stored, valid)
    assert bool(result.isfinite().all())


@pytest.mark.parametrize(
    ("unit", "expected"), [(InputUnit.STORED, 2000.0), (InputUnit.REFLECTANCE, 0.1)]
)
def test_other_units_are_standardised_as_they_are(
    model: Model, unit: InputUnit, expected: float
) -> None:
    card = replace(model.card, input_unit=unit, mean=(0.05,) * 3, std=(0.5,) * 3)
    result = Normaliser(card, bands("uint16", 1e-4, -0.1), CPU)(chips(2000, np.uint16), None)
    assert torch.allclose(result, torch.tensor((expected - 0.05) / 0.5))


@pytest.mark.parametrize("size", [1, 3, 40])
def test_a_chip_is_the_same_in_any_company(model: Model, size: int) -> None:
    stored = torch.from_numpy(np.random.default_rng(1).integers(0, 255, (40, 3, 64, 64), np.uint8))
    valid = torch.rand(40, 64, 64) > 0.1
    normaliser = Normaliser(model.card, bands("uint8"), CPU, torch.bfloat16)
    whole = normaliser(stored, valid)
    assert whole.dtype is torch.bfloat16
    assert torch.equal(whole[:size], normaliser(stored[:size], valid[:size]))
