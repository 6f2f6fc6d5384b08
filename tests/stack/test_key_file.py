"""The key that commands send: from where, and to whom."""

from pathlib import Path

import pytest

from constellation_pipelines.domain.errors import InvalidInput
from constellation_pipelines.settings import Settings
from constellation_pipelines.stack.key_file import keep, key_of
from constellation_pipelines.stack.plan import check_host


def test_without_one_there_is_none(tmp_path: Path) -> None:
    assert key_of(Settings(data_dir=tmp_path)) is None


def test_the_setting_goes_before_the_file(tmp_path: Path) -> None:
    keep(tmp_path, "from the file")
    assert key_of(Settings(data_dir=tmp_path)) == "from the file"
    assert key_of(Settings.model_validate({"data_dir": tmp_path, "api_key": "told"})) == "told"


def test_the_file_is_for_its_owner_and_replaced_as_a_whole(tmp_path: Path) -> None:
    path = keep(tmp_path, "first")
    assert path.stat().st_mode & 0o777 == 0o600
    keep(tmp_path, "second")
    assert path.read_text() == "second\n"
    assert [file.name for file in tmp_path.iterdir()] == ["api_key"]


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = keep(tmp_path, "secret")
    path.chmod(0o640)
    with pytest.raises(InvalidInput, match="chmod 600") as refused:
        key_of(Settings(data_dir=tmp_path))
    assert "secret" not in refused.value.message


def test_the_files_key_is_not_sent_to_another_api(tmp_path: Path) -> None:
    keep(tmp_path, "secret")
    settings = Settings(data_dir=tmp_path, api_url="https://elsewhere.example")
    assert key_of(settings) is None


def test_a_setting_does_not_show_the_key(tmp_path: Path) -> None:
    settings = Settings.model_validate({"data_dir": tmp_path, "api_key": "s3cret"})
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "eo.example", ""])
def test_an_address_others_reach_takes_authentication(host: str) -> None:
    with pytest.raises(InvalidInput, match="CONSTELLATION_AUTH=required"):
        check_host(Settings(api_host=host))
    check_host(Settings(api_host=host, auth="required"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_on_loopback_it_may_go_without(host: str) -> None:
    check_host(Settings(api_host=host))
