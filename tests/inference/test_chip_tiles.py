"""What comes of the network's answer for a chip."""

import numpy as np
import pytest
import torch

from constellation_pipelines.inference.chip_tiles import best


def test_the_probability_is_that_of_the_best_class() -> None:
    logits = np.random.default_rng(5).normal(0, 20, (200, 10)).astype(np.float32)
    index, probability = best(logits)
    expected, class_of = torch.from_numpy(logits).softmax(1).max(1)
    assert index.tolist() == class_of.tolist()
    assert probability == pytest.approx(expected.numpy(), rel=1e-5)
    assert ((probability >= 0.1) & (probability <= 1)).all()


@pytest.mark.parametrize("failed", [np.nan, np.inf])
def test_a_network_that_fails_is_sure_of_nothing(failed: float) -> None:
    logits = np.array([[failed, 1.0], [3.0, 1.0]], np.float32)
    _, probability = best(logits)
    assert probability[0] == 0
    assert probability[1] == pytest.approx(1 / (1 + np.exp(-2)))
