"""The short form of the chaos suite: each important kind of process is killed once.

`make bench ONLY=chaos` is the long form.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.chaos.killing import SHORT, Course
from benchmarks.chaos.suite import chaos
from constellation_pipelines.stack.account import forget_folders
from tests.e2e.conftest import CHECKOUT


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder of a short name: engines have their sockets in it, and those names have a limit."""
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def test_whatever_is_killed_nothing_is_lost_and_nothing_doubled(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSTELLATION_MODELS_DIR", str(CHECKOUT / "models"))
    course = Course(
        seed=1,
        kills=SHORT,
        sizes_px=(4096, 5120),
        open_jobs=3,
        cancelled_share=0.2,
        pairs_share=0.0,
        longest_wait_s=1.0,
        rest=False,
    )
    try:
        outcome = chaos(course, short_path)
    finally:
        forget_folders(short_path)
    assert outcome.violations == []
    assert [kill.kind for kill in outcome.kills] == list(SHORT)
    assert outcome.counts["jobs_completed"] > 0
