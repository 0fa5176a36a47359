"""Words in excess, and the invariant blocks that they are part of."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from seqsal.auditing.parts.artifacts.unknown import (
    MIN_COPIES,
    count_rows,
    enrichment_p,
    exact_hits,
    exactness,
    find_blocks,
)
from seqsal.sequence.codes import decode, encode, reverse_complement
from seqsal.sequence.draws import dinucleotide_shuffle
from tests.toys import random_codes

WORD = "GATTCCGTACAG"


def planted(rng: np.random.Generator, word: str, n: int, n_with: int, length: int = 100) -> np.ndarray:
    """Random sequences, the first `n_with` of which hold a word at a random place on a random strand."""
    codes = random_codes(rng, n, length)
    for row in range(n_with):
        start = int(rng.integers(0, length - len(word) + 1))
        bases = encode(word)
        codes[row, start : start + len(word)] = bases if rng.random() < 0.5 else reverse_complement(bases)
    return codes


def blocks_of(codes: np.ndarray, alpha: float = 0.01) -> list[str]:
    background = [dinucleotide_shuffle(codes, seed=1), dinucleotide_shuffle(codes, seed=2)]
    return [decode(block.codes) for block in find_blocks(codes, background, np.ones(codes.shape), alpha)]


def either(word: str) -> set[str]:
    return {word, decode(reverse_complement(encode(word)))}


def slow_mismatches(sequence: str, word: str) -> int:
    """Fewest bases that differ, over all places and strands."""
    starts = range(len(sequence) - len(word) + 1)
    return min(
        sum(a != b for a, b in zip(sequence[start : start + len(word)], strand, strict=True))
        for start in starts
        for strand in either(word)
    )


@pytest.mark.parametrize("word", [WORD, "GATTCCGTAC", "GATTCCGTACAGATTTGCGGATATTAGGCA"])
def test_a_planted_word_is_found_whole(rng: np.random.Generator, word: str) -> None:
    found = blocks_of(planted(rng, word, 200, 60))
    assert found[0] in either(word)


def test_next_to_nothing_is_found_in_random_sequence(rng: np.random.Generator) -> None:
    found = [blocks_of(random_codes(rng, 300, 200)) for _ in range(5)]
    assert sum(map(len, found)) <= 1
    assert all(len(word) < 10 for words in found for word in words)


def test_unknown_bases_are_in_no_word(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 100, 60)
    codes[:, 10:40] = 4
    assert blocks_of(codes) == []


def test_a_locus_that_is_repeated_counts_once(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 200, 60)
    codes[:40, 10:50] = codes[0, 10:50]
    codes[:40, :10], codes[:40, 50:] = codes[0, :10], codes[0, 50:]
    background = [dinucleotide_shuffle(codes, seed=1)]
    blocks = find_blocks(codes, background, np.ones(codes.shape), 0.01)
    assert blocks
    assert max(block.n_copies for block in blocks) < MIN_COPIES  # the 40 windows are one, chance copies are others


def test_words_that_negatives_have_as_well_do_not_stand_out(rng: np.random.Generator) -> None:
    codes, negatives = planted(rng, WORD, 200, 60), planted(rng, WORD, 200, 60)
    shuffles = dinucleotide_shuffle(codes, seed=1)
    assert find_blocks(codes, [shuffles], np.ones(codes.shape), 0.01)
    assert not find_blocks(codes, [shuffles, negatives], np.ones(codes.shape), 0.01)


def test_enrichment_is_fishers_test_times_the_words(rng: np.random.Generator) -> None:
    codes, shuffles = planted(rng, WORD, 40, 12), random_codes(rng, 200, 100)
    negatives = planted(rng, WORD, 30, 4)
    word = encode(WORD)
    against = [
        stats.fisher_exact([[12, 28], [0, 200]], alternative="greater").pvalue * 4**8 / 2,
        stats.fisher_exact([[12, 28], [4, 26]], alternative="greater").pvalue,
    ]
    assert enrichment_p(12, codes, [shuffles], word) == pytest.approx(against[0])
    assert enrichment_p(12, codes, [shuffles, negatives], word) == pytest.approx(max(against))
    assert enrichment_p(1, codes[:1], [shuffles[:1]], word) == 1.0


def test_rows_are_counted_by_their_best_copy(rng: np.random.Generator) -> None:
    codes = planted(rng, "GATTC", 60, 20, length=25)
    best = [slow_mismatches(decode(row), "GATTC") for row in codes]
    for mismatches in range(3):
        assert count_rows(codes, encode("GATTC"), mismatches) == best.count(mismatches)
    assert count_rows(codes[:, :3], encode("GATTC")) == 0


def test_exact_hits_say_where_and_on_which_strand(rng: np.random.Generator) -> None:
    codes = planted(rng, WORD, 30, 10)
    rows = np.arange(30) * 2
    hits = exact_hits(codes, rows, encode(WORD))
    assert np.unique(hits.row).tolist() == (np.arange(10) * 2).tolist()
    for row, start, end, strand in zip(hits.row, hits.start, hits.end, hits.strand, strict=True):
        piece = codes[row // 2, start:end]
        assert decode(piece if strand > 0 else reverse_complement(piece)) == WORD


def test_copies_are_exact_and_sites_are_not(rng: np.random.Generator) -> None:
    codes = planted(rng, WORD, 400, 200)
    background = [random_codes(rng, 400, 100)]
    assert exactness(codes, background, encode(WORD)) > 0.98
    varied = codes.copy()
    for row in range(200):  # as if every base of the sites were the consensus with probability 0.9
        hit = exact_hits(varied[row : row + 1], np.zeros(1, np.int64), encode(WORD))
        span = slice(int(hit.start[0]), int(hit.end[0]))
        other = rng.random(len(WORD)) < 0.1
        varied[row, span] = np.where(other, (varied[row, span] + rng.integers(1, 4, len(WORD))) % 4, varied[row, span])
    exact, close = 0.9**12, 12 * 0.1 * 0.9**11
    assert exactness(varied, background, encode(WORD)) == pytest.approx((exact / (exact + close)) ** (10 / 12), abs=0.1)
    assert exactness(random_codes(rng, 5, 50), background, encode(WORD)) == 0.0
