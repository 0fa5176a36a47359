"""What replacing bases by shuffled sequence does to the output: curves of deletion and insertion, and whole peaks.

A curve replaces the first k bases of an order by what a dinucleotide-preserving shuffle of the same sequence has there,
for k from 0 to all known bases, so that every perturbed sequence is DNA of the same composition; N is never replaced.
*Deletion* goes from the sequence to its shuffle, *insertion* from the shuffle to the sequence (Samek et al. 2017,
doi:10.1109/TNNLS.2016.2599820; Petsiuk, Das and Saenko 2018, arXiv:1806.07421). Shuffled sequence as the neutral
background of models of DNA: Koo et al. 2021, doi:10.1371/journal.pcbi.1008925.

*Which sequences.* Only the set of replaced bases matters. Restoring the first k of n bases leaves the last n − k
replaced, which are the first n − k of the reversed order: insertion is the deletion of the reversed order, read
backwards, sequence by sequence. Five deletion curves (by the map, its reverse, at random, from the centre outwards and
from the edges inwards) therefore give both tests for four orders.

*Which shares.* A motif is gone after the first few percent of the bases, and comes back within the last few percent of
the reverse order; so the points lie close together at both ends. With t = 0, 1/S, …, 1 the share is
t² / (t² + (1 − t)²), whose odds are the squares of those of t: of 20 steps five end within the first 10 %, the first of
them after 0.3 % (one base of 200 bp). The grid is symmetric, as the exchange of deletion and insertion needs.
Counts are rounded to whole bases; areas use the shares after rounding.

*Maps without signs* say how much a base matters, and not which way. Their curves are of the size of the change,
|f(x with k bases replaced) − f(x)| or, for insertion, the distance from the prediction of the shuffle; both rise.

*Confidence.* The area under a region's curve is compared with that of a baseline order in the same region; means of
these paired differences get confidence intervals by resampling regions (:mod:`seqsal.auditing.stats`).

*Peaks.* All peaks of one sign that lie in a window are replaced together by what a shuffle of the window has there. The
control replaces, by the same shuffle, spans of the same widths at random positions of the same window that are in no
peak of either sign and hold no N. What supports the prediction should lower it when replaced, what represses it should
raise it, both by more than the control does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from seqsal.auditing.content import Codes, Flags, Ints, Values, free_starts, mask_of, runs_of, spans_in_windows
from seqsal.auditing.context import AuditContext
from seqsal.auditing.part import Interval, Measured, NotTested, measured
from seqsal.auditing.settings import AuditSettings
from seqsal.auditing.stats import interval_of, mean_interval, mean_known, percentile_interval, resample_means
from seqsal.io.progress import bar as progress_bar
from seqsal.sequence.codes import N_CODE

__all__ = [
    "PeakEffects", "PeakResult", "ReplacementCurves", "ReplacementResult", "areas_by_region", "first_in_order",
    "peak_effects", "replacement_curves", "summarise_curves",
]  # fmt: skip

Predict = Callable[[Codes, Ints], Values]  # of sequences (m, L), and which of the given ones each is a change of

ORDERS = ("map", "random", "reverse", "centre")
BASELINES = ("random", "reverse", "centre")
ROUNDING = 1e-6  # of the largest prediction: what single precision makes of equal outputs
_DELETED = ("map", "random", "reverse", "centre", "edges")
_INSERTED_AS = {"map": "reverse", "random": "random", "reverse": "map", "centre": "edges"}
CHUNK_BYTES = 1 << 23  # of perturbed codes; some six times as much is held
_EXPECTED = {"pos": -1.0, "neg": 1.0}  # sign of the change of the output when peaks of this sign are replaced


@dataclass(frozen=True, eq=False)
class CurveSet:
    """Curves of n regions by :data:`ORDERS`.

    `share`: (n, S + 1) share of the known bases that are replaced (deletion) or restored (insertion), from 0 to 1.
    `outputs`: by order, (n, S + 1): the model's output, averaged over the shuffles.
    """

    share: Values
    outputs: dict[str, Values]

    def areas(self) -> dict[str, Values]:
        """Area under each region's curve, (n,), in units of the output."""
        return {order: area(values, self.share) for order, values in self.outputs.items()}


