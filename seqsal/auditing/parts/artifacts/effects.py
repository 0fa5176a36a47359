"""Whether a model uses a word: what putting it into neutral sequence does, and taking it out where it stands.

*Controls are words, not only sequences.* Any 30 bases do something to a network, and with enough backgrounds that
something is significant. So a word is compared with `N_CONTROL_WORDS` others of the same bases in another order, and
its effect must stand out twice: over the sequences that it is put into (paired t-test), and among the effects of the
other words, as one draw more from them would not (t-test of a single value, with K - 1 degrees of freedom)::

    t = (e - mean(e_k)) / (sd(e_k) √(1 + 1 / K)),       e, e_k: mean prediction with the word, with control word k

The p-value is the larger of the two. Where it is neither large nor small (`UNDECIDED`), the word is compared with
`MAX_CONTROL_WORDS` instead: the spread among a few words is known too badly to tell an effect of a fifth of the range
from chance. The controls are those of many random orders that have about as many CpG, and resemble the word least at
any offset on either strand. Words that have no other order (a run of one base) are compared with pieces of the neutral
sequences themselves.

Positive effects raise the prediction: `marginal_effect` is what the word adds to neutral sequence, `ablation_effect`
what it adds where it stands, beyond what the same replacement elsewhere in the window takes away. The latter only makes
an effect smaller: a window full of sites loses much anywhere, which is no effect of a word that has none.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from seqsal.auditing.content import Codes, Ints, Values, cpg_sites, free_starts
from seqsal.auditing.context import AuditContext
from seqsal.auditing.finding import EQUAL, N_NEUTRAL, N_REMOVED, Effect
from seqsal.auditing.part import Measured, NotTested
from seqsal.auditing.parts.artifacts.search import Hits
from seqsal.sequence.codes import N_CODE, reverse_complement

__all__ = ["ablation_effect", "attribution_share", "control_words", "effect_against", "marginal_effect"]

N_CONTROL_WORDS, MAX_CONTROL_WORDS = (
    16,
    64,
)  # words of the same bases that a word is compared with, and where those leave it open
UNDECIDED = (1e-3, 0.25)  # p-values at which more control words are tried
N_ELSEWHERE = 4
MIN_WINDOWS = 5  # with fewer copies, removal is not tested
NEUTRAL_DRAW = 1_000  # of the shuffles; the first draws are taken by other parts of the audit
N_ORDERS = 8 * MAX_CONTROL_WORDS
FEWEST_ORDERS = 4  # that differ, for a spread among them to mean something
LOW_COMPLEXITY = 0.75  # share of one base above which another order is much the same word
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
    columns, forward = start[:, None] + np.arange(width), (strand > 0)[None, :, None]

    def predict(words: Codes) -> Values:
        replaced = np.repeat(backgrounds[None], len(words), axis=0)  # (K, n, L)
        replaced[:, np.arange(len(backgrounds))[:, None], columns] = np.where(
            forward, words[:, None], reverse_complement(words)[:, None]
        )
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
        return NotTested(f"only {len(hits)} regions have a copy, expected {MIN_WINDOWS} or more")
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


def effect_against(
    predict: Callable[[Codes], Values],
    own: Values,
    controls: Codes,
    lost: Values,
    confidence: float,
) -> Effect:
    """Effect of a word from predictions (1, n) with it and those (K, n) with some controls, or all where need be."""
    values = np.concatenate([own, predict(controls[:N_CONTROL_WORDS])])
    effect = _effect(values, lost, confidence)
    if not UNDECIDED[0] < effect.p_value < UNDECIDED[1] or len(controls) <= N_CONTROL_WORDS:
        return effect
    return _effect(np.concatenate([values, predict(controls[N_CONTROL_WORDS:])]), lost, confidence)


def _effect(values: Values, lost: Values, confidence: float) -> Effect:
    """Effect of a word from predictions (1 + K, n) with it and with control words, less what is lost anyway (n,)."""
    from scipy.stats import t as student  # here because it takes half a second to load

    differences = _beyond(values[0] - values[1:].mean(axis=0), lost)
    mean, n = float(differences.mean()), len(differences)
    floor = EQUAL * max(float(np.abs(values).max()), EQUAL)
    means = values[1:].mean(axis=1)
    among_words = _t_test(mean, float(means.std(ddof=1)) * np.sqrt(1 + 1 / len(means)), len(means) - 1, floor)
    if n < 2:
        return Effect(mean, None, among_words, n)
    error = float(differences.std(ddof=1)) / np.sqrt(n)
    half = float(student.ppf((1 + confidence) / 2, n - 1)) * error
    p_value = max(among_words, _t_test(mean, error, n - 1, floor))
    return Effect(mean, (mean - half, mean + half), p_value, n)


def _beyond(gained: Values, lost: Values) -> Values:
    """Differences (n,) beyond a loss that is had anyway; never more than without it, nor of the other sign."""
    mean, anyway = float(gained.mean()), float(lost.mean())
    if mean * anyway <= 0:
        return gained
    return gained - lost if abs(anyway) < abs(mean) else np.zeros_like(gained)


def _t_test(mean: float, error: float, freedom: int, floor: float) -> float:
    """Two-sided p-value; differences below `floor` are rounding."""
    from scipy.stats import t as student

    if abs(mean) <= floor:
        return 1.0
    return float(2 * student.sf(abs(mean) / max(error, floor), freedom))


def control_words(context: AuditContext, word: Codes, name: str) -> Codes:
    """Return words (K, w) to compare a word (w,) with: its bases in orders unlike its own, the most unlike first.

    K is `MAX_CONTROL_WORDS`, or fewer where the bases have not as many orders. Words of (nearly) one base, and those
    with few orders, get pieces of shuffled regions instead.
    """
    rng = context.rng(f"controls {name}")
    known = word[word < N_CODE]
    if len(known) and np.bincount(known).max() <= LOW_COMPLEXITY * len(word):
        orders = np.unique(rng.permuted(np.tile(word, (N_ORDERS, 1)), axis=1), axis=0)
        orders = rng.permutation(orders)  # of equals, any
        off = np.abs(cpg_sites(orders).sum(axis=1) - cpg_sites(word[None]).sum(axis=1))  # twice as many as CpG
        orders = orders[np.argsort(off, kind="stable")[: len(orders) // 2]]
        order = np.argsort(_likeness(word, orders), kind="stable")
        if len(orders) // 2 >= FEWEST_ORDERS:
            return np.asarray(orders[order[: len(orders) // 2]][:MAX_CONTROL_WORDS])
    codes, width = _neutral_sequences(context)[0], len(word)
    row = rng.integers(0, len(codes), MAX_CONTROL_WORDS)
    start = rng.integers(0, max(codes.shape[1] - width, 0) + 1, MAX_CONTROL_WORDS)
    column = np.minimum(start[:, None] + np.arange(width), codes.shape[1] - 1)
    return np.asarray(codes[row[:, None], column])


def _likeness(word: Codes, others: Codes) -> Ints:
    """Most bases (K,) that words (K, w) share with a word at any offset of at most half its width, on either strand."""
    width = len(word)
    best = np.zeros(len(others), dtype=np.int64)
    for strand in (word, reverse_complement(word)):
        for shift in range(-(width // 2), width // 2 + 1):
            inside = slice(max(shift, 0), width + min(shift, 0))
            same = others[:, inside] == strand[max(-shift, 0) : width - max(shift, 0)]
            best = np.maximum(best, same.sum(axis=1))
    return best


def _neutral_sequences(context: AuditContext) -> tuple[Codes, Ints]:
    """`N_NEUTRAL` shuffles of audited regions, several of each where there are few regions, and the regions' rows."""
    rows = context.rows(N_NEUTRAL)
    codes = context.codes(rows)
    n_draws = -(-N_NEUTRAL // len(codes))
    shuffles = [context.shuffled(codes, NEUTRAL_DRAW + draw) for draw in range(n_draws)]
    return np.concatenate(shuffles)[:N_NEUTRAL], np.resize(rows, N_NEUTRAL)
