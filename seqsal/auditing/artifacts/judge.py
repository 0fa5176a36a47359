"""Whether a word that is in excess is a copied sequence or the site of a protein, and what the verdict is.

*A copy is exact, a site is not.* The windows that hold a word, and those that hold it but for one base, are counted in
the foreground, less what the background has. Errors of synthesis and sequencing make other bases at each position a few
percent as frequent as the copied one. Proteins tolerate some bases at some positions: there the other bases are a large
part of the excess (`max_variation`).

*A copy ends where it was cut, a site goes on.* The bases beside the word are tallied, as the word reads. Where they are
conserved, and the artifact has another base there or has ended, the word is a piece of something else.

*Known motifs* explain a word when one of them covers it (all bases but one lie on positions where the motif prefers
them), has no informative position outside it, and expects about as many variants of it as there are.

Words of more than `longest_site` bases are matched by the sites of no protein by chance, unless they are repetitive.
Both sorts of counts are tested (Poisson, binomial) at `LEAST_P` before they speak against a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqsal.auditing.artifacts.occurrences import PART_BP
from seqsal.auditing.context import Codes
from seqsal.auditing.settings import AuditSettings
from seqsal.motifs import Motif
from seqsal.sequence.codes import ALPHABET, N_CODE, reverse_complement

__all__ = ["WordCounts", "count_word", "explain_word", "is_repetitive"]

FLANK_BP = 8
LEAST_P = 1e-4
ERROR_RATE = 0.06  # other bases at a position of a copy, as a share of the copied one
LEAST_CONSERVED = 0.2  # share of a base beside the word above that in the background
INFORMATIVE_BITS = 0.8
REPEAT_KINDS = 0.5


@dataclass(frozen=True)
class WordCounts:
    """How often a word of w bases and its variants occur, and what stands beside it.

    Attributes
    ----------
    exact
        Places of the word.
    variants
        (4, w) places of the word with that base at that position, which touch no place of the word itself (those of
        a palindrome do); the word's own base counts 0.
    beside
        (4, 2 `FLANK_BP`) bases before and after the word, as it reads.
    n_windows
        Windows searched.
    """

    exact: int
    variants: NDArray[np.int64]
    beside: NDArray[np.int64]
    n_windows: int


def count_word(codes: Codes, word: Codes) -> WordCounts:
    """Count a word (w,), its single-base variants and its neighbours in windows (n, L), on both strands."""
    width = len(word)
    exact, variants = 0, np.zeros((4, width), dtype=np.int64)
    beside = np.zeros((4, 2 * FLANK_BP), dtype=np.int64)
    strands = [False] if np.array_equal(word, reverse_complement(word)) else [False, True]
    for chunk in np.array_split(codes, max(1, codes.size >> 22)):
        left = chunk.copy()
        for turned in strands:
            windows = reverse_complement(chunk) if turned else chunk
            row, start = np.nonzero(_n_others(windows, word) == 0)
            exact += len(row)
            beside += _tally_beside(windows, row, start, width)
            column = start[:, None] + np.arange(width)
            left[row[:, None], chunk.shape[1] - 1 - column if turned else column] = N_CODE
        for turned in strands:
            windows = reverse_complement(left) if turned else left
            variants += _tally_variants(windows, word, *np.nonzero(_n_others(windows, word) == 1))
    return WordCounts(exact, variants, beside, len(codes))


def explain_word(
    artifact: Codes,
    start: int,
    end: int,
    foreground: Codes,
    background: Codes,
    motifs: Sequence[Motif],
    settings: AuditSettings,
) -> str | None:
    """Say what else than a copy of an artifact explains an excess of its part, or None.

    Parameters
    ----------
    artifact
        (w,) codes of the whole artifact, or of a word that is all there is to know.
    start, end
        The part in excess.
    foreground, background
        Codes (n, L) and (m, L) where it is more and less frequent.
    motifs
        Known motifs.
    settings
        `longest_site` and `max_variation`.
    """
    word = artifact[start:end]
    if len(word) > settings.longest_site and not is_repetitive(word):
        return None
    word = word[: settings.longest_site]
    ours, theirs = count_word(foreground, word), count_word(background, word)
    first, last = _without_loose_ends(_varied(word, ours, theirs, settings.max_variation)[1])
    if last - first < len(word):
        start, word = start + first, word[first:last]
        ours, theirs = count_word(foreground, word), count_word(background, word)
    end = start + len(word)
    conflict = _conserved_conflict(artifact, start, end, ours, theirs)
    if conflict:
        return f"a longer pattern: {conflict}"
    varied = _varied_position(word, ours, theirs, settings.max_variation)
    if varied:
        return f"a site that varies: {varied}"
    return _known_motif(word, ours, theirs, motifs)


def is_repetitive(word: Codes) -> bool:
    """Whether a word has few different trinucleotides for its length."""
    if len(word) < 6:
        return False
    words = np.lib.stride_tricks.sliding_window_view(word, 3)
    return len(np.unique(words, axis=0)) <= REPEAT_KINDS * len(words)


def _n_others(codes: Codes, word: Codes) -> NDArray[np.uint8]:
    """Count the bases (n, L - w + 1) that differ from the word at each place."""
    n_places = max(codes.shape[1] - len(word) + 1, 0)
    others = np.zeros((len(codes), n_places), dtype=np.uint8)
    for i, base in enumerate(word):
        others += codes[:, i : i + n_places] != base
    return others


def _tally_beside(codes: Codes, row: NDArray[np.int64], start: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    offsets = np.concatenate([np.arange(-FLANK_BP, 0), np.arange(width, width + FLANK_BP)])
    columns = start[:, None] + offsets
    inside = (columns >= 0) & (columns < codes.shape[1])
    bases = np.where(inside, codes[row[:, None], np.clip(columns, 0, codes.shape[1] - 1)], N_CODE)
    return (bases == np.arange(4)[:, None, None]).sum(axis=1)


def _tally_variants(codes: Codes, word: Codes, row: NDArray[np.int64], start: NDArray[np.int64]) -> NDArray[np.int64]:
    found = codes[row[:, None], start[:, None] + np.arange(len(word))]
    position = (found != word).argmax(axis=1) if len(row) else np.zeros(0, dtype=np.int64)
    base = found[np.arange(len(row)), position]
    counts = np.zeros((N_CODE + 1, len(word)), dtype=np.int64)
    np.add.at(counts, (base, position), 1)
    return counts[:N_CODE]


def _scale(ours: WordCounts, theirs: WordCounts) -> float:
    return ours.n_windows / max(theirs.n_windows, 1)


def _varied(
    word: Codes, ours: WordCounts, theirs: WordCounts, most: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Excess (w,) of other bases at each position, per copy in excess; and whether it is too large for a copy."""
    from scipy.stats import poisson  # here because it takes half a second to load

    scale = _scale(ours, theirs)
    copies = max(ours.exact - scale * theirs.exact, 1.0)
    by_chance = scale * (theirs.variants + 1.0)
    excess = np.maximum(ours.variants - scale * theirs.variants, 0.0).sum(axis=0) / copies
    expected = by_chance.sum(axis=0) + ERROR_RATE * copies
    p_values = poisson.sf(ours.variants.sum(axis=0) - 1, expected)
    return excess, (excess >= most) & (p_values <= LEAST_P / len(word))


