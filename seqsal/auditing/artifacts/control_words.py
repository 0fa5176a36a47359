"""What a word is compared with: words of the same bases, and neutral sequences to put them into."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seqsal.auditing.context import AuditContext, Codes
from seqsal.sequence.codes import N_CODE, reverse_complement

__all__ = ["control_words", "neutral_sequences"]

NEUTRAL_DRAW = 1_000  # of the shuffles; the first draws are taken by other parts of the audit
N_ORDERS = 256
FEWEST_ORDERS = 4  # that differ, for a spread among them to mean something
LOW_COMPLEXITY = 0.75  # share of one base above which another order is much the same word


def control_words(context: AuditContext, word: Codes, name: str) -> Codes:
    """Return words (K, w) to compare a word (w,) with: its bases in orders unlike its own, the most unlike first.

    K is `max_control_words`, or fewer where the bases have not as many orders. Words of (nearly) one base, and those
    with few orders, get pieces of shuffled regions instead.
    """
    settings = context.settings
    rng, n_words = context.rng(f"controls {name}"), max(settings.n_control_words, settings.max_control_words, 2)
    known = word[word < N_CODE]
    if not len(known) or np.bincount(known).max() > LOW_COMPLEXITY * len(word):
        return _pieces(neutral_sequences(context), len(word), n_words, rng)
    orders = np.unique(rng.permuted(np.tile(word, (max(N_ORDERS, 8 * n_words), 1)), axis=1), axis=0)
    orders = rng.permutation(orders)  # of equals, any
    off = np.abs(_n_cpg(orders) - _n_cpg(word[None]))
    orders = orders[np.argsort(off, kind="stable")[: len(orders) // 2]]
    order = np.argsort(_likeness(word, orders), kind="stable")
    if len(orders) // 2 < FEWEST_ORDERS:
        return _pieces(neutral_sequences(context), len(word), n_words, rng)
    return np.asarray(orders[order[: len(orders) // 2]][:n_words])


def _n_cpg(words: Codes) -> NDArray[np.int64]:
    return np.asarray(((words[:, :-1] == 1) & (words[:, 1:] == 2)).sum(axis=1), dtype=np.int64)


def _likeness(word: Codes, others: Codes) -> NDArray[np.int64]:
    """Most bases (K,) that words (K, w) share with a word at any offset of at most half its width, on either strand."""
    width = len(word)
    best = np.zeros(len(others), dtype=np.int64)
    for strand in (word, reverse_complement(word)):
        for shift in range(-(width // 2), width // 2 + 1):
            inside = slice(max(shift, 0), width + min(shift, 0))
            same = others[:, inside] == strand[max(-shift, 0) : width - max(shift, 0)]
            best = np.maximum(best, same.sum(axis=1))
    return best


def _pieces(codes: Codes, width: int, n_pieces: int, rng: np.random.Generator) -> Codes:
    row = rng.integers(0, len(codes), n_pieces)
    start = rng.integers(0, max(codes.shape[1] - width, 0) + 1, n_pieces)
    column = np.minimum(start[:, None] + np.arange(width), codes.shape[1] - 1)
    return np.asarray(codes[row[:, None], column])


def neutral_sequences(context: AuditContext) -> Codes:
    """`n_neutral` shuffles of audited regions, several of each where there are few regions."""
    n_neutral = context.settings.n_neutral
    codes = context.codes(context.rows(n_neutral))
    n_draws = -(-n_neutral // len(codes))
    shuffles = [context.shuffled(codes, NEUTRAL_DRAW + draw) for draw in range(n_draws)]
    return np.concatenate(shuffles)[:n_neutral]
