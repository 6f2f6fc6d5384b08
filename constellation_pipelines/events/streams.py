"""What NATS keeps, and for how long. None of it is the truth: that is in Postgres, or in files."""

from nats.js.api import RetentionPolicy, StorageType, StreamConfig

from constellation_pipelines.events import subjects

MEBIBYTE = 2**20
DAY_S = 24 * 3600
DUPLICATE_WINDOW_S = 120

EVENTS_NAME = "CONSTELLATION_EVENTS"
LOGS_NAME = "CONSTELLATION_LOGS"
SAMPLES_NAME = "CONSTELLATION_SAMPLES"


def kept_a_week(name: str, *of: str) -> StreamConfig:
    """A stream of these subjects, on disk. A message id seen within two minutes is a double."""
    return StreamConfig(
        name=name,
        subjects=list(of),
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        max_age=7 * DAY_S,
        max_bytes=512 * MEBIBYTE,
        duplicate_window=DUPLICATE_WINDOW_S,
    )


EVENTS = kept_a_week(EVENTS_NAME, *subjects.STORED)
LOGS = kept_a_week(LOGS_NAME, subjects.LOGS)
# An hour of it, for graphs: longer histories are what Prometheus is for.
SAMPLES = StreamConfig(
    name=SAMPLES_NAME,
    subjects=[subjects.SAMPLES],
    retention=RetentionPolicy.LIMITS,
    storage=StorageType.MEMORY,
    max_age=3600,
    max_bytes=128 * MEBIBYTE,
)
