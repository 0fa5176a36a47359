"""Codes and one-hot, against dictionaries and strings."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seqsal.errors import UsageError
from seqsal.sequence.codes import codes_from_one_hot, decode, encode, one_hot, reverse_complement

CODE_OF = {"A": 0, "C": 1, "G": 2, "T": 3, "U": 3}
COMPLEMENT = dict(zip("ACGTN", "TGCAN", strict=True))
any_codes = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0), elements=st.integers(0, 4))


@given(st.text())
def test_encode_is_a_dictionary_look_up_for_any_text(text: str) -> None:
    expected = [CODE_OF.get(letter.upper() if letter.isascii() else letter, 4) for letter in text]
    assert encode(text).tolist() == expected


@given(st.binary())
def test_encode_takes_bytes_and_arrays_alike(letters: bytes) -> None:
    expected = encode(letters.decode("latin-1")).tolist()
    assert encode(letters).tolist() == expected
    assert encode(np.frombuffer(letters, dtype=np.uint8)).tolist() == expected


@given(st.text("ACGTN"))
def test_decode_undoes_encode(sequence: str) -> None:
    assert decode(encode(sequence)) == sequence


@given(st.text("ACGTN"))
def test_reverse_complement_of_text(sequence: str) -> None:
    assert decode(reverse_complement(encode(sequence))) == "".join(COMPLEMENT[base] for base in reversed(sequence))


@given(any_codes)
def test_reverse_complement_twice_is_nothing_in_any_shape(codes: np.ndarray) -> None:
    once = reverse_complement(codes)
    assert once.shape == codes.shape
    assert np.array_equal(reverse_complement(once), codes)
    assert np.array_equal(one_hot(once), one_hot(codes)[..., ::-1, ::-1])


@given(any_codes)
def test_one_hot_has_a_single_one_in_the_row_of_the_base(codes: np.ndarray) -> None:
    X = one_hot(codes)
    assert X.dtype == np.float32
    assert X.shape == (*codes.shape[:-1], 4, codes.shape[-1])
    for base in range(4):
        assert np.array_equal(X[..., base, :] == 1, codes == base)
    assert np.array_equal(X.sum(axis=-2), codes < 4)


@given(hnp.arrays(np.uint8, (3, 7), elements=st.integers(0, 4)))
def test_codes_from_one_hot_undoes_one_hot(codes: np.ndarray) -> None:
    recovered = codes_from_one_hot(one_hot(codes))
    assert recovered.dtype == np.uint8
    assert np.array_equal(recovered, codes)


@pytest.mark.parametrize("value", [0.5, 2.0, -1.0, np.nan])
def test_a_column_that_is_not_one_hot_is_named(value: float) -> None:
    X = one_hot(encode("ACGTACGT").reshape(2, 4))
    X[1, 3, 2] = value
    with pytest.raises(UsageError, match=r"example 1 position 2 .*expected a single 1"):
        codes_from_one_hot(X)


def test_two_ones_in_a_column_are_named() -> None:
    X = np.ones((1, 4, 1))
    with pytest.raises(UsageError, match="example 0 position 0"):
        codes_from_one_hot(X)


@pytest.mark.parametrize("shape", [(4, 10), (2, 10, 4), (1, 5, 10)])
def test_one_hot_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"expected \(N, 4, L\)"):
        codes_from_one_hot(np.zeros(shape))


def test_letters_are_not_taken_for_codes() -> None:
    letters = np.frombuffer(b"ACGT", dtype=np.uint8)
    with pytest.raises(UsageError, match="expected 0 to 4"):
        reverse_complement(letters)
    with pytest.raises(UsageError, match="expected 0 to 4"):
        decode(letters)
    with pytest.raises(UsageError, match="one sequence at a time"):
        decode(np.zeros((2, 3), np.uint8))
    with pytest.raises(UsageError, match="expected ASCII byte values as uint8"):
        encode(np.array([65, 66]))  # type: ignore[arg-type]


def test_loaders_do_not_import_torch() -> None:
    code = (
        "import sys, seqsal.regions, seqsal.io.inputs, seqsal.io.bed, seqsal.sequence.draws; "
        "print(*({'torch', 'matplotlib', 'pyfaidx'} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.split() == []
