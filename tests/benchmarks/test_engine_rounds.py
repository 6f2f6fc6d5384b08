import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.engine import gpu
from benchmarks.engine.comparison import Compared
from benchmarks.engine.counters import PeakMemory, cpu_s, pss_mb
from benchmarks.engine.gate import Verdict, judge, trapezoid
from benchmarks.engine.gpu import Roof
from benchmarks.engine.packages import shipped
from benchmarks.engine.report import compared_rows, gated
from benchmarks.engine.rounds import Round, Timed, bound_per_cpu_s, growth, order, spread
from benchmarks.engine.scenes import CACHE_VARIABLE, mirrored, synthetic
from benchmarks.engine.workload import Workload, workload
from benchmarks.measurement import Measurement
from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.inference.cog import Sheet, write_cog

CHECKOUT = Path(__file__).parents[2]


def timed(chips: int, cpu_s: float, wall_s: float = 1.0) -> Timed:
    return Timed(chips, cpu_s, wall_s)


def one_round(ours: Timed) -> Round:
    return Round(
        ours=ours,
        forward=timed(1000, 1.0),
        plain=timed(1000, 1.75),
        decode=timed(1000, 0.25),
        loader=timed(900, 0.25),
        loader_decode=timed(1000, 0.25),
        peers={"torchgeo_loop": timed(100, 1.0), "rasterio_loop": timed(500, 1.0)},
    )


def test_the_bound_adds_the_costs_of_a_chip() -> None:
    assert bound_per_cpu_s(timed(1000, 1.0), timed(1000, 0.25)) == pytest.approx(800)


def test_visits_of_one_kind_add_up() -> None:
    assert timed(10, 1.0, 2.0) + timed(30, 1.0, 3.0) == Timed(40, 2.0, 5.0)


def test_a_rounds_ratios() -> None:
    found = one_round(timed(720, 1.0, 0.5))
    assert found.share_of_bound == pytest.approx(0.9)
    assert found.times_plain_bound == pytest.approx(1.44)
    assert found.times("torchgeo_loop") == pytest.approx(7.2)
    assert found.times("rasterio_loop") == pytest.approx(1.44)
    assert found.times_wall("rasterio_loop") == pytest.approx(2.88)
    assert found.loader_share == pytest.approx(0.9)


def test_the_median_is_told_with_its_spread() -> None:
    seen = spread([0.8, 0.95, 0.9])
    assert (seen.low, seen.median, seen.high, seen.count) == (0.8, 0.9, 0.95, 3)


@pytest.mark.parametrize("number", [0, 1])
def test_a_round_is_the_same_from_both_ends_and_peers_change_places(number: int) -> None:
    steps = order(["a", "b"], number)
    assert steps[:2] == ["limits", "ours"]
    assert steps[:2] == steps[:-3:-1]
    assert steps[2:4] == (["a", "b"] if number == 0 else ["b", "a"])


def test_growth_compares_many_scenes_with_the_first() -> None:
    assert growth([1.0, 1.0, 1.3]) == pytest.approx(1.1)


def test_a_folded_line_has_no_seams() -> None:
    assert mirrored(np.arange(8), 3).tolist() == [0, 1, 2, 2, 1, 0, 0, 1]


