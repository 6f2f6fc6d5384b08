from uuid import UUID

import pytest

from constellation_pipelines.events import subjects

JOB = UUID("01900000-0000-7000-8000-000000000001")
RUN = UUID("01900000-0000-7000-8000-000000000002")


@pytest.mark.parametrize(
    ("type", "run_id", "subject"),
    [
        ("job.submitted", None, f"constellation.local.jobs.{JOB}.submitted"),
        ("run.started", RUN, f"constellation.local.runs.{RUN}.started"),
        ("tile.completed", RUN, f"constellation.local.tiles.{RUN}"),
        ("tile.failed", RUN, f"constellation.local.tiles.{RUN}"),
    ],
)
def test_an_event_has_the_subject_of_its_noun(type: str, run_id: UUID | None, subject: str) -> None:
    assert subjects.of_event(type, "local", JOB, run_id) == subject
    assert subjects.is_event(subject)


@pytest.mark.parametrize("account", ["a.b", "*", ">", "a b", "a\r\nPUB x", "", "ü"])
def test_an_account_stays_one_token_whatever_its_name(account: str) -> None:
    subject = subjects.of_event("job.submitted", account, JOB, None)
    root, token, *rest = subject.split(".")
    assert (root, rest) == ("constellation", ["jobs", str(JOB), "submitted"])
    assert token
    assert token.isascii()
    assert not set(token) & set(" *>\r\n")


def test_samples_and_log_lines_are_no_events() -> None:
    assert not subjects.is_event(subjects.of_sample("GPU-1"))
    assert not subjects.is_event(subjects.of_logs("local", JOB, RUN))
    assert not subjects.is_event("constellation")
