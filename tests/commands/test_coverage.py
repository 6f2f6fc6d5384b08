"""`constellation coverage` against a real API."""

from pathlib import Path

import pytest

from tests.api.service import MODEL, Service
from tests.api.test_coverage import cover
from tests.commands.test_nouns import Command, as_json
from tests.commands.test_nouns import constellation as constellation
from tests.commands.test_nouns import service as service


@pytest.fixture(scope="module", autouse=True)
def covered(service: Service) -> None:
    """Four tiles south and east of 0 E 0 N."""
    cover(service, "local", tiles=4, columns=2, west=0.0, north=0.0, side=5_000.0)


def test_what_models_covered_is_a_table(constellation: Command) -> None:
    (found,) = as_json(constellation("coverage", "list", "--json"))
    assert (found["model"], found["tiles"]) == (MODEL, 4)
    _, out, _ = constellation("coverage", "list")
    assert "10.0" in out
    assert "0.0000, -0.0898, 0.0898, 0.0000" in out


def test_a_map_is_described(constellation: Command) -> None:
    assert as_json(constellation("coverage", "show", "landcover", "--json"))["tilejson"] == "3.0.0"
    _, out, _ = constellation("coverage", "show", MODEL)
    assert f"/api/v1/coverage/{MODEL}/{{z}}/{{x}}/{{y}}" in out
    code, _, err = constellation("coverage", "show", "nobody@1")
    assert code == 1
    assert "there is no model" in err


def test_a_tile_is_written_into_a_file(constellation: Command, tmp_path: Path) -> None:
    file = tmp_path / "tile.mvt"
    _, out, _ = constellation("coverage", "tile", MODEL, "1", "1", "1", str(file))
    assert b"tiles" in file.read_bytes()
    assert "bytes" in out
    written = as_json(constellation("coverage", "tile", MODEL, "9", "0", "0", str(file), "--json"))
    assert (written["bytes"], file.read_bytes()) == (0, b"")
    code, _, err = constellation("coverage", "tile", MODEL, "1", "2", "0", str(file))
    assert (code, "at zoom 1 it is less than 2" in err) == (1, True)
    gone = tmp_path / "no" / "tile.mvt"
    code, _, err = constellation("coverage", "tile", MODEL, "1", "1", "1", str(gone))
    assert (code, "cannot be written" in err) == (1, True)
