"""Chips varied and mixed."""

import numpy as np
import pytest
import torch

from constellation_pipelines.inference.augment import crop, mix, recolour, resize, turn


@pytest.mark.parametrize("px", [16, 40, 64])
@pytest.mark.parametrize("count", [1, 5, 16])
def test_windows_have_the_size_that_was_asked_for(px: int, count: int) -> None:
    draw = np.random.default_rng(0)
    for _ in range(5):
        values = crop(torch.rand(count, 3, 64, 64), px, draw)
        assert values.shape == (count, 3, px, px)
        assert 0 <= float(values.min()) <= float(values.max()) <= 1


def test_windows_show_every_part_of_a_chip() -> None:
    """Of chips that differ in each quarter, all quarters turn up; nothing else does."""
    chip = torch.zeros(8, 1, 64, 64)
    chip[:, :, :32, 32:], chip[:, :, 32:, :32], chip[:, :, 32:, 32:] = 0.2, 0.4, 0.6
    draw = np.random.default_rng(1)
    seen = torch.cat([crop(chip, 20, draw).flatten() for _ in range(20)])
    common = [value for value in (0.0, 0.2, 0.4, 0.6) if (seen - value).abs().lt(1e-6).any()]
    assert common == [0.0, 0.2, 0.4, 0.6]


def test_shrinking_averages() -> None:
    board = (torch.arange(64)[:, None] + torch.arange(64)[None]) % 2
    small = resize(board.view(1, 1, 64, 64).float(), 16)
    assert float((small - 0.5).abs().max()) < 0.1


def test_colours_stay_in_range_and_chips_apart() -> None:
    torch.manual_seed(0)
    chips = torch.rand(16, 3, 8, 8)
    varied = recolour(chips, 1.0)
    assert varied.shape == chips.shape
    assert 0 <= float(varied.min()) <= float(varied.max()) <= 1
    assert not torch.equal(varied, recolour(chips, 1.0))
    assert torch.allclose(recolour(chips, 0.0), chips, atol=1e-6)


def test_mixed_labels_are_the_shares_of_what_is_seen() -> None:
    """Black chips are class 0, white ones class 1: the mean colour is the share of class 1."""
    labels = torch.tensor([0, 1] * 8)
    chips = labels.float().view(-1, 1, 1, 1).expand(-1, 3, 32, 32)
    targets = torch.nn.functional.one_hot(labels, 2).float()
    draw = np.random.default_rng(2)
    shares = set()
    for _ in range(20):
        values, shared = mix(chips, targets, draw)
        assert torch.allclose(values.mean((1, 2, 3)), shared[:, 1], atol=1e-5)
        assert torch.allclose(shared.sum(1), torch.ones(16))
        shares |= {round(float(share), 3) for share in shared[:, 1]}
    assert len(shares) > 10


def test_the_eight_symmetries_are_all_different_and_keep_every_pixel() -> None:
    chip = torch.arange(9.0).view(1, 1, 3, 3)
    turned = [turn(chip, symmetry) for symmetry in range(8)]
    assert torch.equal(turned[0], chip)
    assert len({tuple(found.flatten().tolist()) for found in turned}) == 8
    assert all(found.sum() == chip.sum() for found in turned)
