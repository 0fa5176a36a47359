"""Which grammar two elements follow in a network, from what each does alone and what both do at every distance.

With f(A) and f(B) the effects of the elements alone (`insert`) and e(d, o) what the two do beyond that at distance d
and orientation o (`space`), sizes are taken relative to the largest effect of f(A), f(B) and f(A) + f(B) + e:

===========  ==========================================================================================================
none         |e| is below `LEAST` (its 90 % quantile), or nowhere q ≤ 0.05: the two add up, or do nothing
or           e < 0 and both act alone, with the same sign: one suffices, the second adds nothing
competition  e < 0 (of the sign against the one that acts): one takes away what the other does
period       e > 0 and a wave of 9.5 to 11.5 bp explains most of how e changes with d (a turn of the helix: 10.5 bp)
distance     e > 0 up to some distance, and less than half of that beyond: a step explains most of how e changes
orientation  e > 0 in some orientations, and less than half of that in others
and          e > 0 everywhere: the two act together
===========  ==========================================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import UsageError

__all__ = ["GRAMMARS", "Grammar", "name_grammar"]

GRAMMARS = ("none", "and", "or", "competition", "distance", "period", "orientation")
LEAST = 0.3  # of the largest effect: a smaller one is no interaction, and an element with less does nothing alone
MOST = 0.5  # share of the variance over distances that a step or a wave explains; and what is left where there is none
PERIODS = np.arange(8.0, 13.01, 0.1)  # bp
HELIX = (9.5, 11.5)
FEWEST_DISTANCES = 16  # for a wave
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Grammar:
    """What two elements do in a network.

    `name` is one of `GRAMMARS`; `alone` are the effects of A and B, `together` the mean of what they do beyond that;
    `period` (bp) of a wave over distances and the share of their variance that it explains, `reach` the distance up to
    which they act and the share that the step explains (None for too few distances); `orientations` in which they act.
    """

    name: str
    alone: tuple[float, float]
    together: float
    period: float | None
    period_share: float
    reach: int | None
    reach_share: float
    orientations: tuple[str, ...]

    def __str__(self) -> str:
        text = {
            "none": "each acts by itself: what both do is what each does alone",
            "and": "both are needed, at any distance and orientation",
            "or": "one suffices: the second adds less",
            "competition": "one takes away what the other does",
            "distance": f"both are needed, at most {self.reach} bp apart",
            "period": f"both are needed, with a period of {self.period or 0:.1f} bp",
            "orientation": f"both are needed, in the orientations {', '.join(self.orientations)}",
        }
        return f"{self.name}: {text[self.name]}"


def name_grammar(alone: pd.DataFrame, spaced: pd.DataFrame) -> Grammar:
    """Name the grammar of two elements from the tables of their experiments.

    Parameters
    ----------
    alone
        Of :func:`seqsal.experiments.insert`, A and B.
    spaced
        Of :func:`seqsal.experiments.space`, A and B.

    Returns
    -------
    Grammar
        Its name and what it rests on.

    Raises
    ------
    UsageError
        The tables are of other experiments, or of other elements.

    Examples
    --------
    >>> import pandas as pd
    >>> from seqsal.experiments import name_grammar
    >>> alone = pd.DataFrame({"element": ["A", "B"], "effect": [0.0, 0.1]})
    >>> row = {"a": "A", "b": "B", "q_value": 0.001}
    >>> spaced = pd.DataFrame([{**row, "distance": d, "orientation": o, "effect": 1.0 * (d <= 10)}
    ...                        for d in range(30) for o in ("++", "+-", "-+", "--")])
    >>> print(name_grammar(alone, spaced))
    distance: both are needed, at most 10 bp apart
    """
    e, distances, orientations = _matrix(alone, spaced)
    a, b = (float(alone["effect"][alone["element"] == spaced[side].iloc[0]].iloc[0]) for side in ("a", "b"))
    largest = max(abs(a), abs(b), float(np.abs(a + b + e).max())) or 1.0
    mean = float(e.mean())
    is_there = np.quantile(np.abs(e), 0.9) >= LEAST * largest and bool((spaced["q_value"] <= 0.05).any())
    by_orientation = e.mean(axis=0)
    acting = by_orientation >= MOST * by_orientation.max()
    over = e[:, acting].mean(axis=1) if mean > 0 else e.mean(axis=1)
    period, period_share = _wave(distances, over)
    reach, reach_share, beyond = _step(distances, over)
    found = Grammar(
        "none", (a, b), mean, period, period_share, reach, reach_share,
        tuple(np.array(orientations)[acting]) if mean > 0 else tuple(orientations),
    )  # fmt: skip
    if not is_there:
        return found
    acts = [abs(one) >= LEAST * largest for one in (a, b)]
    if mean * (a + b) < 0 and any(acts):
        return _called(found, "or" if all(acts) and a * b > 0 else "competition")
    if period is not None and HELIX[0] <= period <= HELIX[1] and period_share >= max(MOST, reach_share):
        return _called(found, "period")
    if reach is not None and reach_share >= MOST and beyond < MOST:
        return _called(found, "distance")
    return _called(found, "and" if acting.all() else "orientation")


def _called(grammar: Grammar, name: str) -> Grammar:
    return replace(grammar, name=name)


def _matrix(alone: pd.DataFrame, spaced: pd.DataFrame) -> tuple[Values, Values, list[str]]:
    """Return what both do beyond each alone, (D, O), with distances and orientations."""
    for table, columns, verb in (
        (alone, ("element", "effect"), "insert"),
        (spaced, ("a", "b", "distance", "orientation", "effect", "q_value"), "space"),
    ):
        missing = [name for name in columns if name not in table]
        if missing or not len(table):
            raise UsageError(f"{verb}: the table has no {missing[0] if missing else 'rows'}, expected one of {verb}")
    other = [name for name in (spaced["a"].iloc[0], spaced["b"].iloc[0]) if name not in set(alone["element"])]
    if other:
        raise UsageError(f"insert: the table has no row of {other[0]}, expected both elements of the table of space")
    wide = spaced.pivot_table(index="distance", columns="orientation", values="effect").dropna(axis=1)
    return wide.to_numpy(np.float64), wide.index.to_numpy(np.float64), [str(name) for name in wide.columns]


def _wave(distances: Values, over: Values) -> tuple[float | None, float]:
    """Fit a wave on top of a straight line: its period, and the share of what the line leaves that it explains."""
    if len(distances) < FEWEST_DISTANCES:
        return None, 0.0
    line = np.stack([np.ones_like(distances), distances], axis=1)
    rest = over - line @ np.linalg.lstsq(line, over, rcond=None)[0]
    total = float((rest**2).sum())
    best, share = None, 0.0
    for period in PERIODS:
        angle = 2 * np.pi * distances / period
        wave = np.concatenate([line, np.cos(angle)[:, None], np.sin(angle)[:, None]], axis=1)
        left = over - wave @ np.linalg.lstsq(wave, over, rcond=None)[0]
        explained = 1 - float((left**2).sum()) / total if total > 0 else 0.0
        if explained > share:
            best, share = float(period), explained
    return best, share


def _step(distances: Values, over: Values) -> tuple[int | None, float, float]:
    """Fit a step: where it is, the share of the variance that it explains, and what is left beyond it."""
    total = float(((over - over.mean()) ** 2).sum())
    best: tuple[int | None, float, float] = (None, 0.0, 1.0)
    for n in range(2, len(over) - 1):
        near, far = over[:n], over[n:]
        share = 1 - float(((near - near.mean()) ** 2).sum() + ((far - far.mean()) ** 2).sum()) / total if total else 0.0
        if share > best[1] and near.mean() > far.mean():
            best = (int(distances[n - 1]), share, float(far.mean() / near.mean()) if near.mean() > 0 else 1.0)
    return best
