"""Many regions at a glance: one line each, aligned at their centres, coloured by attribution."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import ArrayLike, NDArray

from seqsal.errors import UsageError
from seqsal.io.attributions import Attributions, check_attributions
from seqsal.plot.style import (
    NEGATIVE,
    POSITIVE,
    drawing_style,
    ink,
    new_axes,
    one_line,
    root_figure,
    set_title,
    shown,
    two_lines,
)  # fmt: skip
from seqsal.sequence.codes import N_CODE

__all__ = ["SIGNED_COLORS", "plot_heatmap", "plot_mean_track"]

SIGNED_COLORS = LinearSegmentedColormap.from_list("seqsal_signed", [NEGATIVE, "#ffffff", POSITIVE]).with_extremes(
    bad="#d9d9d9"  # bases that are not known
)
MAX_LINES = 1_200  # more than a screen has; beyond, neighbours in the order are averaged
MAX_COLUMNS = 2_400
CLIP_SHARE = 0.995  # of the values lie within the limits of the colours
_ROWS_AT_ONCE = 4_096
_ORDERS = ("prediction", "strongest", "position")


@shown
def plot_heatmap(
    attr: Attributions,
    ax: Axes | None = None,
    *,
    rows: ArrayLike | None = None,
    sort_by: str | None = "prediction",
    limit: float | None = None,
    title: str | None = None,
) -> Axes:
    """Draw regions as lines of a heat map, aligned at their centres and read as the model read them.

    Parameters
    ----------
    attr
        Attributions of N windows of L bases, in memory or on disk.
    ax
        Axes to draw on; None makes a figure.
    rows
        Which regions, (n,) row numbers or (N,) bool; None is all of them.
    sort_by
        From above: `prediction`, highest first; `strongest`, the largest magnitude in the window first; `position`,
        where in the window that is; the name of a numeric column of `attr.regions`, largest first; None keeps the order
        of `rows`.
    limit
        Attribution at the ends of the colours, which are symmetrical about zero; None is what 99.5 % of the magnitudes
        stay below.
    title
        Written above, on the left.

    Raises
    ------
    UsageError
        No region or no such row, an unknown order, or a limit that is not above 0.

    Examples
    --------
    >>> import numpy as np, seqsal
    >>> from seqsal.regions import make_regions
    >>> codes, track = np.uint8([[0, 1, 2, 3] * 2]), np.float32([[0, 0.1, 0.9, 0.8, 0.7, 0, -0.3, 0]])
    >>> attr = seqsal.Attributions(make_regions(["chr1"], [100], [108]), codes, track, np.float32([1.5]))
    >>> seqsal.plot_heatmap(attr).get_ylabel()
    'regions, by prediction'
    """
    if limit is not None and not limit > 0:
        raise UsageError(f"limit: got {limit}, expected an attribution above 0")
    check_attributions(attr)
    chosen = _chosen(attr, rows)
    ordered = chosen if sort_by is None else chosen[_order(attr, chosen, sort_by)]
    image = _image(attr, ordered)
    known = np.abs(image[np.isfinite(image)])
    top = limit or (float(np.quantile(known, CLIP_SHARE)) or float(known.max()) if len(known) else 0.0) or 1.0
    axes = new_axes(6.0, float(np.clip(1.2 + 0.02 * len(ordered), 2.4, 7.0))) if ax is None else ax
    left = -(attr.length // 2)
    with drawing_style():
        extent = (left, left + attr.length, len(ordered), 0)
        looks: dict[str, Any] = {"cmap": SIGNED_COLORS, "aspect": "auto", "gid": "heatmap"}
        picture = axes.imshow(image, vmin=-top, vmax=top, extent=extent, **looks)
        root_figure(axes).colorbar(picture, ax=axes, label=two_lines(attr.unit), extend="both", shrink=0.8)
    axes.set_xlabel("distance from the centre of the region (bp)")
    axes.set_ylabel("regions" if sort_by is None else f"regions, by {one_line(sort_by)}", parse_math=False)
    set_title(axes, title)
    return axes


def plot_mean_track(attr: Attributions, rows: NDArray[np.int64], ax: Axes) -> Axes:
    """Draw the mean of some regions, aligned as in `plot_heatmap`, and the range of their middle half."""
    pieces = [_known_track(attr, rows[i : i + _ROWS_AT_ONCE]) for i in range(0, len(rows), _ROWS_AT_ONCE)]
    tracks, per_column = np.concatenate(pieces), -(-attr.length // MAX_COLUMNS)
    tracks = _shrunk(tracks, 1, per_column)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # positions that no region knows
        mean = np.nanmean(tracks, axis=0)
        low, high = np.nanquantile(tracks, [0.25, 0.75], axis=0)
    x = -(attr.length // 2) + per_column * (np.arange(len(mean)) + 0.5)
    ax.fill_between(x, low, high, color=POSITIVE, alpha=0.2, linewidth=0)
    ax.plot(x, mean, color=POSITIVE, linewidth=1.2, gid="mean")
    ax.axhline(0, color=ink(), linewidth=0.8)
    ax.set(xlabel="distance from the centre of the region (bp)", xlim=(x[0] - 0.5, x[-1] + 0.5))
    ax.set_ylabel(two_lines(attr.unit), parse_math=False)
    return ax


def _chosen(attr: Attributions, rows: ArrayLike | None) -> NDArray[np.int64]:
    """Row numbers, checked."""
    given: NDArray[Any] = np.arange(len(attr)) if rows is None else np.asarray(rows)
    if given.dtype == bool and given.shape != (len(attr),):
        raise UsageError(f"rows: {given.shape} true or false, expected {(len(attr),)}, one for each region")
    chosen = (np.flatnonzero(given) if given.dtype == bool else given).astype(np.int64)
    if chosen.ndim != 1 or len(chosen) == 0:
        raise UsageError("rows: no region, expected one or more row numbers")
    outside = chosen[(chosen < 0) | (chosen >= len(attr))]
    if len(outside):
        raise UsageError(f"rows: got row {outside[0]}, expected rows from 0 to {len(attr) - 1}")
    return chosen


def _order(attr: Attributions, rows: NDArray[np.int64], sort_by: str) -> NDArray[np.intp]:
    if sort_by == "prediction":
        key = -np.asarray(attr.prediction, dtype=np.float64)[rows]
    elif sort_by in ("strongest", "position"):
        pieces = (rows[first : first + _ROWS_AT_ONCE] for first in range(0, len(rows), _ROWS_AT_ONCE))
        parts = [np.abs(_known_track(attr, piece)) for piece in pieces]
        kind = np.nanmax if sort_by == "strongest" else np.nanargmax
        values = np.concatenate([kind(np.nan_to_num(part), axis=1) for part in parts])
        key = values if sort_by == "position" else -values
    elif sort_by in attr.regions.select_dtypes("number"):
        key = -attr.regions[sort_by].to_numpy(dtype=np.float64)[rows]
    else:
        numeric = ", ".join(map(str, attr.regions.select_dtypes("number").columns))
        raise UsageError(f"sort_by: got {sort_by!r}, expected {', '.join(_ORDERS)}, a column ({numeric}) or None")
    return np.argsort(key, kind="stable")


def _known_track(attr: Attributions, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Tracks (n, L); NaN at bases that are not known."""
    track = np.asarray(attr.track[rows], dtype=np.float32)
    return np.where(np.asarray(attr.codes[rows]) == N_CODE, np.float32(np.nan), track)


def _image(attr: Attributions, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Lines of the picture: regions, or means of neighbours where there are more of them than lines."""
    per_line, per_column = -(-len(rows) // MAX_LINES), -(-attr.length // MAX_COLUMNS)
    lines_at_once = max(1, _ROWS_AT_ONCE // per_line) * per_line
    starts = range(0, len(rows), lines_at_once)
    return np.concatenate(
        [_shrunk(_known_track(attr, rows[i : i + lines_at_once]), per_line, per_column) for i in starts]
    )


def _shrunk(values: NDArray[np.float32], per_line: int, per_column: int) -> NDArray[np.float32]:
    """Mean of every block of `per_line` × `per_column` values that are known."""
    if per_line == per_column == 1:
        return values
    known = np.isfinite(values)
    cuts = np.arange(0, values.shape[0], per_line), np.arange(0, values.shape[1], per_column)
    total, count = (
        np.add.reduceat(np.add.reduceat(array, cuts[0], axis=0), cuts[1], axis=1)
        for array in (np.where(known, values, 0), known.astype(np.float32))
    )
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
