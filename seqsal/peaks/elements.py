"""Elements: neighbouring peaks as one, with what both signs say and how much of the attribution lies inside."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import UsageError
from seqsal.io.attributions import Attributions
from seqsal.io.sweep import CHUNK_BP, Axis, sweep_track

__all__ = ["ELEMENT_COLUMNS", "merge_peaks"]

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
    rank = np.lexsort((elements["start"], size, elements["q_value"]))
    names = np.empty(len(elements), dtype=object)
    names[rank] = [f"element_{i + 1}" for i in range(len(elements))]
    share = np.full(len(elements), np.nan) if attr is None else _share(attr, elements, chunk_bp)
    elements = elements.assign(name=names, sign=sign, share=share, strand=".")
    return elements[list(ELEMENT_COLUMNS)].astype(ELEMENT_COLUMNS).reset_index(drop=True)


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
