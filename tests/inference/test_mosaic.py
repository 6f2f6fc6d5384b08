"""The best of several means."""

import numpy as np
import pytest
import torch

from constellation_pipelines.inference.mosaic import FEW_CLASSES, best, probability

ORDERS = {"as numbered": range(255), "ascending": range(1, 256), "descending": range(254, -1, -1)}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("classes", [1, 2, 6, FEW_CLASSES, FEW_CLASSES + 1, 255])
def test_it_is_the_first_of_the_largest(classes: int, order: str) -> None:
    torch.manual_seed(1)
    means = torch.randint(0, 4, (classes, 40, 30)).float() / 4  # with many that are equal
    values = np.array(ORDERS[order][-classes:], np.uint8)
    found, top = best(means, values)
    assert found.dtype == np.uint8
    assert torch.equal(top, means.amax(0))
    assert (found == values[means.eq(top).long().argmax(0).numpy()]).all()


@pytest.mark.parametrize("classes", [3, FEW_CLASSES + 1])
def test_what_is_no_number_counts_as_nothing(classes: int) -> None:
    means = torch.full((classes, 2, 2), torch.nan)
    found, top = best(means, np.arange(classes, dtype=np.uint8))
    assert (found < classes).all()
    assert torch.equal(probability(means, top), torch.zeros(2, 2))
