"""Shortcuts of no library: invariant words that no known motif explains and that the model uses.

Nothing has to be known of the word. Evidence is asked for in this order, and what fails is no finding:

1. *Frequent*: a word of 8 bp is in more regions than in their shuffles and than in the negatives
   (:mod:`seqsal.auditing.artifacts.words`), and its block in `min_region_share` of the regions.
2. *Exact*: the block around it has `min_unknown_bp` bases at least, and inexact copies are missing: its `exactness`
   is `min_exact_share` or more, no position varies more than copying errors do, and it ends as if cut
   (:mod:`seqsal.auditing.artifacts.judge`). Adapters, barcodes and vectors are copied; binding sites vary.
3. *Unexplained*: no motif of JASPAR, nor of those that the user named, is that word
   (:mod:`seqsal.auditing.artifacts.biology`), and the copies are not those of a known artifact.
4. *Used*: put into neutral sequence it changes the prediction more than `min_effect`, beyond what words of the same
   bases do, and taking it out where it stands has an effect of the same sign.

A word that passes all is a `shortcut`, one that the model does not use is `present`. Sequences that are exact because
the genome repeats them (a young transposon, say) are told as well: a model that lives on these is to be known.

Of 1,078 Reb1 and 724 Abf1 sites of yeast and 500 of human CTCF, no block of 10 bp or more has an exactness above 0.4.
Of the 3,179 motifs of JASPAR 2026 some thirty are so sharp that sites drawn from them pass the first two steps; these
are known. Words of 12 bp planted with 0, 2 and 5 % of errors have 1, 0.82 to 0.92 and 0.69 to 0.79.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqsal.auditing.artifacts.biology import explaining_motif
from seqsal.auditing.artifacts.causal import ablation_effect, attribution_share, marginal_effect
from seqsal.auditing.artifacts.effects import Effect
from seqsal.auditing.artifacts.hits import Hits
from seqsal.auditing.artifacts.judge import explain_word
from seqsal.auditing.artifacts.words import Block, count_rows, enrichment_p, exact_hits, exactness, find_blocks
from seqsal.auditing.content import repeat_mask
from seqsal.auditing.context import AuditContext, Codes
from seqsal.sequence.codes import N_CODE, decode

__all__ = ["KIND", "MIN_COPIES", "find_unknown"]

KIND = "unknown"
MIN_COPIES = 8
MIN_SHUFFLES = 1_000
SHUFFLE_DRAW = 2_000  # away from the draws of other parts
FIXED_SHARE = 0.5  # of the copies at one offset make its place worth telling
REPEAT_SHARE = 0.5  # of a block in a simple repeat make it low complexity, which is for the composition


def find_unknown(context: AuditContext, known_hits: Sequence[Hits] = ()) -> list[dict[str, Any]]:
    """Find invariant words that no library knows, and whether the model uses them.

    Parameters
    ----------
    context
        What is under audit; up to `settings.n_regions` regions are searched.
    known_hits
        Copies of known artifacts, in rows of the attributions, which are not reported again.

    Returns
    -------
    list of dict
        A row a word, those in most regions first: the keys of `artifacts` in `audit.json`, and `position` (offset in
        the window that most copies share, or None), `exactness`, `share` (of the regions), `marginal_p_value`,
        `ablation_p_value` and `text`. `q_value` is the p-value of
        :func:`~seqsal.auditing.artifacts.words.enrichment_p`.
        Without a model the verdict is at most `present`.
    """
    rows = context.rows(context.settings.n_regions)
    codes = _masked(context.codes(rows), rows, known_hits)
    backgrounds = _backgrounds(context, context.codes(rows))
    track = np.abs(context.track(rows))
    return [_row(context, rows, codes, backgrounds, found) for found in _candidates(context, codes, backgrounds, track)]


@dataclass(frozen=True)
class _Found:
    """A block that is frequent, exact and unexplained."""

    block: Block
    n_regions: int
    exactness: float
    p_value: float


def _candidates(
    context: AuditContext, codes: Codes, backgrounds: Sequence[Codes], weight: NDArray[np.floating]
) -> Iterator[_Found]:
    settings, left = context.settings, codes.copy()
    least = max(MIN_COPIES, settings.min_region_share * len(codes))
    for block in find_blocks(codes, backgrounds, weight, settings.fdr):
        if block.width < settings.min_unknown_bp or block.n_copies < MIN_COPIES or _is_repeat(block.codes):
            continue
        n_regions = count_rows(left, block.codes)
        if n_regions < least:
            continue
        exact = exactness(left, backgrounds, block.codes)
        if exact < settings.min_exact_share or _is_biology(context, left, backgrounds, block.codes):
            continue
        p_value = enrichment_p(n_regions, left, backgrounds, block.codes)
        if p_value > settings.fdr:
            continue
        yield _Found(block, n_regions, exact, p_value)
        left = _masked(left, np.arange(len(left)), [exact_hits(left, np.arange(len(left)), block.codes)])


def _row(
    context: AuditContext, rows: NDArray[np.int64], codes: Codes, backgrounds: Sequence[Codes], found: _Found
) -> dict[str, Any]:
    word = found.block.codes
    name = f"{KIND}_{decode(word)}"
    hits = exact_hits(codes, rows, word)
    marginal = marginal_effect(context, word, hits, name)
    ablation = ablation_effect(context, word, hits, name)
    share = found.n_regions / len(rows)
    position = _position(hits)
    verdict = "shortcut" if _is_used(context, marginal, ablation) else "present"
    return {
        "name": name,
        "kind": KIND,
        "sequence": decode(word),
        "n_regions": found.n_regions,
        "attribution_share": attribution_share(context, hits, context.settings.n_regions),
        "enrichment": _enrichment(found.n_regions, len(rows), backgrounds[-1], word),
        "marginal_effect": None if marginal is None else marginal.mean,
        "ablation_effect": None if ablation is None else ablation.mean,
        "q_value": found.p_value,
        "verdict": verdict,
        "position": position,
        "exactness": found.exactness,
        "share": share,
        "marginal_p_value": None if marginal is None else marginal.p_value,
        "ablation_p_value": None if ablation is None else ablation.p_value,
        "text": _text(decode(word), share, position, marginal, verdict),
    }


def _backgrounds(context: AuditContext, codes: Codes) -> list[Codes]:
    """Shuffles of the regions, and the negatives where there are any, last."""
    n_draws = -(-MIN_SHUFFLES // len(codes))
    shuffles = np.concatenate([context.shuffled(codes, SHUFFLE_DRAW + draw) for draw in range(n_draws)])
    if context.negatives is None or not len(context.negatives):
        return [shuffles]
    return [shuffles, context.negatives[: context.settings.n_examples]]


def _masked(codes: Codes, rows: NDArray[np.int64], hits: Sequence[Hits]) -> Codes:
    """Write N over hits, of whose rows `rows` (ascending) are at hand."""
    masked = codes.copy()
    for part in hits:
        place = np.searchsorted(rows, part.row)
        for i, row, start, end in zip(place, part.row, part.start, part.end, strict=True):
            if i < len(rows) and rows[i] == row:
                masked[i, max(start, 0) : end] = N_CODE
    return masked


def _is_biology(context: AuditContext, codes: Codes, backgrounds: Sequence[Codes], word: Codes) -> bool:
    """Whether copies vary or go on as a site does, or a known motif is this word."""
    varies = explain_word(word, 0, len(word), codes, backgrounds[-1], (), context.settings)
    return varies is not None or explaining_motif(word, context.motifs or ()) is not None


def _is_repeat(word: Codes) -> bool:
    return bool(repeat_mask(word[None]).mean() >= REPEAT_SHARE)


def _is_used(context: AuditContext, marginal: Effect | None, ablation: Effect | None) -> bool:
    """Whether a word changes the prediction where it is put, and does not do the opposite where it stands."""
    settings = context.settings
    if marginal is None or marginal.p_value > settings.fdr:
        return False
    if abs(marginal.mean) < settings.min_effect * context.effect_scale:
        return False
    return ablation is None or ablation.mean * marginal.mean > 0


def _enrichment(n_regions: int, n: int, background: Codes, word: Codes) -> float:
    """Ratio of the shares of sequences that hold a word, half a sequence added to either count."""
    other = (count_rows(background, word) + 0.5) / (len(background) + 1)
    return (n_regions + 0.5) / (n + 1) / other


def _position(hits: Hits) -> int | None:
    """Offset that most copies share, or None."""
    start = hits.first_by_row().start
    offsets, counts = np.unique(start, return_counts=True)
    return int(offsets[counts.argmax()]) if counts.max() >= FIXED_SHARE * len(start) else None


def _text(word: str, share: float, position: int | None, marginal: Effect | None, verdict: str) -> str:
    where = "" if position is None else f", mostly at position {position} of the window"
    found = f"The exact word {word} is in {share:.0%} of the regions{where}; neither the library nor JASPAR knows it"
    if marginal is None:
        return f"{found}. Whether the model uses it could not be tested."
    effect = f"{'raises' if marginal.mean > 0 else 'lowers'} the prediction by {abs(marginal.mean):.3g}"
    if verdict == "shortcut":
        return f"{found}, and putting it into neutral sequence {effect}."
    return f"{found}, but the model hardly uses it."
