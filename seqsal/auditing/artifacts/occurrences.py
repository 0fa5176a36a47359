"""Where words stand in sequences: whole, in part, and with other bases, on both strands; and what is in excess.

*Alignments* are ungapped: +1 for an equal base, -2 for another, the best segment on any diagonal (Smith and Waterman
1981 without gaps). Segments grow from runs of `SEED_BP` equal bases, as in BLAST (Altschul et al. 1990,
doi:10.1016/S0022-2836(05)80360-2), until they fall `DROP` below their best score. Unknown bases equal nothing.

*Scores that chance reaches.* Two random sequences of m and n bases share E = K m n e^(-λ s) segments of score s or more
(Karlin and Altschul 1990, doi:10.1073/pnas.87.6.2264); with these scores and uniform bases λ = ln((3 + √21) / 2), the
root of ¼ e^λ + ¾ e^(-2 λ) = 1. A hit has a score that neither this formula nor the shuffled sequences themselves reach
more often than `chance` per window.

*Short parts* cannot reach such a score, so their numbers must speak: every `PART_BP`-mer of an artifact is counted in
both sets, and the most significant one, after Bonferroni over all of them, is lengthened as long as its neighbours on
the artifact are nearly as much in excess.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqsal.auditing.artifacts.hits import Hits
from seqsal.auditing.context import Codes
from seqsal.auditing.stats import fisher_p
from seqsal.sequence.codes import N_CODE, reverse_complement

__all__ = ["PART_BP", "Alignments", "Part", "align", "chance_scores", "find_parts"]

SEED_BP, DROP = 6, 8
PART_BP = 8
KARLIN_K = 0.6  # above the value for these scores, so that E is too large rather than too small
KARLIN_LAMBDA = float(np.log((3 + np.sqrt(21)) / 2))
MOSTLY = 0.65


@dataclass(frozen=True)
class Alignments:
    """The best segment that each of n windows shares with each of A words.

    Attributes
    ----------
    score
        (n, A) equal bases less twice the others; 0 where there is no run of `SEED_BP` equal bases.
    start, end
        (n, A) half-open span in the window.
    offset
        (n, A) first base of the segment in the word, as the word reads.
    strand
        (n, A) int8, 1 or -1.
    """

    score: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    offset: NDArray[np.int64]
    strand: NDArray[np.int8]

    def hits(self, word: int, least: int) -> tuple[Hits, NDArray[np.int64]]:
        """Return the hits of one word with at least some score, and their scores, by row."""
        rows = np.flatnonzero(self.score[:, word] >= least)
        at = (rows, np.full(len(rows), word))
        return Hits(rows, self.start[at], self.end[at], self.strand[at], self.offset[at]), self.score[at]


@dataclass(frozen=True)
class Part:
    """A part `word[start:end]` that is in excess, with the p-value of its most significant `PART_BP`-mer."""

    start: int
    end: int
    p_value: float


def align(codes: Codes, words: Sequence[Codes]) -> Alignments:
    """Find the best segment that windows share with words, on either strand.

    Parameters
    ----------
    codes
        (n, L) uint8.
    words
        A words of any lengths.
    """
    n, n_words = len(codes), len(words)
    copies = [copy for word in words for copy in (word, reverse_complement(word))]
    gap = np.array([N_CODE], dtype=np.uint8)
    pool = np.concatenate([gap, *(part for copy in copies for part in (copy, gap))])
    widths = np.array([len(copy) for copy in copies], dtype=np.int64)
    first = 1 + np.concatenate([[0], np.cumsum(widths + 1)[:-1]]).astype(np.int64)
    owner = np.repeat(np.arange(len(copies)), widths + 1)  # pool[1:]: each copy and the gap after it
    heads, seeds = _seed_index(pool)
    best = np.zeros((n, n_words, 4), dtype=np.int32)  # score, start, end, first base in the pool
    _compiled()(np.ascontiguousarray(codes), pool, heads, seeds, np.concatenate([[0], owner]), best)
    score, start, end, at = (best[:, :, k].astype(np.int64) for k in range(4))
    copy = np.concatenate([[0], owner])[at]
    reverse = (copy % 2 == 1) & (score > 0)
    inside = at - first[copy]
    offset = np.where(reverse, widths[copy] - inside - (end - start), inside)
    return Alignments(score, start, end, np.where(score > 0, offset, 0), np.where(reverse, -1, 1).astype(np.int8))


def chance_scores(shuffled: Alignments, words: Sequence[Codes], length: int, chance: float) -> NDArray[np.int64]:
    """Smallest score (A,) that chance reaches in at most a share `chance` of windows, by formula and by shuffles.

    Parameters
    ----------
    shuffled
        Alignments of shuffled windows.
    words
        The A words.
    length
        Bases of a window.
    chance
        Share of windows, in (0, 1).
    """
    widths = np.array([len(word) for word in words])
    by_formula = np.ceil(np.log(KARLIN_K * 2 * widths * length / chance) / KARLIN_LAMBDA).astype(np.int64)
    n_allowed = int(chance * len(shuffled.score))
    ranked = np.sort(shuffled.score, axis=0)[::-1]
    by_shuffles = ranked[min(n_allowed, len(ranked) - 1)] + 1
    return np.maximum(np.maximum(by_formula, by_shuffles), PART_BP)


def find_parts(
    words: Sequence[Codes], foreground: Codes, background: Codes, n_tests: int | None = None
) -> list[Part | None]:
    """Find for each word its part that is most in excess in the foreground, or None where it is shorter than a part.

    Parameters
    ----------
    words
        A words.
    foreground, background
        Codes (n, L) and (m, L).
    n_tests
        Number of parts tested, for Bonferroni's correction; those of all words when None.
    """
    counts = [_windows_with(codes) for codes in (foreground, background)]
    keys = [_part_keys(word) for word in words]
    n_distinct = len(np.unique(np.concatenate(keys))) if any(map(len, keys)) else 0
    sizes = len(foreground), len(background)
    return [_best_part(key, counts, sizes, n_tests or n_distinct) if len(key) else None for key in keys]


def _best_part(
    keys: NDArray[np.int64], counts: Sequence[NDArray[np.int64]], sizes: tuple[int, int], n_tests: int
) -> Part:
    a, b = counts[0][keys], counts[1][keys]
    p_values = fisher_p(a, sizes[0], b, sizes[1])
    excess = a / max(sizes[0], 1) - b / max(sizes[1], 1)
    core = int(np.lexsort((-excess, p_values))[0])
    in_excess = excess >= MOSTLY * max(float(excess[core]), 1e-9)
    first = last = core
    while first > 0 and in_excess[first - 1]:
        first -= 1
    while last + 1 < len(keys) and in_excess[last + 1]:
        last += 1
    return Part(first, last + PART_BP, min(float(p_values[core]) * n_tests, 1.0))


def _part_keys(word: Codes) -> NDArray[np.int64]:
    """Return the number of each `PART_BP`-mer of a word: the smaller of those of both strands."""
    if len(word) < PART_BP:
        return np.zeros(0, dtype=np.int64)
    return _canonical_keys(word[None])[0]


def _canonical_keys(codes: Codes) -> NDArray[np.int64]:
    """Numbers (n, L - PART_BP + 1) of the words of windows, -1 where a base is unknown."""
    windows = np.lib.stride_tricks.sliding_window_view(codes, PART_BP, axis=1)
    power = 4 ** np.arange(PART_BP, dtype=np.int64)
    keys = np.zeros(windows.shape[:2], dtype=np.int64)
    turned, unknown = keys.copy(), np.zeros(windows.shape[:2], dtype=bool)
    for i in range(PART_BP):
        base = windows[:, :, i].astype(np.int64)
        keys += np.minimum(base, 3) * power[PART_BP - 1 - i]
        turned += (3 - np.minimum(base, 3)) * power[i]
        unknown |= base == N_CODE
    return np.where(unknown, -1, np.minimum(keys, turned))


def _windows_with(codes: Codes) -> NDArray[np.int64]:
    """Count the windows (4^PART_BP,) that hold each word, under the smaller number of its two strands."""
    counts = np.zeros(4**PART_BP, dtype=np.int64)
    if codes.shape[1] < PART_BP:
        return counts
    for chunk in np.array_split(codes, max(1, codes.size >> 20)):
        keys = np.sort(_canonical_keys(chunk), axis=1)
        new = keys >= 0
        new[:, 1:] &= keys[:, 1:] != keys[:, :-1]
        counts += np.bincount(keys[new], minlength=len(counts))
    return counts


def _seed_index(pool: Codes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of each seed in the pool: those of number k are `seeds[heads[k]:heads[k + 1]]`."""
    windows = np.lib.stride_tricks.sliding_window_view(pool, SEED_BP)
    known = np.flatnonzero((windows < N_CODE).all(axis=1))
    keys = windows[known].astype(np.int64) @ (4 ** np.arange(SEED_BP)[::-1])
    heads = np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=4**SEED_BP))])
    return heads.astype(np.int64), known[np.argsort(keys, kind="stable")].astype(np.int64)


