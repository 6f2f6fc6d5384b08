"""The document and the server agree under requests that nobody thought of (short form)."""

from pathlib import Path

from constellation_pipelines.domain.account import Scope
from tests.api.furnished import AUTH, furnish
from tests.api.fuzzing import fuzz
from tests.api.service import serving


def test_schemathesis_finds_no_5xx_and_no_undocumented_answer(
    database_url: str, nats_url: str, tmp_path: Path
) -> None:
    with serving(database_url, nats_url, tmp_path, **AUTH) as service:
        key = furnish(service).keys[Scope.ADMIN]
        done = fuzz(service, tmp_path, key=key, examples=2, scenarios=15, timeout_s=500)
    assert done.code == 0, done.said[-30000:]
    # All of them are followed in test_links.py, and in the long form.
    assert len(done.walks.links) >= 10, f"not walked: {done.walks.never(done.document)}"
    assert not done.walks.never_taken(done.document), "nothing was found out about these"
