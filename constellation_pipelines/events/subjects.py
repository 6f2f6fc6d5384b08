"""Subjects of NATS messages."""

from urllib.parse import quote, unquote
from uuid import UUID

ROOT = "constellation"

# What the stream of events keeps. Samples of devices and log lines are not among it.
STORED = (f"{ROOT}.*.jobs.>", f"{ROOT}.*.runs.>", f"{ROOT}.*.tiles.>")

LOGS = f"{ROOT}.*.logs.>"
# A root of their own: below the other one they would overlap with an account called `gpus`.
SAMPLES = f"{ROOT}_gpus.*.sample"

# One subscription for all, because order holds within a subscription only.
EVERYTHING = f"{ROOT}.>"


def of_event(type: str, account: str, job_id: UUID | None, run_id: UUID | None) -> str:
    """The subject of an event, such as `constellation.<account>.runs.<run_id>.started`.

    `type` is `<noun>.<fact>`. Tiles of a run share one subject.
    """
    noun, _, fact = type.partition(".")
    prefix = f"{ROOT}.{token(account)}"
    if noun == "tile" and run_id is not None:
        return f"{prefix}.tiles.{run_id}"
    if noun == "run" and run_id is not None:
        return f"{prefix}.runs.{run_id}.{token(fact)}"
    return f"{prefix}.jobs.{job_id or 'none'}.{token(fact or noun)}"


def of_sample(device_uuid: str) -> str:
    """The subject of a device's telemetry samples."""
    return f"{ROOT}_gpus.{token(device_uuid)}.sample"


def of_logs(account: str, job_id: UUID, run_id: UUID) -> str:
    """The subject of a run's log lines."""
    return f"{ROOT}.{token(account)}.logs.{job_id}.{run_id}"


def logs_of_job(job_id: UUID) -> str:
    """Every subject of the job's log lines, whatever its account."""
    return f"{ROOT}.*.logs.{job_id}.*"


def account_of(subject: str) -> str:
    """The account in a subject."""
    return unquote(subject.split(".", 2)[1])


def is_event(subject: str) -> bool:
    """Whether a message on this subject is an event of a job, a run or a tile."""
    parts = subject.split(".", 3)
    return len(parts) == 4 and parts[0] == ROOT and parts[2] in ("jobs", "runs", "tiles")


def token(text: str) -> str:
    """`text` as one token of a subject: dots, wildcards and spaces are percent-encoded."""
    return quote(text, safe="").replace(".", "%2E") or "%00"
