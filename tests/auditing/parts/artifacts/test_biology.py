"""Copies against sites: exactness, what goes on next to a word, and known motifs."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from toys import random_codes

from seqsal.auditing.parts.artifacts.biology import (
    all_motifs,
    count_word,
    explain_word,
    is_repetitive,
    naming_motif,
)
from seqsal.motifs import Motif
from seqsal.sequence.codes import encode, reverse_complement

ADAPTER = encode("TGGAATTCTCGGGTGCCAAGG")


def with_copies(
    rng: np.random.Generator, copies: NDArray[np.uint8], n: int = 300
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Random windows, the first of which hold the copies (k, w) on either strand, and others."""
    codes, others = random_codes(rng, n, 120), random_codes(rng, n, 120)
    for row, copy in enumerate(copies):
        at = int(rng.integers(10, 100 - len(copy)))
        codes[row, at : at + len(copy)] = copy if rng.random() < 0.5 else reverse_complement(copy)
    return codes, others


def sites(rng: np.random.Generator, motif: Motif, n: int) -> NDArray[np.uint8]:
    return np.array([[rng.choice(4, p=column / column.sum()) for column in motif.ppm.T] for _ in range(n)], np.uint8)


def test_counts_are_those_of_a_slow_search(rng: np.random.Generator) -> None:
    word = encode("ACGGT")
    codes = random_codes(rng, 20, 50, share_unknown=0.02)
    counted = count_word(codes, word)
    exact, variants = 0, np.zeros((4, 5), dtype=int)
    for forward in codes:
        strands, taken = (forward, reverse_complement(forward)), np.zeros((2, 50), dtype=bool)
        for k, window in enumerate(strands):
            for i in range(46):
                if (window[i : i + 5] == word).all():
                    exact += 1
                    taken[k, i : i + 5] = taken[1 - k, 45 - i : 50 - i] = True
        for k, window in enumerate(strands):
            for i in range(46):
                wrong = np.flatnonzero(window[i : i + 5] != word)
                if len(wrong) == 1 and not taken[k, i : i + 5].any() and window[i + wrong[0]] < 4:
                    variants[window[i + wrong[0]], wrong[0]] += 1
    assert counted.exact == exact
    np.testing.assert_array_equal(counted.variants, variants)


@pytest.mark.parametrize("span", [(0, 8), (5, 15), (11, 21)])
@pytest.mark.parametrize("error_rate", [0.0, 0.05])
def test_copies_are_not_explained(rng: np.random.Generator, span: tuple[int, int], error_rate: float) -> None:
    copies = np.tile(ADAPTER[slice(*span)], (120, 1))
    wrong = rng.random(copies.shape) < error_rate
    copies = np.where(wrong, (copies + rng.integers(1, 4, copies.shape)) % 4, copies).astype(np.uint8)
    assert explain_word(ADAPTER, *span, *with_copies(rng, copies), all_motifs()) is None


@pytest.mark.parametrize(
    "accession", ["MA0139.2", "MA0506.3", "MA0138.3", "MA0018.5", "MA0363.3", "MA0108.3", "MA0489.3"]
)
def test_sites_of_proteins_are_explained(rng: np.random.Generator, accession: str) -> None:
    motif = next(motif for motif in all_motifs() if motif.accession == accession)
    codes, others = with_copies(rng, sites(rng, motif, 250))
    consensus = motif.ppm.argmax(axis=0).astype(np.uint8)
    for start in range(0, max(len(consensus) - 7, 0), 3):
        piece = consensus[start : start + 8]
        for before, after in (("", ""), ("ACTTG", "GATCA")):  # an artifact of just these bases, and a longer one
            artifact = np.concatenate([encode(before), piece, encode(after)])
            first = len(before)
            assert explain_word(artifact, first, first + 8, codes, others, all_motifs()) is not None


def test_a_piece_of_an_exact_longer_word_is_explained(rng: np.random.Generator) -> None:
    codes, others = with_copies(rng, np.tile(encode("CCACCAGGGGGCGC"), (100, 1)))
    artifact = encode("TTTTGACAGGGGGCATTTGA")
    explained = explain_word(artifact, 6, 14, codes, others, ())
    assert explained is not None and "longer pattern" in explained


def test_long_copies_need_no_explanation(rng: np.random.Generator) -> None:
    codes, others = with_copies(rng, np.tile(np.concatenate([encode("ACCA"), ADAPTER]), (100, 1)))
    assert explain_word(ADAPTER, 0, 21, codes, others, all_motifs()) is None


def test_a_rigid_known_motif_explains_its_sites_but_not_exact_copies(rng: np.random.Generator) -> None:
    counts = np.full((4, 8), 2.0)
    counts[encode("GGAATTCT"), np.arange(8)] = 94.0
    motif = Motif("Ours", "X1", counts)
    varied, exact = sites(rng, motif, 150), np.tile(ADAPTER[1:9], (150, 1))
    assert explain_word(ADAPTER, 1, 9, *with_copies(rng, varied), [motif]) == "motif Ours (X1)"
    assert explain_word(ADAPTER, 1, 9, *with_copies(rng, varied), []) is None
    assert explain_word(ADAPTER, 1, 9, *with_copies(rng, exact), [motif]) is None


def test_repeats_are_told() -> None:
    assert is_repetitive(encode("GAGAGAGAGAGAGA"))
    assert is_repetitive(encode("AAAAAAAAAA"))
    assert not is_repetitive(ADAPTER)


class TestFewCopies:
    """Words that too few copies show to vary, but that are sites of a motif that the sequences hold."""

    HA_TAG = encode("TACCCATACGATGTTCCAGATTACGCT")

    @pytest.fixture
    def rap1(self) -> Motif:
        return next(motif for motif in all_motifs() if motif.accession == "MA0359.3")

    def test_a_motif_whose_other_sites_are_there_explains_them(self, rng: np.random.Generator, rap1: Motif) -> None:
        drawn = sites(rng, rap1, 40)
        explained = explain_word(self.HA_TAG, 1, 9, *with_copies(rng, drawn, 40), [rap1])
        assert explained is not None and "RAP1" in explained

    def test_copies_alone_are_not_explained_by_a_likeness(self, rng: np.random.Generator, rap1: Motif) -> None:
        copies = np.tile(self.HA_TAG, (30, 1))
        assert explain_word(self.HA_TAG, 1, 9, *with_copies(rng, copies, 40), [rap1]) is None

    def test_a_pattern_with_a_name_explains_what_it_and_the_motif_are_likely_to_have(self, rap1: Motif) -> None:
        word, other = self.HA_TAG[1:9], Motif("ETS", "", np.roll(rap1.counts, 1, axis=0))
        assert "RAP1, which names a pattern" in str(naming_motif(word, [(rap1, rap1)]))
        assert naming_motif(word, [(rap1, other)]) is None and naming_motif(word, [(other, rap1)]) is None
        assert naming_motif(np.tile(word, 2), [(rap1, rap1)]) is None
