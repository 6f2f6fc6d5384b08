"""The short form of the chaos suite: each important kind of process is killed once.

`make bench ONLY=chaos` is the long form.
"""

import shutil
from pathlib import Path

import pytest

from benchmarks.chaos.killing import SHORT, Course
from benchmarks.chaos.suite import chaos
from constellation_pipelines.stack.account import forget_folders
from tests.e2e.conftest import CHECKOUT


def test_whatever_is_killed_nothing_is_lost_and_nothing_doubled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
        outcome = chaos(course, tmp_path)
    finally:
        forget_folders(tmp_path)
        shutil.rmtree(tmp_path / "scenes", ignore_errors=True)  # some hundred megabytes
    assert outcome.violations == []
    assert [kill.kind for kill in outcome.kills] == list(SHORT)
    assert outcome.counts["jobs_completed"] > 0
