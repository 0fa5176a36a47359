"""Curves: how scores are distributed, how training went, and what replacing bases does to the prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from seqsal.errors import UsageError
from seqsal.plot.style import NEGATIVE, POSITIVE, drawing_style, new_axes, new_figure, shown

if TYPE_CHECKING:
    from seqsal.auditing.result import AuditResult

__all__ = [
    "draw_responses",
    "draw_sigma",
    "plot_curves",
    "plot_deletions",
    "plot_receptive_field",
    "plot_replacement_curves",
    "plot_score_histogram",
    "plot_training_history",
]

_MAX_BINS = 60
_LINE_COLORS = (POSITIVE, NEGATIVE, "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_BAND_ALPHA = 0.2
_ORDERS: dict[str, tuple[str, str, Any]] = {  # name in the legend, Okabe and Ito's colour, dashes
    "map": ("by the map", POSITIVE, "solid"),
    "random": ("at random", "#7f7f7f", "dashed"),
    "centre": ("from the centre", "#009e73", "dashdot"),
    "reverse": ("map reversed", NEGATIVE, "dotted"),
}
_REPLACEMENTS = {"deletion": "replaced by shuffled sequence", "insertion": "restored in shuffled sequence"}


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

    Examples
    --------
    >>> plot_score_histogram([0.1, 0.2, 0.9], label="prediction (logit)").get_xlabel()
    'prediction (logit)'
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


def plot_deletions(said: NDArray[np.float64], elements: pd.DataFrame, ax: Axes, *, unit: str) -> Axes:
    """Draw what deleting elements (`sign`, `effect`, `effect_sd`) does against their summed attribution, (n,).

    On the dashed line deleting an element takes away what its attribution adds.
    """
    ax.axline((0, 0), slope=-1, color="#7f7f7f", linestyle="dashed", linewidth=1.0, zorder=0)
    for sign, color in (("pos", POSITIVE), ("neg", NEGATIVE), ("both", "#7f7f7f")):
        of_sign = (elements["sign"] == sign).to_numpy()
        x, y = said[of_sign], elements["effect"].to_numpy()[of_sign]
        spread = elements["effect_sd"].fillna(0).to_numpy()[of_sign]
        ax.errorbar(x, y, yerr=spread, fmt="o", color=color, markersize=3.5, linewidth=0.7, alpha=0.75, label=sign)
    ax.axhline(0, color="#7f7f7f", linewidth=0.6)
    ax.set(xlabel=f"attribution inside ({unit})", ylabel=f"effect of deleting it ({unit})")
    return ax


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

    Examples
    --------
    >>> ax = plot_training_history([{"epoch": 1, "loss": 0.7}, {"epoch": 2, "loss": 0.4}], best_epoch=2)
    >>> ax.get_ylabel()
    'loss'
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


def plot_replacement_curves(
    table: pd.DataFrame, ax: Axes | None = None, *, kind: str = "deletion", label: str = "mean prediction"
) -> Axes:
    """Draw how the prediction changes while bases are replaced (deletion) or come back (insertion).

    Parameters
    ----------
    table
        One row a point of a curve: `order` (`map`, `random`, `reverse` or `centre`; any of them), `share` of the bases
        (0 to 1), `mean` prediction, and the ends `lo` and `hi` of its confidence interval, NaN where there is none.
    ax
        Axes to draw on; None makes a figure.
    kind
        `deletion` or `insertion`.
    label
        Label of the y axis, for example "mean prediction (logit)".

    Raises
    ------
    UsageError
        Another kind, a column that is missing, or no point of any of these orders.

    Examples
    --------
    >>> import pandas as pd
    >>> points = [("map", 0, 2.0), ("map", 0.5, -1.0), ("random", 0, 2.0), ("random", 0.5, 1.0)]
    >>> table = pd.DataFrame(points, columns=["order", "share", "mean"]).assign(lo=float("nan"), hi=float("nan"))
    >>> plot_replacement_curves(table).get_xlabel()
    'bases replaced by shuffled sequence (%)'
    """
    if kind not in _REPLACEMENTS:
        raise UsageError(f"kind: got {kind!r}, expected {' or '.join(_REPLACEMENTS)}")
    missing = [column for column in ("order", "share", "mean", "lo", "hi") if column not in table]
    if missing or not table["order"].isin(list(_ORDERS)).any():
        lacking = f"no column {', '.join(missing)}" if missing else f"no row of order {', '.join(_ORDERS)}"
        raise UsageError(f"table: {lacking}, expected the curves of an audit; give its {kind} table")
    axes = new_axes(5.6, 2.8) if ax is None else ax
    for order, (name, color, dashes) in _ORDERS.items():
        points, gid = table[table["order"] == order], f"curve-{order}"
        if len(points):
            x, low, high = (points[key].to_numpy(dtype=np.float64) for key in ("share", "lo", "hi"))
            if np.isfinite(low).all() and np.isfinite(high).all():
                band, name_of_band = _BAND_ALPHA, f"{gid}-interval"
                axes.fill_between(100 * x, low, high, color=color, alpha=band, linewidth=0, gid=name_of_band)
            axes.plot(100 * x, points["mean"], color=color, linestyle=dashes, linewidth=1.6, label=name, gid=gid)
    axes.set_xlim(0, 100)
    axes.set_xlabel(f"bases {_REPLACEMENTS[kind]} (%)")
    axes.set_ylabel(label, parse_math=False)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)  # curves are everywhere else
    return axes


@shown
def plot_curves(audit: AuditResult) -> list[Axes]:
    """Draw the deletion and insertion curves of an audit side by side.

    The further the curve of the map is from that of random bases, the more faithful is the map.

    Parameters
    ----------
    audit
        Result of :func:`seqsal.audit`, fresh: one that was read from a file has no curves.

    Returns
    -------
    list of Axes
        Deletion and insertion, as far as they were measured, in a figure of their own.

    Raises
    ------
    UsageError
        There are no curves.

    Examples
    --------
    >>> import seqsal
    >>> audit = seqsal.audit(model, attr)  # doctest: +SKIP
    >>> axes = seqsal.plot_curves(audit)  # doctest: +SKIP
    """
    tables = {kind: audit.tables.get(f"faithfulness.{kind}") for kind in _REPLACEMENTS}
    measured = {kind: table for kind, table in tables.items() if table is not None and len(table)}
    if not measured:
        raise UsageError(
            "audit: holds no curves, expected those of a fresh audit with a model; audit.json keeps their areas, not "
            "their points: audit again"
        )
    space = dict(audit.provenance.get("attributions") or {}).get("output_space")
    label = f"mean prediction ({space})" if space else "mean prediction"
    figure = new_figure(4.0 * len(measured) + 1.4, 2.8)
    with drawing_style():
        axes = [figure.add_subplot(1, len(measured), i + 1) for i in range(len(measured))]
        for ax, (kind, table) in zip(axes, measured.items(), strict=True):
            plot_replacement_curves(table, ax, kind=kind, label=label)
            ax.set_title(kind, loc="left")
            if ax is not axes[-1] and (legend := ax.get_legend()) is not None:
                legend.remove()
    return axes


@shown
def plot_receptive_field(field: pd.DataFrame) -> list[Axes]:
    """Draw how far the layers of a model look: their responses to a change of one base, and σ against √depth.

    Parameters
    ----------
    field
        Result of :func:`seqsal.receptive_field`.

    Returns
    -------
    list of Axes
        Responses, each at its largest 1, about its own centre; and σ by depth with the fit of √depth, as far as the
        window does not cut a field. In a figure of their own.

    Raises
    ------
    UsageError
        The table is another one, or the model has no layer that looks at more than one base.

    Examples
    --------
    >>> import seqsal, torch
    >>> model = torch.nn.Sequential(torch.nn.Conv1d(4, 8, 5), torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten())
    >>> axes = plot_receptive_field(seqsal.receptive_field(model, input_length=50, device="cpu"))
    >>> axes[0].get_xlabel(), axes[1].get_ylabel()
    ('distance from the centre (bp)', 'σ (bp)')
    """
    if "profiles" not in field.attrs or not (field["depth"] > 0).any():
        raise UsageError("field: has no layers, expected the table that seqsal.receptive_field returns; give that")
    figure = new_figure(8.0, 2.8)
    with drawing_style():
        left, right = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
        draw_responses(field, left)
        draw_sigma(field, right)
    return [left, right]


def _layers(field: pd.DataFrame) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """Return the layers of a field, and a shade for each."""
    layers = field[field["depth"] > 0]
    return layers, colormaps["viridis"](np.linspace(0, 0.9, len(layers)))


def draw_responses(field: pd.DataFrame, ax: Axes) -> None:
    """Draw the layers' responses to a change of one base, each at its largest 1, about its own centre."""
    layers, shades = _layers(field)
    widest = 1.0
    for shade, (row, layer) in zip(shades, layers.iterrows(), strict=True):
        response = np.asarray(field.attrs["profiles"][row])
        if not response.any():
            continue
        where = np.arange(len(response)) - float(response @ np.arange(len(response)))
        widest = max(widest, float(layer["width_bp"]))
        ax.plot(where, response / response.max(), color=shade, linewidth=1.2, gid=f"response-{layer['depth']}")
    ax.set_xlim(-0.75 * widest, 0.75 * widest)
    ax.set_ylim(0, 1.05)
    ax.set_xlabel("distance from the centre (bp)")
    ax.set_ylabel("response (of the largest)")


def draw_sigma(field: pd.DataFrame, ax: Axes) -> None:
    """Draw σ by depth, with the fit of √depth."""
    layers, shades = _layers(field)
    is_cut = layers["is_cut"].to_numpy()
    depth, sigma = layers["depth"].to_numpy(), layers["sigma_bp"].to_numpy()
    ax.scatter(depth[~is_cut], sigma[~is_cut], c=shades[~is_cut], s=22, zorder=3, gid="sigma")
    ax.scatter(depth[is_cut], sigma[is_cut], facecolors="none", edgecolors=shades[is_cut], s=22, zorder=3)
    slope = field.attrs["sqrt_slope"]
    if np.isfinite(slope):
        x = np.linspace(0, depth.max(), 100)
        ax.plot(x, slope * np.sqrt(x), color="#7f7f7f", linestyle="dashed", label=f"{slope:.3g} √depth", gid="fit")
        ax.legend(loc="upper left")
    ax.set_xlim(0, depth.max() + 0.5)
    ax.set_ylim(bottom=0)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("depth (layers)" + " ○ cut by the window" * bool(is_cut.any()))
    ax.set_ylabel("σ (bp)")
