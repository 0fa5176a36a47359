"""Deletion and insertion curves: what the model says while bases give way to shuffled sequence, or come back.

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
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from seqsal.sequence.codes import N_CODE

__all__ = [
    "ORDERS",
    "CurveSet",
    "ReplacementCurves",
    "area",
    "first_in_order",
    "replacement_counts",
    "replacement_curves",
    "replacement_orders",
]

Codes = NDArray[np.uint8]
Values = NDArray[np.float64]
Counts = NDArray[np.int64]
Predict = Callable[[Codes], Values]

ORDERS = ("map", "random", "reverse", "centre")
_DELETED = ("map", "random", "reverse", "centre", "edges")
_INSERTED_AS = {"map": "reverse", "random": "random", "reverse": "map", "centre": "edges"}
CHUNK_BYTES = 1 << 23  # of perturbed codes; some six times as much is held


@dataclass(frozen=True, eq=False)
class CurveSet:
    """Curves of n regions by :data:`ORDERS`.

    Attributes
    ----------
    share
        (n, S + 1) share of the known bases that are replaced (deletion) or restored (insertion), from 0 to 1.
    outputs
        By order, (n, S + 1): the model's output, averaged over the shuffles.
    """

    share: Values
    outputs: dict[str, Values]

    def areas(self) -> dict[str, Values]:
        """Area under each region's curve, (n,), in units of the output."""
        return {order: area(values, self.share) for order, values in self.outputs.items()}


@dataclass(frozen=True, eq=False)
class ReplacementCurves:
    """What replacing bases does to the output, for n regions.

    Attributes
    ----------
    share
        (n, S + 1) share of the known bases that are replaced.
    outputs
        (5, n, S + 1) output with the bases replaced by the map, at random, by the map reversed, from the centre, and
        from the edges; averaged over the shuffles.
    prediction
        (n,) f(x).
    shuffled_prediction
        (n,) f of the shuffles, averaged.
    n_passes
        Sequences that were predicted.
    """

    share: Values
    outputs: Values
    prediction: Values
    shuffled_prediction: Values
    n_passes: int

    def deletion(self) -> CurveSet:
        """Curves from the sequence to its shuffle."""
        return CurveSet(self.share, {order: self.outputs[_DELETED.index(order)] for order in ORDERS})

    def insertion(self) -> CurveSet:
        """Curves from the shuffle to the sequence, from the same predictions."""
        curves = {order: self.outputs[_DELETED.index(_INSERTED_AS[order])][:, ::-1] for order in ORDERS}
        return CurveSet(1 - self.share[:, ::-1], curves)


def area(outputs: Values, share: Values) -> Values:
    """Area by the trapezoid rule along the last axis."""
    return np.asarray(((outputs[..., 1:] + outputs[..., :-1]) / 2 * np.diff(share, axis=-1)).sum(axis=-1))


def replacement_counts(n_known: Counts, n_steps: int) -> Counts:
    """How many bases are replaced at each point of a curve.

    Parameters
    ----------
    n_known
        (n,) known bases of each region.
    n_steps
        S.

    Returns
    -------
    ndarray of int64, shape (n, S + 1)
        Ascending from 0 to `n_known`, with repeats where there are fewer bases than steps. Mirror images of each
        other, k and n_known − k, but for a point in the middle of an odd number of bases.
    """
    t = np.arange(n_steps + 1) / n_steps
    share = t**2 / (t**2 + (1 - t) ** 2)
    counts = np.floor(share * n_known[:, None] + 0.5).astype(np.int64)
    n_mirrored = (n_steps + 1) // 2
    counts[:, ::-1][:, :n_mirrored] = n_known[:, None] - counts[:, :n_mirrored]
    return counts


def first_in_order(keys: Values, known: NDArray[np.bool_], rng: np.random.Generator) -> Counts:
    """Rank of each base by ascending key, (n, L), from 0; ties in random order, unknown bases L."""
    order = np.lexsort((rng.random(keys.shape), np.where(known, keys, np.inf), ~known), axis=-1)
    ranks = np.empty(keys.shape, dtype=np.int64)
    np.put_along_axis(ranks, order, np.arange(keys.shape[1])[None], axis=-1)
    return np.where(known, ranks, keys.shape[1])


def replacement_orders(importance: Values, known: NDArray[np.bool_], rng: np.random.Generator) -> Counts:
    """Rank of every base in the five orders of replacement.

    Parameters
    ----------
    importance
        (n, L) the base with the largest value goes first; equal ones in random order, so that a map that says nothing
        is a random order.
    known
        (n, L) bases that are not N.
    rng
        Of the random order and of ties.

    Returns
    -------
    ndarray of int64, shape (5, n, L)
        By the map, at random, by the map reversed, from the centre, from the edges; L at unknown bases.
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
    progress: bool = False,
) -> ReplacementCurves:
    """Replace bases in five orders and predict; no sequence of an order is predicted twice.

    Parameters
    ----------
    predict
        Codes (m, L) to outputs (m,).
    codes
        (n, L), at least one known base in each.
    importance
        (n, L), see :func:`replacement_orders`; the random order and ties are drawn anew for each shuffle.
    shuffles
        At least one (n, L): where the replacing bases come from.
    rng
        Of the orders.
    n_steps
        S, points after the first.
    progress
        Show a progress bar.
    """
    known = codes != N_CODE
    n_known = known.sum(axis=1)
    counts = replacement_counts(n_known, n_steps)
    step = max(1, CHUNK_BYTES // (len(_DELETED) * counts.shape[1] * codes.shape[1]))
    prediction = predict(codes)
    outputs, shuffled_prediction = np.zeros((len(_DELETED), *counts.shape)), np.zeros(len(codes))
    n_draws, n_passes = 0, len(codes)
    with tqdm(desc="curves", unit="sequence", disable=not progress) as bar:
        for shuffled in shuffles:
            ends = np.stack([prediction, predict(shuffled)], axis=1)
            shuffled_prediction += ends[:, 1]
            n_passes += len(codes)
            for first in range(0, len(codes), step):
                part = slice(first, first + step)
                ranks = replacement_orders(importance[part], known[part], rng)
                found, n_predicted = _predict_points(
                    predict, codes[part], shuffled[part], ranks, counts[part], ends[part]
                )
                outputs[:, part] += found
                n_passes += n_predicted
                bar.update(n_predicted)
            n_draws += 1
    share = counts / n_known[:, None]
    return ReplacementCurves(share, outputs / n_draws, prediction, shuffled_prediction / n_draws, n_passes)


def _predict_points(
    predict: Predict, codes: Codes, shuffled: Codes, ranks: Counts, counts: Counts, ends: Values
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
    outputs[order, row, point] = predict(np.where(replaced[order, row, point], shuffled[row], codes[row]))
    latest = np.maximum.accumulate(np.where(is_new, np.arange(counts.shape[1]), 0), axis=-1)
    return np.take_along_axis(outputs, latest, axis=-1), len(order)
