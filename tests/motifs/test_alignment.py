"""Alignment arithmetic against one instance, one base at a time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqsal.motifs.seqlets import Alignment, Seqlets, best_offset, join
from seqsal.sequence.codes import decode, one_hot, reverse_complement

WIDTH, CONTEXT = 9, 40


def make_seqlets(rng: np.random.Generator, n: int = 6) -> Seqlets:
    codes = rng.integers(0, 4, size=(n, CONTEXT), dtype=np.uint8)
    scores = rng.normal(size=(n, 4, CONTEXT)).astype(np.float32)
    table = pd.DataFrame({"chrom": "chr1", "start": np.arange(n) * 100, "name": "p", "sign": "pos"})
    table["end"] = table["start"] + CONTEXT
    return Seqlets(table, codes, scores, (scores * one_hot(codes)).sum(axis=1), False)


def make_alignment(rng: np.random.Generator, n: int = 6) -> Alignment:
    return Alignment(np.arange(n), rng.integers(8, 20, n), rng.random(n) < 0.5, WIDTH)


def slow_text(alignment: Alignment, seqlets: Seqlets, i: int) -> str:
    row, start = int(alignment.rows[i]), int(alignment.start[i])
    piece = seqlets.codes[row, start : start + alignment.width]
    return decode(reverse_complement(piece) if alignment.reverse[i] else piece)


def test_codes_counts_and_cwm(rng: np.random.Generator) -> None:
    seqlets, alignment = make_seqlets(rng), make_alignment(rng)
    codes = alignment.codes(seqlets)
    counts, cwm = np.zeros((4, WIDTH)), np.zeros((4, WIDTH))
    for i in range(len(alignment)):
        text = slow_text(alignment, seqlets, i)
        assert decode(codes[i]) == text
        piece = seqlets.contributions[i, alignment.start[i] : alignment.start[i] + WIDTH]
        piece = piece[::-1] if alignment.reverse[i] else piece
        for j, base in enumerate(text):
            counts["ACGT".index(base), j] += 1
            cwm["ACGT".index(base), j] += piece[j] / len(alignment)
    np.testing.assert_array_equal(alignment.counts(seqlets), counts)
    np.testing.assert_allclose(alignment.cwm(seqlets), cwm, rtol=1e-6)


@given(st.integers(0, 10**6), st.integers(-4, 8), st.integers(1, 12))
def test_window_moves_along_the_motif(seed: int, first: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    seqlets, alignment = make_seqlets(rng), make_alignment(rng)
    wide = alignment.window(-4, WIDTH + 16)
    moved = alignment.window(first, width)
    inside = slice(first + 4, first + 4 + width)
    shown = wide.codes(seqlets)[:, inside]
    np.testing.assert_array_equal(moved.codes(seqlets)[:, : shown.shape[1]], shown)


def test_flip_reads_the_other_strand(rng: np.random.Generator) -> None:
    seqlets, alignment = make_seqlets(rng), make_alignment(rng)
    np.testing.assert_array_equal(alignment.flip().codes(seqlets), reverse_complement(alignment.codes(seqlets)))
    np.testing.assert_allclose(alignment.flip().cwm(seqlets), alignment.cwm(seqlets)[::-1, ::-1])


def test_complete_drops_instances_over_an_edge_or_an_unknown_base(rng: np.random.Generator) -> None:
    seqlets = make_seqlets(rng, 4)
    seqlets.codes[1, 15] = 4
    alignment = Alignment(np.arange(4), np.array([-1, 10, 10, CONTEXT - WIDTH + 1]), np.zeros(4, bool), WIDTH)
    assert list(alignment.within(CONTEXT).rows) == [1, 2]
    assert list(alignment.complete(seqlets).rows) == [2]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("shift", [-3, 0, 5])
def test_best_offset_finds_a_shifted_copy(rng: np.random.Generator, shift: int, reverse: bool) -> None:
    long = rng.normal(size=(4, 30))
    anchor, other = long[:, 8:20], long[:, 8 + shift : 18 + shift]
    assert best_offset(anchor, other[::-1, ::-1] if reverse else other) == (shift, reverse)


def test_join_keeps_every_instance(rng: np.random.Generator) -> None:
    parts = [make_alignment(rng, 3), make_alignment(rng, 2)]
    joined = join(parts)
    assert len(joined) == 5
    np.testing.assert_array_equal(joined.start, np.concatenate([part.start for part in parts]))
