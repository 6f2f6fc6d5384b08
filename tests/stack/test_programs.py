from pathlib import Path

import pytest

from constellation_pipelines.domain.errors import ServiceUnavailable
from constellation_pipelines.stack.programs import (
    ServerPrograms,
    choose_programs,
    installed_programs,
    main,
)


def test_without_programs_the_message_says_what_to_install(tmp_path: Path) -> None:
    found = installed_programs({"CONSTELLATION_POSTGRES_BIN": str(tmp_path)})
    with pytest.raises(ServiceUnavailable, match="apt install postgresql-15-postgis-3"):
        choose_programs(found, None)


def test_a_server_without_postgis_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServiceUnavailable, match=f"PostgreSQL in {tmp_path}/bin has no PostGIS"):
        choose_programs([ServerPrograms(tmp_path / "bin", 15_000)], None)


def test_a_cluster_of_another_version_is_not_touched() -> None:
    complete = [programs for programs in installed_programs() if programs.has_postgis]
    with pytest.raises(ServiceUnavailable, match="needs PostgreSQL 14"):
        choose_programs(complete, 14)


def test_programs_of_unsupported_versions_are_passed_over(tmp_path: Path) -> None:
    for name in ("postgres", "initdb"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 14.2'\n")
        (tmp_path / name).chmod(0o755)
    assert installed_programs({"CONSTELLATION_POSTGRES_BIN": str(tmp_path)}) == []


def test_the_check_of_the_set_up_ends_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main() == 0
    monkeypatch.setenv("CONSTELLATION_POSTGRES_BIN", str(tmp_path))
    assert main() == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
