"""A real Dagster instance on the test's database."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from constellation_pipelines.stack import dagster_home


@pytest.fixture
def instance(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """An instance with our coordinator and launcher."""
    home = dagster_home.write(tmp_path, code_port=1, location="constellation")
    monkeypatch.setenv(dagster_home.DATABASE_VARIABLE, database_url)
    monkeypatch.setenv(
        dagster_home.DAGSTER_DATABASE_VARIABLE, dagster_home.dagster_database_url(database_url)
    )
    with dg.DagsterInstance.from_config(str(home)) as opened:
        yield opened
