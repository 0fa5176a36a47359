"""What a region's prediction and map look like, in a few numbers that strata can be compared by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seqsal.auditing.content import gc_content
from seqsal.auditing.context import AuditContext
from seqsal.auditing.stats import rank_correlation
from seqsal.sequence.codes import N_CODE

__all__ = ["EDGE_SHARE", "FEATURES", "region_features"]

FEATURES = {
    "prediction": "the prediction",
    "strength": "the summed absolute attribution",
    "focus": "the share of the attribution on a tenth of the bases",
    "gc_excess": "the share of the attribution on G and C beyond their share of the bases",
    "edge_share": "the share of the attribution in the outer tenth of the window",
    "from_centre": "the mean distance of the attribution from the centre",
    "peak_share": "the share of the attribution in peaks",
    "ism_agreement": "the agreement of the map with in-silico mutagenesis",
}
EDGE_SHARE = 0.05  # of the window, at either end


def region_features(context: AuditContext, rows: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Measure regions by `FEATURES`.

    Parameters
    ----------
    context
        What is under audit.
    rows
        (n,) rows of the attributions, ascending.

    Returns
    -------
    dict of str to ndarray, shape (n,)
        NaN where a region has no such number, such as a share of no attribution, or agreement with in-silico
        mutagenesis outside the `n_ism_regions` regions in which that was done. Without peaks or without a model what
        needs them is left out.
    """
    codes = context.codes(rows)
    size = np.abs(context.track(rows).astype(np.float64))
    total = size.sum(axis=1)
    share = np.divide(size, total[:, None], out=np.full(size.shape, np.nan), where=total[:, None] > 0)
    length = size.shape[1]
    edge, top = max(1, round(EDGE_SHARE * length)), max(1, length // 10)
    distance = np.abs(np.arange(length) - (length - 1) / 2)
    is_gc = (codes == 1) | (codes == 2)
    features = {
        "prediction": np.asarray(context.attr.prediction[rows], dtype=np.float64),
        "strength": total,
        "focus": np.sort(share, axis=1)[:, -top:].sum(axis=1),
        "gc_excess": np.where(is_gc, share, 0 * share).sum(axis=1) - gc_content(codes),
        "edge_share": share[:, :edge].sum(axis=1) + share[:, -edge:].sum(axis=1),
        "from_centre": share @ distance,
    }
    if len(context.peaks):
        features["peak_share"] = np.where(_in_peaks(context, rows), share, 0 * share).sum(axis=1)
    if context.model is not None:
        features["ism_agreement"] = _ism_agreement(context, rows)
    return features


def _in_peaks(context: AuditContext, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which bases (n, L) of the windows lie in a peak, along the window as the model reads it."""
    regions, peaks, length = context.attr.regions.iloc[rows], context.peaks, context.attr.length
    inside = np.zeros((len(rows), length), dtype=bool)
    spans = {chrom: part[["start", "end"]].to_numpy() for chrom, part in peaks.groupby("chrom", sort=False)}
    for i, (chrom, start, strand) in enumerate(zip(regions["chrom"], regions["start"], regions["strand"], strict=True)):
        for first, last in np.clip(spans.get(chrom, np.zeros((0, 2), np.int64)) - start, 0, length):
            inside[i, first:last] = True
        if strand == "-":
            inside[i] = inside[i, ::-1].copy()
    return inside


def _ism_agreement(context: AuditContext, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Spearman correlation (n,) of the map with the loss of each base, NaN where no substitutions were tried."""
    tried = context.rows(context.settings.n_ism_regions)
    effects = context.substitutions(context.settings.n_ism_regions)
    codes, track = context.codes(tried), context.track(tried)
    loss = -effects.sum(axis=1) / 3.0
    if not context.attr.attrs.get("signed", True):
        loss = np.abs(loss)
    agreement = np.full(len(rows), np.nan)
    agreement[np.searchsorted(rows, tried)] = rank_correlation(track, loss, codes < N_CODE)
    return agreement
