"""Whether a word is a copy, or biology: a site that varies, a piece of something longer, a known motif.

*A copy is exact, a site is not.* The windows that hold a word, and those that hold it but for one base, are counted in
the foreground, less what the background has. Errors of synthesis and sequencing make other bases at each position a few
percent as frequent as the copied one. Proteins tolerate some bases at some positions: there the other bases are a large
part of the excess (`MAX_VARIATION`).

*A copy ends where it was cut, a site goes on.* The bases next to the word are tallied, as the word reads. Where they
are conserved, and the artifact has another base there or has ended, the word is a piece of something else.

*Known motifs* explain a word when one of them covers it (all bases but one lie on positions where the motif prefers
them), has no informative position outside it, and expects about as many variants of it as there are.

Words of more than `LONGEST_SITE` bases are matched by the sites of no protein by chance, unless they are repetitive.
Both sorts of counts are tested (Poisson, binomial) at `LEAST_P` before they speak against a copy.

*Few copies* do not show how they vary. Fewer than `FEW_COPIES` of a word that may be a site are no evidence of an
artifact (:func:`is_too_few`); up to `MANY_COPIES`, a motif explains the word if the word is likely to be its site
(`LIKELY`) and the sequences have its other sites as well: with the copies masked, hits of the motif are in more
sequences of the foreground than of the background (Fisher's exact test, `SITES_P`). A motif that names a pattern
discovered in the map explains the words that both it and the pattern are likely to have.

*An invariant word of no library* is explained by a motif if at least `COVERED` of its bases are under the motif, at
some offset and strand, and either the motif's sites would be that word (the product of its probabilities there is at
least `LIKELY`), or the word is no chance likeness of the motif: TOMTOM finds it with q ≤ `MATCH_Q` over the whole
database. The database is JASPAR with all its taxa, whichever motifs the user named: an adapter is none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from seqsal.auditing.content import Codes, Flags, Ints, Values
from seqsal.auditing.parts.artifacts.search import PART_BP, exact_hits, masked, mismatches
from seqsal.auditing.stats import fisher_p
from seqsal.motifs import Motif, match_motifs, read_motifs
from seqsal.motifs.scan import scan_codes
from seqsal.sequence.codes import ALPHABET, N_CODE, decode, reverse_complement

__all__ = [
    "FEW_COPIES", "LONGEST_SITE", "all_motifs", "count_word", "explain_word", "explaining_motif", "is_repetitive",
    "is_too_few", "naming_motif",
]  # fmt: skip

LONGEST_SITE = 13  # bp of an artifact that the site of a protein may match by chance
MAX_VARIATION = 0.25  # how frequent other bases may be at a position of a copy, as a share of the word itself
FLANK_BP = 8
LEAST_P = 1e-4
ERROR_RATE = 0.06  # other bases at a position of a copy, as a share of the copied one
LEAST_CONSERVED = 0.2  # share of a base next to the word above that in the background
INFORMATIVE_BITS = 0.8
REPEAT_KINDS = 0.5
JASPAR_RELEASE = "2026"
TAXA = ("vertebrates", "plants", "fungi", "insects", "nematodes", "urochordates", "diatoms")
COVERED = 0.75
LIKELY = 0.3
MATCH_Q = 0.01
FEW_COPIES, MANY_COPIES = 25, 50
SITES_P = 0.01


class WordCounts(NamedTuple):
    """How often a word of w bases and its variants occur in windows, and which bases are next to it.

    `variants`: (4, w) copies of the word with that base at that position, which touch no copy of the word itself (those
    of a palindrome do). `neighbours`: (4, 2 `FLANK_BP`) bases before and after the word, as it reads.
    """

    exact: int
    variants: Ints
    neighbours: Ints
    n_windows: int


def count_word(codes: Codes, word: Codes) -> WordCounts:
    """Count a word (w,), its single-base variants and its neighbours in windows (n, L), on both strands."""
    width = len(word)
    exact, variants = 0, np.zeros((4, width), dtype=np.int64)
    neighbours = np.zeros((4, 2 * FLANK_BP), dtype=np.int64)
    strands = [False] if np.array_equal(word, reverse_complement(word)) else [False, True]
    for chunk in np.array_split(codes, max(1, codes.size >> 22)):
        left = chunk.copy()
        for turned in strands:
            windows = reverse_complement(chunk) if turned else chunk
            row, start = np.nonzero(mismatches(windows, word) == 0)
            exact += len(row)
            sides = start[:, None] + np.concatenate([np.arange(-FLANK_BP, 0), np.arange(width, width + FLANK_BP)])
            padded = np.pad(windows, ((0, 0), (FLANK_BP, FLANK_BP)), constant_values=N_CODE)
            neighbours += (padded[row[:, None], sides + FLANK_BP] == np.arange(4)[:, None, None]).sum(axis=1)
            column = start[:, None] + np.arange(width)
            left[row[:, None], chunk.shape[1] - 1 - column if turned else column] = N_CODE
        for turned in strands:
            windows = reverse_complement(left) if turned else left
            row, start = np.nonzero(mismatches(windows, word) == 1)
            found = windows[row[:, None], start[:, None] + np.arange(width)]
            base, position = np.where(found != word, found, N_CODE), np.broadcast_to(np.arange(width), found.shape)
            is_variant = base < N_CODE
            np.add.at(variants, (base[is_variant], position[is_variant]), 1)
    return WordCounts(exact, variants, neighbours, len(codes))


def explain_word(
    artifact: Codes, start: int, end: int, foreground: Codes, background: Codes, motifs: Sequence[Motif]
) -> str | None:
    """Say what else than a copy explains the excess of a part `artifact[start:end]` in a foreground, or None.

    Where a word is all there is to know, it is the artifact.
    """
    word = artifact[start:end]
    if len(word) > LONGEST_SITE and not is_repetitive(word):
        return None
    word = word[:LONGEST_SITE]
    ours, theirs = count_word(foreground, word), count_word(background, word)
    varied = _varied(word, ours, theirs)[1]
    first, last = 0, len(word)  # less the varied positions at its ends, which chance has added
    while last - first > PART_BP and varied[first]:
        first += 1
    while last - first > PART_BP and varied[last - 1]:
        last -= 1
    if last - first < len(word):
        start, word = start + first, word[first:last]
        ours, theirs = count_word(foreground, word), count_word(background, word)
    if conflict := _conserved_conflict(artifact, start, start + len(word), ours, theirs):
        return f"a longer pattern: {conflict}"
    excess, is_varied = _varied(word, ours, theirs)
    if is_varied.any():
        i = int(np.argmax(np.where(is_varied, excess, 0.0)))
        return (
            f"a site that varies: other bases than {ALPHABET[word[i]]} at base {i + 1} are {excess[i]:.0%} as frequent"
        )
    known = _known_motif(word, ours, theirs, motifs)
    return known or (_motif_with_sites(word, foreground, background, motifs) if ours.exact < MANY_COPIES else None)


def is_too_few(n_copies: int, width: int) -> bool:
    """Whether so few copies of a word of some width cannot be told from the sites of a protein."""
    return width <= LONGEST_SITE and n_copies < FEW_COPIES


def naming_motif(word: Codes, named: Sequence[tuple[Motif, Motif]]) -> str | None:
    """Name the motif of those that name a pattern, (pattern, motif), that explains a word."""
    if len(word) > LONGEST_SITE:
        return None
    pairs = (pair for pair in named if all(_likelihood(one, word) >= LIKELY for one in pair))
    return next((f"motif {motif.name}, which names a pattern of the map" for _, motif in pairs), None)


def _motif_with_sites(word: Codes, foreground: Codes, background: Codes, motifs: Sequence[Motif]) -> str | None:
    """Name a known motif that the word is a likely site of, and whose other sites the foreground has in excess."""
    likely = [motif for motif in motifs if _likelihood(motif, word) >= LIKELY]
    left = []
    for codes in (foreground, background):
        every = np.arange(len(codes))
        left.append(masked(codes, every, [exact_hits(codes, every, word)]))
    for motif in likely:
        counts = [scan_codes(codes, [motif])["row"].nunique() for codes in left]
        if fisher_p(counts[0], len(left[0]), counts[1], len(left[1])) <= SITES_P / len(likely):
            return _called(motif)
    return None


def _called(motif: Motif) -> str:
    return f"motif {motif.name}" + (f" ({motif.accession})" if motif.accession else "")


def is_repetitive(word: Codes) -> bool:
    """Whether a word has few different trinucleotides for its length."""
    if len(word) < 6:
        return False
    words = np.lib.stride_tricks.sliding_window_view(word, 3)
    return len(np.unique(words, axis=0)) <= REPEAT_KINDS * len(words)


def _in_excess(ours: WordCounts, theirs: WordCounts) -> tuple[float, float]:
    """Windows of ours for each of theirs, and copies beyond what theirs would have in as many windows."""
    scale = ours.n_windows / max(theirs.n_windows, 1)
    return scale, max(ours.exact - scale * theirs.exact, 1.0)


def _varied(word: Codes, ours: WordCounts, theirs: WordCounts) -> tuple[Values, Flags]:
    """Excess (w,) of other bases at each position, per copy in excess; and whether it is too large for a copy."""
    from scipy.stats import poisson  # here because it takes half a second to load

    scale, copies = _in_excess(ours, theirs)
    by_chance = scale * (theirs.variants + 1.0)
    excess = np.maximum(ours.variants - scale * theirs.variants, 0.0).sum(axis=0) / copies
    expected = by_chance.sum(axis=0) + ERROR_RATE * copies
    p_values = poisson.sf(ours.variants.sum(axis=0) - 1, expected)
    return excess, (excess >= MAX_VARIATION) & (p_values <= LEAST_P / len(word))


def _conserved_conflict(artifact: Codes, start: int, end: int, ours: WordCounts, theirs: WordCounts) -> str | None:
    """Name a conserved base next to the part that the artifact does not have there."""
    from scipy.stats import binom

    is_own = count_word(artifact[None], artifact[start:end]).neighbours > 0  # next to any copy in the artifact
    total = ours.neighbours.sum(axis=0)
    both = ours.neighbours + theirs.neighbours
    pooled = (both.sum(axis=1) + 1.0) / (both.sum() + 4)
    composition = np.maximum(pooled, 0.25)
    share = ours.neighbours / np.maximum(total, 1)
    p_values = binom.sf(ours.neighbours - 1, total, composition[:, None])
    strong = (share >= composition[:, None] + LEAST_CONSERVED) & (p_values <= LEAST_P / ours.neighbours.size)
    strong &= ~is_own
    if not strong.any():
        return None
    base, column = np.unravel_index(int(np.argmax(np.where(strong, share, 0))), share.shape)
    side = f"{FLANK_BP - column} before" if column < FLANK_BP else f"{column - FLANK_BP + 1} after"
    return f"{ALPHABET[base]} in {share[base, column]:.0%} of copies {side} it, unlike the artifact"


def _known_motif(word: Codes, ours: WordCounts, theirs: WordCounts, motifs: Sequence[Motif]) -> str | None:
    """Name a known motif whose site the word is, variants and all."""
    from scipy.stats import poisson

    scale, copies = _in_excess(ours, theirs)
    by_chance = float(scale * theirs.variants.sum())
    n_variants = int(ours.variants.sum())
    for motif in motifs:
        given = motif.ppm  # made anew each time
        for ppm in (given, given[::-1, ::-1]):
            expected = _expected_variants(word, ppm)
            if expected is not None and poisson.cdf(n_variants, by_chance + expected * copies) > LEAST_P:
                return _called(motif)
    return None


def _expected_variants(word: Codes, ppm: Values) -> float | None:
    """Variants per copy of a word that a motif (4, W) which covers it makes, or None where none covers it."""
    width = ppm.shape[1]
    bits = 2 + (ppm * np.log2(np.maximum(ppm, 1e-9))).sum(axis=0)
    is_informative = bits >= INFORMATIVE_BITS
    informative = np.flatnonzero(is_informative)
    if not len(informative) or informative[-1] - informative[0] >= len(word):
        return None
    best: float | None = None
    for shift in range(informative[-1] - len(word) + 1, informative[0] + 1):  # word[i] lies on column i + shift
        columns = np.arange(len(word)) + shift
        inside = (columns >= 0) & (columns < width)
        columns = np.minimum(np.maximum(columns, 0), width - 1)
        share = np.where(inside, ppm[word, columns], 0.25)
        known = inside & is_informative[columns]
        if (known & (share >= 0.5)).sum() < len(word) - 1 or (known & (share < 0.5)).any():
            continue
        expected = float(((1 - share) / share).sum())
        best = expected if best is None else min(best, expected)
    return best


def explaining_motif(word: Codes, motifs: Sequence[Motif] = ()) -> Motif | None:
    """Return a motif that explains a word (w,), of those given or of JASPAR; None where there is none."""
    database = [*motifs, *all_motifs()]
    likely = max(database, key=lambda motif: _likelihood(motif, word))
    if _likelihood(likely, word) >= LIKELY:
        return likely
    query = Motif(decode(word), "", np.eye(4)[word].T * 100, 100)
    matches = match_motifs([query], database, q_max=MATCH_Q)
    matches = matches[matches["overlap"] >= COVERED * len(word)]
    return database[int(matches["target_idx"].iloc[0])] if len(matches) else None


@cache
def all_motifs() -> tuple[Motif, ...]:
    """Every motif of JASPAR's CORE collection."""
    return tuple(motif for taxon in TAXA for motif in read_motifs(f"jaspar:{JASPAR_RELEASE}:{taxon}"))


def _likelihood(motif: Motif, word: Codes) -> float:
    """Largest probability of a word under a motif, over offsets and strands where `COVERED` of its bases overlap."""
    best, least, given = 0.0, int(np.ceil(COVERED * len(word))), motif.ppm
    for ppm in (given, given[::-1, ::-1]):
        for first in range(least - len(word), motif.width - least + 1):  # of the word, along the motif
            inside = slice(max(-first, 0), min(len(word), motif.width - first))
            columns: Ints = np.arange(len(word))[inside] + first
            if len(columns) >= least:
                best = max(best, float(ppm[word[inside], columns].prod()))
    return best
