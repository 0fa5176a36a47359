"""Tracks: a signed value for every base as a filled line, with peaks as boxes beneath."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

from seqsal.errors import UsageError
from seqsal.io.attributions import Attributions
from seqsal.plot.locus import read_locus
from seqsal.plot.style import NEGATIVE, POSITIVE, ink, label_positions, new_axes, two_lines
from seqsal.regions import Region

__all__ = ["MAX_BINS", "negative_peaks", "plot_region_track", "plot_track"]

MAX_BINS = 2_400  # more steps than a screen has columns only make files large
_BAND = 0.13  # share of the height that is kept for peak boxes
_BOX = (0.025, 0.085)  # lower and upper edge of a box, in shares of the height


def plot_track(
    values: ArrayLike,
    ax: Axes | None = None,
    *,
    start: int = 0,
    chrom: str | None = None,
    unit: str = "attribution",
    peaks: pd.DataFrame | None = None,
    highlight: Sequence[tuple[int, int]] = (),
    limits: tuple[float, float] | None = None,
    title: str | None = None,
) -> Axes:
    """Draw a signed track, filled to zero, positive and negative parts in their own colours.

    A track of more than `MAX_BINS` bases is drawn as an envelope: each bin shows the highest and the lowest value of
    its bases, so that no peak disappears.

    Parameters
    ----------
    values
        (L,) one value a base; NaN leaves a gap.
    ax
        Axes to draw on; None makes a figure.
    start
        Position of the first base on its chromosome, 0-based.
    chrom
        Name for the x axis.
    unit
        Label of the y axis, for example "contribution to the logit".
    peaks
        Table with `start` and `end` on the chromosome; with a `chrom` column and `chrom` given, other chromosomes are
        left out. Boxes of repressing peaks have the negative colour, see `negative_peaks`.
    highlight
        Spans (start, end) to shade.
    limits
        Lowest and highest value of the y axis; None fits the track. Room for peak boxes is added below.
    title
        Written above, on the left.

    Raises
    ------
    UsageError
        `values` has another number of axes, or is empty or infinite.
    """
    track = np.asarray(values, dtype=np.float64)
    if track.ndim != 1 or len(track) == 0 or np.isinf(track).any():
        raise UsageError(f"values: shape {track.shape}, expected (L,) finite numbers, one a base")
    axes = new_axes(8.0, 1.8) if ax is None else ax
    edges, high, low = _envelope(track, MAX_BINS)
    for first, last in highlight:
        axes.axvspan(first, last, facecolor=ink(), alpha=0.12, linewidth=0, gid="highlight", zorder=0)
    axes.stairs(high, edges + start, fill=True, facecolor=POSITIVE, linewidth=0, gid="positive")
    axes.stairs(low, edges + start, fill=True, facecolor=NEGATIVE, linewidth=0, gid="negative")
    axes.axhline(0.0, color=ink(), linewidth=0.6, zorder=2)
    axes.set_ylabel(unit, parse_math=False)
    boxes = None if peaks is None else _peaks_within(peaks, chrom, start, start + len(track))
    bottom, top = limits or _fitting_limits(high, low)
    if boxes is not None:  # also when it is empty: tracks below each other then keep one scale
        bottom -= (top - bottom) * _BAND / (1 - _BAND)
        _draw_boxes(axes, boxes)
    axes.set_ylim(bottom, top)
    label_positions(axes, chrom, start, start + len(track))
    if title is not None:
        axes.set_title(title, loc="left", parse_math=False)
    return axes


def plot_region_track(
    attr: Attributions, region: str | Region, ax: Axes | None = None, *, peaks: pd.DataFrame | None = None
) -> Axes:
    """Draw the attributions of a place of the genome, + strand, with its peaks.

    Parameters
    ----------
    attr
        Attributions of N windows; overlapping ones are averaged.
    region
        `chrom:start-end`, 0-based half-open.
    ax
        Axes to draw on; None makes a figure.
    peaks
        As for :func:`plot_track`.

    Raises
    ------
    RegionError
        No window covers any of `region`.
    """
    locus = read_locus(attr, region)
    return plot_track(locus.track, ax, start=locus.start, chrom=locus.chrom, unit=two_lines(attr.unit), peaks=peaks)


def negative_peaks(peaks: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which peaks lower the prediction, (n,) bool: `sign` "neg", or without that column a name `neg_…`."""
    if "sign" in peaks:
        return (peaks["sign"] == "neg").to_numpy(dtype=bool)
    if "name" not in peaks:
        return np.zeros(len(peaks), dtype=bool)
    return peaks["name"].astype(str).str.startswith("neg").to_numpy(dtype=bool)


def _envelope(
    track: NDArray[np.float64], max_bins: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Bin edges (n + 1,), highest value at or above 0 and lowest at or below 0 of each bin (n,); NaN in gaps."""
    per_bin = -(-len(track) // max_bins)
    firsts = np.arange(0, len(track), per_bin)
    edges = np.append(firsts, len(track)).astype(np.float64)
    known = np.fmax.reduceat(np.where(np.isnan(track), np.nan, 0.0), firsts)  # 0, or NaN without any value
    high = np.fmax.reduceat(np.fmax(track, 0.0), firsts) + known
    low = np.fmin.reduceat(np.fmin(track, 0.0), firsts) + known
    return edges, high, low


def _fitting_limits(high: NDArray[np.float64], low: NDArray[np.float64]) -> tuple[float, float]:
    """Limits of the y axis with 5 % of air on each side that has values."""
    top = float(np.fmax.reduce(high, initial=0.0))
    bottom = float(np.fmin.reduce(low, initial=0.0))
    if top == bottom:
        return -1.0, 1.0
    air = 0.05 * (top - bottom)
    return (bottom - air if bottom < 0 else 0.0), (top + air if top > 0 else 0.0)


def _peaks_within(peaks: pd.DataFrame, chrom: str | None, start: int, end: int) -> pd.DataFrame:
    if len(peaks) == 0:
        return peaks
    keep = (peaks["start"] < end) & (peaks["end"] > start)
    if chrom is not None and "chrom" in peaks:
        keep &= peaks["chrom"] == chrom
    return peaks[keep]


def _draw_boxes(ax: Axes, peaks: pd.DataFrame) -> None:
    """Boxes in the band at the bottom, in data coordinates along x and shares of the height along y."""
    if len(peaks) == 0:  # perhaps without columns
        return
    bottom, top = _BOX
    spans = zip(peaks["start"], peaks["end"], negative_peaks(peaks), strict=True)
    for number, (start, end, negative) in enumerate(spans):
        box = Rectangle(
            (float(start), bottom),
            float(end - start),
            top - bottom,
            transform=ax.get_xaxis_transform(),
            facecolor=NEGATIVE if negative else POSITIVE,
            linewidth=0,
            gid=f"peak-{number}",
        )
        ax.add_patch(box)
