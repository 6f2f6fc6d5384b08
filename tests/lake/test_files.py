"""A file of the lake is there whole, or not at all."""

from pathlib import Path

import pytest

from constellation_pipelines.lake.files import (
    clear_drafts,
    files_of_run,
    on_model_grid,
    remove_work,
    whole_file,
)


def test_a_file_appears_once_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    with whole_file(path) as partial:
        partial.write_text("all of it")
        assert not path.exists()
    assert path.read_text() == "all of it"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail() -> None:
        with whole_file(path) as partial:
            partial.write_text("half of the ne")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_predictions_lie_where_duckdb_finds_them_by_model_and_date(tmp_path: Path) -> None:
    files = files_of_run(tmp_path, run_id="r", model="m@1", date="2026-11-23")
    below = files.predictions.relative_to(tmp_path)
    assert below == Path("predictions/model=m@1/date=2026-11-23/r.parquet")
    assert files.classes.parent == files.item.parent == tmp_path / "rasters" / "r"


def test_drafts_of_a_killed_attempt_are_cleared_and_only_those(tmp_path: Path) -> None:
    files = files_of_run(tmp_path, run_id="r", model="m@1", date="2026-11-23")
    drafts = [
        files.predictions.with_name(".r.parquet.1234.partial"),
        files.classes.with_name(".1f.plain.tif"),
        files.classes.with_name(".1f.cog.tif.ovr.tmp"),
        files.item.with_name(".item.json.1234.partial"),
        files.embeddings.with_name(".r.parquet.1234.partial"),
        files.vectors.with_name(".r.parquet.1234.partial"),
        on_model_grid(files.values).with_name(".1f.cog.tif"),
        files.work.with_name(".r.gone") / "class.raw",
    ]
    others = [files.predictions.with_name(".another.parquet.99.partial"), files.classes]
    for path in (*drafts, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    clear_drafts(files)
    assert [path for path in drafts if path.exists()] == []
    assert [path for path in others if path.exists()] == others


def test_working_rasters_go_all_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = files_of_run(tmp_path, run_id="r", model="m@1", date="2026-11-23")

    def work() -> None:
        files.work.mkdir(parents=True)
        for name in ("class.raw", "score.raw"):
            (files.work / name).touch()

    work()
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda *_, **__: None)  # killed just before
        remove_work(files)
    assert not files.work.exists()
    work()  # another attempt
    remove_work(files)
    remove_work(files)
    assert list((tmp_path / "work").iterdir()) == []


def test_there_may_be_nothing_to_clear(tmp_path: Path) -> None:
    clear_drafts(files_of_run(tmp_path, run_id="r", model="m@1", date="2026-11-23"))
    assert list(tmp_path.iterdir()) == []
