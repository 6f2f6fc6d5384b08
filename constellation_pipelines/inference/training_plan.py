"""How long, how fast and on what a chip classifier is trained."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Phase:
    """A share of the epochs: the side of the chips that are trained on, whether they are mixed,
    the side that they are enlarged to (0 for none), and how much they vary in colour.
    """

    share: float
    px: int
    mixed: bool
    enlarged_px: int = 0
    colour: float = 0.5


# Small chips first: at 40 pixels a step costs half of one at 64. The last epochs see chips as they
# will come, unmixed and then whole.
PHASES = (
    Phase(20 / 64, 40, mixed=True),
    Phase(32 / 64, 48, mixed=True),
    Phase(5 / 64, 48, mixed=False),
    Phase(7 / 64, 64, mixed=False),
)


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What decides the outcome, beside the chips. `threads` is the count of processor threads."""

    epochs: int = 64
    seed: int = 17
    batch_size: int = 128
    peak_rate: float = 0.1
    warm_up_epochs: float = 2.0
    cool_down_share: float = 0.32
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.05
    mixed_share: float = 0.5  # of the batches, in phases that mix
    average_decay: float = 0.998
    optimiser: str = "sgd"  # or "adamw"
    teacher_share: float = 0.5  # of the targets, where there is a teacher
    phases: tuple[Phase, ...] = PHASES
    architecture: str = "resnet-d-compact"
    width: int = 32
    validate_every: int = 4
    threads: int = 1

    def measures(self, epoch: int) -> bool:
        """Whether the validation chips are looked at after this epoch; it costs a tenth of one."""
        return epoch % self.validate_every == 0 or epoch == self.epochs

    def phase(self, epoch: int) -> Phase:
        """The phase of an epoch, which counts from 1."""
        passed = 0.0
        for phase in self.phases:
            passed += phase.share
            if epoch - 0.5 < passed * self.epochs:
                return phase
        return self.phases[-1]


# What a trained network goes on with: chips as they will come, at half the rate.
FURTHER = TrainingPlan(
    epochs=56,
    peak_rate=0.05,
    warm_up_epochs=1.0,
    cool_down_share=0.6,
    phases=(Phase(42 / 56, 64, mixed=True), Phase(14 / 56, 64, mixed=False)),
)

# With a teacher that knows better: what it says counts most.
TAUGHT = TrainingPlan(
    epochs=40,
    peak_rate=0.04,
    warm_up_epochs=1.0,
    cool_down_share=0.7,
    teacher_share=0.9,
    mixed_share=0.8,
    phases=(Phase(32 / 40, 64, mixed=True), Phase(8 / 40, 64, mixed=False, colour=0.25)),
)

# A network of timm's that comes with weights from elsewhere. It was made for larger images, and
# finds in enlarged chips what it knows.
FINE_TUNING = TrainingPlan(
    epochs=9,
    batch_size=64,
    peak_rate=1e-3,
    warm_up_epochs=0.4,
    cool_down_share=0.77,
    optimiser="adamw",
    weight_decay=0.02,
    average_decay=0.995,
    phases=(
        Phase(4 / 9, 64, mixed=True, enlarged_px=96),
        Phase(3 / 9, 64, mixed=True, enlarged_px=128),
        Phase(2 / 9, 64, mixed=False, enlarged_px=128),
    ),
    architecture="timm:tf_efficientnet_lite0",
)


@dataclass(frozen=True, slots=True)
class EpochReport:
    """One epoch: mean training loss, validation accuracy where it was measured, seconds so far."""

    epoch: int
    epochs: int
    loss: float
    accuracy: float | None
    elapsed_s: float
