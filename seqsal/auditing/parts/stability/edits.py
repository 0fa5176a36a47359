"""Minimal edits: how few substitutions at the bases that a map points at undo a prediction.

Towards what the model gives shuffles of a sequence, bases are substituted one by one, in the order of the map; at each
position the base is put that moves the prediction furthest there by itself (in-silico mutagenesis). A prediction is
*halved* when its distance from the mean of the shuffles is at most half of what it was, in any output space, and
*flipped* when it crossed the border between the classes (logit 0, probability 0.5). A good map needs few edits; it is
compared with the order of the single effects and with random positions, in the same regions and with the same bases.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from seqsal.auditing.content import Codes, Flags, Ints, Values
from seqsal.auditing.context import AuditContext
from seqsal.auditing.part import NOT_IN_JSON, Interval
from seqsal.auditing.parts.stability.locality import LARGE_CHANGE
from seqsal.auditing.stats import mean_interval, mean_known
from seqsal.sequence.codes import N_CODE

__all__ = ["Edits", "count_edits"]

MAX_EDITS = 20  # substitutions made one after the other
BORDERS = {"logit": 0.0, "probability": 0.5}  # between the classes, by output space
ORDERS = ("map", "ism", "random")
UNDEFINED = -1


@dataclass(frozen=True)
class EditCount:
    """Median number of edits, None where it is beyond the cap, and regions in which it is."""

    median: float | None
    n_more_than_cap: int


@dataclass(frozen=True)
class EditDifference:
    """Mean paired difference in numbers of edits, a region beyond the cap counting as one more than it; its interval.

    Both are None without regions, the interval with one alone.
    """

    mean: float | None
    ci: Interval | None


@dataclass(frozen=True)
class EditGoal:
    """Edits in the order of the map, of the single effects (`ism`) and at random, in regions where there is a goal."""

    n_regions: int
    map: EditCount
    ism: EditCount
    random: EditCount
    map_minus_ism: EditDifference
    map_minus_random: EditDifference


@dataclass(frozen=True)
class Edits:
    """How many edits, at most `cap`, it takes to halve and to flip a prediction.

    `regions`, one row a region, has numbers of edits `halve_` and `flip_` by `map`, `ism` and `random`: one more than
    the cap where these are not enough, missing where it is not defined.
    """

    n_regions: int
    cap: int
    halve: EditGoal
    flip: EditGoal
    regions: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False, metadata=NOT_IN_JSON)


@dataclass(frozen=True)
class _Goal:
    """What the predictions of n regions are to become: at most `value` after multiplication by `sign`; (n,) each."""

    sign: Values
    value: Values
    defined: Flags

    def reached(self, predictions: Values, which: Ints) -> Flags:
        """Whether predictions of some of the regions are there."""
        return self.sign[which] * predictions <= self.sign[which] * self.value[which]


def count_edits(context: AuditContext) -> Edits:
    """Count the edits that halve and flip the predictions of the `n_small` regions; the model has to have a range.

    Takes, for each region, at most 3 · `MAX_EDITS` + `n_draws` + 1 forward passes in addition to the shared in-silico
    mutagenesis; twice that with averages over strands. Regions that differ from their shuffles by less than
    `LARGE_CHANGE` of the model's range have nothing to undo and are left out.
    """
    settings = context.settings
    rows = context.rows(settings.n_small)
    codes = context.codes(rows)
    before = context.predict(codes, rows=rows)
    draws = range(settings.n_draws)
    shuffled = np.mean([context.predict(context.shuffled(codes, draw), rows=rows) for draw in draws], axis=0)
    sign = np.where(before >= shuffled, 1.0, -1.0)
    goals = _goals(context, before, shuffled, sign)
    effects = np.asarray(sign[:, None, None] * context.substitutions(settings.n_small), dtype=np.float64)
    others = np.where(np.arange(4)[:, None] == codes[:, None], np.inf, effects)
    gained = others.min(axis=1)  # by the base that moves the prediction furthest
    best = np.where(codes == N_CODE, codes, others.argmin(axis=1).astype(np.uint8))
    orders = _orders(context, rows, gained, sign)
    found = _count(context, rows, codes, best, np.concatenate([orders[name] for name in ORDERS]), goals)
    table = context.region_table(rows).assign(prediction=before, shuffled_prediction=shuffled)
    summaries = {}
    for goal, numbers in zip(goals, found.reshape(len(goals), len(ORDERS), len(rows)), strict=True):
        counts = dict(zip(ORDERS, numbers, strict=True))
        for name, count in counts.items():
            table[f"{goal}_{name}"] = pd.array(count, dtype="Int64")
            table.loc[count == UNDEFINED, f"{goal}_{name}"] = pd.NA
        summaries[goal] = _summary(context, goal, counts)
    return Edits(len(rows), MAX_EDITS, **summaries, regions=table)


def _goals(context: AuditContext, before: Values, shuffled: Values, sign: Values) -> dict[str, _Goal]:
    is_far = np.abs(before - shuffled) >= LARGE_CHANGE * context.effect_scale
    goals = {"halve": _Goal(sign, (before + shuffled) / 2, is_far)}
    border = BORDERS.get(context.attr.output_space)
    if border is None:
        return goals | {"flip": _Goal(sign, before, np.zeros(len(before), dtype=bool))}
    between = (before - border) * (shuffled - border) < 0
    return goals | {"flip": _Goal(sign, np.full(len(before), border), is_far & between)}


def _orders(context: AuditContext, rows: Ints, gained: Values, sign: Values) -> dict[str, Ints]:
    """Order the positions, known ones first, (n, L) each: by the map, by the lowest single effect, by lot."""
    track = context.track(rows).astype(np.float64)
    known = context.codes(rows) != N_CODE
    keys = {
        "map": -(sign[:, None] * track if context.signed else np.abs(track)),
        "ism": gained,
        "random": context.rng("minimal edits").random(track.shape),
    }
    return {name: np.where(known, key, np.inf).argsort(axis=1, kind="stable") for name, key in keys.items()}


def _count(context: AuditContext, rows: Ints, codes: Codes, best: Codes, order: Ints, goals: dict[str, _Goal]) -> Ints:
    """Edit the regions in k orders (k · n, L), all together, until each has reached its goals; (n_goals, k · n)."""
    cap = MAX_EDITS
    region = np.arange(len(order)) % len(codes)
    edited = codes[region]
    counts = np.array([np.where(goal.defined, cap + 1, UNDEFINED)[region] for goal in goals.values()])
    for step in range(min(cap, codes.shape[1])):
        waiting = np.flatnonzero((counts > cap).any(0))
        if not len(waiting):
            break
        at = order[waiting, step]
        edited[waiting, at] = best[region[waiting], at]
        predictions = context.predict(edited[waiting], rows=rows[region[waiting]])
        for own, goal in zip(counts, goals.values(), strict=True):
            now = goal.reached(predictions, region[waiting]) & (own[waiting] > cap)
            own[waiting[now]] = step + 1
    return counts


def _summary(context: AuditContext, goal: str, counts: dict[str, Ints]) -> EditGoal:
    defined = counts["map"] != UNDEFINED
    kept = {name: numbers[defined].astype(np.float64) for name, numbers in counts.items()}
    found: dict[str, Any] = {}
    for name, numbers in kept.items():
        median = float(np.median(numbers)) if len(numbers) else np.inf
        found[name] = EditCount(median if median <= MAX_EDITS else None, int((numbers > MAX_EDITS).sum()))
        if name != "map":
            values, rng = kept["map"] - numbers, context.rng(f"minimal edits {goal} {name}")
            interval = mean_interval(values, rng, context.settings)
            found[f"map_minus_{name}"] = EditDifference(mean_known(values), interval)
    return EditGoal(n_regions=int(defined.sum()), **found)
