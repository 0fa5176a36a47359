"""Tracks: a signed value for every base as a filled line, with peaks and motif instances as boxes beneath.

Boxes with names are laid out on lanes, so that none overlaps another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

from seqsal.errors import UsageError
from seqsal.io.attributions import Attributions
from seqsal.motifs.patterns import MotifResult
from seqsal.plot.locus import read_locus
from seqsal.plot.style import NEGATIVE, POSITIVE, frame_bases, ink, limits_with_air, new_axes, one_line, two_lines
from seqsal.regions import Region

__all__ = [
    "MAX_BINS", "MotifBoxes", "boxes_within", "draw_boxes", "n_lanes", "name_motifs", "negative_peaks",
    "plot_region_track", "plot_track",
]  # fmt: skip

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
    peaks
        Table with `start` and `end` on the chromosome; with a `chrom` column and `chrom` given, other chromosomes are
        left out. Boxes of repressing peaks have the negative colour, see `negative_peaks`.
    limits
        Lowest and highest value of the y axis; None fits the track. Room for peak boxes is added below.
    ax, start, chrom, unit, highlight, title
        As for :func:`seqsal.plot.plot_letters`.

    Raises
    ------
    UsageError
        `values` has another number of axes, or is empty or infinite.

    Examples
    --------
    >>> plot_track([0.1, 0.8, -0.2], start=100, chrom="chr1").get_xlabel()
    'position on chr1 (bp, 0-based)'
    """
    track = np.asarray(values, dtype=np.float64)
    if track.ndim != 1 or len(track) == 0 or np.isinf(track).any():
        raise UsageError(f"values: shape {track.shape}, expected (L,) finite numbers, one a base")
    axes = new_axes(8.0, 1.8) if ax is None else ax
    edges, high, low = _envelope(track, MAX_BINS)
    axes.stairs(high, edges + start, fill=True, facecolor=POSITIVE, linewidth=0, gid="positive")
    axes.stairs(low, edges + start, fill=True, facecolor=NEGATIVE, linewidth=0, gid="negative")
    axes.axhline(0.0, color=ink(), linewidth=0.6, zorder=2)
    bottom, top = limits or limits_with_air(np.fmin.reduce(low, initial=0.0), np.fmax.reduce(high, initial=0.0))
    if peaks is not None:  # also when it is empty: tracks below each other then keep one scale
        bottom -= (top - bottom) * _BAND / (1 - _BAND)
        if len(peaks):  # else perhaps without columns
            keep = (peaks["start"] < start + len(track)) & (peaks["end"] > start)
            keep &= peaks["chrom"] == chrom if chrom is not None and "chrom" in peaks else True
            _draw_boxes(axes, peaks[keep])
    axes.set_ylim(bottom, top)
    frame_bases(axes, (chrom, start, start + len(track)), unit, highlight, title)
    return axes


