"""Several pictures of one region below each other: tracks, the boxes of peaks and motifs, and the ruler."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from seqsal.agreement.match import open_results
from seqsal.errors import RegionError, UsageError
from seqsal.io.attributions import Attributions
from seqsal.plot.locus import Locus, common_limits, pick_region, read_locus
from seqsal.plot.logo import MAX_LOGO_BP, plot_letters
from seqsal.plot.style import drawing_style, label_positions, new_figure, one_line, shown, two_lines
from seqsal.plot.tracks import LANE_INCHES, MotifBoxes, boxes_within, draw_boxes, n_lanes, name_motifs, plot_track
from seqsal.regions import Region, format_region, parse_region
from seqsal.sequence.codes import N_CODE

__all__ = ["LETTERS_BP", "Tracks", "plot_attributions", "plot_tracks"]

Tracks: TypeAlias = (
    Attributions
    | str
    | os.PathLike[str]
    | Sequence[str | os.PathLike[str]]
    | Mapping[str, "Attributions | str | os.PathLike[str] | ArrayLike"]
)
LETTERS_BP = 160  # up to here a base has room for a letter
ZOOM_BP = 100
_WIDTH, _MARGIN = 10.0, 1.4  # inches: of the figure, and of it what the labels on the left take
_LETTERS_INCHES, _LINE_INCHES, _RULER_INCHES = 1.35, 1.0, 0.45


@dataclass(frozen=True)
class _Row:
    """A picture of the stack."""

    inches: float
    draw: Callable[[Axes], object]
    span: Region
    name: str | None = None  # written above
    limits: tuple[float, float] | None = None  # of the y axis; None fits


@shown
def plot_attributions(
    attr: Attributions,
    region: str | int | Region | None = None,
    *,
    peaks: pd.DataFrame | None = None,
    motifs: MotifBoxes | None = None,
    zoom_bp: int = ZOOM_BP,
    colors: str | Mapping[str, str] = "classic",
    title: str | None = None,
) -> list[Axes]:
    """Draw a region of the genome: as letters, or where it is too long for letters as a line with its strongest part.

    Parameters
    ----------
    attr
        Attributions of N windows; overlapping ones are averaged, and those of strand "-" turned.
    region
        `chrom:start-end`, 0-based half-open; the name of one of the regions, or its row; None for the region with the
        highest prediction.
    peaks
        Table of :func:`seqsal.call_peaks`, drawn as boxes in the colour of their sign.
    motifs
        Result of :func:`seqsal.discover_motifs`, or a table of motif instances, drawn as boxes with names.
    zoom_bp
        Bases of the strongest part that are drawn as letters.
    colors
        "classic", "colorblind" or a color for each of A, C, G, T.
    title
        Written above; None says what and where.

    Returns
    -------
    list of Axes
        From above to below, in a figure of their own.

    Raises
    ------
    RegionError
        `region` is malformed, or no window covers any of it.
    UsageError
        Unknown `colors`, a table without the columns needed, or `zoom_bp` below 1.

    Examples
    --------
    >>> import numpy as np, seqsal
    >>> from seqsal.regions import make_regions
    >>> codes, track = np.uint8([[0, 1, 2, 3] * 2]), np.float32([[0, 0.1, 0.9, 0.8, 0.7, 0, -0.3, 0]])
    >>> attr = seqsal.Attributions(make_regions(["chr1"], [100], [108]), codes, track, np.float32([1.5]))
    >>> plot_attributions(attr)[0].get_xlabel()
    'position on chr1 (bp, 0-based)'
    """
    if zoom_bp < 1:
        raise UsageError(f"zoom_bp: got {zoom_bp}, expected a number of bases, 1 or more")
    locus = read_locus(attr, pick_region(attr, region))
    span = locus.span
    kinds = _kinds(peaks, motifs)
    if span.end - span.start <= LETTERS_BP:
        rows = [_letters_row(locus, span, attr.unit, colors), *_box_rows(kinds, span)]
    else:
        zoom = locus.around(locus.strongest_position, zoom_bp)
        line = _line_row(locus, span, attr.unit, highlight=[(zoom.start, zoom.end)])
        rows = [line, *_box_rows(kinds, span), _letters_row(locus, zoom, attr.unit, colors), *_box_rows(kinds, zoom)]
    return _draw(rows, title or f"{attr.name}, {_region_text(span)}")


@shown
def plot_tracks(
    tracks: Tracks,
    region: str | int | Region | None = None,
    *,
    peaks: pd.DataFrame | None = None,
    motifs: MotifBoxes | None = None,
    letters: bool | None = None,
    same_scale: bool = False,
    colors: str | Mapping[str, str] = "classic",
    title: str | None = None,
) -> list[Axes]:
    """Draw several tracks over one region below each other, with peaks, motifs and a ruler beneath.

    Parameters
    ----------
    tracks
        Results by name, `{"seed 0": attr, "ISM": "B.h5:ism", "phyloP": values}`, where an array is (L,), one value for
        each base of `region`; a list of files; or one result, of which all that were made together are drawn.
    region
        As for :func:`plot_attributions`; a name or a row is of the first result.
    peaks, motifs, colors, title
        As for :func:`plot_attributions`.
    letters
        Draw letters instead of lines; None does so up to `LETTERS_BP` bases.
    same_scale
        Draw all tracks on one y axis.

    Returns
    -------
    list of Axes
        One a track, then that of the boxes if there are any, in a figure of their own.

    Raises
    ------
    RegionError
        `region` is malformed, or a result does not cover any of it.
    UsageError
        No track; an array of another length; arrays without `region`; and as for :func:`plot_attributions`.
    StoreError
        A file cannot be read.

    Examples
    --------
    >>> import numpy as np, seqsal
    >>> from seqsal.regions import make_regions
    >>> codes, track = np.uint8([[0, 1, 2, 3] * 2]), np.float32([[0, 0.1, 0.9, 0.8, 0.7, 0, -0.3, 0]])
    >>> attr = seqsal.Attributions(make_regions(["chr1"], [100], [108]), codes, track, np.float32([1.5]))
    >>> axes = seqsal.plot_tracks({"map": attr, "phyloP": np.arange(8)}, "chr1:100-108")
    >>> [ax.get_title(loc="left") for ax in axes]
    ['map', 'phyloP']
    """
    results, arrays = _sorted_out(tracks)
    span = _common_region(results, region)
    loci = {name: read_locus(attr, span) for name, attr in results.items()}
    if loci:
        span = Region(span.chrom, min(x.start for x in loci.values()), max(x.end for x in loci.values()))
    requested = span if not isinstance(region, (str, Region)) else _common_region(results, region)
    for name, values in arrays.items():
        loci[name] = _array_locus(name, values, requested, list(loci.values()))
    as_letters = span.end - span.start <= LETTERS_BP if letters is None else letters
    if as_letters and span.end - span.start > MAX_LOGO_BP:
        raise RegionError(
            f"region {_region_text(span)}: at most {MAX_LOGO_BP:,} bp can be drawn as letters; leave out `letters` to "
            "draw lines"
        )
    limits = common_limits(loci.values()) if same_scale else None
    rows = []
    for name in [str(name) for name in tracks] if isinstance(tracks, Mapping) else list(loci):
        locus, unit = loci[name], results[name].unit if name in results else "value"
        if as_letters and (locus.codes < N_CODE).any():
            row = _letters_row(locus, locus.span, unit, colors)
        else:
            row = _line_row(locus, span, unit)
        rows.append(replace(row, span=span, name=name, limits=limits))
    return _draw([*rows, *_box_rows(_kinds(peaks, motifs), span)], title or _region_text(span))


def _sorted_out(tracks: Tracks) -> tuple[dict[str, Attributions], dict[str, ArrayLike]]:
    """Results and plain values by name."""
    if not isinstance(tracks, Mapping):
        return open_results(tracks), {}
    if not tracks:
        raise UsageError("tracks: none given, expected at least one result or array by name")
    openable = (Attributions, str, os.PathLike)
    results = {str(name): one for name, one in tracks.items() if isinstance(one, openable)}
    arrays: dict[str, ArrayLike] = {
        str(name): np.asarray(one) for name, one in tracks.items() if not isinstance(one, openable)
    }
    return open_results(results), arrays


def _common_region(results: Mapping[str, Attributions], region: str | int | Region | None) -> Region:
    if results:
        return pick_region(next(iter(results.values())), region)
    if isinstance(region, Region):
        return region
    if not isinstance(region, str):
        raise UsageError("region: arrays do not tell where they are; give chrom:start-end, for example chr1:1000-2000")
    return parse_region(region)


def _array_locus(name: str, values: ArrayLike, span: Region, known: Sequence[Locus]) -> Locus:
    """Plain values as a locus; the bases are taken from a result over the same place."""
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (span.end - span.start,):
        raise UsageError(
            f"tracks: {one_line(name)} has shape {array.shape}, expected {(span.end - span.start,)}, a value for each "
            f"base of {_region_text(span)}"
        )
    same = [one for one in known if (one.start, one.end) == (span.start, span.end)]
    codes = same[0].codes if same else np.full(len(array), N_CODE, dtype=np.uint8)
    return Locus(span.chrom, span.start, span.end, codes, array, None, n_windows=1)


def _kinds(peaks: pd.DataFrame | None, motifs: MotifBoxes | None) -> dict[str, pd.DataFrame]:
    kinds = {} if peaks is None else {"peaks": peaks}
    return kinds if motifs is None else {**kinds, "motifs": name_motifs(motifs)}


def _letters_row(locus: Locus, span: Region, unit: str, colors: str | Mapping[str, str]) -> _Row:
    part = slice(span.start - locus.start, span.end - locus.start)

    def draw(ax: Axes) -> None:
        plot_letters(locus.track[part], locus.codes[part], ax, start=span.start, unit=two_lines(unit), colors=colors)

    return _Row(_LETTERS_INCHES, draw, span)


def _line_row(locus: Locus, span: Region, unit: str, highlight: Sequence[tuple[int, int]] = ()) -> _Row:
    def draw(ax: Axes) -> None:
        plot_track(locus.track, ax, start=locus.start, unit=two_lines(unit), highlight=highlight)

    return _Row(_LINE_INCHES, draw, span)


def _box_rows(kinds: Mapping[str, pd.DataFrame], span: Region) -> list[_Row]:
    """Return the row of boxes, if there are any kinds of them."""
    if not kinds:
        return []
    width = _WIDTH - _MARGIN
    inside = {kind: boxes_within(table, span) for kind, table in kinds.items()}

    return [_Row(n_lanes(inside, span, width) * LANE_INCHES, lambda ax: draw_boxes(ax, inside, span, width), span)]


def _draw(rows: Sequence[_Row], title: str) -> list[Axes]:
    """Draw rows below each other; of neighbours that show the same place, only the last has the ruler."""
    ruled = [i + 1 == len(rows) or rows[i + 1].span != row.span for i, row in enumerate(rows)]
    inches = [row.inches for row in rows]
    height = sum(inches) + _RULER_INCHES * sum(ruled) + 0.2 * sum(row.name is not None for row in rows) + 0.3
    figure = new_figure(_WIDTH, height)
    with drawing_style():
        grid = figure.add_gridspec(len(inches), 1, height_ratios=inches)
        axes = [figure.add_subplot(grid[i, 0]) for i in range(len(inches))]
        for ax, row, has_ruler in zip(axes, rows, ruled, strict=True):
            row.draw(ax)
            if row.name is not None:
                ax.set_title(one_line(row.name), loc="left", fontsize="small", parse_math=False)
            if row.limits is not None:
                ax.set_ylim(*row.limits)
            label_positions(ax, row.span.chrom, row.span.start, row.span.end)
            if not has_ruler:
                ax.set_xlabel("")
                ax.tick_params(axis="x", labelbottom=False)
        figure.suptitle(one_line(title, 120), x=0.01, ha="left", fontsize="medium", parse_math=False)
        figure.align_ylabels(axes)
    return axes


def _region_text(span: Region) -> str:
    return f"{format_region(one_line(span.chrom), span.start, span.end)} ({span.end - span.start:,} bp)"
