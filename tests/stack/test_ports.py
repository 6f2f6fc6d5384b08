import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from constellation_pipelines.stack import ports
from constellation_pipelines.stack.ports import (
    LOOPBACK,
    PortBook,
    answers,
    claim,
    claim_any,
    is_free,
)
from constellation_pipelines.stack.waiting import wait_until

CHECKOUT = Path(__file__).parents[2]
CHOOSERS = 6
SERVICES = ("api", "dagster-code", "nats", "dagster-webserver")
# A stack's part: choose, say what was chosen, and keep it until told to end.
CHOOSER = """
import json, sys
from pathlib import Path
from constellation_pipelines.stack.ports import PortBook
book, liked, services = PortBook(Path(sys.argv[1])), int(sys.argv[2]), sys.argv[3:]
print("here", flush=True)
sys.stdin.readline()
print(json.dumps([book.choose(service, liked) for service in services]), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ports.json"


def chooser(path: Path, liked: int) -> "subprocess.Popen[str]":
    """A process that is about to choose ports for four services that like the same one."""
    made = subprocess.Popen(
        [sys.executable, "-c", CHOOSER, str(path), str(liked), *SERVICES],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=CHECKOUT,
    )
    assert said(made) == "here"
    return made


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_a_port_is_remembered(path: Path) -> None:
    book = PortBook(path)
    first = book.choose("api")
    book.release()
    assert PortBook(path).choose("api") == first


def test_the_liked_port_is_taken_when_it_is_free(path: Path) -> None:
    liked = claim_any()
    liked.release()
    assert PortBook(path).choose("api", liked.port) == liked.port


def test_a_port_in_use_is_passed_over(path: Path) -> None:
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        taken = other.getsockname()[1]
        assert not is_free(taken)
        assert answers(taken)
        assert claim(taken) is None
        assert PortBook(path).choose("api", taken) != taken
    assert claim(taken) is not None  # the claim that failed has left nothing behind


def test_two_services_never_share_a_port(path: Path) -> None:
    liked = claim_any()
    liked.release()
    book = PortBook(path)
    assert book.choose("api", liked.port) != book.choose("dagster", liked.port)


def test_a_claimed_port_is_nobody_elses_though_nobody_listens_there(tmp_path: Path) -> None:
    book = PortBook(tmp_path / "one.json")
    port = book.choose("api")
    assert is_free(port)
    assert claim(port) is None
    assert PortBook(tmp_path / "two.json").choose("api", port) != port


def test_a_claim_that_is_dropped_is_over() -> None:
    claimed = claim_any()
    port = claimed.port
    del claimed
    assert claim(port) is not None


def test_stacks_that_choose_at_the_same_moment_get_different_ports(tmp_path: Path) -> None:
    liked = claim_any()
    liked.release()
    choosers = [chooser(tmp_path / f"{number}.json", liked.port) for number in range(CHOOSERS)]
    try:
        for process in choosers:
            tell(process)
        chosen = [port for process in choosers for port in json.loads(said(process))]
        assert len(chosen) == len(set(chosen)) == CHOOSERS * len(SERVICES)
        assert liked.port in chosen
    finally:
        for process in choosers:
            process.communicate("\n")


def test_a_stack_that_was_killed_holds_no_port_any_more(path: Path) -> None:
    process = chooser(path, 0)
    tell(process)
    chosen = json.loads(said(process))
    assert [claim(port) for port in chosen] == [None] * len(SERVICES)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert wait_until(lambda: all(claim(port) for port in chosen), 60.0)


def test_a_chosen_port_is_none_that_the_kernel_gives_to_outgoing_connections() -> None:
    low, high = map(int, ports.EPHEMERAL.read_text().split())
    if ports.HIGHEST - ports.LOWEST - (high - low) < ports.FEWEST:
        pytest.skip("this host gives nearly every port to outgoing connections")
    assert all(not low <= claim_any().port <= high for _ in range(20))


@pytest.mark.parametrize("text", ["", "one two", "1", "1 2 3"])
def test_where_that_range_cannot_be_read_a_port_is_chosen_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    told = tmp_path / "range"
    told.write_text(text)
    monkeypatch.setattr(ports, "EPHEMERAL", told)
    assert is_free(claim_any().port)


def test_where_every_port_is_for_outgoing_connections_one_of_those_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "range"
    told.write_text("1024 65535\n")
    monkeypatch.setattr(ports, "EPHEMERAL", told)
    assert is_free(claim_any().port)
