"""What a job would take: figures where they are known, reasons where they are not."""

from dataclasses import replace
from datetime import timedelta

import pytest

from constellation_pipelines.domain.fleet import Staging
from constellation_pipelines.domain.quote import Cost, Pace, Span, cost
from tests.domain.test_outlook import NOW, RIGHT, device, fleet, holds, waits

# A second of device time a tile; reading and computing took 2 s, from 1 s to 4 s.
KNOWN = Pace(1.0, seen=100, mean_ms=2000, p10_ms=1000, p50_ms=2000, p90_ms=4000)


def after(cost: Cost) -> tuple[float | None, ...]:
    """Seconds from now of the low, expected and high end."""
    moments = (cost.finish_at.low, cost.finish_at.expected, cost.finish_at.high)
    return tuple(None if one is None else (one - NOW).total_seconds() for one in moments)


def test_device_seconds_are_the_mean_and_spread_as_single_tiles_did() -> None:
    found = cost(fleet(device()), [waits(), waits()], {"GPU": KNOWN})
    assert found.device_s == Span(10.0, 20.0, 40.0)
    assert found.device_s_reason is None


def test_runs_go_one_after_another_on_one_device_and_beside_each_other_on_two() -> None:
    runs = [waits(), waits()]
    assert after(cost(fleet(device()), runs, {"GPU": KNOWN})) == (10.0, 20.0, 40.0)
    two = fleet(device(), device(RIGHT))
    assert after(cost(two, runs, {"GPU": KNOWN})) == (5.0, 10.0, 20.0)


def test_a_job_ends_behind_what_runs_and_waits() -> None:
    one = device()
    busy = fleet(one, held=(holds(one),), waiting=(waits(5, priority=1),))
    low, expected, high = after(cost(busy, [waits()], {"GPU": KNOWN}))
    assert (low, expected, high) == (15.0, 30.0, 60.0)
    first = after(cost(busy, [waits(priority=2)], {"GPU": KNOWN}))
    assert first == (10.0, 20.0, 40.0), "a higher priority goes before what waits"


def test_nothing_to_run_costs_nothing() -> None:
    found = cost(fleet(device()), [waits(tiles_left=0)], {})
    assert found.device_s == Span(0.0, 0.0, 0.0)
    assert after(found) == (0.0, 0.0, 0.0)


def test_a_model_that_never_ran_has_no_figures_but_reasons() -> None:
    found = cost(fleet(device(), measured={}), [waits()], {})
    assert found.device_s == Span()
    assert "has not run" in (found.device_s_reason or "")
    assert after(found) == (None, None, None)
    assert "has not run" in (found.finish_reason or "")


def test_few_tiles_give_a_mean_and_no_range() -> None:
    found = cost(fleet(device()), [waits()], {"GPU": replace(KNOWN, seen=3)})
    assert found.device_s == Span(None, 10.0, None)
    assert after(found) == (None, 10.0, None)
    assert "too few" in (found.device_s_reason or "")
    assert "too few" in (found.finish_reason or "")


def test_without_a_worker_the_past_tells_the_cost_and_nothing_the_end() -> None:
    found = cost(replace(fleet(), workers=0), [waits()], {"GPU": KNOWN})
    assert found.device_s == Span(5.0, 10.0, 20.0)
    assert after(found) == (None, None, None)
    assert "no worker" in (found.finish_reason or "")


def test_what_can_never_be_placed_has_no_end() -> None:
    found = cost(fleet(device()), [waits(gpu_count=2)], {"GPU": KNOWN})
    assert after(found) == (None, None, None)
    assert "largest host has 1" in (found.finish_reason or "")


def test_a_kind_that_the_model_never_ran_on_is_named() -> None:
    both = fleet(device(), device(RIGHT, name="Other"))
    found = cost(both, [waits()], {"GPU": KNOWN})
    assert found.device_s.expected == pytest.approx(10.0)
    assert "Other" in (found.device_s_reason or "")
    assert [kind.name for kind in found.kinds] == ["GPU", "Other"]


def test_a_mean_outside_the_deciles_stays_within_its_range() -> None:
    skewed = replace(KNOWN, p10_ms=2500.0, p90_ms=1500.0)
    span = skewed.tile_s
    assert span.low is not None
    assert span.high is not None
    assert span.low <= 1.0 <= span.high


def test_a_job_behind_one_of_unknown_length_has_no_end() -> None:
    one = device()
    stranger = holds(one, model_digest="unknown")
    found = cost(fleet(one, held=(stranger,)), [waits()], {"GPU": KNOWN})
    assert after(found) == (None, None, None)
    assert "not known" in (found.finish_reason or "")
    assert found.device_s.expected == 10.0


def test_nobody_knows_when_a_scene_of_another_host_is_here() -> None:
    fetched = [waits(staging=Staging("far.example", 0, 0))]
    found = cost(fleet(device()), fetched, {"GPU": KNOWN})
    assert after(found) == (None, None, None)
    assert "fetched" in (found.finish_reason or "")
    assert found.device_s.expected == 10.0


def test_a_serial_job_takes_its_runs_in_turn_on_many_devices() -> None:
    first = waits()
    runs = [replace(waits(), serial_job_id=first.run_id) for _ in range(3)]
    many = fleet(device(), device(RIGHT), device(RIGHT))
    assert after(cost(many, runs, {"GPU": KNOWN})) == (15.0, 30.0, 60.0)
    assert NOW + timedelta(seconds=30) == cost(many, runs, {"GPU": KNOWN}).finish_at.expected
