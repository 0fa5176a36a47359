"""The same model trained again, from another seed or on another fold: which of the map is the data's, not chance's.

Measures are those of :mod:`seqsal.agreement.measures`, over all pairs of models.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqsal.agreement.measures import overlap, top_weights
from seqsal.auditing.context import AuditContext
from seqsal.auditing.stats import compare_maps, mean_known, mean_rows, pearson
from seqsal.sequence.codes import N_CODE

__all__ = ["ModelAgreement", "compare_models"]

TOP_SHARE = 0.05  # of the window
SHARES = ("top_overlap", "top_expected", "sign_agreement", "peak_sign_agreement", "prediction_pearson")
Rows = NDArray[np.int64]
Values = NDArray[np.float64]
Maps = NDArray[np.float32]


@dataclass(frozen=True)
class ModelAgreement:
    """How alike the maps of several models are.

    Attributes
    ----------
    pearson, spearman
        Mean over the pairs of models for each region, (n,); NaN where a map is constant.
    shares
        Means over the pairs: `top_overlap` of the top 5 % of the positions and what it would be by chance
        (`top_expected`), the share of common top positions (`sign_agreement`) and of the bases in peaks
        (`peak_sign_agreement`) with the same sign, and Pearson's r of the predictions.
    pairs
        The same for each pair; model 0 is that under audit.
    """

    pearson: Values
    spearman: Values
    shares: dict[str, float | None]
    pairs: list[dict[str, Any]]


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
        pairs.append(
            {
                "a": a,
                "b": b,
                "pearson": mean_known(found[-1].pearson),
                "spearman": mean_known(found[-1].spearman),
                **_top_agreement(maps[a], maps[b], known),
                "peak_sign_agreement": _same_sign(maps[a][in_peaks], maps[b][in_peaks]),
                "prediction_pearson": pearson(predictions[a], predictions[b]),
            }
        )
    r, rho, _ = (mean_rows(np.stack(columns)) for columns in zip(*found, strict=True))
    shares = {key: mean_known(np.array([pair[key] for pair in pairs], dtype=np.float64)) for key in SHARES}
    return ModelAgreement(r, rho, shares, pairs)


def _top_agreement(a: Maps, b: Maps, known: NDArray[np.bool_]) -> dict[str, float | None]:
    k = max(1, round(TOP_SHARE * a.shape[1]))
    share, n_common, n_same = overlap(a, b, top_weights(a, known, k), top_weights(b, known, k))
    expected = np.minimum(k / np.maximum(known.sum(1), 1), 1.0)
    return {
        "top_overlap": mean_known(share),
        "top_expected": mean_known(expected[np.isfinite(share)]),
        "sign_agreement": float(n_same.sum() / n_common.sum()) if n_common.sum() > 0 else None,
    }


def _same_sign(a: Maps, b: Maps) -> float | None:
    return float((np.sign(a) == np.sign(b)).mean()) if len(a) else None
