"""What a client and an engine say to each other."""

import json
import socket
import subprocess
import sys

import pytest

from constellation_pipelines.domain.errors import EngineFailed, InvalidInput
from constellation_pipelines.domain.scene import Band, Grid
from constellation_pipelines.domain.states import TileState
from constellation_pipelines.domain.tile import TileResult
from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference import protocol
from constellation_pipelines.inference.protocol import (
    Lines,
    PredictOrder,
    tile_from_json,
    tile_to_json,
)

ORDER = PredictOrder(
    run_id="r",
    model_folder="/m",
    model_digest="d",
    uri="/s.tif",
    grid=Grid("EPSG:32633", (10.0, 0.0, 5e5, 0.0, -10.0, 5e6), 700, 600, 512, 512),
    bands=(Band(3, "B4", "red", "uint16", 1e-4, -0.1), Band(1, "B2", None, "uint16")),
    nodata=0.0,
    windows=(Window(0, 0, 512, 512), Window(0, 512, 512, 188)),
    work="/w",
)
TILE = TileResult(Window(0, 0, 512, 512), TileState.COMPLETED, {3: 60, 9: 4}, 0.9, 1.0, 2.5, 3.5)


def test_an_order_survives_the_way() -> None:
    assert PredictOrder.from_json(json.loads(json.dumps(ORDER.to_json()))) == ORDER


@pytest.mark.parametrize(
    "tile", [TILE, TileResult(Window(0, 0, 1, 1), TileState.FAILED, error="!")]
)
def test_a_result_survives_the_way(tile: TileResult) -> None:
    assert tile_from_json(json.loads(json.dumps(tile_to_json(tile)))) == tile


@pytest.mark.parametrize(
    "change",
    [
        {"grid": None},
        {"grid": {}},
        {"bands": [{}]},
        {"bands": 3},
        {"windows": [[1, 2]]},
        {"windows": [1]},
        {"surprise": 1},
    ],
)
def test_a_malformed_order_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="malformed"):
        PredictOrder.from_json({**ORDER.to_json(), **change})


def test_messages_may_arrive_in_any_pieces() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        lines = Lines(ours)
        for piece in (b'{"a"', b': 1}\n{"b": 2}\n{"c"', b": 3}\n"):
            theirs.sendall(piece)
        assert [lines.receive() for _ in range(3)] == [{"a": 1}, {"b": 2}, {"c": 3}]
        theirs.close()
        assert lines.receive() is None


@pytest.mark.parametrize("line", [b"\n", b"[]\n", b"{\n", b"\xff\n", b"[" * 50_000 + b"\n"])
def test_rubbish_is_refused(line: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(line)
        with pytest.raises(EngineFailed):
            Lines(ours).receive()


def test_a_line_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "LONGEST_LINE_BYTES", 1000)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"x" * 5000)
        with pytest.raises(EngineFailed, match="too long"):
            Lines(ours).receive()


def test_the_client_brings_neither_torch_nor_rasterio() -> None:
    check = (
        "import sys, constellation_pipelines.inference.client; "
        "heavy = {'torch', 'rasterio', 'numpy'} & set(sys.modules); sys.exit(str(heavy or ''))"
    )
    ended = subprocess.run([sys.executable, "-c", check], capture_output=True, check=False)
    assert ended.stderr.strip() == b""