@functools.cache
def _compiled() -> Any:
    from numba import njit  # here because it takes half a second that other commands can do without

    try:
        return njit(nogil=True, cache=True)(_align_seeds)
    except RuntimeError:  # no folder that a compiled function could be kept in
        return njit(nogil=True)(_align_seeds)


def _align_seeds(codes: Any, pool: Any, heads: Any, seeds: Any, owner: Any, best: Any) -> None:
    n, length = codes.shape
    for row in range(n):
        key, known = 0, 0
        for i in range(length):
            if codes[row, i] >= 4:
                known = 0
                continue
            known += 1
            key = (key * 4 + codes[row, i]) % 4096
            if known < 6:
                continue
            first = i - 5
            for k in range(heads[key], heads[key + 1]):
                p = seeds[k]
                if first > 0 and codes[row, first - 1] == pool[p - 1] and pool[p - 1] < 4:
                    continue  # the run began earlier
                score, top, right, end = 6, 6, 6, 6
                while first + right < length and top - score <= 8:
                    a, b = codes[row, first + right], pool[p + right]
                    if b >= 4:
                        break
                    score += 1 if a == b else -2
                    right += 1
                    if score > top:
                        top, end = score, right
                score, gain, left, begin = 0, 0, 0, 0
                while first - left > 0 and gain - score <= 8:
                    a, b = codes[row, first - left - 1], pool[p - left - 1]
                    if b >= 4:
                        break
                    score += 1 if a == b else -2
                    left += 1
                    if score > gain:
                        gain, begin = score, left
                word = owner[p] // 2
                if top + gain > best[row, word, 0]:
                    best[row, word, 0] = top + gain
                    best[row, word, 1] = first - begin
                    best[row, word, 2] = first + end
                    best[row, word, 3] = p - begin
