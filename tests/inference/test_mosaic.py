"""The best of several means."""

import pytest
import torch

from constellation_pipelines.inference.mosaic import FEW_CLASSES, best


@pytest.mark.parametrize("classes", [1, 2, 6, FEW_CLASSES, FEW_CLASSES + 1, 255])
def test_it_is_the_first_of_the_largest(classes: int) -> None:
    torch.manual_seed(1)
    means = torch.randint(0, 4, (classes, 40, 30)).float() / 4  # with many that are equal
    number, top = best(means)
    assert number.dtype is torch.uint8
    assert torch.equal(top, means.amax(0))
    assert torch.equal(number.long(), means.eq(top).long().argmax(0))


@pytest.mark.parametrize("classes", [3, FEW_CLASSES + 1])
def test_what_is_no_number_counts_as_nothing(classes: int) -> None:
    _, top = best(torch.full((classes, 2, 2), torch.nan))
    assert torch.equal(top, torch.zeros(2, 2))
