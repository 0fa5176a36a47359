"""Whether a model uses a word: what putting it into neutral sequence does, and taking it out where it stands.

*Controls are words, not only sequences.* Any 30 bases do something to a network, and with enough backgrounds that
something is significant. So a word is compared with `n_control_words` others of the same bases in another order, and
its effect must stand out twice: over the sequences that it is put into (paired t-test), and among the effects of the
other words, as one draw more from them would not (t-test of a single value, with K - 1 degrees of freedom)::

    t = (e - mean(e_k)) / (sd(e_k) √(1 + 1 / K)),       e, e_k: mean prediction with the word, with control word k

The p-value is the larger of the two. Where it is neither large nor small (`UNDECIDED`), the word is compared with
`max_control_words` instead: the spread among a few words is known too badly to tell an effect of a fifth of the range
from chance. The controls are those of many random orders that have about as many CpG, and resemble the word least at
any offset on either strand. Words that have no other order (a run of one base) are compared with pieces of the neutral
sequences themselves.

Positive effects raise the prediction: `marginal_effect` is what the word adds to neutral sequence, `ablation_effect`
what it adds where it stands, beyond what the same replacement elsewhere in the window takes away. The latter only makes
an effect smaller: a window full of sites loses much anywhere, which is no effect of a word that has none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seqsal.auditing.artifacts.control_words import control_words, neutral_sequences
from seqsal.auditing.artifacts.effects import Effect, effect_against
from seqsal.auditing.artifacts.hits import Hits, covered, sampled
from seqsal.auditing.context import AuditContext, Codes
from seqsal.sequence.codes import reverse_complement

__all__ = ["ablation_effect", "attribution_share", "marginal_effect"]

N_ELSEWHERE = 4
MIN_WINDOWS = 5  # with fewer copies, removal is not tested


def marginal_effect(context: AuditContext, word: Codes, hits: Hits, name: str) -> Effect | None:
    """Put a word into neutral sequences, at the places where it was found, against control words at the same places.

    Parameters
    ----------
    word
        (w,) codes, at most as long as a window.
    hits
        Where it was found: places and strands are drawn from these; without any, from the whole window.
    name
        For the random numbers.

    Returns
    -------
    Effect or None
        None without a model, or where the word does not fit into a window. `n` neutral sequences.
    """
    length, width = context.attr.length, len(word)
    if context.model is None or width > length:
        return None
    backgrounds = neutral_sequences(context)
    start, strand = _places(context.rng(f"places {name}"), hits, len(backgrounds), width, length)

    def predict(words: Codes) -> NDArray[np.float64]:
        return _predict_replaced(context, backgrounds, words, start, strand)

    controls = control_words(context, word, name)
    return effect_against(predict, predict(word[None]), controls, np.zeros(len(backgrounds)), context.settings)


def ablation_effect(context: AuditContext, word: Codes, hits: Hits, name: str) -> Effect | None:
    """Replace copies of a word where they stand by control words, against replacing as much elsewhere in the window.

    Elsewhere is outside the copy and, where there is room, outside peaks; the bases there are put in another order.

    Parameters
    ----------
    word
        (w,) codes of the whole word that `hits.offset` is about.
    hits
        Copies in rows of the attributions; the first of each row is replaced, in up to `n_removed` windows.
    name
        For the random numbers.

    Returns
    -------
    Effect or None
        None without a model, or with fewer than five windows. `n` windows.
    """
    if context.model is None:
        return None
    rng = context.rng(f"removal {name}")
    hits = sampled(hits.first_by_row(), context.settings.n_removed, rng)
    if len(hits) < MIN_WINDOWS:
        return None
    codes = context.codes(hits.row)

    def predict(words: Codes) -> NDArray[np.float64]:
        replaced = np.concatenate([_without(codes, hits, control) for control in words])
        return context.predict(replaced).reshape(len(words), len(codes))

    own = context.predict(codes)
    elsewhere = np.concatenate([_shuffled_elsewhere(context, codes, hits, rng) for _ in range(N_ELSEWHERE)])
    lost = own - context.predict(elsewhere).reshape(N_ELSEWHERE, -1).mean(axis=0)
    return effect_against(predict, own[None], control_words(context, word, name), lost, context.settings)


def attribution_share(context: AuditContext, hits: Hits, n_rows: int | None = None) -> float | None:
    """Share of the map's mass Σ|track| that lies under hits, over `context.rows(n_rows)`; bases count once.

    Parameters
    ----------
    hits
        In rows of the attributions.
    n_rows
        Rows that were searched; `n_examples` of the settings when None.

    Returns
    -------
    float or None
        None where the map is 0 everywhere.
    """
    rows = context.rows(context.settings.n_examples if n_rows is None else n_rows)
    total, under = 0.0, 0.0
    for chunk in np.array_split(rows, max(1, len(rows) * context.attr.length >> 22)):
        mass = np.abs(context.track(chunk)).astype(np.float64)
        total += float(mass.sum())
        inside = np.isin(hits.row, chunk)
        under += float(mass[covered(hits.take(inside), chunk, mass.shape[1])].sum())
    return under / total if total > 0 else None


def _places(
    rng: np.random.Generator, hits: Hits, n: int, width: int, length: int
) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Draw n starts, within the window, and strands from those of hits."""
    if not len(hits):
        return rng.integers(0, length - width + 1, n), np.ones(n, dtype=np.int8)
    picked = hits.take(rng.integers(0, len(hits), n))
    return np.clip(picked.word_starts(width), 0, length - width), picked.strand


