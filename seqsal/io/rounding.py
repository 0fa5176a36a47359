"""Scores rounded to some bits of their mantissa: bit rounding, as in netCDF and numcodecs.

A float32 has 23 bits of mantissa, far more than an attribution means. Rounded to N of them, to the nearest and of two
as near to the even one (Kouznetsov 2021, doi:10.5194/gmd-14-377-2021), a value is off by at most 2^-(N+1) of itself,
and the bytes that have become 0 take no room: :mod:`seqsal.io.packing` leaves them out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MANTISSA", "SCORES", "is_score", "kept_bytes", "relative_error", "round_bits", "rounding_text"]

MANTISSA = 23  # bits of a float32's
SCORES = ("track", "hypothetical", "noise", "track_sd")  # datasets that have a value for each base
BLOCK = 1 << 16  # values at a time, which stay in the processor's cache


def is_score(name: str) -> bool:
    """Whether the dataset of this name or path is rounded."""
    return name.rpartition("/")[2] in SCORES


def relative_error(keep_bits: int) -> float:
    """Largest error of a value relative to it, 2^-(N+1); below 1.2e-38, the least normal float32, relative to that."""
    return 2.0 ** -(keep_bits + 1)


def kept_bytes(keep_bits: int | None) -> int:
    """Bytes of a float32 that may be other than 0: sign and exponent have 9 bits. 4 where nothing is rounded."""
    return 4 if keep_bits is None else -(-(9 + keep_bits) // 8)


def rounding_text(keep_bits: int) -> str:
    """Say how scores are rounded."""
    return f"scores rounded to {keep_bits} bits of mantissa, relative error at most {relative_error(keep_bits):.2g}"


def round_bits(values: NDArray[Any], keep_bits: int) -> NDArray[np.float32]:
    """Round float32 values of any shape to `keep_bits`, 1 to 22, bits of mantissa.

    Zeros, infinities and NaN stay what they are; what would round to infinity becomes the largest value with so many
    bits instead, whose error is no larger.

    Examples
    --------
    >>> round_bits(np.array([1 / 3, -1.0, 1e-3], np.float32), 7).tolist()
    [0.333984375, -1.0, 0.00099945068359375]
    """
    rounded = np.array(values, dtype=np.float32, order="C")
    flat = rounded.reshape(-1)
    dropped = np.uint32(MANTISSA - keep_bits)
    mask = np.uint32((1 << 32) - (1 << int(dropped)))
    limit = np.array(0x7F7FFFFF & mask, np.uint32).view(np.float32)
    for block in (flat[i : i + BLOCK] for i in range(0, len(flat), BLOCK)):
        is_plain = max(block.max(), -block.min()) <= limit
        if not is_plain:
            finite = np.isfinite(block)
            others = np.where(np.isnan(block), np.float32(np.nan), block)[~finite]  # whose bits may all be low ones
            np.clip(block, -limit, limit, out=block, where=finite)
        bits = block.view(np.uint32)
        to_even = bits >> dropped
        to_even &= np.uint32(1)
        to_even += np.uint32((1 << int(dropped) - 1) - 1)
        bits += to_even
        bits &= mask
        if not is_plain:
            block[~finite] = others
    return rounded
