"""Where words stand in sequences: whole, in part, and with other bases, on both strands; and which are in excess.

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

*Whose copy it is.* Artifacts share parts: the TruSeq adapters their first 13 bp, the Nextera primers the mosaic end. So
those in excess take turns, the one with the largest summed score in excess first, and take with them the hits of others
that they overlap and that score no higher (but for what a few equal bases beyond the copy add). What is left of the
others must be in excess by itself. An artifact whose excess has another explanation takes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqsal.auditing.content import Codes, Flags, Ints, Spans, mask_of
from seqsal.auditing.finding import MIN_REGION_SHARE
from seqsal.auditing.stats import fisher_p
from seqsal.sequence.codes import N_CODE, reverse_complement
from seqsal.sequence.kernels import compiled

__all__ = ["PART_BP", "Found", "Hits", "exact_hits", "find_enriched", "hits_of", "masked", "mismatches", "word_keys"]

SEED_BP, DROP = 6, 8
PART_BP = 8
KARLIN_K = 0.6  # above the value for these scores, so that E is too large rather than too small
KARLIN_LAMBDA = float(np.log((3 + np.sqrt(21)) / 2))
MAX_CHANCE_HITS = 0.001  # of shuffled regions in which an artifact may be found by chance
MIN_PART_ENRICHMENT = 10  # times as frequent in one class as in the other a part must be that chance could be
MIN_PART_SHARE = 0.1  # of the sequences of a class that it must be in
PART_P_VALUE = 1e-4  # of its excess
MOSTLY = 0.65
LEAST_INEXACT_BP = 11  # shorter parts must match exactly
MISMATCH_COST = 3
TIE_SHARE = 0.9
SLACK = 3  # score that another artifact may gain by chance, from bases next to the copy
NEARLY = 0.95
COMMON_COVER = 0.5
Explain = Callable[[int, int, int], str | None]


@dataclass(frozen=True)
class Hits:
    """Where copies of a word stand, in offsets along windows as the model reads them, (n,) each.

    `row`: of the codes that were searched, or of the attributions. `start`, `end`: half-open span of the copy, which
    may be of a part of the word: `word[offset : offset + end - start]`. `strand`: 1 where the window has the word, -1
    where it has its reverse complement. `score`: of the alignment.
    """

    row: Ints
    start: Ints
    end: Ints
    strand: NDArray[np.int8]
    offset: Ints
    score: Ints

    def __len__(self) -> int:
        return len(self.row)

    def take(self, index: Ints | Flags) -> Hits:
        """Return some of the hits."""
        return Hits(*(values[index] for values in vars(self).values()))

    def first_by_row(self) -> Hits:
        """Return the first hit of each row, by row."""
        return self.take(np.unique(self.row, return_index=True)[1])

    def of_part(self, start: int) -> Hits:
        """Return the hits as copies of `word[start:]`, where they are; offsets may be negative."""
        return replace(self, offset=self.offset - start)

    def word_starts(self, width: int) -> Ints:
        """Window offset (n,) of the leftmost base of the whole word of `width` bases, as the copies stand."""
        return np.where(self.strand > 0, self.start - self.offset, self.end + self.offset - width)

    def mask(self, rows: Ints, length: int) -> Flags:
        """Mask (n, L) of the bases of `rows` (ascending) that are under a hit."""
        return mask_of(Spans(np.searchsorted(rows, self.row), self.start, self.end), (len(rows), length))

    def sampled(self, n: int, rng: np.random.Generator) -> Hits:
        """Return at most n of the hits, in their order."""
        return self if len(self) <= n else self.take(np.sort(rng.permutation(len(self))[:n]))


class Alignments(NamedTuple):
    """The best segment that each of n windows shares with each of A words, (n, A) each.

    `score`: equal bases less twice the others; 0 where there is no run of `SEED_BP` equal bases. `start`, `end`:
    half-open span in the window. `offset`: first base of the segment in the word, as the word reads. `strand`: 1 or -1.
    """

    score: Ints
    start: Ints
    end: Ints
    offset: Ints
    strand: NDArray[np.int8]

    def hits(self, word: int, least: int) -> Hits:
        """Return the hits of one word with at least some score, by row."""
        rows = np.flatnonzero(self.score[:, word] >= least)
        at = (rows, np.full(len(rows), word))
        return Hits(rows, self.start[at], self.end[at], self.strand[at], self.offset[at], self.score[at])


def mismatches(codes: Codes, word: Codes) -> Codes:
    """Count the bases (n, L - w + 1) that differ from a word (w,) laid at each start."""
    n_starts = max(codes.shape[1] - len(word) + 1, 0)
    total = np.zeros((len(codes), n_starts), dtype=np.uint8)
    for i, base in enumerate(word):
        total += codes[:, i : i + n_starts] != base
    return total


def exact_hits(codes: Codes, rows: Ints, word: Codes) -> Hits:
    """Find the exact copies of a word, on both strands, in sequences (n, L) that are `rows` of the attributions."""
    parts = []
    for strand, bases in ((1, word), (-1, reverse_complement(word))):
        row, start = np.nonzero(mismatches(codes, bases) == 0)
        parts.append((rows[row], start, np.full(len(row), strand, np.int8)))
    row, start, strands = (np.concatenate(values) for values in zip(*parts, strict=True))
    width = np.full(len(row), len(word))
    hits = Hits(row, start, start + width, strands, np.zeros_like(row), width)
    return hits.take(np.lexsort((strands, start, row)))


def masked(codes: Codes, rows: Ints, hits: Sequence[Hits]) -> Codes:
    """Write N over hits in sequences (n, L) that are `rows` (ascending) of the attributions."""
    under = [part.take(np.isin(part.row, rows)).mask(rows, codes.shape[1]) for part in hits]
    return np.where(np.any(under, axis=0), N_CODE, codes).astype(np.uint8) if under else codes


class Part(NamedTuple):
    """A part `word[start:end]` that is in excess, with the p-value of its most significant `PART_BP`-mer."""

    start: int
    end: int
    p_value: float


def align(codes: Codes, words: Sequence[Codes]) -> Alignments:
    """Find the best segment that windows (n, L) share with words of any lengths, on either strand."""
    n, n_words = len(codes), len(words)
    copies = [copy for word in words for copy in (word, reverse_complement(word))]
    gap = np.array([N_CODE], dtype=np.uint8)
    pool = np.concatenate([gap, *(part for copy in copies for part in (copy, gap))])
    widths = np.array([len(copy) for copy in copies], dtype=np.int64)
    first = 1 + np.concatenate([[0], np.cumsum(widths + 1)[:-1]]).astype(np.int64)
    owner = np.repeat(np.arange(len(copies)), widths + 1)  # pool[1:]: each copy and the gap after it
    heads, seeds = _seed_index(pool)
    best = np.zeros((n, n_words, 4), dtype=np.int32)  # score, start, end, first base in the pool
    compiled(_align_seeds)(np.ascontiguousarray(codes), pool, heads, seeds, np.concatenate([[0], owner]), best)
    score, start, end, at = (best[:, :, k].astype(np.int64) for k in range(4))
    copy = np.concatenate([[0], owner])[at]
    reverse = (copy % 2 == 1) & (score > 0)
    inside = at - first[copy]
    offset = np.where(reverse, widths[copy] - inside - (end - start), inside)
    return Alignments(score, start, end, np.where(score > 0, offset, 0), np.where(reverse, -1, 1).astype(np.int8))


def chance_scores(shuffled: Alignments, words: Sequence[Codes], length: int, chance: float) -> Ints:
    """Smallest score (A,) that chance reaches in at most a share `chance` of windows, by formula and by shuffles."""
    widths = np.array([len(word) for word in words])
    by_formula = np.ceil(np.log(KARLIN_K * 2 * widths * length / chance) / KARLIN_LAMBDA).astype(np.int64)
    n_allowed = int(chance * len(shuffled.score))
    ranked = np.sort(shuffled.score, axis=0)[::-1]
    by_shuffles = ranked[min(n_allowed, len(ranked) - 1)] + 1
    return np.maximum(np.maximum(by_formula, by_shuffles), PART_BP)


def find_parts(words: Sequence[Codes], foreground: Codes, background: Codes) -> list[Part | None]:
    """Find for each word its part that is most in excess in the foreground, or None where it is shorter than a part."""
    counts = [windows_with(codes) for codes in (foreground, background)]
    keys = [word_keys(word[None])[0] for word in words]
    n_distinct = len(np.unique(np.concatenate(keys))) if any(map(len, keys)) else 0
    sizes = len(foreground), len(background)
    return [_best_part(key, counts, sizes, n_distinct) if len(key) else None for key in keys]


def _best_part(keys: Ints, counts: Sequence[Ints], sizes: tuple[int, int], n_tests: int) -> Part:
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


def word_keys(codes: Codes) -> Ints:
    """Read each word of `PART_BP` bases as a number (n, L - 7), the smaller of both strands; -1 with unknown bases."""
    n_starts = max(codes.shape[1] - PART_BP + 1, 0)
    forward, reverse = np.zeros((2, len(codes), n_starts), dtype=np.int64)
    unknown = np.zeros((len(codes), n_starts), dtype=bool)
    for i in range(PART_BP):
        bases = codes[:, i : i + n_starts]
        unknown |= bases == N_CODE
        forward = forward * 4 + bases
        reverse += (3 - np.minimum(bases, 3).astype(np.int64)) << (2 * i)
    return np.where(unknown, -1, np.minimum(forward, reverse))


def windows_with(codes: Codes) -> Ints:
    """Count the windows (4^PART_BP,) that hold each word, under the smaller number of its two strands."""
    counts = np.zeros(4**PART_BP, dtype=np.int64)
    for chunk in np.array_split(codes, max(1, codes.size >> 20)):
        keys = np.sort(word_keys(chunk), axis=1)
        new = keys >= 0
        new[:, 1:] &= keys[:, 1:] != keys[:, :-1]
        counts += np.bincount(keys[new], minlength=len(counts))
    return counts


def _seed_index(pool: Codes) -> tuple[Ints, Ints]:
    """Positions of each seed in the pool: those of number k are `seeds[heads[k]:heads[k + 1]]`."""
    windows = np.lib.stride_tricks.sliding_window_view(pool, SEED_BP)
    known = np.flatnonzero((windows < N_CODE).all(axis=1))
    keys = windows[known].astype(np.int64) @ (4 ** np.arange(SEED_BP)[::-1])
    heads = np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=4**SEED_BP))])
    return heads.astype(np.int64), known[np.argsort(keys, kind="stable")].astype(np.int64)


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


class Query(NamedTuple):
    """How copies of an artifact are looked for: alignments of `artifact[start:end]` that score `least` or more."""

    artifact: int
    start: int
    end: int
    least: int


@dataclass(frozen=True)
class Found:
    """An artifact in excess in a foreground, `n_with` of n sequences, against `m_with` of m in a background.

    `hits`: those in the foreground, at most one a row, with offsets in the artifact. `p_value`: Fisher's exact test,
    corrected for the number of parts where the part was chosen. `part`: start and end of what most copies have.
    `family`: other artifacts that match the copies as well. `explained_by`: what else than a copy it is, or None.
    """

    query: Query
    hits: Hits
    n_with: int
    n: int
    m_with: int
    m: int
    p_value: float
    part: tuple[int, int]
    family: tuple[int, ...] = ()
    explained_by: str | None = None


@dataclass
class _Candidate:
    query: Query
    n_tests: int
    ours: Hits
    theirs: Hits
    n: int
    m: int
    family: list[int] = field(default_factory=list)

    @property
    def shares(self) -> tuple[float, float]:
        """Sequences with a hit, as shares of the foreground and of the background."""
        return len(self.ours) / max(self.n, 1), len(self.theirs) / max(self.m, 1)

    @property
    def excess(self) -> float:
        """The summed score per foreground sequence, less that per background sequence."""
        return float(self.ours.score.sum() / max(self.n, 1) - self.theirs.score.sum() / max(self.m, 1))

    @property
    def p_value(self) -> float:
        return min(float(fisher_p(len(self.ours), self.n, len(self.theirs), self.m)) * self.n_tests, 1.0)

    def is_enough(self, fdr: float) -> bool:
        share, other = self.shares
        if share < MIN_REGION_SHARE or share <= other or self.p_value > fdr:
            return False
        return self.n_tests == 1 or (
            share >= MIN_PART_SHARE and share > MIN_PART_ENRICHMENT * other and self.p_value <= PART_P_VALUE
        )

    def is_whole(self, width: int) -> bool:
        """Whether most copies are of all of a word, but for a base."""
        return bool(np.median(self.ours.end - self.ours.start) >= width - 1)


def find_enriched(
    words: Sequence[Codes],
    foreground: Codes,
    background: Codes,
    shuffled: Codes,
    fdr: float,
    explain: Explain,
) -> list[Found]:
    """Find the artifacts that are in a foreground (n, L) more than in a background (m, L).

    Shuffles of the foreground show which scores chance reaches, `fdr` is the largest p-value of an excess, and
    `explain` says of (number of the word, start, end of its part) what else than a copy it is, or None: what is
    explained leaves its copies to the others.
    """
    candidates = _candidates(words, foreground, background, shuffled, fdr)
    accepted: list[Found] = []
    while candidates := [candidate for candidate in candidates if candidate.is_enough(fdr)]:
        most = max(candidate.excess for candidate in candidates)
        near = [candidate for candidate in candidates if candidate.excess >= NEARLY * most]
        best = next((one for one in near if one.is_whole(len(words[one.query.artifact]))), near[0])
        found = _found(best, words[best.query.artifact])
        found = replace(found, explained_by=explain(best.query.artifact, *found.part))
        candidates = [other for other in candidates if other is not best]
        if found.explained_by is None:
            candidates = [_left_by(best, other) for other in candidates]
        accepted.append(replace(found, family=tuple(best.family)))
    return accepted


def hits_of(query: Query, words: Sequence[Codes], codes: Codes) -> Hits:
    """Look for copies of an artifact in windows (n, L); at most one hit a row."""
    hits = align(codes, [words[query.artifact][query.start : query.end]]).hits(0, query.least)
    return replace(hits, offset=hits.offset + query.start)


def _candidates(
    words: Sequence[Codes], foreground: Codes, background: Codes, shuffled: Codes, fdr: float
) -> list[_Candidate]:
    """Artifacts by alignments that chance does not reach, or by a short part, whichever has more copies in excess."""
    ours, theirs = align(foreground, words), align(background, words)
    least = chance_scores(align(shuffled, words), words, foreground.shape[1], MAX_CHANCE_HITS)
    sizes = len(foreground), len(background)
    n_tests = sum(max(len(word) - PART_BP + 1, 0) for word in words)
    candidates = []
    for i, (word, part) in enumerate(zip(words, find_parts(words, foreground, background), strict=True)):
        query = Query(i, 0, len(word), int(least[i]))
        options = [_Candidate(query, 1, ours.hits(i, query.least), theirs.hits(i, query.least), *sizes)]
        if part is not None and part.p_value <= fdr:
            width = part.end - part.start
            query = Query(i, part.start, part.end, width if width < LEAST_INEXACT_BP else width - MISMATCH_COST)
            near, far = (hits_of(query, words, codes) for codes in (foreground, background))
            options.append(_Candidate(query, n_tests, near, far, *sizes))
        good = [option for option in options if option.is_enough(fdr)]
        if good:
            candidates.append(max(good, key=lambda option: option.shares[0] - option.shares[1]))
    return candidates


def _left_by(winner: _Candidate, other: _Candidate) -> _Candidate:
    """Leave to a candidate the hits that do not overlap better or equal ones of the winner."""
    lost, tied = _beaten(winner.ours, other.ours)
    lost_behind, _ = _beaten(winner.theirs, other.theirs)
    if len(tied) and tied.sum() >= TIE_SHARE * len(tied):
        winner.family.append(other.query.artifact)
    return replace(other, ours=other.ours.take(~lost), theirs=other.theirs.take(~lost_behind))


def _beaten(ours: Hits, theirs: Hits) -> tuple[Flags, Flags]:
    """Which of their hits overlap, by half at least, one of ours that scores as high, up to `SLACK`.

    Also which of these score no lower, up to `SLACK`.
    """
    if not len(ours):
        return np.zeros(len(theirs), dtype=bool), np.zeros(len(theirs), dtype=bool)
    nearest = np.minimum(np.searchsorted(ours.row, theirs.row), len(ours) - 1)
    overlap = np.minimum(ours.end[nearest], theirs.end) - np.maximum(ours.start[nearest], theirs.start)
    is_over = (ours.row[nearest] == theirs.row) & (2 * overlap >= theirs.end - theirs.start)
    beaten = is_over & (ours.score[nearest] + SLACK >= theirs.score)
    return beaten, beaten & (theirs.score + SLACK >= ours.score[nearest])


def _found(candidate: _Candidate, word: Codes) -> Found:
    hits = candidate.ours
    covered = np.zeros(len(word) + 1, dtype=np.int64)
    np.add.at(covered, hits.offset, 1)
    np.add.at(covered, hits.offset + hits.end - hits.start, -1)
    often = np.flatnonzero(np.cumsum(covered)[:-1] >= COMMON_COVER * np.cumsum(covered).max())
    part = int(often[0]), int(often[-1]) + 1
    n_with, m_with = len(hits), len(candidate.theirs)
    return Found(candidate.query, hits, n_with, candidate.n, m_with, candidate.m, candidate.p_value, part)