@dataclass(frozen=True, eq=False)
class ReplacementCurves:
    """What replacing bases does to the output, for n regions.

    `share`: (n, S + 1) share of the known bases that are replaced. `outputs`: (5, n, S + 1) output with the bases
    replaced by the map, at random, by the map reversed, from the centre, and from the edges; averaged over the
    shuffles. Of a map without signs, the size of the change from f(x). `restored`: the same as seen from the shuffle,
    for insertion: equal to `outputs`, or the size of the change from f(shuffle). `prediction`: (n,) f(x).
    `shuffled_prediction`: (n,) f of the shuffles, averaged. `n_passes`: sequences that were predicted.
    """

    share: Values
    outputs: Values
    restored: Values
    prediction: Values
    shuffled_prediction: Values
    n_passes: int
    signed: bool = True

    def deletion(self) -> CurveSet:
        """Curves from the sequence to its shuffle."""
        return CurveSet(self.share, {order: self.outputs[_DELETED.index(order)] for order in ORDERS})

    def insertion(self) -> CurveSet:
        """Curves from the shuffle to the sequence, from the same predictions."""
        curves = {order: self.restored[_DELETED.index(_INSERTED_AS[order])][:, ::-1] for order in ORDERS}
        return CurveSet(1 - self.share[:, ::-1], curves)

    @property
    def rounding(self) -> float:
        """Size up to which a change of the output is rounding."""
        return ROUNDING * float(max(np.abs(self.prediction).max(), np.abs(self.shuffled_prediction).max()))

    @property
    def is_flat(self) -> bool:
        """Whether no replacement changes the output."""
        start = self.prediction[:, None] if self.signed else 0.0
        return bool(np.abs(self.outputs - start).max() <= self.rounding)

    def flattened(self) -> ReplacementCurves:
        """Return the curves without rounding, of a model that ignores its input."""
        start = self.prediction[:, None] if self.signed else 0.0
        flat = np.broadcast_to(start, self.outputs.shape)
        return replace(self, outputs=flat, restored=flat)


def area(outputs: Values, share: Values) -> Values:
    """Area by the trapezoid rule along the last axis."""
    return np.asarray(((outputs[..., 1:] + outputs[..., :-1]) / 2 * np.diff(share, axis=-1)).sum(axis=-1))


def replacement_counts(n_known: Ints, n_steps: int) -> Ints:
    """How many of the known bases (n,) are replaced at each point of a curve of S steps, (n, S + 1), ascending.

    Mirror images of each other, k and n_known − k, but for a point in the middle of an odd number of bases.
    """
    t = np.arange(n_steps + 1) / n_steps
    share = t**2 / (t**2 + (1 - t) ** 2)
    counts = np.floor(share * n_known[:, None] + 0.5).astype(np.int64)
    n_mirrored = (n_steps + 1) // 2
    counts[:, ::-1][:, :n_mirrored] = n_known[:, None] - counts[:, :n_mirrored]
    return counts


def first_in_order(keys: Values, known: Flags, rng: np.random.Generator) -> Ints:
    """Rank of each base by ascending key, (n, L), from 0; ties in random order, unknown bases L."""
    order = np.lexsort((rng.random(keys.shape), np.where(known, keys, np.inf), ~known), axis=-1)
    ranks = np.empty(keys.shape, dtype=np.int64)
    np.put_along_axis(ranks, order, np.arange(keys.shape[1])[None], axis=-1)
    return np.where(known, ranks, keys.shape[1])


def replacement_orders(importance: Values, known: Flags, rng: np.random.Generator) -> Ints:
    """Rank every base (5, n, L) by the map, at random, by the map reversed, from the centre, from the edges.

    The base of largest importance goes first, equal ones in random order, so that a map that says nothing is a random
    order. Unknown bases have rank L.
    """
    n, length = importance.shape
    distance = np.broadcast_to(np.abs(np.arange(length) - (length - 1) / 2), (n, length))
    by_map = first_in_order(-importance, known, rng)
    centre = first_in_order(distance, known, rng)
    at_random = first_in_order(np.zeros((n, length)), known, rng)
    last = known.sum(axis=1, keepdims=True) - 1
    reverse, edges = (np.where(known, last - ranks, length) for ranks in (by_map, centre))
    return np.stack([by_map, at_random, reverse, centre, edges])


