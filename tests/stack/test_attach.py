from datetime import UTC, datetime
from pathlib import Path

from constellation_pipelines.settings import Settings
from constellation_pipelines.stack import status
from constellation_pipelines.stack.attach import attached
from constellation_pipelines.stack.process import ProcessId, own_identity
from constellation_pipelines.stack.status import StackStatus

URLS = {"api": "http://here:1", "dagster": "http://here:2", "database": "postgresql://here/eo"}


def write(data_dir: Path, process: ProcessId) -> None:
    status.write(data_dir, StackStatus("id", process, datetime.now(UTC), True, None, URLS))


def test_what_settings_leave_open_comes_from_the_running_stack(tmp_path: Path) -> None:
    write(tmp_path, own_identity())
    found = attached(Settings(data_dir=tmp_path, api_url="http://named"))
    assert found.api_url == "http://named"
    assert found.database_url == URLS["database"]
    assert found.dagster_url == URLS["dagster"]
    assert found.nats_url is None
    assert (tmp_path / status.FILE).stat().st_mode & 0o077 == 0


def test_a_stack_that_has_gone_is_not_used(tmp_path: Path) -> None:
    write(tmp_path, ProcessId(own_identity().pid, "another-boot:1"))
    settings = Settings(data_dir=tmp_path)
    assert attached(settings) == settings