def _predict_replaced(
    context: AuditContext, codes: Codes, words: Codes, start: NDArray[np.int64], strand: NDArray[np.int8]
) -> NDArray[np.float64]:
    """Predictions (K, n) of sequences (n, L) with each of the words (K, w) written at `start` (n,)."""
    columns = start[:, None] + np.arange(words.shape[1])
    replaced = np.repeat(codes[None], len(words), axis=0)  # (K, n, L)
    forward = (strand > 0)[None, :, None]
    replaced[:, np.arange(len(codes))[:, None], columns] = np.where(
        forward, words[:, None], reverse_complement(words)[:, None]
    )
    return context.predict(replaced.reshape(-1, codes.shape[1])).reshape(len(words), len(codes))


def _without(codes: Codes, hits: Hits, control: Codes) -> Codes:
    """Sequences (n, L) with the n copies replaced by the same bases of a control word (w,)."""
    replaced = codes.copy()
    for row in range(len(hits)):
        start, end, offset = int(hits.start[row]), int(hits.end[row]), int(hits.offset[row])
        piece = control[offset : offset + end - start]
        replaced[row, start:end] = piece if hits.strand[row] > 0 else reverse_complement(piece)
    return replaced


def _shuffled_elsewhere(context: AuditContext, codes: Codes, hits: Hits, rng: np.random.Generator) -> Codes:
    """Sequences (n, L) with as many bases as the copy has put in another order, at a place away from it."""
    shuffled = codes.copy()
    taken = _in_peaks(context, hits.row)
    for row in range(len(hits)):
        start, end = int(hits.start[row]), int(hits.end[row])
        own = np.zeros(codes.shape[1], dtype=bool)
        own[start:end] = True
        place = _free_start(taken[row] | own, own, end - start, rng)
        if place is not None:
            span = slice(place, place + end - start)
            shuffled[row, span] = rng.permutation(shuffled[row, span])
    return shuffled


def _free_start(taken: NDArray[np.bool_], own: NDArray[np.bool_], width: int, rng: np.random.Generator) -> int | None:
    """Start of a free stretch, or of one that only avoids the copy itself, or None."""
    for mask in (taken, own):
        n_taken = np.concatenate([[0], np.cumsum(mask)])
        free = np.flatnonzero(n_taken[width:] == n_taken[:-width])
        if len(free):
            return int(rng.choice(free))
    return None


def _in_peaks(context: AuditContext, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each base (n, L) of some windows lies in a peak."""
    length = context.attr.length
    inside = np.zeros((len(rows), length), dtype=bool)
    peaks = context.peaks
    by_chrom = {str(chrom): table[["start", "end"]].to_numpy() for chrom, table in peaks.groupby("chrom")}
    windows = context.attr.regions.iloc[rows]
    for i, (chrom, start, strand) in enumerate(zip(windows["chrom"], windows["start"], windows["strand"], strict=True)):
        spans = by_chrom[str(chrom)] - int(start) if str(chrom) in by_chrom else np.zeros((0, 2), dtype=np.int64)
        for first, last in spans[(spans[:, 1] > 0) & (spans[:, 0] < length)]:
            inside[i, max(first, 0) : last] = True
        if strand == "-":
            inside[i] = inside[i, ::-1].copy()
    return inside
