"""The document and the server agree under requests that nobody thought of (short form)."""

from pathlib import Path

from tests.api.fuzzing import fuzz, prepare
from tests.api.service import serving


def test_schemathesis_finds_no_5xx_and_no_undocumented_answer(
    database_url: str, nats_url: str, tmp_path: Path
) -> None:
    with serving(database_url, nats_url, tmp_path) as service:
        prepare(service)
        done = fuzz(service, tmp_path, examples=3, scenarios=60, timeout_s=500)
        submitted = service.database.fetch_one("select count(*) as n from constellation.jobs")
    assert done.returncode == 0, done.stdout[-30000:] + done.stderr[-2000:]
    assert submitted is not None
    assert submitted["n"] > 0, "no request got as far as a job"
