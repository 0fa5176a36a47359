"""Matched positions against slow definitions."""

from __future__ import annotations

import numpy as np
import pytest

from seqsal.auditing.content import Spans, runs_of
from seqsal.auditing.parts.plausibility.matching import match_gc, shift_circularly
from tests.toys import random_codes

LENGTH = 60


def spans(*each: tuple[int, int, int]) -> Spans:
    return Spans(*np.array(each, dtype=np.int64).reshape(-1, 3).T)


def test_runs_of_a_mask() -> None:
    mask = np.array([[1, 1, 0, 1], [0, 0, 0, 0], [0, 1, 1, 1]], dtype=bool)
    assert np.array_equal(np.stack(runs_of(mask)), [[0, 0, 2], [0, 3, 1], [2, 4, 4]])


def test_shifts_are_those_of_the_known_bases(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 3, LENGTH, 0.1)
    mask, values = rng.random((3, LENGTH)) < 0.3, rng.random((3, LENGTH))
    matched = shift_circularly(mask, values, codes, 50, rng)
    shifts = []
    for i in range(3):
        known = codes[i] < 4
        there, value = mask[i, known], values[i, known]
        shifts.append([(np.roll(there, k) * value).sum() for k in range(known.sum())])
    assert matched.expected == pytest.approx([np.mean(each) for each in shifts])
    assert matched.observed == pytest.approx([each[0] for each in shifts])
    least, most = sum(min(each) for each in shifts), sum(max(each) for each in shifts)
    assert (matched.draws > least - 1e-9).all() and (matched.draws < most + 1e-9).all()


def test_placements_have_the_gc_content_of_the_span(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 20, 400)
    is_gc = ((codes == 1) | (codes == 2)).astype(np.float64)
    starts = rng.integers(0, 380, size=20)
    given = spans(*((row, start, start + 20) for row, start in enumerate(starts)))
    own = np.array([is_gc[row, start : start + 20].sum() for row, start in enumerate(starts)])
    matched = match_gc(given, is_gc[None], codes, 0.05, 400, rng)[0]
    reachable = (own > 6) & (own < 14)
    assert matched.observed == pytest.approx(own)
    assert matched.expected[reachable] == pytest.approx(own[reachable], abs=0.01)
    assert matched.draws.mean() == pytest.approx(matched.expected.sum(), rel=0.02)


def test_no_placement_overlaps_the_span_by_more_than_half(rng: np.random.Generator) -> None:
    codes = np.zeros((1, LENGTH), dtype=np.uint8)
    values = np.zeros((1, 1, LENGTH))
    values[0, 0, 20:30] = 1.0
    matched = match_gc(spans((0, 20, 30)), values, codes, 0.05, 500, rng)[0]
    places = [s for s in range(LENGTH - 9) if abs(s - 20) >= 5]
    held = [values[0, 0, s : s + 10].sum() for s in places]
    assert max(held) == 5
    assert matched.expected[0] == pytest.approx(np.mean(held))
    assert matched.draws.max() == 5


def test_a_span_without_room_is_compared_with_itself(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 1, LENGTH)
    matched = match_gc(spans((0, 0, LENGTH)), rng.random((1, 1, LENGTH)), codes, 0.05, 10, rng)[0]
    assert matched.expected == pytest.approx(matched.observed)
    assert matched.draws == pytest.approx(matched.observed.sum())
    assert matched.p_value == 1.0


def test_unknown_bases_are_no_place_to_go(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 1, LENGTH)
    codes[0, 30:] = 4
    values = np.zeros((1, 1, LENGTH))
    values[0, 0, 31:] = 1.0
    matched = match_gc(spans((0, 5, 12)), values, codes, 0.05, 200, rng)[0]
    assert matched.expected[0] == 0 and not matched.draws.any()


def test_p_value_counts_draws_as_large(rng: np.random.Generator) -> None:
    codes = np.zeros((1, LENGTH), dtype=np.uint8)
    values = np.zeros((1, LENGTH))
    values[0, 3] = 1.0
    mask = values > 0
    p_value = shift_circularly(mask, values, codes, 999, rng).p_value
    assert p_value == pytest.approx(1 / LENGTH, abs=0.015)
    assert shift_circularly(mask, np.ones((1, LENGTH)), codes, 99, rng).p_value == 1.0
