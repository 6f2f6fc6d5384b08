"""Training of a segmenter."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from constellation_pipelines.domain.errors import InvalidInput
from constellation_pipelines.inference.segmenter import (
    GAP_PX,
    Sampler,
    Segmenter,
    SegmenterPlan,
    StepReport,
    eastern,
    figures,
    iou,
    mirror,
    train_segmenter,
    western,
)
from constellation_pipelines.inference.weak_labels import UNLABELLED, LabelledScene

PLAN = SegmenterPlan(steps=30, seed=1, batch_size=4, chip_px=48, width=4, depth=3, threads=1)


def halves(name: str, height: int = 128, width: int = 256) -> LabelledScene:
    """Blue above, green below; a row between them without a label."""
    noise = np.random.default_rng(len(name))
    labels = np.zeros((height, width), np.uint8)
    labels[height // 2 :] = 1
    values = np.full((3, height, width), 0.1, np.float32)
    values[2][labels == 0] = 0.6
    values[1][labels == 1] = 0.6
    labels[height // 2] = UNLABELLED
    values += noise.uniform(-0.05, 0.05, values.shape).astype(np.float32)
    return LabelledScene(name, "d" * 64, 10.0, values, labels)


@pytest.fixture(scope="module")
def outcome() -> tuple[Segmenter, list[StepReport]]:
    reports: list[StepReport] = []
    scenes = [halves("lake"), halves("shore")]
    return train_segmenter(scenes, PLAN, progress=reports.append), reports


def test_it_learns_and_reports(outcome: tuple[Segmenter, list[StepReport]]) -> None:
    trained, reports = outcome
    assert reports[-1].loss < reports[0].loss
    assert [report.step for report in reports] == list(range(3, 31, 3))
    found = figures(trained.confusion)
    assert found["mean_iou"] > 0.6
    assert set(found["iou"]) >= {"Water", "Vegetation"}


def test_only_labelled_pixels_of_the_eastern_parts_are_counted(
    outcome: tuple[Segmenter, list[StepReport]],
) -> None:
    trained, _ = outcome
    part = eastern(halves("lake"))
    assert list(trained.regions) == ["lake", "shore"]
    for confusion in trained.regions.values():
        assert confusion.sum() == (part.labels != UNLABELLED).sum()
    assert trained.confusion.sum() == 2 * (part.labels != UNLABELLED).sum()


def test_the_same_seed_gives_the_same_network() -> None:
    plan = replace(PLAN, steps=2)
    one, again, other = (
        train_segmenter([halves("lake")], chosen, progress=lambda step: None).network.state_dict()
        for chosen in (plan, plan, replace(plan, seed=2))
    )
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["head.weight"], other["head.weight"])


def test_east_and_west_are_apart() -> None:
    scene = halves("lake", width=300)
    west, east = western(scene), eastern(scene)
    assert east.labels.shape[1] == 90
    assert west.labels.shape[1] + GAP_PX + 90 == 300


def test_chips_hold_the_labels_of_their_pixels() -> None:
    """Whatever was turned and scaled: where it is blue, the label is water."""
    sampler = Sampler([halves("lake")], 48, np.random.default_rng(0))
    values, labels = sampler.batch(16)
    assert values.shape == (16, 3, 48, 48)
    blue = values[:, 2] > 0.5
    green = values[:, 1] > 0.5
    assert set(labels.flatten().tolist()) <= {0, 1, UNLABELLED}
    assert (labels[blue] != 1).float().mean() > 0.98  # the rest lies on the border
    assert (labels[green] != 0).float().mean() > 0.98


def test_beyond_a_scene_there_are_no_labels() -> None:
    sampler = Sampler([halves("small", 64, 64)], 96, np.random.default_rng(0))
    _, labels = sampler.batch(8)
    assert (labels == UNLABELLED).float().mean() > 0.2


def test_rare_classes_come_as_often_as_others() -> None:
    scene = halves("lake")
    labels = scene.labels.copy()
    labels[:8, :8] = 3
    rare = LabelledScene(scene.name, scene.sha256, scene.gsd_m, scene.values, labels)
    sampler = Sampler([rare], 32, np.random.default_rng(0))
    _, drawn = sampler.batch(60)
    assert (drawn == 3).any(2).any(1).float().mean() > 0.25


def test_positions_outside_are_mirrored() -> None:
    assert mirror(np.arange(-3, 7), 4).tolist() == [2, 1, 0, 0, 1, 2, 3, 3, 2, 1]


def test_iou_is_what_is_common_of_what_either_has() -> None:
    confusion = np.zeros((4, 4), np.int64)
    confusion[0, 0], confusion[0, 1], confusion[1, 1] = 6, 2, 4
    assert iou(confusion) == {"Water": 6 / 8, "Vegetation": 4 / 6}


def test_scenes_that_are_too_small_or_without_labels_are_refused() -> None:
    with pytest.raises(InvalidInput, match="large enough"):
        train_segmenter([halves("tiny", 32, 32)], PLAN, progress=lambda step: None)
    scene = halves("blank")
    blank = LabelledScene(
        "blank", scene.sha256, 10.0, scene.values, np.full_like(scene.labels, UNLABELLED)
    )
    with pytest.raises(InvalidInput, match="no label"):
        train_segmenter([blank], PLAN, progress=lambda step: None)