def test_weights_of_neighbouring_chips_add_up_to_one() -> None:
    weights, stride, halo = trapezoid(224, 16), 224, 16
    assert len(weights) == stride + 2 * halo
    overlap = weights[stride:] + weights[: 2 * halo]
    assert overlap == pytest.approx(np.ones(2 * halo))
    assert (weights[2 * halo : stride] == 1).all()


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workload:
    """The shipped model over a scene of 4 chips, made in this test's folder."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    package = shipped("eurosat-landcover")
    assert package is not None
    return workload("small", package, synthetic(128), 2)


def rows_of(small: Workload, agreement: float) -> dict[str, Measurement]:
    rounds = (one_round(timed(720, 1.0)), one_round(timed(600, 1.0)), one_round(timed(760, 1.0)))
    verdict = Verdict(agreement, 1000, 0, ())
    peers = {"torchgeo_loop": "itself", "rasterio_loop": "by hand"}
    rows = compared_rows(Compared(small, verdict, rounds, peers, (1.0, 1.0, 1.0)))
    return {row.metric.removeprefix("small: "): row for row in rows}


def test_rows_carry_medians_bars_and_spread(small: Workload) -> None:
    rows = rows_of(small, agreement=1.0)
    share = rows["share of the bound"]
    assert share.value == pytest.approx(0.9)
    assert share.ok is True
    assert share.conditions["low"] == pytest.approx(0.75)
    assert share.conditions["high"] == pytest.approx(0.95)
    assert rows["times the TorchGeo loop"].ok is True
    assert rows["chips per CPU-second"].limit == pytest.approx(800)
    assert rows["chips per CPU-second"].peer == pytest.approx(500)
    assert json.loads(json.dumps(share.record({})))["bar"] == ">= 0.9"


def test_no_bar_is_met_by_a_map_that_is_wrong(small: Workload) -> None:
    rows = rows_of(small, agreement=0.99)
    assert [row.metric for row in rows.values() if row.bar is not None and row.ok] == [
        "small: valid COG, each pixel once"
    ]


@pytest.mark.parametrize(("agreement", "shown"), [(0.9995, 5), (0.998, 0)])
def test_a_gpus_figures_are_shown_only_of_a_right_map(
    small: Workload, agreement: float, shown: int
) -> None:
    """No GPU takes part: these are its rows from figures made up."""
    roof = Roof(compute=9e6, bus=4e5, decode=3e5, forward=8e5)
    told = gpu.conditions_of(small, roof, "none")
    figures = gpu.rows_of(small, timed(600, 2.0, 0.01), roof, 0.95, told)
    rows = gated("GPU, small", Verdict(agreement, 1000, 0, ()), told, figures)
    assert len(rows) == 2 + shown
    assert rows[0].ok is (shown > 0)
    found = {row.metric.removeprefix("GPU, small: "): row for row in rows[2:]}
    if shown:
        assert found["chips"].value == pytest.approx(60_000)
        assert found["scenes"].value == pytest.approx(6000)
        assert found["share of the roofline"].value == pytest.approx(0.2)
        assert found["share of the roofline"].ok is False
        assert found["idle share"].value == pytest.approx(0.05)


def class_map(small: Workload, path: Path, spoil: int | None = None) -> Path:
    """What the reference itself finds in the scene, as a COG; one pixel set to `spoil`."""
    from benchmarks.engine.gate import answers, padded, values

    pixels = padded(small, 0, 128, 128)
    chips = pixels.reshape(3, 2, 64, 2, 64).transpose(1, 3, 0, 2, 4).reshape(4, 3, 64, 64)
    found = values(small)[answers(small, chips).argmax(1)].reshape(2, 2)
    classes = found.repeat(64, 0).repeat(64, 1)
    if spoil is not None:
        classes[70, 70] = spoil
    grid: Grid = small.grid
    sheet = Sheet(grid, np.uint8, 255, "class", {})
    write_cog(sheet, lambda top, height: classes[top : top + height], path)
    return path


def test_a_right_map_passes_the_gate(small: Workload, tmp_path: Path) -> None:
    verdict = judge(small, class_map(small, tmp_path / "map.tif"))
    assert verdict.agreement == 1
    assert verdict.whole


def test_a_wrong_and_a_missing_pixel_are_found(small: Workload, tmp_path: Path) -> None:
    assert judge(small, class_map(small, tmp_path / "a.tif", spoil=77)).agreement == 0.75
    assert judge(small, class_map(small, tmp_path / "b.tif", spoil=255)).unwritten_px == 1


def test_a_file_that_is_no_cog_is_found(small: Workload, tmp_path: Path) -> None:
    import rasterio

    right = class_map(small, tmp_path / "map.tif")
    with rasterio.open(right) as source:
        profile, pixels = source.profile, source.read()
    profile |= {"driver": "GTiff", "width": 1024, "height": 1024, "tiled": False}
    profile = {k: v for k, v in profile.items() if not k.startswith("block")}
    with rasterio.open(tmp_path / "plain.tif", "w", **profile) as plain:
        plain.write(np.tile(pixels, (1, 8, 8)))
    verdict = judge(small, tmp_path / "plain.tif")
    assert not verdict.whole
    assert any("shape" in error for error in verdict.cog_errors)


def test_processor_time_and_memory_are_those_of_the_process() -> None:
    began_s = cpu_s(os.getpid())
    with PeakMemory(os.getpid()) as memory:
        held = np.ones(50_000_000, np.uint8)
        sum(range(2_000_000))
        assert pss_mb(os.getpid()) <= memory.peak_mb + 200
    assert cpu_s(os.getpid()) > began_s
    assert memory.peak_mb > held.nbytes / 1e6 - 50


def test_the_quick_form_runs(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(CHECKOUT),
        CACHE_VARIABLE: str(tmp_path),
        "ENGINE_BENCH_QUICK": "1",
        "ENGINE_BENCH_PEERS": "0",
        "ENGINE_BENCH_WORKLOADS": "eurosat-landcover",
        "CONSTELLATION_TEST_DATA": str(tmp_path),  # no real scene: left out, and said so
    }
    script = (
        "import json; from benchmarks.engine import run; from benchmarks.measurement import "
        "conditions; print(json.dumps([m.record({}) for m in run()]))"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command, env=environment, cwd=CHECKOUT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert "real scene: left out" in done.stdout
    rows = {row["metric"]: row for row in json.loads(done.stdout.splitlines()[-1])}
    assert rows["eurosat-landcover: same class as float32"]["ok"] is True
    assert rows["eurosat-landcover: valid COG, each pixel once"]["ok"] is True
    assert rows["large scene: same class as float32"]["ok"] is True
    assert rows["memory beyond idle"]["ok"] is True
    assert 0 < rows["eurosat-landcover: share of the bound"]["value"] < 1.1
