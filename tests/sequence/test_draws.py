"""Draws belong to their bases; shuffles keep what they say, and every arrangement is equally likely."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import chisquare, kstest
from toys import Windows, random_codes

from seqsal.errors import UsageError
from seqsal.sequence import draws
from seqsal.sequence.codes import decode, encode
from seqsal.sequence.draws import (
    USES,
    ShuffledControls,
    control_parents,
    count_repeats,
    default_n_controls,
    dinucleotide_shuffle,
    draw_number,
    generators,
    mononucleotide_shuffle,
    window_keys,
)

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
def test_a_shuffle_does_not_depend_on_its_batch(codes: np.ndarray, data: st.DataObject) -> None:
    whole = dinucleotide_shuffle(codes, seed=3, draw=1)
    rows = np.array(data.draw(st.lists(st.integers(0, len(codes) - 1))) if len(codes) else [], dtype=np.int64)
    assert np.array_equal(dinucleotide_shuffle(codes[rows], seed=3, draw=1), whole[rows])


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    codes = rng.integers(0, 5, (20, 50)).astype(np.uint8)
    whole = dinucleotide_shuffle(codes, seed=0)
    monkeypatch.setattr(draws, "_CHUNK_BP", 130)
    assert np.array_equal(dinucleotide_shuffle(codes, seed=0), whole)


@pytest.mark.parametrize("sequence", ["ACAGCATCG", "AACCAACCA", "ATATTAAT", "GATTACAGA", "ACGTCAGTA", "CCACGCTCC"])
def test_every_arrangement_is_equally_likely(sequence: str) -> None:
    expected = arrangements(sequence)
    assert len(expected) > 2
    codes = np.tile(encode(sequence), (2_000 * len(expected), 1))
    drawn, counts = np.unique(
        dinucleotide_shuffle(codes, seed=11, draw=np.arange(len(codes))), axis=0, return_counts=True
    )
    assert {decode(row) for row in drawn} == expected
    assert chisquare(counts).pvalue > 1e-4


def test_every_arrangement_is_equally_likely_over_draws_and_seeds() -> None:
    codes = np.tile(encode("ACAGCATCG"), (200, 1))
    p_values = []
    for seed in range(40):
        counts = Counter(row.tobytes() for row in dinucleotide_shuffle(codes, seed=seed, draw=np.arange(200)))
        p_values.append(chisquare(list(counts.values())).pvalue)
    assert kstest(p_values, "uniform").pvalue > 1e-4


def test_runs_of_one_row_are_shuffled_independently() -> None:
    runs = ["AACCAACCA", "ACAGCATCG"]
    codes = np.tile(encode("N".join(runs)), (20_000, 1))
    counts = Counter(decode(row) for row in dinucleotide_shuffle(codes, seed=5, draw=np.arange(len(codes))))
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
    with pytest.raises(UsageError, match=r"draw: got shape \(2,\) for 3 sequences"):
        dinucleotide_shuffle(np.zeros((3, 4), np.uint8), seed=0, draw=[1, 2])


def test_a_key_belongs_to_its_bases(rng: np.random.Generator) -> None:
    codes = rng.integers(0, 5, (500, 37)).astype(np.uint8)
    keys = window_keys(codes)
    assert len(set(keys.tolist())) == 500
    order = rng.permutation(500)
    assert np.array_equal(window_keys(codes[order]), keys[order])
    neighbours = np.repeat(codes[:1], 37 * 4, axis=0)  # all single changes, and a swap of two eights of bases
    neighbours[np.arange(37 * 4), np.repeat(np.arange(37), 4)] += np.tile(np.arange(1, 5, dtype=np.uint8), 37)
    swapped = np.concatenate([codes[:1, 8:16], codes[:1, :8], codes[:1, 16:]], axis=1)
    variants = np.concatenate([codes[:1], neighbours % 5, swapped])
    assert len(set(window_keys(variants).tolist())) == len(variants)


def test_keys_differ_by_length_and_know_short_windows() -> None:
    keys = [int(window_keys(np.zeros((1, length), np.uint8))[0]) for length in range(20)]
    assert len(set(keys)) == 20
    assert window_keys(np.zeros((0, 5), np.uint8)).shape == (0,)


def test_bits_of_keys_are_even(rng: np.random.Generator) -> None:
    keys = window_keys(rng.integers(0, 4, (4000, 9)).astype(np.uint8))
    ones = np.array([(keys >> np.uint64(bit) & np.uint64(1)).mean() for bit in range(64)])
    assert np.abs(ones - 0.5).max() < 5 * 0.5 / 4000**0.5


def test_number_of_controls() -> None:
    assert [default_n_controls(n, 2000) for n in (1, 100, 500, 200_000)] == [100, 100, 500, 1000]
    assert [default_n_controls(1, length) for length in (100, 200, 500, 100_000)] == [1000, 1000, 400, 100]
    assert control_parents(np.arange(4), 8, 4).tolist() == [0, 2, 4, 6]
    assert control_parents(np.arange(5), 2, 5).tolist() == [0, 1, 0, 1, 0]


def test_numbers_of_different_uses_and_draws_do_not_meet() -> None:
    numbers = np.concatenate([draw_number(use, np.arange(50), draw) for use in USES for draw in range(3)])
    assert len(set(numbers.tolist())) == len(USES) * 3 * 50
    assert draw_number("controls", np.arange(3)).tolist() == [0, 1, 2]


def test_generators_belong_to_their_bases(rng: np.random.Generator) -> None:
    codes = rng.integers(0, 4, (4, 30)).astype(np.uint8)

    def draws(rows: list[int], **changed: int) -> list[float]:
        return [generator.random() for generator in generators(codes[rows], **{"seed": -1, "number": 3, **changed})]

    assert draws([2, 0]) == [draws([0, 1, 2, 3])[row] for row in (2, 0)]
    assert len({*draws([0]), *draws([1]), *draws([0], seed=0), *draws([0], number=4)}) == 4


@given(st.lists(st.integers(0, 4), max_size=30))
def test_repeats_are_counted(values: list[int]) -> None:
    expected = [values[:i].count(value) for i, value in enumerate(values)]
    assert count_repeats(np.array(values, dtype=np.uint64)).tolist() == expected


def test_control_k_of_a_window_is_draw_k_of_its_bases(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draws, "_CHUNK_BP", 130)
    codes = rng.integers(0, 4, (5, 50)).astype(np.uint8)
    codes[3] = codes[1]  # counts together with its twin
    source = Windows(codes)
    parents = control_parents(np.arange(12), 5, 12)
    assert parents.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]
    controls = ShuffledControls(source, parents, seed=4)
    found = np.concatenate([controls.read(slice(0, 7)), controls.read(slice(7, 12))])
    numbers = [0, 0, 0, 1, 0, 1, 2, 1, 3, 1, 2, 4]
    for control, parent, number in zip(found, parents, numbers, strict=True):
        assert np.array_equal(control, dinucleotide_shuffle(codes[[parent]], seed=4, draw=number)[0])
    again = ShuffledControls(source, parents, seed=4, draw=1).read(slice(0, 12))
    assert not (again == found).all(axis=1).any()
    assert ShuffledControls(source, parents[:0], seed=4).read(slice(0, 0)).shape == (0, 50)


def test_mononucleotide_shuffle_keeps_bases_and_places_of_n(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 20, 100, share_unknown=0.1)
    shuffled = mononucleotide_shuffle(codes, seed=0)
    np.testing.assert_array_equal(shuffled == 4, codes == 4)
    np.testing.assert_array_equal(np.sort(shuffled, axis=1), np.sort(codes, axis=1))
    assert (shuffled != codes).mean() > 0.5
    assert np.array_equal(mononucleotide_shuffle(codes[5:7], seed=0), shuffled[5:7])
    assert (mononucleotide_shuffle(codes, seed=0, draw=1) != shuffled).any()
