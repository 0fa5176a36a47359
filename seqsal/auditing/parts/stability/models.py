"""The same model trained again, from another seed or on another fold: which of the map is the data's, not chance's.

Measures are those of :mod:`seqsal.agreement.measures`, over all pairs of models.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from seqsal.agreement.measures import overlap, top_weights
from seqsal.auditing.context import AuditContext
from seqsal.auditing.stats import compare_maps, mean_known, mean_rows, pearson
from seqsal.sequence.codes import N_CODE

__all__ = ["ModelAgreement", "ModelPair", "Shares", "compare_models"]

TOP_SHARE = 0.05  # of the window
Rows = NDArray[np.int64]
Values = NDArray[np.float64]
Maps = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Shares:
    """How alike the maps of models are; None where there is nothing to compare.

    Attributes
    ----------
    top_overlap, top_expected
        Common share of the top 5 % of the positions, and what it would be by chance.
    sign_agreement, peak_sign_agreement
        Share of common top positions, and of the bases in peaks, with the same sign.
    prediction_pearson
        Pearson's r of the predictions.
    """

    top_overlap: float | None
    top_expected: float | None
    sign_agreement: float | None
    peak_sign_agreement: float | None
    prediction_pearson: float | None


@dataclass(frozen=True, kw_only=True)
class ModelPair(Shares):
    """Two models, counted from 0, the one under audit: means over regions."""

    a: int
    b: int
    pearson: float | None
    spearman: float | None


@dataclass(frozen=True)
class ModelAgreement:
    """How alike the maps of several models are.

    Attributes
    ----------
    pearson, spearman
        Mean over the pairs of models for each region, (n,); NaN where a map is constant.
    shares
        Means over the pairs.
    pairs
        Each pair.
    """

    pearson: Values
    spearman: Values
    shares: Shares
    pairs: tuple[ModelPair, ...]


def compare_models(context: AuditContext, rows: Rows) -> ModelAgreement:
    """Compare the maps that the model under audit and the other models give for some windows.

    Takes one attribution and one prediction a window and other model.
    """
    codes = context.codes(rows)
    maps = [context.track(rows), *(context.attribute(codes, model=model) for model in context.other_models)]
    predictions = [context.predict(codes), *(context.predict(codes, model) for model in context.other_models)]
    known = codes != N_CODE
    in_peaks = context.in_peaks(rows) & known & context.signed
    pairs, found = [], []
    for a, b in itertools.combinations(range(len(maps)), 2):
        found.append(compare_maps(maps[a], maps[b], known))
        common, expected, signs = _top_agreement(maps[a], maps[b], known)
        pair = ModelPair(
            a=a,
            b=b,
            pearson=mean_known(found[-1].pearson),
            spearman=mean_known(found[-1].spearman),
            top_overlap=common,
            top_expected=expected,
            sign_agreement=signs,
            peak_sign_agreement=_same_sign(maps[a][in_peaks], maps[b][in_peaks]),
            prediction_pearson=pearson(predictions[a], predictions[b]),
        )
        pairs.append(pair)
    pearson_, spearman, _ = (mean_rows(np.stack(columns)) for columns in zip(*found, strict=True))
    shares = Shares(
        **{
            one.name: mean_known(np.array([getattr(pair, one.name) for pair in pairs], dtype=np.float64))
            for one in fields(Shares)
        }
    )
    return ModelAgreement(pearson_, spearman, shares, tuple(pairs))


def _top_agreement(a: Maps, b: Maps, known: NDArray[np.bool_]) -> tuple[float | None, float | None, float | None]:
    """Return the common share of the top positions, what it would be by chance, and the share of these of one sign."""
    k = max(1, round(TOP_SHARE * a.shape[1]))
    share, n_common, n_same = overlap(a, b, top_weights(a, known, k), top_weights(b, known, k))
    expected = np.minimum(k / np.maximum(known.sum(1), 1), 1.0)
    signs = float(n_same.sum() / n_common.sum()) if n_common.sum() > 0 else None
    return mean_known(share), mean_known(expected[np.isfinite(share)]), signs


def _same_sign(a: Maps, b: Maps) -> float | None:
    return float((np.sign(a) == np.sign(b)).mean()) if len(a) else None
