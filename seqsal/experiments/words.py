"""A word against control words: whether what it does to a model is more than any bases would do.

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
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqsal.sequence.codes import N_CODE, reverse_complement

__all__ = [
    "EQUAL", "MAX_CONTROL_WORDS", "N_CONTROL_WORDS", "Effect", "cpg_sites", "effect_against", "paired_effect",
    "words_unlike", "written",
]  # fmt: skip

Codes = NDArray[np.uint8]
Values = NDArray[np.float64]
Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]
N_CONTROL_WORDS, MAX_CONTROL_WORDS = 16, 64  # words that a word is compared with, and where those leave it open
UNDECIDED = (1e-3, 0.25)  # p-values at which more control words are tried
N_ORDERS = 8 * MAX_CONTROL_WORDS
FEWEST_ORDERS = 4  # that differ, for a spread among them to mean something
LOW_COMPLEXITY = 0.75  # share of one base above which another order is much the same word
EQUAL = 1e-6  # of the model's range: float32
_C, _G = 1, 2


@dataclass(frozen=True)
class Effect:
    """Mean paired difference of the prediction over n sequences, in units of the attributed output.

    `ci` is None with a single sequence, and where only the test matters; `p_value` is two-sided.
    """

    mean: float
    ci: tuple[float, float] | None
    p_value: float
    n: int


def cpg_sites(codes: Codes) -> Flags:
    """Which bases (n, L) are part of a CpG."""
    pair = (codes[:, :-1] == _C) & (codes[:, 1:] == _G)
    mask = np.zeros(codes.shape, dtype=bool)
    mask[:, :-1] |= pair
    mask[:, 1:] |= pair
    return mask


def written(backgrounds: Codes, words: Codes, start: Ints, forward: Flags) -> Codes:
    """Write words (K, w) into backgrounds (n, L) at `start` (n,), turned where not `forward` (n,): (K, n, L)."""
    columns, along = start[:, None] + np.arange(words.shape[1]), forward[None, :, None]
    replaced = np.repeat(backgrounds[None], len(words), axis=0)
    replaced[:, np.arange(len(backgrounds))[:, None], columns] = np.where(
        along, words[:, None], reverse_complement(words)[:, None]
    )
    return replaced


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


def paired_effect(differences: Values, scale: float, confidence: float = 0.95) -> Effect:
    """Mean of paired differences (n,) of predictions of magnitude `scale`, with interval and t-test."""
    from scipy.stats import t as student

    mean, n = float(differences.mean()), len(differences)
    if n < 2:
        return Effect(mean, None, 1.0, n)
    error = float(differences.std(ddof=1)) / np.sqrt(n)
    half = float(student.ppf((1 + confidence) / 2, n - 1)) * error
    return Effect(mean, (mean - half, mean + half), _t_test(mean, error, n - 1, EQUAL * max(scale, EQUAL)), n)


def words_unlike(word: Codes, rng: np.random.Generator, neutral: Callable[[], Codes]) -> Codes:
    """Return words (K, w) to compare a word (w,) with: its bases in orders unlike its own, the most unlike first.

    K is `MAX_CONTROL_WORDS`, or fewer where the bases have not as many orders. Words of (nearly) one base, and those
    with few orders, get pieces of `neutral` sequences (n, L) instead.
    """
    known = word[word < N_CODE]
    if len(known) and np.bincount(known).max() <= LOW_COMPLEXITY * len(word):
        orders = np.unique(rng.permuted(np.tile(word, (N_ORDERS, 1)), axis=1), axis=0)
        orders = rng.permutation(orders)  # of equals, any
        off = np.abs(cpg_sites(orders).sum(axis=1) - cpg_sites(word[None]).sum(axis=1))  # twice as many as CpG
        orders = orders[np.argsort(off, kind="stable")[: len(orders) // 2]]
        order = np.argsort(_likeness(word, orders), kind="stable")
        if len(orders) // 2 >= FEWEST_ORDERS:
            return np.asarray(orders[order[: len(orders) // 2]][:MAX_CONTROL_WORDS])
    codes, width = neutral(), len(word)
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
