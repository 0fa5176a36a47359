"""What replacement curves of many regions come to: means, differences to baselines, and how sure they are.

The area under a region's curve is compared with that of a baseline order in the same region; means of these paired
differences get confidence intervals by resampling regions (:mod:`seqsal.auditing.stats`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.auditing.curves import ORDERS, ReplacementCurves
from seqsal.auditing.settings import AuditSettings
from seqsal.auditing.stats import percentile_interval, resample_means

__all__ = ["BASELINES", "CurveSummary", "areas_by_region", "empty_values", "rounding_of"]

Values = NDArray[np.float64]
ROUNDING = 1e-6  # of the largest prediction: what single precision makes of equal outputs
BASELINES = tuple(order for order in ORDERS if order != "map")


def empty_values() -> dict[str, Any]:
    """Return what :meth:`CurveSummary.values` has where no region was tested."""
    names = ("auc", *(f"{order}_auc" for order in BASELINES), "difference", "ci", "share_better", "normalised")
    return dict.fromkeys((*names, "normalised_ci")) | {"against": {}, "n_regions": 0}


class CurveSummary:
    """Means over regions of one kind of curve, resampled together.

    Parameters
    ----------
    curves
        Of n regions, n ≥ 1.
    kind
        `deletion` or `insertion`.
    settings
        `n_bootstrap` and `confidence`.
    rng
        Of the resamples.
    """

    def __init__(self, curves: ReplacementCurves, kind: str, settings: AuditSettings, rng: np.random.Generator) -> None:
        self.settings, self.rounding, self.n = settings, rounding_of(curves), len(curves.prediction)
        self.curves = curves.insertion() if kind == "insertion" else curves.deletion()
        self.areas = self.curves.areas()
        better = 1.0 if kind == "insertion" else -1.0
        self.differences = {order: better * (self.areas["map"] - self.areas[order]) for order in BASELINES}
        fall = curves.prediction - curves.shuffled_prediction
        points = [self.curves.outputs[order] for order in ORDERS]
        columns = np.column_stack([*self.differences.values(), fall, *points])
        self.means = columns.mean(axis=0)
        self.resampled = resample_means(columns, rng, settings.n_bootstrap)

    def values(self) -> dict[str, Any]:
        """Return mean areas, differences to the baselines (positive for a faithful map) and intervals."""
        areas = {order: float(values.mean()) for order, values in self.areas.items()}
        against = {order: self._against(order, i) for i, order in enumerate(BASELINES)}
        normalised, interval = self._normalised()
        return {
            "auc": areas["map"],
            **{f"{order}_auc": areas[order] for order in BASELINES},
            **against["random"],
            "normalised": normalised,
            "normalised_ci": interval,
            "against": against,
            "n_regions": self.n,
        }

    def _interval(self, resampled: Values) -> list[float] | None:
        if self.n < 2:
            return None
        ends = percentile_interval(resampled[:, None], self.n, self.settings.confidence)
        return [float(end) for end in ends[:, 0]]

    def _against(self, order: str, column: int) -> dict[str, Any]:
        difference = self.differences[order]
        return {
            "difference": float(difference.mean()),
            "ci": self._interval(self.resampled[:, column]),
            "share_better": float((difference > self.rounding).mean()),
        }

    def _normalised(self) -> tuple[float | None, list[float] | None]:
        """Ratio of sums of differences and |f(x) − f(shuffle)|; None where the latter may as well be 0."""
        column = len(BASELINES)
        total, resampled = self.means[column], self.resampled[:, column]
        interval = self._interval(resampled)
        unsure = interval is not None and interval[0] <= 0 <= interval[1]
        if unsure or abs(total) <= self.rounding:
            return None, None
        same_side = np.sign(total) * resampled
        ratios = self.resampled[:, 0] / np.maximum(same_side, same_side[same_side > 0].min())
        return float(self.means[0] / abs(total)), self._interval(ratios)

    def table(self) -> pd.DataFrame:
        """Return the mean curves: order, share, mean, lo, hi."""
        first, n_points = len(BASELINES) + 1, self.curves.share.shape[1]
        low = high = np.full(len(self.means), np.nan)
        if self.n > 1:
            low, high = percentile_interval(self.resampled, self.n, self.settings.confidence)
        return pd.DataFrame(
            {
                "order": np.repeat(ORDERS, n_points),
                "share": np.tile(self.curves.share.mean(axis=0), len(ORDERS)),
                "mean": self.means[first:],
                "lo": low[first:],
                "hi": high[first:],
            }
        )


def areas_by_region(curves: ReplacementCurves) -> dict[str, Values]:
    """Return predictions and areas of each region, (n,) by column of a table."""
    columns = {"prediction": curves.prediction, "shuffled_prediction": curves.shuffled_prediction}
    for kind, found in (("deletion", curves.deletion()), ("insertion", curves.insertion())):
        for order, values in found.areas().items():
            columns[f"{kind}_auc" if order == "map" else f"{kind}_{order}_auc"] = values
    return columns


def rounding_of(curves: ReplacementCurves) -> float:
    """Return the size up to which a change of the output is rounding."""
    return ROUNDING * float(max(np.abs(curves.prediction).max(), np.abs(curves.shuffled_prediction).max()))
