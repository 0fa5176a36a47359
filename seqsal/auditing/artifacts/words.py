"""Words that stand out in a set of sequences, and the invariant blocks that they are part of.

A word of `WORD_BP` bases, on either strand, stands out when it is in more sequences than in dinucleotide shuffles and,
where there are negatives, than in these: the binomial tail of its count, at the rate of the background with one
sequence added, times the number of words. This only picks what to look at; evidence is the test of the whole block
(:func:`enrichment_p`). All copies of such a word are aligned, and the block grows from it to both
sides as long as `CONSERVED` of the copies agree on a base. Copies whose surroundings agree as well, because windows
overlap or are repeated in the genome, count once.

What tells an artifact from a binding site is whether inexact copies exist. With n₀ exact copies of a block of w bases
and x₁ copies with one mismatch in excess of the background, ``exactness = (n₀ / (n₀ + x₁)) ** (10 / w)``, about the
share of exact copies among those of ten of its bases: 1 for an adapter, 0.92 with 1 % of errors at each base, 0.69 with
5 %, and 0.46 where the least frequent base of every site is found in 10 % of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqsal.auditing.artifacts.hits import Hits
from seqsal.auditing.context import Codes
from seqsal.auditing.stats import fisher_p
from seqsal.sequence.codes import N_CODE, reverse_complement

__all__ = ["Block", "count_rows", "enrichment_p", "exact_hits", "exactness", "find_blocks"]

WORD_BP = 8
REACH_BP = 40  # bases on either side of a word that a block may grow by
FLANK_BP = 8  # surroundings that tell copies of one locus
CONSERVED = 0.9
MAX_WORDS = 400
_N_WORDS = 4**WORD_BP


@dataclass(frozen=True)
class Block:
    """An invariant stretch around an enriched word.

    Attributes
    ----------
    codes
        (w,) its bases.
    n_copies
        Copies of the word that it grew from, those of one locus counted once.
    """

    codes: Codes
    n_copies: int

    @property
    def width(self) -> int:
        """Number of bases."""
        return len(self.codes)


def find_blocks(codes: Codes, backgrounds: Iterable[Codes], weight: NDArray[np.floating], alpha: float) -> list[Block]:
    """Find the invariant blocks around words that stand out.

    Parameters
    ----------
    codes
        (N, L) sequences; N (4) where nothing is to be found.
    backgrounds
        Sequences (M, L) to compare with, each on its own.
    weight
        (N, L) importance of the bases, not negative: words with the largest sum come first.
    alpha
        Largest corrected p-value.

    Returns
    -------
    list of Block
        Each once, whichever words or strand it was found by; those with most copies first.
    """
    words = _standing_out(codes, backgrounds, weight, alpha)
    blocks: dict[bytes, Block] = {}
    for word in words:
        row, start, reverse = _places_of(codes, word)
        block = _grow(codes, row, start, reverse)
        if block is None:
            continue
        bases, n_copies = block
        key = min(bases.tobytes(), reverse_complement(bases).tobytes())
        if key not in blocks or blocks[key].n_copies < n_copies:
            blocks[key] = Block(bases, n_copies)
    return sorted(blocks.values(), key=lambda block: (-block.n_copies, block.codes.tobytes()))


def exact_hits(codes: Codes, rows: NDArray[np.int64], word: Codes) -> Hits:
    """Find the exact copies of a word, on both strands, in sequences (n, L) that are `rows` of the attributions."""
    parts = []
    for strand, bases in ((1, word), (-1, reverse_complement(word))):
        row, start = np.nonzero(_mismatches(codes, bases) == 0)
        parts.append((rows[row], start, start + len(word), np.full(len(row), strand, np.int8)))
    row, start, end, strands = (np.concatenate(values) for values in zip(*parts, strict=True))
    order = np.lexsort((strands, start, row))
    return Hits(row[order], start[order], end[order], strands[order], np.zeros(len(row), dtype=np.int64))


def count_rows(codes: Codes, word: Codes, mismatches: int = 0) -> int:
    """Count the sequences whose best copy of a word, on either strand, has exactly so many mismatches."""
    if not len(codes) or codes.shape[1] < len(word):
        return 0
    best = np.minimum(_mismatches(codes, word).min(axis=1), _mismatches(codes, reverse_complement(word)).min(axis=1))
    return int((best == mismatches).sum())


def enrichment_p(n_rows: int, codes: Codes, backgrounds: Sequence[Codes], word: Codes) -> float:
    """P-value that a word is in no larger share of sequences than in the backgrounds.

    Fisher's exact test; against the first background, the shuffles, times the number of words of 8 bp that the word was
    picked from; the largest over the backgrounds.
    """
    largest = 0.0
    for i, other in enumerate(backgrounds):
        p_value = float(fisher_p(n_rows, len(codes), count_rows(other, word), len(other)))
        largest = max(largest, p_value * (_N_WORDS / 2) if i == 0 else p_value)
    return min(1.0, largest)


def exactness(codes: Codes, backgrounds: Iterable[Codes], word: Codes) -> float:
    """Share of exact copies of ten bases of a word, in 0 to 1; see the formula above."""
    n_exact, n_close = (count_rows(codes, word, mismatches) for mismatches in (0, 1))
    if not n_exact:
        return 0.0
    chance = [count_rows(other, word, 1) / len(other) for other in backgrounds if len(other)]
    free = len(codes) - n_exact  # sequences in which a close copy can be the best
    excess = max(0.0, n_close - free * max(chance, default=0.0))
    return float((n_exact / (n_exact + excess)) ** (10 / len(word)))


def _standing_out(codes: Codes, backgrounds: Iterable[Codes], weight: NDArray[np.floating], alpha: float) -> list[int]:
    """Words with corrected p-values of at most `alpha`, those that carry most first, at most `MAX_WORDS`."""
    from scipy.stats import binom  # here because it takes half a second to load

    row, start, word = _words(codes)
    n_rows = _row_counts(row, word)
    p_values = np.zeros(_N_WORDS)
    for other in backgrounds:
        other_row, _, other_word = _words(other)
        rate = (_row_counts(other_row, other_word) + 1.0) / (len(other) + 1)
        p_values = np.maximum(p_values, binom.sf(n_rows - 1, len(codes), rate))
    p_values = np.minimum(1.0, p_values * (_N_WORDS / 2))  # a word and its reverse complement are one
    sums = np.concatenate([np.zeros((len(codes), 1)), np.cumsum(weight, axis=1, dtype=np.float64)], axis=1)
    carried = np.bincount(word, weights=sums[row, start + WORD_BP] - sums[row, start], minlength=_N_WORDS)
    found = np.flatnonzero((p_values <= alpha) & (n_rows > 0))
    return [int(name) for name in found[np.argsort(-carried[found], kind="stable")][:MAX_WORDS]]


def _words(codes: Codes) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Row, start and number of every known word, a word and its reverse complement having the smaller one's number."""
    forward, reverse, known = _numbers(codes)
    row, start = np.nonzero(known)
    return row, start, np.minimum(forward, reverse)[row, start]


