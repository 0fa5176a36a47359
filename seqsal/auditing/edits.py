"""Minimal edits: how few substitutions at the bases that a map points at undo a prediction.

Towards what the model gives shuffles of a sequence, bases are substituted one by one, in the order of the map; at each
position the base is put that moves the prediction furthest there by itself (in-silico mutagenesis). A prediction is
*halved* when its distance from the mean of the shuffles is at most half of what it was, in any output space, and
*flipped* when it crossed the border between the classes (logit 0, probability 0.5). A good map needs few edits; it is
compared with the order of the single effects and with random positions, in the same regions and with the same bases.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.auditing.context import AuditContext
from seqsal.auditing.locality import region_columns
from seqsal.auditing.stats import mean_interval
from seqsal.sequence.codes import N_CODE

__all__ = ["Edits", "count_edits"]

BORDERS = {"logit": 0.0, "probability": 0.5}  # between the classes, by output space
ORDERS = ("map", "ism", "random")
UNDEFINED = -1
Codes = NDArray[np.uint8]
Values = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Edits:
    """How many edits it takes.

    Attributes
    ----------
    values
        For `audit.json`.
    regions
        One row a region: `prediction`, `shuffled_prediction`, and `halve_` and `flip_` by `map`, `ism` and `random`:
        numbers of edits, one more than `max_edits` where these are not enough, missing where it is not defined.
    """

    values: dict[str, Any]
    regions: pd.DataFrame


@dataclass(frozen=True)
class _Goal:
    """What the predictions of n regions are to become: at most `value` after multiplication by `sign`; (n,) each."""

    sign: Values
    value: Values
    defined: NDArray[np.bool_]

    def reached(self, predictions: Values, which: Counts) -> NDArray[np.bool_]:
        """Whether predictions of some of the regions are there."""
        return self.sign[which] * predictions <= self.sign[which] * self.value[which]


def count_edits(context: AuditContext) -> Edits:
    """Count the edits that halve and flip the predictions of the `n_small` regions.

    Takes, for each region, at most 3 · `max_edits` + `n_draws` + 1 forward passes beside the shared in-silico
    mutagenesis; twice that with averages over strands. Regions that differ from their shuffles by less than
    `large_change` of the model's range have nothing to undo and are left out.

    Parameters
    ----------
    context
        With a model, whose `effect_scale` is above 0.
    """
    settings = context.settings
    rows = context.rows(settings.n_small)
    codes = context.codes(rows)
    before = context.predict(codes)
    draws = range(settings.n_draws)
    shuffled = np.mean([context.predict(context.shuffled(codes, draw)) for draw in draws], axis=0)
    sign = np.where(before >= shuffled, 1.0, -1.0)
    goals = _goals(context, before, shuffled, sign)
    effects = np.asarray(sign[:, None, None] * context.substitutions(settings.n_small), dtype=np.float64)
    best, gained = _best_bases(effects, codes)
    orders = _orders(context, rows, gained, sign)
    found = _count(context, codes, best, np.concatenate([orders[name] for name in ORDERS]), goals)
    counts = dict(zip(ORDERS, np.split(found, len(ORDERS), axis=1), strict=True))  # (n_goals, n) each
    table = region_columns(context, rows).assign(prediction=before, shuffled_prediction=shuffled)
    values: dict[str, Any] = {"n_regions": len(rows), "cap": settings.max_edits}
    for i, goal in enumerate(goals):
        for name in ORDERS:
            numbers = counts[name][i]
            table[f"{goal}_{name}"] = pd.array(numbers, dtype="Int64")
            table.loc[numbers == UNDEFINED, f"{goal}_{name}"] = pd.NA
        values[goal] = _summary(context, goal, {name: counts[name][i] for name in ORDERS})
    return Edits(values, table)


def _goals(context: AuditContext, before: Values, shuffled: Values, sign: Values) -> dict[str, _Goal]:
    is_far = np.abs(before - shuffled) >= context.settings.large_change * context.effect_scale
    goals = {"halve": _Goal(sign, (before + shuffled) / 2, is_far)}
    border = BORDERS.get(context.attr.output_space)
    if border is None:
        return goals | {"flip": _Goal(sign, before, np.zeros(len(before), dtype=bool))}
    between = (before - border) * (shuffled - border) < 0
    return goals | {"flip": _Goal(sign, np.full(len(before), border), is_far & between)}


def _best_bases(effects: Values, codes: Codes) -> tuple[Codes, Values]:
    """Return at each position the other base of the lowest effect (n, 4, L), and its effect; (n, L) each."""
    is_there = np.arange(4)[:, None] == codes[:, None]
    others = np.where(is_there, np.inf, effects)
    return np.where(codes == N_CODE, codes, others.argmin(axis=1).astype(np.uint8)), others.min(axis=1)


def _orders(context: AuditContext, rows: Counts, gained: Values, sign: Values) -> dict[str, Counts]:
    """Order the positions, known ones first, (n, L) each: by the map, by the lowest single effect, by lot."""
    track = context.track(rows).astype(np.float64)
    signed = context.attr.attrs.get("signed", True)
    known = context.codes(rows) != N_CODE
    keys = {
        "map": -(sign[:, None] * track if signed else np.abs(track)),
        "ism": gained,
        "random": context.rng("minimal edits").random(track.shape),
    }
    return {name: np.where(known, key, np.inf).argsort(axis=1, kind="stable") for name, key in keys.items()}


def _count(context: AuditContext, codes: Codes, best: Codes, order: Counts, goals: dict[str, _Goal]) -> Counts:
    """Edit the regions in k orders (k · n, L), all together, until each has reached its goals; (n_goals, k · n)."""
    cap = context.settings.max_edits
    region = np.arange(len(order)) % len(codes)
    edited = codes[region]
    counts = np.array([np.where(goal.defined, cap + 1, UNDEFINED)[region] for goal in goals.values()])
    for step in range(min(cap, codes.shape[1])):
        waiting = np.flatnonzero((counts > cap).any(0))
        if not len(waiting):
            break
        at = order[waiting, step]
        edited[waiting, at] = best[region[waiting], at]
        predictions = context.predict(edited[waiting])
        for own, goal in zip(counts, goals.values(), strict=True):
            now = goal.reached(predictions, region[waiting]) & (own[waiting] > cap)
            own[waiting[now]] = step + 1
    return counts


def _summary(context: AuditContext, goal: str, counts: dict[str, Counts]) -> dict[str, Any]:
    """Medians by order, None where the median is beyond the cap, and the paired differences of the map from the others.

    In the differences a region beyond the cap counts as one edit more than the cap.
    """
    cap = context.settings.max_edits
    defined = counts["map"] != UNDEFINED
    kept = {name: numbers[defined].astype(np.float64) for name, numbers in counts.items()}
    values: dict[str, Any] = {"n_regions": int(defined.sum())}
    for name, numbers in kept.items():
        median = float(np.median(numbers)) if len(numbers) else None
        beyond = int((numbers > cap).sum())
        values[name] = {"median": median if median is not None and median <= cap else None, "n_more_than_cap": beyond}
    for other in ORDERS[1:]:
        rng = context.rng(f"minimal edits {goal} {other}")
        values[f"map_minus_{other}"] = _difference(context, kept["map"] - kept[other], rng)
    return values


def _difference(context: AuditContext, differences: Values, rng: np.random.Generator) -> dict[str, Any]:
    interval = mean_interval(differences, rng, context.settings)
    return {"mean": float(differences.mean()) if len(differences) else None, "ci": interval}
