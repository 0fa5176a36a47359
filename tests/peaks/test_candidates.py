"""Candidates of planted shapes, and the symmetries that they must have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from track_toys import bump, noise

from seqsal.errors import UsageError
from seqsal.peaks.candidates import CandidateRules, Candidates, find_candidates, smooth_runs

RULES = CandidateRules()


Span = tuple[str, int, int, int, tuple[float, ...]]


def spans(found: dict[str, Candidates], positions: NDArray[np.int64]) -> set[Span]:
    return {
        (sign, int(positions[s]), int(positions[e - 1]) + 1, int(positions[x]), tuple(profile.tolist()))
        for sign, c in found.items()
        for s, e, x, profile in zip(c.start, c.end, c.summit, c.profile, strict=True)
    }


def find(values: NDArray[np.floating], rules: CandidateRules = RULES) -> dict[str, Candidates]:
    return find_candidates(np.arange(len(values)), values, rules)


@pytest.mark.parametrize("smooth_bp", [1, 3, 9, 15])
def test_smoothing_is_a_convolution_within_runs(rng: np.random.Generator, smooth_bp: int) -> None:
    positions = np.concatenate([np.arange(40), np.arange(41, 43), np.arange(60, 90), [100]])
    values = rng.normal(size=len(positions))
    half = smooth_bp // 2
    kernel = (half + 1 - np.abs(np.arange(-half, half + 1))) / (half + 1) ** 2
    runs = smooth_runs(positions, values, smooth_bp)
    expected = [np.convolve(values[p], kernel, "full")[half : half + p.stop - p.start]
                for p in (slice(0, 40), slice(40, 42), slice(42, 72), slice(72, 73))]  # fmt: skip
    np.testing.assert_allclose(runs.smoothed[runs.place], np.concatenate(expected), atol=1e-12)
    np.testing.assert_array_equal(runs.raw[runs.place], values)


@pytest.mark.parametrize(("sign", "other", "factor"), [("pos", "neg", 1), ("neg", "pos", -1)])
def test_a_triangle_is_one_candidate_with_its_summit_on_top(sign: str, other: str, factor: int) -> None:
    found = find(factor * bump(200, 83, 12, 3.0))
    assert len(found[other]) == 0
    assert found[sign].summit.tolist() == [83]
    width = int(found[sign].end[0] - found[sign].start[0])
    assert found[sign].end[0] - 84 == 83 - found[sign].start[0]
    assert 12 <= width <= 24


@pytest.mark.parametrize("width", [11, 15, 21, 35])
def test_half_height_points_of_a_block_are_its_edges(width: int) -> None:
    values = np.zeros(200)
    values[80 : 80 + width] = 1
    found = find(values, CandidateRules(smooth_bp=9, flank_fraction=0.5))["pos"]
    assert [found.start.tolist(), found.end.tolist()] == [[80], [80 + width]]
    assert found.summit.tolist() == [80 + width // 2]


def test_a_shoulder_belongs_to_its_peak_and_a_valley_parts_two() -> None:
    main, near, far = bump(200, 100, 10, 4.0), bump(200, 112, 6, 1.5), bump(200, 130, 6, 1.5)
    assert find(main + near)["pos"].summit.tolist() == [100]
    assert find(main + far)["pos"].summit.tolist() == [100, 130]


def test_peaks_of_both_signs_side_by_side() -> None:
    found = find(bump(200, 80, 8, 2.0) - bump(200, 100, 8, 1.0))
    assert (found["pos"].summit.tolist(), found["neg"].summit.tolist()) == ([80], [100])
    assert found["pos"].end[0] <= found["neg"].start[0]


def test_width_limits() -> None:
    values = np.zeros(400)
    values[100:220] = 1 + 0.001 * np.arange(120)
    wide = find(values, CandidateRules(max_width=30))["pos"]
    assert (wide.end - wide.start <= 30).all()
    assert ((wide.start <= wide.summit) & (wide.summit < wide.end)).all()
    assert len(find(bump(200, 100, 2, 1.0), CandidateRules(smooth_bp=1, min_width=4))["pos"]) == 0
    assert len(find(bump(200, 100, 2, 1.0), CandidateRules(smooth_bp=1, min_width=3))["pos"]) == 1


def test_equal_summits_on_a_plateau_meet_halfway() -> None:
    values = np.full(300, 1.0)
    values[[100, 140]] = 5
    found = find(values, CandidateRules(smooth_bp=1, max_width=60, flank_fraction=0.1))["pos"]
    assert found.summit.tolist() == [100, 140]
    assert found.end[0] == found.start[1] == 121


def test_gaps_are_never_bridged_and_nothing_leaks_over_one() -> None:
    values = bump(200, 100, 12, 3.0).astype(float)
    positions = np.delete(np.arange(200), 104)
    found = find_candidates(positions, np.delete(values, 104), RULES)["pos"]
    assert all(not (positions[s] < 104 < positions[e - 1]) for s, e in zip(found.start, found.end, strict=True))
    left_only = np.where(np.arange(200) < 104, values, 0)
    alone = find_candidates(positions, np.delete(left_only, 104), RULES)["pos"]
    assert (positions[alone.summit] < 104).all()


def test_empty_flat_and_single_base_tracks() -> None:
    assert all(len(c) == 0 for c in find(np.zeros(0)).values())
    assert all(len(c) == 0 for c in find(np.zeros(50)).values())
    assert find(np.array([2.0]), CandidateRules(min_width=1))["pos"].summit.tolist() == [0]


def test_a_peak_at_the_edge_is_found_with_its_summit_inside() -> None:
    found = find(bump(100, 2, 12, 3.0))["pos"]
    assert found.start.tolist() == [0]
    assert 2 <= found.summit[0] <= 5  # zeros beyond the edge pull the smoothed summit inwards


@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.floats(0, 0.1))
@settings(deadline=None, max_examples=60)
def test_reversal_mirrors_and_negation_swaps_signs(seed: int, length: int, gap_share: float) -> None:
    rng = np.random.default_rng(seed)
    positions = np.flatnonzero(rng.random(length) >= gap_share)
    values = rng.standard_t(3, size=len(positions))
    found = find_candidates(positions, values, RULES)
    mirrored = find_candidates(length - 1 - positions[::-1], values[::-1], RULES)
    turned = {(s, length - b, length - a, length - 1 - x, profile) for s, a, b, x, profile in spans(found, positions)}
    assert turned == spans(mirrored, length - 1 - positions[::-1])
    negated = find_candidates(positions, -values, RULES)
    for sign, other in (("pos", "neg"), ("neg", "pos")):
        np.testing.assert_array_equal(found[sign].summit, negated[other].summit)
        np.testing.assert_array_equal(found[sign].profile, negated[other].profile)


def test_candidates_depend_on_their_reach_only(rng: np.random.Generator) -> None:
    values = noise(rng, 1, 5000)[0] + 0.5
    whole = spans(find(values), np.arange(5000))
    lo, hi = 1700, 3100
    part = spans(find(values[lo:hi]), np.arange(lo, hi))
    inner = (lo + RULES.reach_bp, hi - RULES.reach_bp)
    assert (
        {c for c in whole if inner[0] <= c[3] < inner[1]} == {c for c in part if inner[0] <= c[3] < inner[1]} != set()
    )


def test_spans_of_one_sign_never_overlap(rng: np.random.Generator) -> None:
    for offset in (0.0, 0.5, 2.0):
        for candidates in find(noise(rng, 1, 20_000)[0] + offset).values():
            assert (candidates.end[:-1] <= candidates.start[1:]).all()
            assert (candidates.end - candidates.start <= RULES.max_width).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smooth_bp": 8}, "smooth_bp: got 8, expected an odd number"),
        ({"smooth_bp": -1}, "smooth_bp: got -1"),
        ({"min_width": 20, "max_width": 10}, "min_width, max_width: got 20 and 10"),
        ({"min_width": 0}, "min_width, max_width: got 0"),
        ({"flank_fraction": 0.0}, "flank_fraction: got 0.0"),
    ],
)
def test_rules_that_make_no_sense_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CandidateRules(**options)  # type: ignore[arg-type]
