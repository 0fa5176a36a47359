"""Alignments against a slow definition, scores that chance reaches, and parts in excess."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from toys import random_codes

from seqsal.auditing.parts.artifacts.library import load_library
from seqsal.auditing.parts.artifacts.search import align, chance_scores, find_parts
from seqsal.sequence.codes import encode, reverse_complement

WORD = encode("AGATCGGAAGAGCACACGTCTGAACTCCAGTCA")


def slow_score(window: NDArray[np.uint8], word: NDArray[np.uint8]) -> int:
    """Best ungapped local score over all diagonals and strands, among segments with six equal bases in a row."""
    best = 0
    for copy in (word, reverse_complement(word)):
        for shift in range(-len(copy) + 1, len(window)):
            pairs = [(window[i + shift], copy[i]) for i in range(len(copy)) if 0 <= i + shift < len(window)]
            equal = [a == b and a < 4 for a, b in pairs]
            for i in range(len(equal)):
                score = run = longest = 0
                for j in range(i, len(equal)):
                    score += 1 if equal[j] else -2
                    run = run + 1 if equal[j] else 0
                    longest = max(longest, run)
                    if longest >= 6:
                        best = max(best, score)
    return best


def test_scores_are_those_of_the_definition(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 30, 60, share_unknown=0.02)
    words = [WORD, encode("ACGTACGTAC"), encode("AAAAAAAAAAAAAAA")]
    for row in range(0, 30, 3):
        at = int(rng.integers(0, 40))
        piece = WORD[5 : 5 + int(rng.integers(8, 20))]
        codes[row, at : at + len(piece)] = piece[: 60 - at]
    found = align(codes, words)
    slow = np.array([[slow_score(window, word) for word in words] for window in codes])
    np.testing.assert_array_equal(found.score, slow)


@pytest.mark.parametrize("strand", [1, -1])
@pytest.mark.parametrize("piece", [(0, 33), (0, 14), (19, 33), (10, 24)])
def test_partial_copies_are_placed(rng: np.random.Generator, strand: int, piece: tuple[int, int]) -> None:
    first, last = piece
    copy = WORD[first:last] if strand > 0 else reverse_complement(WORD[first:last])
    codes = np.full((1, 80), 4, dtype=np.uint8)
    codes[0, 30 : 30 + len(copy)] = copy
    hits = align(codes, [WORD]).hits(0, 8)
    assert (hits.score[0], hits.start[0], hits.end[0]) == (len(copy), 30, 30 + len(copy))
    assert (hits.offset[0], hits.strand[0]) == (first, strand)
    assert hits.word_starts(33)[0] == (30 - first if strand > 0 else 30 + last - 33)


def test_a_mismatch_costs_three() -> None:
    window = WORD.copy()
    window[15] = (window[15] + 1) % 4
    assert align(window[None], [WORD]).score[0, 0] == 33 - 3


def test_scores_do_not_depend_on_the_strand(rng: np.random.Generator) -> None:
    codes, words = random_codes(rng, 50, 100), [artifact.codes for artifact in load_library()]
    np.testing.assert_array_equal(align(codes, words).score, align(reverse_complement(codes), words).score)


def test_windows_shorter_than_a_seed_and_unknown_ones_hit_nothing() -> None:
    assert not align(np.zeros((3, 4), dtype=np.uint8), [WORD]).score.any()
    assert not align(np.full((3, 50), 4, dtype=np.uint8), [WORD]).score.any()


def test_chance_reaches_the_least_score_rarely(rng: np.random.Generator) -> None:
    words = [artifact.codes for artifact in load_library()]
    first, second = (align(random_codes(rng, 3_000, 200), words) for _ in range(2))
    least = chance_scores(first, words, 200, 1e-3)
    assert (second.score >= least).mean() < 1e-3
    assert least.min() >= 8


@pytest.mark.parametrize("width", [8, 11])
def test_a_planted_part_is_found_to_the_base(rng: np.random.Generator, width: int) -> None:
    codes, others = random_codes(rng, 200, 150), random_codes(rng, 200, 150)
    codes[:80, 40 : 40 + width] = WORD[14 : 14 + width]
    part = find_parts([WORD], codes, others)[0]
    assert part is not None
    assert (part.start, part.end) == (14, 14 + width)
    assert part.p_value < 1e-10


def test_no_part_is_in_excess_by_chance(rng: np.random.Generator) -> None:
    words = [artifact.codes for artifact in load_library()]
    parts = find_parts(words, random_codes(rng, 300, 200), random_codes(rng, 300, 200))
    assert min(part.p_value for part in parts if part is not None) > 0.01