def plot_region_track(
    attr: Attributions,
    region: str | int | Region | None = None,
    ax: Axes | None = None,
    *,
    peaks: pd.DataFrame | None = None,
) -> Axes:
    """Draw the attributions of a region of the genome, + strand, with its peaks.

    Parameters
    ----------
    attr, region
        As for :func:`seqsal.plot.plot_logo`.
    ax, peaks
        As for :func:`plot_track`.

    Raises
    ------
    RegionError
        No window covers any of `region`.

    Examples
    --------
    >>> import numpy as np, seqsal
    >>> from seqsal.regions import make_regions
    >>> codes, track = np.uint8([[0, 1, 2, 3] * 2]), np.float32([[0, 0.1, 0.9, 0.8, 0.7, 0, -0.3, 0]])
    >>> attr = seqsal.Attributions(make_regions(["chr1"], [100], [108]), codes, track, np.float32([1.5]))
    >>> plot_region_track(attr, "chr1:102-106").get_xlabel()
    'position on chr1 (bp, 0-based)'
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


def _draw_boxes(ax: Axes, peaks: pd.DataFrame) -> None:
    """Boxes in the band at the bottom, in data coordinates along x and shares of the height along y."""
    spans = zip(peaks["start"], peaks["end"], negative_peaks(peaks), strict=True)
    for number, (start, end, negative) in enumerate(spans):
        color = NEGATIVE if negative else POSITIVE
        ax.axvspan(float(start), float(end), *_BOX, facecolor=color, linewidth=0, gid=f"peak-{number}")


MotifBoxes: TypeAlias = MotifResult | pd.DataFrame
MAX_LANES = 8  # of a kind; what finds no place is drawn on the last, without its name
MAX_LABEL = 16
LANE_INCHES = 0.19
_FONT_SIZE = 7.0
_INCH_PER_LETTER = 0.066
_GAP_INCHES = 0.05
_LABEL_COLUMNS = ("motif", "pattern", "name")


@dataclass(frozen=True)
class _Box:
    """A span with its label; `left` to `right` is what both take up together on a lane."""

    start: int
    end: int
    label: str
    negative: bool
    left: float
    right: float
    label_at: float


def name_motifs(motifs: MotifBoxes) -> pd.DataFrame:
    """Return the instances of motifs as a table: chrom, start, end, `label`, and `sign`.

    `motifs` is a result of :func:`seqsal.discover_motifs`, or a table with chrom, start, end, a name (`motif`,
    `pattern` or `name`) and perhaps `strand`, and `attribution` whose sign is shown, as
    :func:`seqsal.motifs.scan_motifs` gives. Raises `UsageError` for a column that is missing.
    """
    if isinstance(motifs, MotifResult):
        names = {pattern.name: pattern.label for pattern in motifs.patterns}
        signs = {pattern.name: pattern.sign for pattern in motifs.patterns}
        table = motifs.seqlets
        return _with_strand(table, table["pattern"].map(names)).assign(sign=table["pattern"].map(signs))
    column = next((name for name in _LABEL_COLUMNS if name in motifs), None)
    missing = [key for key in ("chrom", "start", "end") if key not in motifs]
    if missing or column is None:
        raise UsageError(
            f"motifs: no column {', '.join(missing) or 'motif'}, expected chrom, start, end and motif; give the result "
            "of discover_motifs or its seqlets"
        )
    negative = motifs["attribution"] < 0 if "attribution" in motifs else motifs[column].str.startswith("neg_")
    return _with_strand(motifs, motifs[column]).assign(sign=np.where(negative, "neg", "pos"))


def _with_strand(table: pd.DataFrame, names: pd.Series) -> pd.DataFrame:
    strand = table["strand"] if "strand" in table else pd.Series(".", index=table.index)
    arrow = strand.map({"+": " →", "-": " ←"}).fillna("")
    return table.assign(label=names.astype(str).map(lambda name: one_line(name, MAX_LABEL)) + arrow)


def boxes_within(table: pd.DataFrame, span: Region) -> pd.DataFrame:
    """Return the rows that overlap a span, `label` added where there is none; `UsageError` without columns."""
    if table.empty:
        return table
    missing = [key for key in ("chrom", "start", "end") if key not in table]
    if missing:
        raise UsageError(
            f"peaks: no column {', '.join(missing)}, expected chrom, start and end; give the table of call_peaks"
        )
    inside = table[(table["chrom"] == span.chrom) & (table["start"] < span.end) & (table["end"] > span.start)]
    if "label" in inside:
        return inside
    names = inside["name"] if "name" in inside else pd.Series("", index=inside.index)
    return inside.assign(label=names.map(lambda name: one_line(name, MAX_LABEL)))


def n_lanes(kinds: Mapping[str, pd.DataFrame], span: Region, width: float) -> int:
    """Return how many lanes the boxes take, one at least for each kind, on Axes `width` inches wide."""
    return sum(max(1, len(_pack(table, span, width))) for table in kinds.values())


def draw_boxes(ax: Axes, kinds: Mapping[str, pd.DataFrame], span: Region, width: float) -> None:
    """Draw lanes of boxes from above, kind by kind, on Axes `width` inches wide whose x axis is `span`."""
    lane, ticks = 0, []
    for kind, table in kinds.items():
        lanes = _pack(table, span, width)
        ticks.append(lane + (max(1, len(lanes)) - 1) / 2)
        for number, boxes in enumerate(lanes):
            for box in boxes:
                _draw_box(ax, box, lane + number, f"{kind}-box", span)
        lane += max(1, len(lanes))
    ax.set_xlim(span.start, span.end)
    ax.set_ylim(lane - 0.4, -0.6)
    ax.set_yticks(ticks, list(kinds))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def _draw_box(ax: Axes, box: _Box, lane: int, gid: str, span: Region) -> None:
    color = NEGATIVE if box.negative else POSITIVE
    start, end = max(box.start, span.start), min(box.end, span.end)
    ax.add_patch(Rectangle((start, lane - 0.3), end - start, 0.6, facecolor=color, linewidth=0, gid=gid))
    if box.label:
        text = ax.text(box.label_at, lane, box.label, gid=f"{gid}-name", va="center_baseline", fontsize=_FONT_SIZE)
        text.set(parse_math=False, clip_on=True)


def _pack(table: pd.DataFrame, span: Region, width: float) -> list[list[_Box]]:
    """Give every box the first lane that is free."""
    lanes: list[list[_Box]] = []
    ends: list[float] = []
    bp_per_inch = (span.end - span.start) / width
    for box in _make_boxes(table, span, bp_per_inch):
        free = next((i for i, end in enumerate(ends) if end <= box.left), None)
        if free is None and len(lanes) < MAX_LANES:
            lanes.append([])
            ends.append(-np.inf)
            free = len(lanes) - 1
        if free is None:
            lanes[-1].append(replace(box, label=""))
            continue
        lanes[free].append(box)
        ends[free] = box.right
    return lanes


def _make_boxes(table: pd.DataFrame, span: Region, bp_per_inch: float) -> list[_Box]:
    """Boxes from left to right; a name goes to the right of its box, or at the picture's right edge to the left."""
    boxes = []
    gap = _GAP_INCHES * bp_per_inch
    for start, end, label, negative in zip(
        table.get("start", []), table.get("end", []), table.get("label", []), negative_peaks(table), strict=True
    ):
        room = len(label) * _INCH_PER_LETTER * bp_per_inch + gap
        at_right = end + room <= span.end or start - room < span.start
        left, right = (start, end + room) if at_right else (start - room, end)
        label_at = end + gap if at_right else left
        boxes.append(_Box(int(start), int(end), label, bool(negative), left, right + gap, label_at))
    return sorted(boxes, key=lambda box: (box.left, box.right))