def _numbers(codes: Codes) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Read the word at each start (n, L - 7) as a number, likewise its reverse complement, and whether it is known."""
    n_starts = max(codes.shape[1] - WORD_BP + 1, 0)
    forward, reverse = np.zeros((2, len(codes), n_starts), dtype=np.int64)
    known = np.ones((len(codes), n_starts), dtype=bool)
    for i in range(WORD_BP):
        bases = codes[:, i : i + n_starts]
        known &= bases < N_CODE
        forward = forward * 4 + bases
        reverse += (3 - np.minimum(bases, 3).astype(np.int64)) << (2 * i)
    return forward, reverse, known


def _row_counts(row: NDArray[np.int64], word: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count the rows that hold each word."""
    pairs = np.unique(row * _N_WORDS + word)
    return np.bincount(pairs % _N_WORDS, minlength=_N_WORDS)


def _places_of(codes: Codes, word: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Row, start and strand of the first copy of a word in each row."""
    forward, reverse, known = _numbers(codes)
    found = known & ((forward == word) | (reverse == word))
    row = np.flatnonzero(found.any(axis=1))
    start = found[row].argmax(axis=1)
    return row, start, forward[row, start] != word


def _grow(
    codes: Codes, row: NDArray[np.int64], start: NDArray[np.int64], reverse: NDArray[np.bool_]
) -> tuple[Codes, int] | None:
    """Bases of the block around aligned copies of a word, and the number of different loci that they lie in."""
    padded = np.pad(codes, ((0, 0), (REACH_BP, REACH_BP)), constant_values=N_CODE)
    width = WORD_BP + 2 * REACH_BP
    around = padded[row[:, None], start[:, None] + np.arange(width)]  # (n, width), the word at REACH_BP
    around[reverse] = reverse_complement(around[reverse])
    counts = (around[:, :, None] == np.arange(4)).sum(axis=0)  # (width, 4)
    known = counts.sum(axis=1)
    agree = (counts.max(axis=1) >= CONSERVED * known) & (known >= len(row) / 2)
    agree[REACH_BP : REACH_BP + WORD_BP] = True
    first = REACH_BP - int(np.argmin(agree[REACH_BP::-1])) + 1 if not agree[:REACH_BP].all() else 0
    beyond = agree[REACH_BP + WORD_BP :]
    last = REACH_BP + WORD_BP + (int(np.argmin(beyond)) if not beyond.all() else len(beyond))
    flanks = np.concatenate([around[:, max(first - FLANK_BP, 0) : first], around[:, last : last + FLANK_BP]], axis=1)
    n_loci = len(np.unique(flanks, axis=0))
    return counts[first:last].argmax(axis=1).astype(np.uint8), n_loci


def _mismatches(codes: Codes, word: Codes) -> NDArray[np.uint8]:
    """Count the bases (n, L - w + 1) that differ from a word (w,) laid at each start."""
    n_starts = codes.shape[1] - len(word) + 1
    total = np.zeros((len(codes), max(n_starts, 0)), dtype=np.uint8)
    for i, base in enumerate(word):
        total += codes[:, i : i + total.shape[1]] != base
    return total
