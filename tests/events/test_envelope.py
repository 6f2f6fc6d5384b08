import json
from datetime import UTC, datetime
from uuid import UUID

import pytest

from constellation_pipelines.domain.errors import InvalidInput
from constellation_pipelines.domain.event import Event
from constellation_pipelines.events import envelope

JOB = UUID("01900000-0000-7000-8000-000000000001")
AT = datetime(2025, 1, 2, 3, 4, 5, 678901, UTC)
EVENT = Event(7, "job.submitted", AT, JOB, None, "", {"state": "PENDING", "naïve": [1, None]})


def test_an_event_survives_the_journey() -> None:
    assert envelope.decode(envelope.encode(EVENT)) == EVENT


def test_an_envelope_has_the_six_members_of_the_contract() -> None:
    assert json.loads(envelope.encode(EVENT)) == {
        "id": 7,
        "type": "job.submitted",
        "at": "2025-01-02T03:04:05.678901+00:00",
        "job_id": str(JOB),
        "run_id": None,
        "payload": EVENT.payload,
    }


def test_a_payload_too_large_for_nats_is_left_out_and_says_so() -> None:
    large = Event(1, "job.failed", AT, JOB, None, "", {"error": "x" * 2_000_000})
    text = envelope.encode(large)
    assert len(text) < 1000
    assert json.loads(text)["payload"] == {"truncated": True}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'{"id":"x","type":"a","at":"now","job_id":null,"run_id":null,"payload":{}}',
        b'{"id":1,"type":"a","at":"2025-01-01T00:00:00Z","job_id":5,"run_id":null,"payload":{}}',
        b'{"id":1,"type":"a","at":"2025-01-01T00:00:00Z","job_id":null,"run_id":null,"payload":3}',
        b"[" * 100_000,
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="not an event envelope"):
        envelope.decode(data)
