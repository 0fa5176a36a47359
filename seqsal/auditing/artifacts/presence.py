"""Which artifacts are in one set of sequences more than in another, each copy counted for the artifact it is most like.

Artifacts share parts: the TruSeq adapters their first 13 bp, the Nextera primers the mosaic end. So those in excess
take turns, the one with the largest summed score in excess first, and take with them the hits of others that they
overlap and that score no higher (but for what a few equal bases beside a copy add). What is left of the others must be
in excess by itself. An artifact whose excess has another
explanation takes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from seqsal.auditing.artifacts.hits import Hits
from seqsal.auditing.artifacts.occurrences import PART_BP, align, chance_scores, find_parts
from seqsal.auditing.context import Codes
from seqsal.auditing.settings import AuditSettings
from seqsal.auditing.stats import fisher_p

__all__ = ["Found", "Query", "find_enriched", "hits_of"]

LEAST_INEXACT_BP = 11  # shorter parts must match exactly
MISMATCH_COST = 3
TIE_SHARE = 0.9
SLACK = 3  # score that another artifact may gain by chance, from bases beside the copy
NEARLY = 0.95
COMMON_COVER = 0.5


Explain = Callable[[int, int, int], str | None]


def _never(number: int, start: int, end: int) -> str | None:
    return None


@dataclass(frozen=True)
class Query:
    """How copies of an artifact are looked for: alignments of `artifact[start:end]` that score `least` or more."""

    artifact: int
    start: int
    end: int
    least: int


@dataclass(frozen=True)
class Found:
    """An artifact in excess in a foreground of n sequences against a background of m.

    Attributes
    ----------
    query
        How it was looked for.
    hits, scores
        The hits in the foreground, at most one a row, with offsets in the artifact.
    n_with, n, m_with, m
        Sequences with a hit, and all.
    p_value
        Fisher's exact test, corrected for the number of parts where the part was chosen.
    part
        Start and end of what most copies have.
    family
        Other artifacts that match the copies as well.
    explained_by
        What else than a copy it is, or None.
    """

    query: Query
    hits: Hits
    scores: NDArray[np.int64]
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
    ours: tuple[Hits, NDArray[np.int64]]
    theirs: tuple[Hits, NDArray[np.int64]]
    family: list[int] = field(default_factory=list)

    def excess(self, n: int, m: int) -> float:
        """Return the summed score per foreground sequence, less that per background sequence."""
        return float(self.ours[1].sum() / max(n, 1) - self.theirs[1].sum() / max(m, 1))

    def p_value(self, n: int, m: int) -> float:
        fisher = float(fisher_p(len(self.ours[0]), n, len(self.theirs[0]), m))
        return min(fisher * self.n_tests, 1.0)

    def is_enough(self, n: int, m: int, settings: AuditSettings) -> bool:
        share, other = len(self.ours[0]) / max(n, 1), len(self.theirs[0]) / max(m, 1)
        if share < settings.min_region_share or share <= other or self.p_value(n, m) > settings.fdr:
            return False
        return self.n_tests == 1 or (
            share >= settings.min_part_share
            and share > settings.min_part_enrichment * other
            and self.p_value(n, m) <= settings.part_p_value
        )

    def is_whole(self, width: int) -> bool:
        """Whether most copies are of all of a word, but for a base."""
        return bool(np.median(self.ours[0].end - self.ours[0].start) >= width - 1)


def find_enriched(
    words: Sequence[Codes],
    foreground: Codes,
    background: Codes,
    shuffled: Codes,
    settings: AuditSettings,
    explain: Explain = _never,
) -> list[Found]:
    """Find the artifacts that are in a foreground more than in a background.

    Parameters
    ----------
    words
        Codes of the artifacts.
    foreground, background
        (n, L) and (m, L) uint8.
    shuffled
        Shuffles of the foreground, to know which scores chance reaches.
    settings
        `fdr`, `min_region_share`, `max_chance_hits`, and those of parts.
    explain
        (number of the word, start, end of its part) → what else it is than a copy, or None. What is explained leaves
        its copies to the others.
    """
    n, m = len(foreground), len(background)
    candidates = _candidates(words, foreground, background, shuffled, settings)
    accepted: list[Found] = []
    while True:
        candidates = [candidate for candidate in candidates if candidate.is_enough(n, m, settings)]
        if not candidates:
            break
        best = _best(candidates, words, n, m)
        found = _found(best, words[best.query.artifact], n, m)
        found = replace(found, explained_by=explain(best.query.artifact, *found.part))
        candidates = [other for other in candidates if other is not best]
        if found.explained_by is None:
            candidates = [_yield_to(best, other) for other in candidates]
        accepted.append(replace(found, family=tuple(best.family)))
    return accepted


def hits_of(query: Query, words: Sequence[Codes], codes: Codes) -> tuple[Hits, NDArray[np.int64]]:
    """Look for copies of an artifact in windows (n, L); returns at most one hit a row, and scores."""
    hits, scores = align(codes, [words[query.artifact][query.start : query.end]]).hits(0, query.least)
    return replace(hits, offset=hits.offset + query.start), scores


def _candidates(
    words: Sequence[Codes], foreground: Codes, background: Codes, shuffled: Codes, settings: AuditSettings
) -> list[_Candidate]:
    """Artifacts by alignments that chance does not reach, or by a short part, whichever has more copies in excess."""
    ours, theirs = align(foreground, words), align(background, words)
    length = foreground.shape[1]
    least = chance_scores(align(shuffled, words), words, length, settings.max_chance_hits)
    n, m = len(foreground), len(background)
    parts = find_parts(words, foreground, background)
    n_tests = sum(max(len(word) - PART_BP + 1, 0) for word in words)
    candidates = []
    for i, (word, part) in enumerate(zip(words, parts, strict=True)):
        query = Query(i, 0, len(word), int(least[i]))
        options = [_Candidate(query, 1, ours.hits(i, query.least), theirs.hits(i, query.least))]
        if part is not None and part.p_value <= settings.fdr:
            query = Query(i, part.start, part.end, _least_of_part(part.end - part.start))
            options.append(
                _Candidate(query, n_tests, hits_of(query, words, foreground), hits_of(query, words, background))
            )
        good = [option for option in options if option.is_enough(n, m, settings)]
        if good:
            candidates.append(max(good, key=lambda option: len(option.ours[0]) / n - len(option.theirs[0]) / max(m, 1)))
    return candidates


def _best(candidates: Sequence[_Candidate], words: Sequence[Codes], n: int, m: int) -> _Candidate:
    """Choose the largest excess; of nearly equal ones the first that is there as a whole, or the first."""
    excess = [candidate.excess(n, m) for candidate in candidates]
    near = [candidate for candidate, e in zip(candidates, excess, strict=True) if e >= NEARLY * max(excess)]
    return next((candidate for candidate in near if candidate.is_whole(len(words[candidate.query.artifact]))), near[0])


def _least_of_part(width: int) -> int:
    return width if width < LEAST_INEXACT_BP else width - MISMATCH_COST


def _yield_to(winner: _Candidate, other: _Candidate) -> _Candidate:
    """Leave to a candidate the hits that do not overlap better or equal ones of the winner."""
    lost, tied = _beaten(winner.ours, other.ours)
    lost_behind, _ = _beaten(winner.theirs, other.theirs)
    if len(tied) and tied.sum() >= TIE_SHARE * len(tied):
        winner.family.append(other.query.artifact)
    return replace(other, ours=_left(other.ours, lost), theirs=_left(other.theirs, lost_behind))


def _beaten(
    winner: tuple[Hits, NDArray[np.int64]], other: tuple[Hits, NDArray[np.int64]]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which hits of the other overlap, by half at least, one of the winner that scores as high, up to `SLACK`.

    Also which of these score no lower, up to `SLACK`.
    """
    (ours, our_scores), (theirs, their_scores) = winner, other
    if not len(ours):
        return np.zeros(len(theirs), dtype=bool), np.zeros(len(theirs), dtype=bool)
    place = np.minimum(np.searchsorted(ours.row, theirs.row), len(ours) - 1)
    overlap = np.minimum(ours.end[place], theirs.end) - np.maximum(ours.start[place], theirs.start)
    is_over = (ours.row[place] == theirs.row) & (2 * overlap >= theirs.end - theirs.start)
    beaten = is_over & (our_scores[place] + SLACK >= their_scores)
    return beaten, beaten & (their_scores + SLACK >= our_scores[place])


def _left(pair: tuple[Hits, NDArray[np.int64]], lost: NDArray[np.bool_]) -> tuple[Hits, NDArray[np.int64]]:
    return pair[0].take(~lost), pair[1][~lost]


def _found(candidate: _Candidate, word: Codes, n: int, m: int) -> Found:
    hits, scores = candidate.ours
    covered = np.zeros(len(word) + 1, dtype=np.int64)
    np.add.at(covered, hits.offset, 1)
    np.add.at(covered, hits.offset + hits.end - hits.start, -1)
    often = np.flatnonzero(np.cumsum(covered)[:-1] >= COMMON_COVER * np.cumsum(covered).max())
    return Found(
        candidate.query,
        hits,
        scores,
        len(hits),
        n,
        len(candidate.theirs[0]),
        m,
        candidate.p_value(n, m),
        (int(often[0]), int(often[-1]) + 1),
    )
