from pathlib import Path

import pytest

from constellation_pipelines.worker.stamp import stamp


@pytest.fixture
def definitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "some_definitions.py"
    path.write_text("defs = 1\n")
    return path


def test_a_stamp_stays_while_nothing_changes(definitions: Path, tmp_path: Path) -> None:
    assert stamp("some_definitions", tmp_path) == stamp("some_definitions", tmp_path)


def test_changed_definitions_change_it(definitions: Path, tmp_path: Path) -> None:
    before = stamp("some_definitions", tmp_path)
    definitions.write_text("defs = 'two'\n")
    assert stamp("some_definitions", tmp_path) != before


def test_a_new_model_changes_it(definitions: Path, tmp_path: Path) -> None:
    before = stamp("some_definitions", tmp_path)
    card = tmp_path / "a-model" / "1" / "model.json"
    card.parent.mkdir(parents=True)
    card.write_text("{}")
    assert stamp("some_definitions", tmp_path) != before