def _without_loose_ends(varied: NDArray[np.bool_]) -> tuple[int, int]:
    """Start and end of a word less the varied positions at its ends, which chance has added, of `PART_BP` at least."""
    first, last = 0, len(varied)
    while last - first > PART_BP and varied[first]:
        first += 1
    while last - first > PART_BP and varied[last - 1]:
        last -= 1
    return first, last


def _varied_position(word: Codes, ours: WordCounts, theirs: WordCounts, most: float) -> str | None:
    """Name the position of the word whose other bases are most in excess, where they are too many for a copy."""
    excess, is_varied = _varied(word, ours, theirs, most)
    if not is_varied.any():
        return None
    position = int(np.argmax(np.where(is_varied, excess, 0.0)))
    return f"other bases than {ALPHABET[word[position]]} at base {position + 1} are {excess[position]:.0%} as frequent"


def _conserved_conflict(artifact: Codes, start: int, end: int, ours: WordCounts, theirs: WordCounts) -> str | None:
    """Name a conserved base beside the part that the artifact does not have there."""
    from scipy.stats import binom

    is_own = _own_neighbours(artifact, artifact[start:end])
    total = ours.beside.sum(axis=0)
    pooled = (ours.beside.sum(axis=1) + theirs.beside.sum(axis=1) + 1.0) / (ours.beside.sum() + theirs.beside.sum() + 4)
    composition = np.maximum(pooled, 0.25)
    share = ours.beside / np.maximum(total, 1)
    p_values = binom.sf(ours.beside - 1, total, composition[:, None])
    strong = (share >= composition[:, None] + LEAST_CONSERVED) & (p_values <= LEAST_P / ours.beside.size)
    strong &= ~is_own
    if not strong.any():
        return None
    base, column = np.unravel_index(int(np.argmax(np.where(strong, share, 0))), share.shape)
    side = f"{FLANK_BP - column} before" if column < FLANK_BP else f"{column - FLANK_BP + 1} after"
    return f"{ALPHABET[base]} in {share[base, column]:.0%} of copies {side} it, unlike the artifact"


def _own_neighbours(artifact: Codes, word: Codes) -> NDArray[np.bool_]:
    """Which bases (4, 2 `FLANK_BP`) an artifact has beside any copy of a word that it holds, on either strand."""
    return count_word(artifact[None], word).beside > 0


def _known_motif(word: Codes, ours: WordCounts, theirs: WordCounts, motifs: Sequence[Motif]) -> str | None:
    """Name a known motif whose site the word is, variants and all."""
    from scipy.stats import poisson

    scale = _scale(ours, theirs)
    copies = max(ours.exact - scale * theirs.exact, 1.0)
    by_chance = float(scale * theirs.variants.sum())
    n_variants = int(ours.variants.sum())
    for motif in motifs:
        for ppm in (motif.ppm, motif.ppm[::-1, ::-1]):
            expected = _expected_variants(word, ppm)
            if expected is not None and poisson.cdf(n_variants, by_chance + expected * copies) > LEAST_P:
                return f"motif {motif.name}" + (f" ({motif.accession})" if motif.accession else "")
    return None


def _expected_variants(word: Codes, ppm: NDArray[np.float64]) -> float | None:
    """Variants per copy of a word that a motif (4, W) which covers it makes, or None where none covers it."""
    width = ppm.shape[1]
    bits = 2 + (ppm * np.log2(np.maximum(ppm, 1e-9))).sum(axis=0)
    informative = np.flatnonzero(bits >= INFORMATIVE_BITS)
    if not len(informative) or informative[-1] - informative[0] >= len(word):
        return None
    best: float | None = None
    for shift in range(informative[-1] - len(word) + 1, informative[0] + 1):  # word[i] lies on column i + shift
        columns = np.arange(len(word)) + shift
        inside = (columns >= 0) & (columns < width)
        share = np.where(inside, ppm[word, np.clip(columns, 0, width - 1)], 0.25)
        known = inside & np.isin(columns, informative)
        if (known & (share >= 0.5)).sum() < len(word) - 1 or (known & (share < 0.5)).any():
            continue
        expected = float(((1 - share) / share).sum())
        best = expected if best is None else min(best, expected)
    return best
