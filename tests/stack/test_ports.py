import socket
from pathlib import Path

from constellation_pipelines.stack.ports import LOOPBACK, PortBook, answers, any_free, is_free


def test_a_port_is_remembered(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    first = PortBook(path).choose("api")
    assert PortBook(path).choose("api") == first


def test_the_liked_port_is_taken_when_it_is_free(tmp_path: Path) -> None:
    liked = any_free()
    assert PortBook(tmp_path / "ports.json").choose("api", liked) == liked


def test_a_port_in_use_is_passed_over(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        taken = other.getsockname()[1]
        assert not is_free(taken)
        assert answers(taken)
        assert PortBook(tmp_path / "ports.json").choose("api", taken) != taken


def test_two_services_never_share_a_port(tmp_path: Path) -> None:
    book = PortBook(tmp_path / "ports.json")
    liked = any_free()
    assert book.choose("api", liked) != book.choose("dagster", liked)
