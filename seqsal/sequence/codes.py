"""Sequences as one byte a base: A C G T N = 0 1 2 3 4, and their one-hot form.

One-hot arrays have the rows A, C, G, T; an unknown base is a column of zeros. Upper and lower case are the same base,
U is read as T, and every other character (IUPAC ambiguity codes, gaps) is unknown.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqsal.errors import UsageError

__all__ = [
    "ALPHABET", "BYTE_TO_CODE", "N_CODE", "codes_from_one_hot", "decode", "encode", "one_hot", "reverse_complement",
]  # fmt: skip

ALPHABET = "ACGT"
N_CODE = 4


BYTE_TO_CODE: NDArray[np.uint8] = np.full(256, N_CODE, dtype=np.uint8)
"""Code of each of the 256 byte values, shape (256,), uint8."""
BYTE_TO_CODE[np.frombuffer(b"AaCcGgTtUu", dtype=np.uint8)] = (0, 0, 1, 1, 2, 2, 3, 3, 3, 3)
BYTE_TO_CODE.flags.writeable = False
_CODE_TO_BYTE = np.frombuffer(b"ACGTN", dtype=np.uint8)
_COMPLEMENT = np.array([3, 2, 1, 0, N_CODE], dtype=np.uint8)


def encode(sequence: str | bytes | NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn text, ASCII bytes or an array of them into codes (L,); U as T, what is not A, C, G, T or U as N (4).

    >>> encode("acgUn-R").tolist()
    [0, 1, 2, 3, 4, 4, 4]
    """
    if isinstance(sequence, str):
        sequence = sequence.encode("ascii", "replace")  # one byte a character, so the length stays
    if isinstance(sequence, bytes | bytearray | memoryview):
        sequence = np.frombuffer(sequence, dtype=np.uint8)
    if sequence.dtype != np.uint8:
        raise UsageError(
            f"encode: got an array of {sequence.dtype}, expected ASCII byte values as uint8; pass str or bytes instead"
        )
    return BYTE_TO_CODE[sequence]


def decode(codes: ArrayLike) -> str:
    """Turn codes, shape (L,), into upper-case letters (``ACGTN``); `UsageError` for other shapes or values."""
    array = _checked(codes, "decode")
    if array.ndim != 1:
        raise UsageError(f"decode: got codes of shape {array.shape}, expected (L,); decode one sequence at a time")
    return _CODE_TO_BYTE[array].tobytes().decode("ascii")


def reverse_complement(codes: ArrayLike) -> NDArray[np.uint8]:
    """Read codes of any shape (..., L) from the other strand, along the last axis."""
    return np.ascontiguousarray(_COMPLEMENT[_checked(codes, "reverse_complement")[..., ::-1]])


def one_hot(codes: ArrayLike) -> NDArray[np.float32]:
    """Turn codes (..., L) into float32 one-hot (..., 4, L), an unknown base into a column of zeros."""
    array = np.asarray(codes, dtype=np.uint8)
    bases = np.arange(len(ALPHABET), dtype=np.uint8)[:, None]
    return (array[..., None, :] == bases).astype(np.float32)


def codes_from_one_hot(X: ArrayLike) -> NDArray[np.uint8]:
    """Turn one-hot (N, 4, L) into codes (N, L), a column of zeros into N; `UsageError` for what is neither."""
    array = np.asarray(X)
    if array.ndim != 3 or array.shape[1] != len(ALPHABET):
        raise UsageError(f"X: got shape {array.shape}, expected (N, 4, L) with rows A, C, G, T")
    ones = array == 1
    n_ones = ones.sum(axis=1, dtype=np.uint8)  # (N, L)
    wrong = ~(ones | (array == 0)).all(axis=1) | (n_ones > 1)
    if wrong.any():
        example, position = np.argwhere(wrong)[0]
        raise UsageError(
            f"X: example {example} position {position} holds {array[example, :, position].tolist()}, "
            "expected a single 1 and zeros, or four zeros for an unknown base; pass one-hot sequences"
        )
    codes = ones.argmax(axis=1).astype(np.uint8)
    codes[n_ones == 0] = N_CODE
    return codes


def _checked(codes: ArrayLike, caller: str) -> NDArray[np.uint8]:
    array = np.asarray(codes, dtype=np.uint8)
    if array.size and array.max() > N_CODE:
        raise UsageError(f"{caller}: got the code {array.max()}, expected 0 to 4 (A C G T N); use encode for letters")
    return array
