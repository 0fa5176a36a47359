"""Elements: neighbouring peaks as one, with what both signs say, and what the model loses when they are deleted.

*Deletion in silico.* The bases of an element are replaced, in the window that has it nearest to its middle, by what
a dinucleotide shuffle of the window has there, `N_DELETIONS` times: the audit's replacement, for one element. The
effect is the mean of f(replaced) - f(x) in the output space of the attributions, below 0 for what raises the
prediction; its spread over the shuffles is their standard deviation.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import UsageError
from seqsal.io.attributions import Attributions
from seqsal.io.progress import bar as progress_bar
from seqsal.io.sweep import CHUNK_BP, Axis, sweep_track
from seqsal.peaks.effects import predict_without

if TYPE_CHECKING:
    from torch import nn

__all__ = ["EFFECT_COLUMNS", "ELEMENT_COLUMNS", "deletion_effects", "merge_peaks", "rank_elements"]

EFFECT_COLUMNS = ("effect", "effect_sd")
N_DELETIONS = 8
MOST_DELETED = 5_000  # spans, the first
_CHUNK_BP = 1 << 22
logger = logging.getLogger(__name__)

ELEMENT_COLUMNS = {
    "chrom": str, "start": np.int64, "end": np.int64, "name": str, "score": np.int64, "strand": str, "sign": str,
    "n_pos": np.int64, "n_neg": np.int64, "signal_pos": np.float64, "signal_neg": np.float64, "q_value": np.float64,
    "summit": np.int64, "share": np.float64, "peaks": str,
}  # fmt: skip


def merge_peaks(
    peaks: pd.DataFrame, within_bp: int, attr: Attributions | None = None, *, chunk_bp: int = CHUNK_BP
) -> pd.DataFrame:
    """Join peaks that lie close to each other to elements.

    Parameters
    ----------
    peaks
        Of :func:`seqsal.call_peaks`.
    within_bp
        Largest distance (bp) between the end of a peak and the start of the next one in an element, of either sign.
    attr
        The attributions that the peaks were called on, for `share`.

    Returns
    -------
    DataFrame
        Sorted by chrom and start, columns `ELEMENT_COLUMNS`: `sign` is `pos`, `neg` or `both`; `signal_pos` and
        `signal_neg` sum its peaks' signals; `q_value` and `score` are those of its best peak, and `summit` that peak's
        summit, as offset from start (bp); `share` is the part of |attribution| within one window length about the
        middle that lies inside, NaN without `attr`; `peaks` names its peaks. Names count from the smallest q-value,
        among equal ones from the largest |signal|: `element_1`, ….

    Raises
    ------
    UsageError
        A negative distance.

    Examples
    --------
    >>> import pandas as pd
    >>> spans = {"chrom": ["chr1"] * 3, "start": [10, 40, 300], "end": [25, 52, 310], "sign": ["pos", "neg", "pos"]}
    >>> peaks = pd.DataFrame(spans).assign(signal=[2.0, -1.0, 0.5], q_value=[0.01, 0.03, 0.04], summit=5)
    >>> merge_peaks(peaks.assign(score=[200, 150, 140], name=["pos_1", "neg_1", "pos_2"]), 20)[["start", "end", "sign"]]
       start  end  sign
    0     10   52  both
    1    300  310   pos
    """
    if within_bp < 0:
        raise UsageError(f"merge: got {within_bp}, expected a distance of 0 bp or more")
    peaks = peaks.sort_values(["chrom", "start", "end"], kind="stable", ignore_index=True)
    furthest = peaks.groupby("chrom")["end"].cummax().shift(fill_value=0)
    is_new = (peaks["chrom"] != peaks["chrom"].shift()) | (peaks["start"] > furthest + within_bp)
    of = is_new.cumsum() - 1
    is_pos = peaks["sign"] == "pos"
    columns = {
        "at": peaks["start"] + peaks["summit"], "n_pos": is_pos.astype(np.int64), "n_neg": (~is_pos).astype(np.int64),
        "signal_pos": peaks["signal"].where(is_pos, 0.0), "signal_neg": peaks["signal"].where(~is_pos, 0.0),
    }  # fmt: skip
    groups = peaks.assign(**columns).groupby(of)
    elements = groups.agg(
        chrom=("chrom", "first"), start=("start", "min"), end=("end", "max"), n_pos=("n_pos", "sum"),
        n_neg=("n_neg", "sum"), signal_pos=("signal_pos", "sum"), signal_neg=("signal_neg", "sum"),
        q_value=("q_value", "min"), score=("score", "max"), peaks=("name", ",".join),
    )  # fmt: skip
    best = peaks.assign(size=-peaks["signal"].abs(), at=columns["at"], of=of).sort_values(["of", "q_value", "size"])
    elements["summit"] = best.groupby("of")["at"].first() - elements["start"]
    sign = np.where(elements["n_neg"] == 0, "pos", np.where(elements["n_pos"] == 0, "neg", "both"))
    size = -(elements["signal_pos"] - elements["signal_neg"])
    names = _names(np.lexsort((elements["start"], size, elements["q_value"])))
    share = np.full(len(elements), np.nan) if attr is None else _share(attr, elements, chunk_bp)
    elements = elements.assign(name=names, sign=sign, share=share, strand=".")
    return elements[list(ELEMENT_COLUMNS)].astype(ELEMENT_COLUMNS).reset_index(drop=True)


def _names(rank: NDArray[np.int64]) -> NDArray[np.object_]:
    """Names in the order of the table, from the rows in the order of rank."""
    names = np.empty(len(rank), dtype=object)
    names[rank] = [f"element_{i + 1}" for i in range(len(rank))]
    return names


def rank_elements(elements: pd.DataFrame) -> pd.DataFrame:
    """Sort elements by q-value, then by the size of their effect, then of their signal, and name them by rank."""
    signal = elements["signal_pos"] - elements["signal_neg"]
    rank = np.lexsort((elements["start"], -signal, -elements["effect"].abs().fillna(0), elements["q_value"]))
    return elements.assign(name=_names(rank)).iloc[rank].reset_index(drop=True)


def deletion_effects(
    attr: Attributions,
    spans: pd.DataFrame,
    *,
    model: nn.Module | str | os.PathLike[str] | None = None,
    device: str = "auto",
    n_draws: int = N_DELETIONS,
    progress: bool = False,
) -> pd.DataFrame:
    """Measure what the model loses when spans are deleted in silico, each by itself.

    Parameters
    ----------
    attr
        The attributions that the spans were called on.
    spans
        chrom, start, end; the first `MOST_DELETED` are measured.
    model, device
        As for :func:`seqsal.call_peaks`.
    n_draws
        Shuffles that replace each.
    progress
        Show a progress bar.

    Returns
    -------
    DataFrame
        `effect` and `effect_sd` (mean and standard deviation over the shuffles of the change of the output, in the
        output space of `attr`) for each span; NaN for those that no window holds whole, or that were not measured.

    Raises
    ------
    StoreError
        No model is at hand.
    ModelError
        The model is not the one that made the attributions.

    Examples
    --------
    A model that counts the A of a sequence loses those under the span, but for what the shuffle brings back:

    >>> import numpy as np, seqsal, torch
    >>> class CountA(torch.nn.Module):
    ...     def forward(self, X):
    ...         return X[:, 0].sum(-1)
    >>> X = np.eye(4, dtype=np.float32)[[[1, 2, 3] * 6 + [0] * 4 + [1, 3, 2] * 6]].transpose(0, 2, 1)
    >>> attr = seqsal.attribute(CountA(), X=X, device="cpu")
    >>> spans = attr.regions.assign(start=18, end=22)
    >>> bool(seqsal.peaks.deletion_effects(attr, spans)["effect"].iloc[0] < -2)
    True
    """
    from seqsal.attribution.controls import predictor, run_of_attributions  # which wait for torch

    found = pd.DataFrame(np.nan, index=spans.index, columns=list(EFFECT_COLUMNS))
    if not len(spans):
        return found
    predict = predictor(attr, run_of_attributions(attr, model, device))
    seed = int(attr.attrs.get("seed", 0))
    row, offset = Axis.of(attr).windows_over(spans, attr.length)
    width = (spans["end"] - spans["start"]).to_numpy(np.int64)
    turned = attr.is_reverse[row]
    offset = np.where(turned, attr.length - offset - width, offset)
    measured = np.flatnonzero(row[:MOST_DELETED] >= 0)
    step = max(1, _CHUNK_BP // attr.window_length)
    with progress_bar(total=len(measured), desc="deletion", unit="element", disable=not progress) as bar:
        for these in (measured[i : i + step] for i in range(0, len(measured), step)):
            rows, of = np.unique(row[these], return_inverse=True)
            codes = np.asarray((attr.codes if attr.window_codes is None else attr.window_codes)[rows])
            column, span = np.arange(attr.length), slice(attr.span.start, attr.span.end)
            inside = (column >= offset[these, None]) & (column < (offset + width)[these, None])
            without = predict_without([predict] * n_draws, codes, of, inside, seed=seed, span=span)
            change = without - predict(codes)[of]
            found.iloc[these, 0] = change.mean(axis=0)
            found.iloc[these, 1] = change.std(axis=0, ddof=1) if n_draws > 1 else np.nan
            bar.update(len(these))
    if len(spans) > MOST_DELETED:
        logger.info("the effect of deleting them was measured for the first %d of %d", MOST_DELETED, len(spans))
    return found


def _share(attr: Attributions, elements: pd.DataFrame, chunk_bp: int) -> NDArray[np.float64]:
    """Part of |attribution| within a window length about the middle of each element that lies inside it, (n,)."""
    axis = Axis.of(attr)
    number = {chrom: i for i, chrom in enumerate(axis.chroms)}
    of = np.array([number[chrom] for chrom in elements["chrom"]], dtype=np.int64)
    start, end = (elements[name].to_numpy(np.int64) - axis.origin[of] + axis.base[of] for name in ("start", "end"))
    reach = np.maximum(attr.length - (end - start), 0)
    first, last = start - reach // 2, end + (reach + 1) // 2
    after = np.append(axis.base[1:], np.iinfo(np.int64).max)[of]  # not into the next chromosome
    bounds = np.stack([start, end, np.maximum(first, axis.base[of]), np.minimum(last, after)])
    sums = np.zeros(bounds.shape)
    for block in sweep_track(attr, axis, chunk_bp=chunk_bp):
        total = np.append(0.0, np.cumsum(np.abs(block.values)))
        sums += total[np.searchsorted(block.positions, bounds)]
    around = sums[3] - sums[2]
    return np.divide(sums[1] - sums[0], around, out=np.full(len(elements), np.nan), where=around > 0)
