"""Training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from constellation_pipelines.inference.eurosat import LabelledChips
from constellation_pipelines.inference.train import (
    Start,
    Trained,
    confusion_matrix,
    statistics,
    train,
)
from constellation_pipelines.inference.trainer import (
    Average,
    Normaliser,
    Teaches,
    Trainer,
    decayed,
    optimiser_of,
)
from constellation_pipelines.inference.training_plan import EpochReport, Phase, TrainingPlan

PLAN = TrainingPlan(
    epochs=4,
    seed=1,
    batch_size=16,
    warm_up_epochs=0.5,
    average_decay=0.9,
    phases=(Phase(0.5, 48, mixed=True), Phase(0.5, 64, mixed=False)),
    width=4,
    validate_every=2,
    threads=1,
)


def stripes(count: int, seed: int) -> LabelledChips:
    """Three classes that only differ in texture, which every symmetry and colour keeps."""
    noise = np.random.default_rng(seed)
    labels = noise.integers(0, 3, count)
    steps = np.array([1, 4, 16])[labels]
    lines = (np.arange(64)[None] // steps[:, None] % 2) * 120 + 60
    chips = np.broadcast_to(lines[:, None, None, :], (count, 3, 64, 64))
    spread = noise.integers(-20, 20, chips.shape)
    return LabelledChips((chips + spread).astype(np.uint8), labels.astype(np.int64))


def run(
    plan: TrainingPlan, checkpoint: Path | None = None, *, stop_after: int = 0
) -> tuple[Trained, list[EpochReport]]:
    reports: list[EpochReport] = []

    def note(report: EpochReport) -> None:
        reports.append(report)
        if report.epoch == stop_after:
            raise KeyboardInterrupt

    training, validation = stripes(192, 1), stripes(60, 2)
    trained = train(training, validation, plan, classes=3, progress=note, checkpoint=checkpoint)
    return trained, reports


@pytest.fixture(scope="module")
def outcome() -> tuple[Trained, list[EpochReport]]:
    return run(PLAN)


def test_it_learns(outcome: tuple[Trained, list[EpochReport]]) -> None:
    trained, reports = outcome
    assert reports[-1].loss < reports[0].loss
    assert trained.accuracy > 0.6  # chance is a third


def test_it_reports_each_epoch(outcome: tuple[Trained, list[EpochReport]]) -> None:
    trained, reports = outcome
    assert [(report.epoch, report.epochs) for report in reports] == [(n, 4) for n in range(1, 5)]
    assert trained.epochs == tuple(reports)
    assert [report.accuracy is not None for report in reports] == [False, True, False, True]


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


def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(
    outcome: tuple[Trained, list[EpochReport]], tmp_path: Path
) -> None:
    checkpoint = tmp_path / "checkpoints" / "of.checkpoint"
    with pytest.raises(KeyboardInterrupt):
        run(PLAN, checkpoint, stop_after=3)
    resumed, reports = run(PLAN, checkpoint)
    assert [report.epoch for report in reports] == [4]
    assert [report.epoch for report in resumed.epochs] == [1, 2, 3, 4]
    whole = outcome[0].network.state_dict()
    for name, value in resumed.network.state_dict().items():
        assert torch.equal(value, whole[name]), name
    assert resumed.elapsed_s >= resumed.epochs[2].elapsed_s  # the time before the stop counts


def test_phases_follow_one_another_and_the_last_holds_to_the_end() -> None:
    plan = replace(
        PLAN, epochs=10, phases=(Phase(0.35, 40, mixed=True), Phase(0.6, 64, mixed=False))
    )
    sizes = [plan.phase(epoch).px for epoch in range(1, 11)]
    assert sizes == [40] * 3 + [64] * 7 or sizes == [40] * 4 + [64] * 6
    assert TrainingPlan(epochs=1).phase(1).px <= 64


def test_the_rate_rises_stays_and_falls_to_nothing() -> None:
    network = torch.nn.Linear(2, 2)
    plan = replace(PLAN, epochs=20, warm_up_epochs=2.0, cool_down_share=0.25, peak_rate=0.4)
    cpu = torch.device("cpu")
    trainer = Trainer(network, plan, cpu, Normaliser((0.5,), (0.5,), cpu), 64, 2)

    def rate(epochs: float) -> float:
        trainer.set_rate(epochs)
        return float(trainer.optimiser.param_groups[0]["lr"])

    assert 0 < rate(0) < rate(1) < rate(2) == 0.4
    assert rate(14.9) == 0.4
    assert 0.4 > rate(16) > rate(19) > 0
    assert rate(20) == 0


def test_only_weights_decay() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    decaying, others = decayed(network, 0.1)
    assert [tuple(value.shape) for value in decaying["params"]] == [(4, 3, 3, 3)]
    assert {tuple(value.shape) for value in others["params"]} == {(4,)}
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.1, 0.0)


def test_the_average_follows_weights_and_the_statistics_of_batch_norms() -> None:
    network = torch.nn.BatchNorm2d(2)
    average = Average(network, decay=0.5)
    with torch.no_grad():
        network.weight.fill_(3.0)
        network.running_mean.fill_(8.0)  # type: ignore[union-attr]
    average.follow()
    found = average.network.state_dict()
    pace = 1 - 1 / 11  # the first step is a long one
    assert found["weight"].tolist() == pytest.approx([1 + 2 * pace] * 2)
    assert found["running_mean"].tolist() == pytest.approx([8 * pace] * 2)


def start_of(trained: Trained) -> Start:
    plan = trained.plan
    return Start(
        "stripes@1", trained.network, plan.architecture, plan.width, trained.mean, trained.std
    )


def further(plan: TrainingPlan, start: Start, teacher: Teaches | None = None) -> Trained:
    training, validation = stripes(192, 1), stripes(60, 2)
    return train(
        training,
        validation,
        plan,
        classes=3,
        progress=lambda report: None,
        start=start,
        teacher=teacher,
    )


class Stubborn:
    """Says the same of every chip."""

    reference = "stubborn@1"

    def __init__(self, *says: float) -> None:
        self.says = torch.tensor(says)

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        return self.says.expand(len(values), -1)


def test_training_goes_on_from_a_trained_network(
    outcome: tuple[Trained, list[EpochReport]],
) -> None:
    before = outcome[0]
    weights = {name: value.clone() for name, value in before.network.state_dict().items()}
    after = further(replace(PLAN, epochs=1, peak_rate=1e-6), start_of(before))
    for name, value in after.network.state_dict().items():
        if "running" not in name and value.is_floating_point():
            assert torch.allclose(value, weights[name], atol=1e-3), name
    assert after.began_from == "stripes@1"
    assert before.began_from is None
    for name, value in before.network.state_dict().items():  # the start itself stays as it was
        assert torch.equal(value, weights[name])


def test_what_a_network_learns_is_partly_what_its_teacher_says(
    outcome: tuple[Trained, list[EpochReport]],
) -> None:
    start = start_of(outcome[0])
    plan = replace(PLAN, teacher_share=1.0, label_smoothing=0.0)
    taught, alone = (further(plan, start, one) for one in (Stubborn(0.0, 1.0, 0.0), None))
    assert taught.confusion[:, 1].sum() == taught.confusion.sum()  # it believes all of it
    assert alone.confusion[:, 1].sum() < alone.confusion.sum()
    assert (taught.taught_by, alone.taught_by) == ("stubborn@1", None)


def test_targets_are_shared_between_label_and_teacher() -> None:
    cpu = torch.device("cpu")
    plan = replace(PLAN, teacher_share=0.25)
    normaliser = Normaliser((0.5,), (0.5,), cpu)
    alone, taught = (
        Trainer(torch.nn.Linear(2, 2), plan, cpu, normaliser, 64, 2, teacher)
        for teacher in (None, Stubborn(1.0, 0.0))
    )
    values, targets = torch.rand(1, 3, 64, 64), torch.tensor([[0.0, 1.0]])
    assert torch.equal(alone.taught(values, targets), targets)
    assert torch.allclose(taught.taught(values, targets), torch.tensor([[0.25, 0.75]]))


def test_a_plan_names_what_moves_the_weights() -> None:
    network = torch.nn.Linear(2, 2)
    assert isinstance(optimiser_of(network, PLAN), torch.optim.SGD)
    assert isinstance(optimiser_of(network, replace(PLAN, optimiser="adamw")), torch.optim.AdamW)


def test_chips_are_enlarged_in_the_phases_that_say_so() -> None:
    seen: list[int] = []

    class Notes(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = torch.nn.Linear(3, 3)

        def forward(self, chips: torch.Tensor) -> torch.Tensor:
            seen.append(chips.shape[2])
            scores: torch.Tensor = self.last(chips.mean((2, 3)))
            return scores

    phases = (Phase(0.5, 48, mixed=True), Phase(0.5, 64, mixed=False, enlarged_px=96))
    plan = replace(PLAN, epochs=2, batch_size=96, phases=phases)
    start = Start("notes@1", Notes(), "notes", 0, (0.5,) * 3, (0.2,) * 3)
    further(plan, start)
    assert seen == [48, 48, 96, 96, 96, 96]  # the last two: validation, as the last phase
