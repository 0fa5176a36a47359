"""Rates of work without a model: what they grow with, and how they are scaled to the machine."""

from __future__ import annotations

import itertools

import pytest

from seqsal.pipeline.forecast import rates


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_slowness_is_relative_to_the_machine_of_the_rates(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    clock = itertools.count()  # each reading is one sort, or one pause, later
    monkeypatch.setattr(rates.time, "perf_counter", lambda: next(clock) * factor * rates.SORT_SECONDS)
    assert rates.machine_slowness() == pytest.approx(factor)


def test_slowness_of_this_machine_is_a_number_above_zero() -> None:
    assert 0 < rates.machine_slowness() < 1_000


def test_rates_grow_with_the_data() -> None:
    for less, more in (
        (rates.track_seconds(10, 200), rates.track_seconds(10_000, 200)),
        (rates.peaks_seconds(10, 100, 200), rates.peaks_seconds(10, 100, 20_000)),
        (rates.scan_seconds(100, 10_000), rates.scan_seconds(100, 10_000_000)),
        (rates.discovery_seconds(90, 100), rates.discovery_seconds(100, 100)),
        (rates.browser_seconds(1), rates.browser_seconds(100_000)),
    ):
        assert 0 < less < more


def test_discovery_is_quadratic_up_to_its_neighbours_and_linear_beyond() -> None:
    start = rates.MODISCO_START
    few, double = (rates.discovery_seconds(n, 100) - start for n in (200, 400))
    many, triple = (rates.discovery_seconds(n, 100) - start for n in (1_000, 3_000))
    assert double == pytest.approx(4 * few) and triple == pytest.approx(3 * many)


def test_scan_of_nothing_takes_no_time_and_decoys_count() -> None:
    assert rates.scan_seconds(0, 10_000_000) == 0
    one, two = (rates.scan_seconds(n, 10_000) - rates.SCAN_START for n in (100, 200))
    assert two == pytest.approx(2 * one)


def test_the_audit_has_a_start_and_a_rate_for_each_kind_of_work() -> None:
    nothing = {"predicted_bp": 0, "placed_bp": 0, "n_placements": 200, "artifacts_bp": 0}
    start = rates.audit_seconds(**nothing)
    for name, rate in (("predicted_bp", 0.03), ("placed_bp", 200 * rates.PLACED_MBP), ("artifacts_bp", 1.5)):
        assert rates.audit_seconds(**{**nothing, name: 2_000_000}) - start == pytest.approx(2 * rate), name
