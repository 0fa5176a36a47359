"""Bit rounding against exact fractions, and its error."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seqsal.io.rounding import MANTISSA, kept_bytes, relative_error, round_bits, rounding_text

BITS = st.integers(1, MANTISSA - 1)
SMALLEST = Fraction(1, 1 << 126)  # normal float32


def oracle(value: np.float32, keep_bits: int) -> float:
    """Round to a multiple of the last kept bit; `round` takes the even one of two as near."""
    if not np.isfinite(value) or value == 0:
        return float(value)
    exact, power = Fraction(float(value)), SMALLEST
    while 2 * power <= abs(exact):
        power *= 2
    step = power / (1 << keep_bits)
    most = Fraction((1 << 128) - (1 << 127 - keep_bits))  # the largest value with so many bits
    return float(max(-most, min(most, step * round(exact / step))))


@given(hnp.arrays(np.float32, st.integers(0, 40), elements=st.floats(width=32)), BITS)
def test_rounds_as_fractions_do(values: np.ndarray, keep_bits: int) -> None:
    rounded = round_bits(values, keep_bits)
    np.testing.assert_array_equal(rounded, np.array([oracle(one, keep_bits) for one in values], np.float32))
    np.testing.assert_array_equal(np.signbit(rounded), np.signbit(values) & ~np.isnan(values))
    np.testing.assert_array_equal(round_bits(rounded, keep_bits), rounded)
    low = rounded.view(np.uint32) << np.uint32(8 * kept_bytes(keep_bits) % 32) if kept_bytes(keep_bits) < 4 else 0
    assert not np.any(low)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), BITS)
def test_the_error_is_what_is_said(value: float, keep_bits: int) -> None:
    (rounded,) = round_bits(np.array([value], np.float32), keep_bits)
    off = abs(Fraction(float(rounded)) - Fraction(value))
    assert off <= Fraction(relative_error(keep_bits)) * max(abs(Fraction(value)), SMALLEST)


def test_the_error_is_reached_halfway_between_two_values() -> None:
    half = np.float32(1 + 2**-8)
    assert round_bits(np.array([half, half + 2**-7]), 7).tolist() == [1.0, 1 + 2**-6]  # both to the even one
    assert float(half - 1) == relative_error(7) == 2**-8
    assert rounding_text(7) == "scores rounded to 7 bits of mantissa, relative error at most 0.0039"


def test_shape_and_input_stay() -> None:
    values = np.arange(24, dtype=np.float64).reshape(2, 3, 4) / 7
    before = values.copy()
    rounded = round_bits(values.transpose(2, 0, 1), 3)
    assert rounded.shape == (4, 2, 3) and rounded.dtype == np.float32 and rounded.flags.c_contiguous
    np.testing.assert_array_equal(values, before)
    np.testing.assert_array_equal(rounded, round_bits(values, 3).transpose(2, 0, 1))


@pytest.mark.parametrize(("keep_bits", "n_bytes"), [(None, 4), (1, 2), (7, 2), (8, 3), (15, 3), (16, 4), (22, 4)])
def test_bytes_that_are_kept(keep_bits: int | None, n_bytes: int) -> None:
    assert kept_bytes(keep_bits) == n_bytes


def test_a_nan_of_low_bits_stays_one() -> None:
    odd = np.array([0x7F800001, 0xFFFFFFFF, 0x7F800000, 0xFF800000], np.uint32).view(np.float32)
    rounded = round_bits(odd, 7)
    assert np.isnan(rounded[:2]).all() and rounded[2:].tolist() == [np.inf, -np.inf]
    assert not np.any(rounded.view(np.uint32) & 0xFFFF)
