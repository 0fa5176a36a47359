"""Strengths of candidates: what the definition says, in any unit, and measured on the controls as on the data."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from track_toys import bump, make_attr, noise

from seqsal.peaks import call_peaks
from seqsal.peaks.candidates import (
    COMPRESSION,
    CandidateRules,
    Ruler,
    compressed,
    find_candidates,
    kernel_widths,
    smoothed_at,
)


def test_widths_follow_the_kernel_of_the_height() -> None:
    assert kernel_widths(19) == (9, 13, 19, 25)
    assert kernel_widths(1) == (1,)
    for smooth_bp in range(1, 60, 2):
        widths = kernel_widths(smooth_bp)
        assert smooth_bp in widths
        assert all(width % 2 == 1 for width in widths)


def test_profiles_are_convolutions_of_the_compressed_track_within_runs(rng: np.random.Generator) -> None:
    positions = np.concatenate([np.arange(60), np.arange(61, 130), np.arange(150, 180)])
    values = rng.standard_t(3, size=len(positions))
    rules = CandidateRules(min_width=1)
    for sign, factor in (("pos", 1), ("neg", -1)):
        found = find_candidates(positions, values, rules)[sign]
        assert len(found) > 3
        for summit, profile in zip(found.summit, found.profile, strict=True):
            for width, value in zip(rules.widths, profile, strict=True):
                half, total = width // 2, 0.0
                for i in range(len(values)):
                    away = positions[i] - positions[summit]
                    between = np.arange(min(away, 0), max(away, 0)) + positions[summit]
                    if abs(away) <= half and np.isin(between, positions).all():
                        weight = (half + 1 - abs(away)) / (half + 1) ** 2
                        total += weight * np.sign(values[i]) * abs(values[i]) ** COMPRESSION
                assert value == pytest.approx(factor * total, abs=1e-12)


def test_kernels_weigh_to_one() -> None:
    assert np.allclose(smoothed_at(np.ones(80), np.array([20, 40]), (1, 9, 25)), 1)


def test_bases_that_agree_outweigh_one_large_base() -> None:
    run, spike = np.zeros(61), np.zeros(61)
    run[28:33], spike[30] = 1.0, 5.0
    middle = np.array([30])
    widths = kernel_widths(19)
    assert (smoothed_at(run, middle, widths) < smoothed_at(spike, middle, widths)).all()
    assert (smoothed_at(compressed(run), middle, widths) > smoothed_at(compressed(spike), middle, widths)).all()


def test_a_ruler_reads_one_at_the_reference() -> None:
    profiles = np.stack([np.arange(1, 101), 10 * np.arange(1, 101)], axis=1).astype(float)
    ruler = Ruler.of(profiles)
    assert ruler.reference == pytest.approx([99.01, 990.1])
    assert ruler.strengths(np.array([[99.01, 0.0], [0.0, 1980.2], [-5.0, -9901.0]])) == pytest.approx(
        [1, 2, -5 / 99.01]
    )
    assert Ruler.of(np.zeros((0, 2))).reference.tolist() == [1, 1]
    assert Ruler.of(np.zeros((3, 2))).reference.tolist() == [1, 1]


def planted(rng: np.random.Generator, half_width: int, height: float) -> NDArray[np.float64]:
    """Noise (30, 300), with an element in the middle of every third window."""
    track = noise(rng, 30, 300).astype(np.float64)
    track[::3] += bump(300, 150, half_width, height)
    return track


@pytest.mark.parametrize("factor", [1e-6, 3.0, 1e5])
def test_the_unit_of_the_track_does_not_matter(rng: np.random.Generator, factor: float) -> None:
    track, controls = planted(rng, 12, 8.0), noise(rng, 60, 300)
    names = ["start", "end", "p_value", "q_value"]
    expected = call_peaks(make_attr(track, controls=controls))[names]
    found = call_peaks(make_attr(factor * track, controls=factor * controls))[names]
    assert len(expected) == 10
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize(("half_width", "height"), [(4, 15.0), (12, 6.0), (40, 4.0)])
def test_narrow_and_wide_elements_are_called(rng: np.random.Generator, half_width: int, height: float) -> None:
    peaks = call_peaks(make_attr(planted(rng, half_width, height), controls=noise(rng, 60, 300)))
    summits = (peaks["start"] + peaks["summit"]).to_numpy()
    expected = 150 + 310 * np.arange(0, 30, 3)  # windows lie 10 bp apart
    assert len(summits) == 10
    assert np.abs(summits - expected).max() <= max(3, half_width // 2)
