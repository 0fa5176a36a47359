"""Whether a model uses a word: what putting it into neutral sequence does, and taking it out where it stands.

A word is compared with others of the same bases in another order (:mod:`seqsal.experiments.words`).

Positive effects raise the prediction: `marginal_effect` is what the word adds to neutral sequence, `ablation_effect`
what it adds where it stands, beyond what the same replacement elsewhere in the window takes away. The latter only makes
an effect smaller: a window full of sites loses much anywhere, which is no effect of a word that has none.
"""

from __future__ import annotations

import numpy as np

from seqsal.auditing.content import Codes, Ints, Values, free_starts
from seqsal.auditing.context import AuditContext
from seqsal.auditing.finding import N_NEUTRAL, N_REMOVED, Effect
from seqsal.auditing.part import Measured, NotTested
from seqsal.auditing.parts.artifacts.search import Hits
from seqsal.errors import counted
from seqsal.experiments.words import MAX_CONTROL_WORDS, N_CONTROL_WORDS, effect_against, words_unlike, written
from seqsal.sequence.codes import reverse_complement

__all__ = [
    "MAX_CONTROL_WORDS", "N_CONTROL_WORDS", "ablation_effect", "attribution_share", "control_words", "effect_against",
    "marginal_effect",
]  # fmt: skip

N_ELSEWHERE = 4
MIN_WINDOWS = 5  # with fewer copies, removal is not tested
NEUTRAL_DRAW = 1_000  # of the shuffles; the first draws are taken by other parts of the audit
NO_MODEL = NotTested("no model was given")


def marginal_effect(context: AuditContext, word: Codes, hits: Hits, name: str) -> Effect | NotTested:
    """Put a word (w,) into neutral sequences where hits are, against control words at the same positions.

    Without hits the positions are drawn from the whole window. `name` is for the random numbers.
    """
    length, width = context.attr.length, len(word)
    if context.model is None:
        return NO_MODEL
    if width > length:
        return NotTested(f"{width} bp do not fit into a window of {length} bp")
    backgrounds, rows = _neutral_sequences(context)
    rng, n = context.rng(f"places {name}"), len(backgrounds)
    if len(hits):
        picked = hits.take(rng.integers(0, len(hits), n))
        start, strand = np.clip(picked.word_starts(width), 0, length - width), picked.strand
    else:
        start, strand = rng.integers(0, length - width + 1, n), np.ones(n, dtype=np.int8)

    def predict(words: Codes) -> Values:
        replaced = written(backgrounds, words, start, strand > 0)
        return context.predict(replaced.reshape(-1, length), rows=rows).reshape(len(words), -1)

    controls, lost = control_words(context, word, name), np.zeros(len(backgrounds))
    return effect_against(predict, predict(word[None]), controls, lost, context.settings.confidence)


def ablation_effect(context: AuditContext, word: Codes, hits: Hits, name: str) -> Effect | NotTested:
    """Replace copies of a word (w,) where they stand by control words, against replacing as much elsewhere.

    Elsewhere is outside the copy and, where there is room, outside peaks; the bases there are put in another order. The
    first copy of each row is replaced, in up to `N_REMOVED` windows. `name` is for the random numbers.
    """
    if context.model is None:
        return NO_MODEL
    rng = context.rng(f"removal {name}")
    hits = hits.first_by_row().sampled(N_REMOVED, rng)
    if len(hits) < MIN_WINDOWS:
        return NotTested(f"only {counted(len(hits), 'region')} with a copy, expected {MIN_WINDOWS} or more")
    codes = context.codes(hits.row)

    def predict(words: Codes) -> Values:
        replaced = np.concatenate([_without(codes, hits, control) for control in words])
        return context.predict(replaced, rows=hits.row).reshape(len(words), len(codes))

    own = context.predict(codes, rows=hits.row)
    elsewhere = np.concatenate([_shuffled_elsewhere(context, codes, hits, rng) for _ in range(N_ELSEWHERE)])
    lost = own - context.predict(elsewhere, rows=hits.row).reshape(N_ELSEWHERE, -1).mean(axis=0)
    return effect_against(predict, own[None], control_words(context, word, name), lost, context.settings.confidence)


def attribution_share(context: AuditContext, hits: Hits, n_rows: int | None = None) -> Measured:
    """Share of the map's mass Σ|track| under hits, over the `n_rows` (`n_examples` when None) that were searched."""
    rows = context.rows(context.settings.n_examples if n_rows is None else n_rows)
    total, under = 0.0, 0.0
    for chunk in np.array_split(rows, max(1, len(rows) * context.attr.length >> 22)):
        mass = np.abs(context.track(chunk)).astype(np.float64)
        total += float(mass.sum())
        inside = np.isin(hits.row, chunk)
        under += float(mass[hits.take(inside).mask(chunk, mass.shape[1])].sum())
    return under / total if total > 0 else NotTested("the map is 0")


def _without(codes: Codes, hits: Hits, control: Codes) -> Codes:
    """Sequences (n, L) with the n copies replaced by the same bases of a control word (w,)."""
    replaced = codes.copy()
    for row in range(len(hits)):
        start, end, offset = int(hits.start[row]), int(hits.end[row]), int(hits.offset[row])
        piece = control[offset : offset + end - start]
        replaced[row, start:end] = piece if hits.strand[row] > 0 else reverse_complement(piece)
    return replaced


def _shuffled_elsewhere(context: AuditContext, codes: Codes, hits: Hits, rng: np.random.Generator) -> Codes:
    """Sequences (n, L) with as many bases as the copy has put in another order, away from it."""
    shuffled = codes.copy()
    taken = context.in_peaks(hits.row)
    for row in range(len(hits)):
        start, end = int(hits.start[row]), int(hits.end[row])
        own = np.zeros(codes.shape[1], dtype=bool)
        own[start:end] = True
        starts = free_starts(~(taken[row] | own), end - start)
        if not len(starts):
            starts = free_starts(~own, end - start)
        if len(starts):
            free = int(rng.choice(starts))
            span = slice(free, free + end - start)
            shuffled[row, span] = rng.permutation(shuffled[row, span])
    return shuffled


def control_words(context: AuditContext, word: Codes, name: str) -> Codes:
    """Return words (K, w) to compare a word (w,) with: its bases in orders unlike its own, the most unlike first.

    K is `MAX_CONTROL_WORDS`, or fewer where the bases have not as many orders. Words of (nearly) one base, and those
    with few orders, get pieces of shuffled regions instead.
    """
    return words_unlike(word, context.rng(f"controls {name}"), lambda: _neutral_sequences(context)[0])


def _neutral_sequences(context: AuditContext) -> tuple[Codes, Ints]:
    """`N_NEUTRAL` shuffles of audited regions, several of each where there are few regions, and the regions' rows."""
    rows = context.rows(N_NEUTRAL)
    codes = context.codes(rows)
    n_draws = -(-N_NEUTRAL // len(codes))
    shuffles = np.concatenate(context.shuffles(codes, NEUTRAL_DRAW, n_draws))
    return shuffles[:N_NEUTRAL], np.resize(rows, N_NEUTRAL)