def replacement_curves(
    predict: Predict,
    codes: Codes,
    importance: Values,
    shuffles: Iterable[Codes],
    rng: np.random.Generator,
    n_steps: int,
    *,
    signed: bool = True,
    progress: bool = False,
) -> ReplacementCurves:
    """Replace bases of codes (n, L) in five orders and predict; no sequence of an order is predicted twice.

    Each of the sequences has a known base. The random order and ties are drawn anew for each of the shuffles (n, L),
    where the replacing bases come from. Not `signed` measures the size of the change of the output.
    """
    known = codes != N_CODE
    n_known = known.sum(axis=1)
    counts = replacement_counts(n_known, n_steps)
    step = max(1, CHUNK_BYTES // (len(_DELETED) * counts.shape[1] * codes.shape[1]))
    every = np.arange(len(codes))
    prediction = predict(codes, every)
    outputs, shuffled_prediction = np.zeros((len(_DELETED), *counts.shape)), np.zeros(len(codes))
    restored = outputs if signed else np.zeros_like(outputs)
    n_draws, n_passes = 0, len(codes)
    with progress_bar(desc="curves", unit="sequence", disable=not progress) as bar:
        for shuffled in shuffles:
            ends = np.stack([prediction, predict(shuffled, every)], axis=1)
            shuffled_prediction += ends[:, 1]
            n_passes += len(codes)
            for first in range(0, len(codes), step):
                part = slice(first, first + step)
                ranks = replacement_orders(importance[part], known[part], rng)
                found, n_predicted = _predict_points(
                    predict, every[part], codes[part], shuffled[part], ranks, counts[part], ends[part]
                )
                if signed:
                    outputs[:, part] += found
                else:
                    outputs[:, part] += np.abs(found - ends[part, :1])
                    restored[:, part] += np.abs(found - ends[part, 1:])
                n_passes += n_predicted
                bar.update(n_predicted)
            n_draws += 1
    share = counts / n_known[:, None]
    return ReplacementCurves(
        share, outputs / n_draws, restored / n_draws, prediction, shuffled_prediction / n_draws, n_passes, signed
    )


def _predict_points(
    predict: Predict, index: Ints, codes: Codes, shuffled: Codes, ranks: Ints, counts: Ints, ends: Values
) -> tuple[Values, int]:
    """Return the outputs (O, n, S + 1) for one shuffle, and how many sequences had to be predicted.

    Where the shuffle has the same base, replacing it changes nothing: a point whose sequence is that of the point
    before takes its output, and one at which the whole shuffle is there that of the shuffle.
    """
    differs = codes != shuffled  # (n, L)
    replaced = ranks[:, :, None] < counts[None, :, :, None]  # (O, n, S + 1, L)
    n_changed = (replaced & differs[:, None]).sum(axis=-1)  # (O, n, S + 1)
    is_new = np.diff(n_changed, axis=-1, prepend=0) > 0
    is_last = n_changed == differs.sum(axis=1)[:, None]
    order, row, point = np.nonzero(is_new & ~is_last)
    outputs = np.where(n_changed == 0, ends[:, :1], ends[:, 1:])
    outputs[order, row, point] = predict(np.where(replaced[order, row, point], shuffled[row], codes[row]), index[row])
    latest = np.maximum.accumulate(np.where(is_new, np.arange(counts.shape[1]), 0), axis=-1)
    return np.take_along_axis(outputs, latest, axis=-1), len(order)


@dataclass(frozen=True)
class Gain:
    """How much better than a baseline order the map does: positive for a faithful map.

    `difference`: mean paired difference of the areas, in units of the output. `ci`: of it; None for one region alone.
    `share_better`: regions in which the map does better.
    """

    difference: float
    ci: Interval | None
    share_better: float


@dataclass(frozen=True)
class ReplacementResult:
    """What the deletion or insertion curves of many regions come to, in units of the output.

    `auc`, `random_auc`, `reverse_auc`, `centre_auc`: mean area under the curve by the map, and by each baseline.
    `difference`, `ci`, `share_better`: gain over random order. `normalised`, `normalised_ci`: sum of the differences
    over the size of the sum of f(x) − f(shuffle), without a unit. `against`: gain over each baseline. `n_regions`:
    regions tested.
    """

    UNTESTED: ClassVar[dict[str, Any]] = {
        **dict.fromkeys(("auc", "random_auc", "reverse_auc", "centre_auc", "difference", "ci", "share_better")),
        "normalised": None, "normalised_ci": None, "against": {}, "n_regions": 0,
    }  # fmt: skip

    auc: float
    random_auc: float
    reverse_auc: float
    centre_auc: float
    difference: float
    ci: Interval | None
    share_better: float
    normalised: Measured
    normalised_ci: Interval | None
    against: dict[str, Gain]
    n_regions: int


def summarise_curves(
    curves: ReplacementCurves, kind: str, settings: AuditSettings, rng: np.random.Generator
) -> tuple[ReplacementResult, pd.DataFrame]:
    """Average curves of a kind, `deletion` or `insertion`, over regions, and resample the regions.

    The table has the mean curves: order, share, mean, lo, hi.
    """
    of_kind, n = curves.insertion() if kind == "insertion" else curves.deletion(), len(curves.prediction)
    areas = of_kind.areas()
    better = 1.0 if kind == "insertion" or not curves.signed else -1.0
    differences = {order: better * (areas["map"] - areas[order]) for order in BASELINES}
    fall = curves.prediction - curves.shuffled_prediction if curves.signed else curves.outputs[0, :, -1]
    points = [of_kind.outputs[order] for order in ORDERS]
    columns = np.column_stack([*differences.values(), fall, *points])
    means, resampled = columns.mean(axis=0), resample_means(columns, rng, settings.n_bootstrap)
    low = high = np.full(len(means), np.nan)
    if n > 1:
        low, high = percentile_interval(resampled, n, settings.confidence)
    against = {
        order: Gain(
            float(values.mean()),
            (float(low[i]), float(high[i])) if n > 1 else None,
            float((values > curves.rounding).mean()),
        )
        for i, (order, values) in enumerate(differences.items())
    }
    column, first = len(BASELINES), len(BASELINES) + 1
    is_unsure = abs(means[column]) <= curves.rounding or (n > 1 and low[column] <= 0 <= high[column])
    normalised: Measured = NotTested("on average the model predicts the regions as it predicts their shuffles")
    interval = None
    if not is_unsure:
        normalised = float(means[0] / abs(means[column]))
        same_side = np.sign(means[column]) * resampled[:, column]  # whose sign is sure
        if n > 1:
            ratios = resampled[:, 0] / np.maximum(same_side, same_side[same_side > 0].min())
            interval = interval_of(ratios[:, None], n, settings.confidence)
    aucs: dict[str, Any] = {"auc" if order == "map" else f"{order}_auc": float(areas[order].mean()) for order in ORDERS}
    result = ReplacementResult(
        **aucs,
        **vars(against["random"]),
        normalised=normalised,
        normalised_ci=interval,
        against=against,
        n_regions=n,
    )
    shares = {"order": np.repeat(ORDERS, of_kind.share.shape[1]), "share": np.tile(of_kind.share.mean(0), len(ORDERS))}
    return result, pd.DataFrame(shares | {"mean": means[first:], "lo": low[first:], "hi": high[first:]})


def areas_by_region(curves: ReplacementCurves) -> dict[str, Values]:
    """Return predictions and areas of each region, (n,) by column of a table."""
    columns = {"prediction": curves.prediction, "shuffled_prediction": curves.shuffled_prediction}
    for kind, found in (("deletion", curves.deletion()), ("insertion", curves.insertion())):
        for order, values in found.areas().items():
            columns[f"{kind}_auc" if order == "map" else f"{kind}_{order}_auc"] = values
    return columns


@dataclass(frozen=True, eq=False)
class PeakEffects:
    """What replacing the peaks of one sign (`pos` or `neg`) does, for the n regions (`index`) that have such peaks.

    `n_peaks`: stretches replaced, in all regions; peaks that touch are one. `change`: (n,) f(replaced) − f(x), averaged
    over shuffles. `random_change`: (n,) the same for the spans elsewhere. `n_unmatched`: regions left out because the
    rest of the window has no room for the control. `n_passes`: sequences that were predicted.
    """

    sign: str
    index: Ints
    n_peaks: int
    change: Values
    random_change: Values
    n_unmatched: int
    n_passes: int

    def summarise(self, context: AuditContext, signed: bool, rounding: float) -> PeakResult:
        """Return means over regions; sizes of changes are compared where the map does not say which way."""
        difference = np.abs(self.change) - np.abs(self.random_change)
        if signed:
            difference = _EXPECTED[self.sign] * (self.change - self.random_change)
        rng, none = context.rng(f"faithfulness {self.sign} peaks bootstrap"), "none lies within a tested region"
        return PeakResult(
            measured(mean_known(self.change), none),
            measured(mean_known(self.random_change), none),
            measured(mean_known(difference), none),
            mean_interval(difference, rng, context.settings),
            measured(mean_known((difference > rounding).astype(np.float64)), none),
            len(difference),
            self.n_peaks,
            self.n_unmatched,
        )


@dataclass(frozen=True)
class PeakResult:
    """What replacing the peaks of one sign does, on average over regions, in units of the output.

    `difference`, `ci`, `share_better`: by how much more the peaks change the output than as much elsewhere, positive
    for a faithful map; its interval, None for one region alone; and the share of the regions in which they do.
    """

    change: Measured
    random_change: Measured
    difference: Measured
    ci: Interval | None
    share_better: Measured
    n_regions: int
    n_peaks: int
    n_unmatched: int


def peak_effects(context: AuditContext, rows: Ints, codes: Codes, prediction: Values) -> dict[str, PeakEffects]:
    """Replace the peaks of each sign, `pos` and `neg`, that lie wholly in some windows, and as much elsewhere."""
    masks = peak_masks(context.attr.rows(rows), context.peaks, codes.shape[1])
    free = ~masks["pos"] & ~masks["neg"] & (codes != N_CODE)
    return {sign: _effects_of(context, sign, rows, codes, prediction, mask, free) for sign, mask in masks.items()}


def peak_masks(regions: pd.DataFrame, peaks: pd.DataFrame, length: int) -> dict[str, Flags]:
    """Mark the bases (n, L) of the peaks of each sign that lie wholly within a window, as the window was read."""
    masks = {}
    for sign in _EXPECTED:
        spans, _ = spans_in_windows(regions, peaks[peaks["sign"] == sign])
        inside = (spans.start >= 0) & (spans.end <= length)
        masks[sign] = mask_of(spans.take(inside), (len(regions), length))
    return masks


def place_spans(free: Flags, widths: Ints, rng: np.random.Generator) -> Flags | None:
    """Mark (L,) spans of some widths at random free positions, the widest first; None where one finds no room.

    Spans do not overlap, but may touch.
    """
    left, placed = free.copy(), np.zeros_like(free)
    for width in np.sort(widths)[::-1]:
        starts = free_starts(left, int(width))
        if not len(starts):
            return None
        start = int(rng.choice(starts))
        placed[start : start + width] = True
        left[start : start + width] = False
    return placed


def _effects_of(
    context: AuditContext, sign: str, rows: Ints, codes: Codes, prediction: Values, mask: Flags, free: Flags
) -> PeakEffects:
    n_draws = context.settings.n_draws
    has_peaks = np.flatnonzero((mask & (codes != N_CODE)).any(axis=1))
    rng = context.rng(f"faithfulness {sign} peaks")
    placed = {int(i): list(_controls(free[i], mask[i], rng, n_draws)) for i in has_peaks}
    index = np.array([i for i, controls in placed.items() if len(controls) == n_draws], dtype=np.int64)
    n_peaks = len(runs_of(mask[index]).row)
    change, random_change = np.zeros(len(index)), np.zeros(len(index))
    for draw in range(n_draws if len(index) else 0):
        shuffled = context.shuffled(codes, draw)[index]
        elsewhere = np.stack([placed[int(i)][draw] for i in index])
        both = np.concatenate([np.where(where, shuffled, codes[index]) for where in (mask[index], elsewhere)])
        outputs = context.predict(both, rows=rows[index]).reshape(2, -1) - prediction[index]
        change += outputs[0] / n_draws
        random_change += outputs[1] / n_draws
    n_unmatched = len(has_peaks) - len(index)
    return PeakEffects(sign, index, n_peaks, change, random_change, n_unmatched, 2 * n_draws * len(index))


def _controls(free: Flags, mask: Flags, rng: np.random.Generator, n_draws: int) -> Iterator[Flags]:
    """Yield a placement for each draw, as long as there is room."""
    spans = runs_of(mask[None])
    for _ in range(n_draws):
        placed = place_spans(free, spans.end - spans.start, rng)
        if placed is None:
            return
        yield placed
