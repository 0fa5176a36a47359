"""Curves: how scores are distributed, how training went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from seqsal.errors import UsageError
from seqsal.plot.style import NEGATIVE, POSITIVE, new_axes

__all__ = ["plot_score_histogram", "plot_training_history"]

_MAX_BINS = 60
_LINE_COLORS = (POSITIVE, NEGATIVE, "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def plot_score_histogram(scores: ArrayLike, ax: Axes | None = None, *, label: str = "prediction") -> Axes:
    """Draw how many regions have which score.

    Parameters
    ----------
    scores
        (N,) predictions; NaN is left out.
    ax
        Axes to draw on; None makes a figure.
    label
        Label of the x axis, for example "prediction (logit)".

    Raises
    ------
    UsageError
        There is no finite score.
    """
    values = np.asarray(scores, dtype=np.float64).ravel()
    values = values[np.isfinite(values)]
    if len(values) == 0:
        raise UsageError("scores: no finite value, expected one number a region; check the model's output")
    axes = new_axes(6.0, 2.2) if ax is None else ax
    counts, edges = np.histogram(values, bins=_n_bins(values))
    axes.stairs(counts, edges, fill=True, facecolor=POSITIVE, linewidth=0, gid="histogram")
    axes.set_xlabel(label, parse_math=False)
    axes.set_ylabel("regions")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, counts.max() * 1.05)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    return axes


def _n_bins(values: NDArray[np.float64]) -> int:
    """As many bins as numpy's "auto" rule or the square root of the number of values asks for, 1 to `_MAX_BINS`.

    The rule alone looks at the middle half of the values and draws two far humps in a handful of bins.
    """
    if values.min() == values.max():
        return 1
    automatic = len(np.histogram_bin_edges(values, bins="auto")) - 1
    return int(np.clip(max(automatic, np.ceil(np.sqrt(len(values)))), 1, _MAX_BINS))


def plot_training_history(
    history: Mapping[str, Sequence[float]] | Sequence[Mapping[str, float]],
    ax: Axes | None = None,
    *,
    metrics: Sequence[str] | None = None,
    best_epoch: int | None = None,
) -> Axes:
    """Draw loss and metrics by epoch.

    Parameters
    ----------
    history
        One record an epoch, or one list a quantity; `epoch`, when given, is the x axis.
    ax
        Axes to draw on; None makes a figure.
    metrics
        Which quantities; None draws those with "loss" in their name, or all numbers when none has.
    best_epoch
        Where to draw the line of the weights that were kept.

    Raises
    ------
    UsageError
        The history is empty, or lacks one of `metrics`.
    """
    table = pd.DataFrame(history).select_dtypes("number")
    epochs = table.pop("epoch") if "epoch" in table else pd.Series(np.arange(1, len(table) + 1))
    losses = [str(column) for column in table.columns if "loss" in str(column)]
    chosen = list(metrics) if metrics is not None else losses or [str(column) for column in table.columns]
    missing = [name for name in chosen if name not in table]
    if len(table) == 0 or missing or not chosen:
        lacking = f"no {', '.join(missing)}" if missing else "no numbers"
        raise UsageError(f"history: {lacking}, expected one value an epoch; give a model trained by seqsal")
    axes = new_axes(5.0, 2.2) if ax is None else ax
    for color, name in zip(_LINE_COLORS, chosen, strict=False):
        axes.plot(epochs, table[name], color=color, linewidth=1.6, label=name.replace("_", " "), gid=f"line-{name}")
    if best_epoch is not None:
        axes.axvline(best_epoch, linestyle=":", linewidth=1.0, color=_LINE_COLORS[2], gid="best-epoch", label="kept")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_ylabel("loss" if chosen == losses else "value")
    axes.legend()
    return axes
