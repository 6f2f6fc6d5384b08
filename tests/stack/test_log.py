from pathlib import Path

from constellation_pipelines.stack.log import KEPT, complaint, open_log


def test_a_log_goes_on_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "api.log"
    for word in (b"one\n", b"two\n"):
        with open_log(path) as log:
            log.write(word)
    assert path.read_text() == "one\ntwo\n"


def test_a_log_that_has_outgrown_its_limit_is_put_aside_and_few_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "api.log"
    for number in range(KEPT + 3):
        with open_log(path, limit_bytes=5) as log:
            log.write(b"start %d\n" % number)
    assert path.read_text() == f"start {KEPT + 2}\n"
    assert (tmp_path / "api.log.1").read_text() == f"start {KEPT + 1}\n"
    assert len(list(tmp_path.iterdir())) == KEPT + 1


def test_the_last_words_are_found_in_a_long_log(tmp_path: Path) -> None:
    path = tmp_path / "api.log"
    path.write_bytes(b"x" * 100_000 + b"\nlast \xff words\n\n  \n")
    assert complaint(path) == "last \ufffd words"
    assert complaint(tmp_path / "none.log") == ""


def test_the_line_that_speaks_of_an_error_is_told_rather_than_the_last_one(tmp_path: Path) -> None:
    path = tmp_path / "api.log"
    path.write_text("error: of an earlier start\n")
    start_bytes = path.stat().st_size
    with path.open("a") as log:
        log.write("ERROR: address already in use\nshutting down\n")
    assert complaint(path, start_bytes) == "ERROR: address already in use"
    assert complaint(path, path.stat().st_size) == ""
