"""The size of an effect and its p-value, from predictions with a word and with words to compare it with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqsal.auditing.context import Codes
from seqsal.auditing.settings import AuditSettings

__all__ = ["Effect", "effect_against"]

EQUAL = 1e-6  # of the predictions: float32
UNDECIDED = (1e-3, 0.25)  # p-values from which more words are asked


@dataclass(frozen=True)
class Effect:
    """Mean difference of the prediction, in units of the attributed output.

    Attributes
    ----------
    mean
        Of the paired differences.
    ci
        Interval of the mean over sequences, or None with a single one.
    p_value
        Two-sided, the larger of the test over sequences and that among control words.
    n
        Number of sequences.
    """

    mean: float
    ci: tuple[float, float] | None
    p_value: float
    n: int


def effect_against(
    predict: Callable[[Codes], NDArray[np.float64]],
    own: NDArray[np.float64],
    controls: Codes,
    lost: NDArray[np.float64],
    settings: AuditSettings,
) -> Effect:
    """Effect of a word from predictions (1, n) with it and those (K, n) with some controls, or all where need be."""
    n_first = max(settings.n_control_words, 2)
    values = np.concatenate([own, predict(controls[:n_first])])
    effect = _effect(values, lost, settings.confidence)
    if not UNDECIDED[0] < effect.p_value < UNDECIDED[1] or len(controls) <= n_first:
        return effect
    return _effect(np.concatenate([values, predict(controls[n_first:])]), lost, settings.confidence)


def _effect(values: NDArray[np.float64], lost: NDArray[np.float64], confidence: float) -> Effect:
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


def _beyond(gained: NDArray[np.float64], lost: NDArray[np.float64]) -> NDArray[np.float64]:
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
