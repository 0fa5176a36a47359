"""Dinucleotide shuffles: what is kept, and that every arrangement is equally likely."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import chisquare, kstest

from seqsal.errors import UsageError
from seqsal.sequence import shuffle
from seqsal.sequence.codes import decode, encode
from seqsal.sequence.shuffle import control_parents, default_n_controls, dinucleotide_shuffle

sequences = st.text("ACGTN", max_size=60).map(encode)
batches = hnp.arrays(np.uint8, st.tuples(st.integers(0, 6), st.integers(0, 40)), elements=st.integers(0, 4))


def pairs(sequence: str) -> Counter[str]:
    return Counter(a + b for a, b in itertools.pairwise(sequence))


def arrangements(sequence: str) -> set[str]:
    """All sequences with the same dinucleotide counts and ends, by trying every permutation."""
    inner = {"".join(p) for p in itertools.permutations(sequence[1:-1])}
    candidates = (sequence[0] + p + sequence[-1] for p in inner)
    return {candidate for candidate in candidates if pairs(candidate) == pairs(sequence)}


@given(batches, st.integers(-5, 2**64), st.integers(0, 3))
def test_each_run_keeps_its_place_its_ends_and_its_dinucleotides(codes: np.ndarray, seed: int, draw: int) -> None:
    shuffled = dinucleotide_shuffle(codes, seed=seed, draw=draw)
    assert shuffled.dtype == np.uint8
    assert np.array_equal(shuffled == 4, codes == 4)
    for before, after in zip(codes, shuffled, strict=True):
        for run, new_run in zip(decode(before).split("N"), decode(after).split("N"), strict=True):
            assert pairs(new_run) == pairs(run)
            assert (new_run[:1], new_run[-1:]) == (run[:1], run[-1:])


@given(batches, st.data())
def test_a_row_does_not_depend_on_its_batch(codes: np.ndarray, data: st.DataObject) -> None:
    whole = dinucleotide_shuffle(codes, seed=3, draw=1)
    rows = np.array(data.draw(st.lists(st.integers(0, len(codes) - 1))) if len(codes) else [], dtype=np.int64)
    assert np.array_equal(dinucleotide_shuffle(codes[rows], seed=3, rows=rows, draw=1), whole[rows])


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    codes = rng.integers(0, 5, (20, 50)).astype(np.uint8)
    whole = dinucleotide_shuffle(codes, seed=0)
    monkeypatch.setattr(shuffle, "_CHUNK_BP", 130)
    assert np.array_equal(dinucleotide_shuffle(codes, seed=0), whole)


@pytest.mark.parametrize("sequence", ["ACAGCATCG", "AACCAACCA", "ATATTAAT", "GATTACAGA", "ACGTCAGTA", "CCACGCTCC"])
def test_every_arrangement_is_equally_likely_over_rows(sequence: str) -> None:
    expected = arrangements(sequence)
    assert len(expected) > 2
    codes = np.tile(encode(sequence), (2_000 * len(expected), 1))
    counts = Counter(decode(row) for row in dinucleotide_shuffle(codes, seed=11))
    assert set(counts) == expected
    assert chisquare(list(counts.values())).pvalue > 1e-4


def test_every_arrangement_is_equally_likely_over_draws_and_seeds() -> None:
    codes = encode("ACAGCATCG")[None]
    p_values = []
    for seed in range(40):
        counts = Counter(dinucleotide_shuffle(codes, seed=seed, draw=draw).tobytes() for draw in range(200))
        p_values.append(chisquare(list(counts.values())).pvalue)
    assert kstest(p_values, "uniform").pvalue > 1e-4


def test_runs_of_one_row_are_shuffled_independently() -> None:
    runs = ["AACCAACCA", "ACAGCATCG"]
    codes = np.tile(encode("N".join(runs)), (20_000, 1))
    counts = Counter(decode(row) for row in dinucleotide_shuffle(codes, seed=5))
    assert set(counts) == {"N".join(both) for both in itertools.product(*map(arrangements, runs))}
    assert chisquare(list(counts.values())).pvalue > 1e-4


def test_long_sequences_do_change(rng: np.random.Generator) -> None:
    codes = rng.integers(0, 4, (5, 500)).astype(np.uint8)
    first, second = (dinucleotide_shuffle(codes, seed=0, draw=draw) for draw in (0, 1))
    # independent random sequences agree at a quarter of their positions
    for one, other in ((codes, first), (codes, second), (first, second), (first[0], first[1])):
        assert 0.15 < (one == other).mean() < 0.35
    assert np.array_equal(first, dinucleotide_shuffle(codes, seed=0))


def test_the_input_is_not_changed(rng: np.random.Generator) -> None:
    codes = rng.integers(0, 4, (5, 50)).astype(np.uint8)
    before = codes.copy()
    dinucleotide_shuffle(codes, seed=0)
    assert np.array_equal(codes, before)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(UsageError, match=r"codes: got shape \(4,\), expected \(N, L\)"):
        dinucleotide_shuffle(np.zeros(4, np.uint8), seed=0)
    with pytest.raises(UsageError, match="values 0 to 4"):
        dinucleotide_shuffle(np.full((1, 4), 65, np.uint8), seed=0)
    with pytest.raises(UsageError, match=r"rows: got shape \(2,\) for 3 sequences"):
        dinucleotide_shuffle(np.zeros((3, 4), np.uint8), seed=0, rows=[1, 2])


def test_number_of_controls() -> None:
    assert [default_n_controls(n, 2000) for n in (1, 100, 500, 200_000)] == [100, 100, 500, 1000]
    assert [default_n_controls(1, length) for length in (100, 200, 500, 100_000)] == [1000, 1000, 400, 100]
    assert control_parents(np.arange(4), 8, 4).tolist() == [0, 2, 4, 6]
    assert control_parents(np.arange(5), 2, 5).tolist() == [0, 1, 0, 1, 0]
