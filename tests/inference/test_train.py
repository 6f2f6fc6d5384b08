"""Training."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from constellation_pipelines.inference.eurosat import LabelledChips
from constellation_pipelines.inference.train import (
    EpochReport,
    Trained,
    TrainingPlan,
    augment,
    confusion_matrix,
    statistics,
    train,
    turn,
)

PLAN = TrainingPlan(epochs=3, seed=1, batch_size=32, width=4, threads=1)


def stripes(count: int, seed: int) -> LabelledChips:
    """Three classes that only differ in texture, which every symmetry and colour keeps."""
    noise = np.random.default_rng(seed)
    labels = noise.integers(0, 3, count)
    steps = np.array([1, 4, 16])[labels]
    lines = (np.arange(64)[None] // steps[:, None] % 2) * 120 + 60
    chips = np.broadcast_to(lines[:, None, None, :], (count, 3, 64, 64))
    spread = noise.integers(-20, 20, chips.shape)
    return LabelledChips((chips + spread).astype(np.uint8), labels.astype(np.int64))


def run(plan: TrainingPlan) -> tuple[Trained, list[EpochReport]]:
    reports: list[EpochReport] = []
    training, validation = stripes(192, 1), stripes(60, 2)
    return train(training, validation, plan, classes=3, progress=reports.append), reports


@pytest.fixture(scope="module")
def outcome() -> tuple[Trained, list[EpochReport]]:
    return run(PLAN)


def test_it_learns(outcome: tuple[Trained, list[EpochReport]]) -> None:
    trained, reports = outcome
    assert reports[-1].loss < reports[0].loss
    assert trained.accuracy > 0.6  # chance is a third


def test_it_reports_each_epoch(outcome: tuple[Trained, list[EpochReport]]) -> None:
    trained, reports = outcome
    assert [(report.epoch, report.epochs) for report in reports] == [(1, 3), (2, 3), (3, 3)]
    assert trained.epochs == tuple(reports)


def test_its_figures_agree(outcome: tuple[Trained, list[EpochReport]]) -> None:
    trained, _ = outcome
    labels = stripes(60, 2).labels
    assert trained.confusion.sum(1).tolist() == np.bincount(labels, minlength=3).tolist()
    weighted = np.average(trained.recall, weights=np.bincount(labels))
    assert weighted == pytest.approx(trained.accuracy)
    assert (trained.training_chips, trained.validation_chips) == (192, 60)


def test_the_same_seed_gives_the_same_network(outcome: tuple[Trained, list[EpochReport]]) -> None:
    again, _ = run(PLAN)
    other, _ = run(replace(PLAN, seed=2))
    weights = [found.network.state_dict() for found in (outcome[0], again, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not torch.equal(weights[0]["head.weight"], weights[2]["head.weight"])


def test_confusion_rows_are_the_true_classes() -> None:
    labels, found = np.array([0, 0, 1, 2]), np.array([0, 2, 1, 2])
    assert confusion_matrix(labels, found, 3).tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 1]]


def test_statistics_are_those_of_the_values_scaled_to_one() -> None:
    chips = np.random.default_rng(4).integers(0, 256, (9, 3, 8, 8)).astype(np.uint8)
    mean, std = statistics(chips)
    assert mean == pytest.approx((chips / 255).mean((0, 2, 3)), abs=1e-4)
    assert std == pytest.approx((chips / 255).std((0, 2, 3)), abs=1e-4)


def test_augmentation_keeps_values_in_range_and_chips_apart() -> None:
    torch.manual_seed(0)
    chips = torch.rand(16, 3, 8, 8)
    varied = augment(chips)
    assert varied.shape == chips.shape
    assert 0 <= float(varied.min()) <= float(varied.max()) <= 1
    assert not torch.equal(varied, augment(chips))


def test_the_eight_symmetries_are_all_different_and_keep_every_pixel() -> None:
    chip = torch.arange(9.0).view(1, 1, 3, 3)
    turned = [turn(chip, symmetry) for symmetry in range(8)]
    assert torch.equal(turned[0], chip)
    assert len({tuple(found.flatten().tolist()) for found in turned}) == 8
    assert all(found.sum() == chip.sum() for found in turned)
