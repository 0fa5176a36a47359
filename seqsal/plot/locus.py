"""Attributions at a region of the genome: the windows that cover it, turned to the + strand and averaged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import RegionError, UsageError, shown
from seqsal.io.attributions import Attributions, check_attributions
from seqsal.io.sweep import average_spans
from seqsal.plot.style import one_line
from seqsal.regions import Region, format_region, parse_region
from seqsal.sequence.codes import N_CODE

__all__ = ["Locus", "common_limits", "pick_region", "read_locus", "window_locus"]

SMOOTH_BP = 9


@dataclass(frozen=True)
class Locus:
    """Bases and attributions of one span of a chromosome (0-based half-open), + strand."""

    chrom: str
    start: int
    end: int
    codes: NDArray[np.uint8]  # (end - start,), N where no window knows the base
    track: NDArray[np.float64]  # (end - start,), NaN where no window knows the base
    hypothetical: NDArray[np.float64] | None  # (4, end - start), None when it was not read
    n_windows: int  # that were averaged

    @property
    def span(self) -> Region:
        """The span without its data."""
        return Region(self.chrom, self.start, self.end)

    def around(self, position: int, length: int) -> Region:
        """Return a span of at most `length` bases around a position, within this one."""
        length = min(length, self.end - self.start)
        first = int(np.clip(position - length // 2, self.start, self.end - length))
        return Region(self.chrom, first, first + length)

    @property
    def strongest_position(self) -> int:
        """Where the magnitude of the track, smoothed over `SMOOTH_BP` bases, is largest."""
        smooth = np.convolve(np.nan_to_num(self.track), np.full(SMOOTH_BP, 1 / SMOOTH_BP), mode="same")
        return self.start + int(np.argmax(np.abs(smooth)))


def common_limits(loci: Iterable[Locus]) -> tuple[float, float]:
    """Limits of a y axis that holds the tracks of all, with 5 % of air."""
    values = np.concatenate([[0.0], *(locus.track for locus in loci)])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    air = 0.05 * (high - low) or 1.0
    return low - air, high + air


def pick_region(attr: Attributions, region: str | int | Region | None) -> Region:
    """Find the region that is meant: `chrom:start-end`, the name of a region or its row, or a `Region`.

    None is the region with the highest prediction. Raises `RegionError` for what is none of these, or a name of
    several.
    """
    check_attributions(attr)
    if isinstance(region, Region):
        return region
    if isinstance(region, str):
        return _named_region(attr.regions, region)
    if not isinstance(region, (int, np.integer, type(None))):
        raise UsageError(f"region: got {shown(region)}, expected chrom:start-end, the name of a region, or its row")
    if not 0 <= (region or 0) < len(attr):
        problem = "attributions" if region is None else f"region: got row {region}"
        raise RegionError(f"{problem}, but there are {len(attr):,} regions; give a row from 0, or chrom:start-end")
    if region is None:
        region = int(np.argmax(np.nan_to_num(np.asarray(attr.prediction, dtype=np.float64), nan=-np.inf)))
    return _window(attr.rows([int(region)]).iloc[0])


def _window(window: pd.Series) -> Region:
    return Region(str(window["chrom"]), int(window["start"]), int(window["end"]))


def _named_region(table: pd.DataFrame, text: str) -> Region:
    rows = np.flatnonzero((table["name"] == text).to_numpy()) if "name" in table else np.zeros(0, np.int64)
    if len(rows) == 1:
        return _window(table.iloc[int(rows[0])])
    if len(rows) > 1:
        raise RegionError(f"region {one_line(text)!r}: {len(rows)} regions have this name; give chrom:start-end")
    try:
        return parse_region(text)
    except RegionError as error:
        some = f", such as {one_line(table['name'].iloc[0])!r}" if "name" in table and len(table) else ""
        raise RegionError(
            f"region {one_line(text)!r}: not understood, expected chrom:start-end, for example chr1:1000-2000, or the "
            f"name of a region of the attributions{some}"
        ) from error


def read_locus(
    attr: Attributions, region: str | int | Region | None, *, hypothetical: bool = False, max_bp: int | None = None,
    among: NDArray[np.intp] | None = None,
) -> Locus:  # fmt: skip
    """Average the windows over `region` (as in `pick_region`), as the bigWig writer does, cut down to where data are.

    `among` are rows that hold all windows over it, where those are known; increasing.

    Raises `RegionError` where no window covers any of it or they span more than `max_bp`, `UsageError` where
    `hypothetical` scores are asked for and were not kept.
    """
    span = pick_region(attr, region)
    if hypothetical and attr.hypothetical is None:
        raise UsageError(
            "hypothetical: these attributions hold only the track; make them again with hypothetical scores kept"
        )
    table = attr.regions if among is None else attr.rows(among, ["chrom", "start", "end"])
    covers = (table["chrom"] == span.chrom) & (table["start"] < span.end) & (table["end"] > span.start)
    near = np.flatnonzero(covers.to_numpy())
    if len(near) == 0:
        raise RegionError(_not_covered(table, span))
    rows = near if among is None else among[near]
    first = max(span.start, int(table["start"].iloc[near].min()))
    last = min(span.end, int(table["end"].iloc[near].max()))
    if max_bp is not None and last - first > max_bp:
        raise RegionError(
            f"region {format_region(*span[:3])}: {last - first:,} bp of data, at most {max_bp:,} can be drawn; "
            "choose a shorter region"
        )
    locus = _average(attr, rows, Region(span.chrom, first, last), hypothetical)
    known = np.flatnonzero(locus.codes != N_CODE)
    if len(known) == 0:
        raise RegionError(
            f"region {format_region(*span[:3])}: the windows over it hold only unknown bases (N); choose another region"
        )
    keep = slice(int(known[0]), int(known[-1]) + 1)
    return replace(
        locus,
        start=first + keep.start,
        end=first + keep.stop,
        codes=locus.codes[keep],
        track=locus.track[keep],
        hypothetical=None if locus.hypothetical is None else locus.hypothetical[:, keep],
    )


def window_locus(attr: Attributions, row: int) -> Locus:
    """Return one window as the model saw it, turned to the + strand; padding and N are NaN in its track."""
    return _average(attr, np.array([row]), _window(attr.rows([row]).iloc[0]), hypothetical=False)


def _average(attr: Attributions, rows: NDArray[np.intp], span: Region, hypothetical: bool) -> Locus:
    """Mean over `rows` at every base of `span`; a window counts only where it knows the base."""
    offsets = span.start - np.asarray(attr.column("start", rows), np.int64)
    shape = (1, span.end - span.start)
    (codes,), (mean,) = average_spans(attr, rows, np.zeros_like(rows), offsets, shape, all_bases=hypothetical)
    return Locus(span.chrom, span.start, span.end, codes, mean[0], mean[1:] if hypothetical else None, len(rows))


def _not_covered(table: pd.DataFrame, span: Region) -> str:
    """Say what is there instead: the nearest window, or the chromosomes that have any."""
    chrom = one_line(span.chrom)
    problem = f"region {format_region(chrom, span.start, span.end)}: no window of the attributions covers it"
    same = table[table["chrom"] == span.chrom]
    if len(same) == 0:
        chroms = [one_line(name) for name in table["chrom"].unique()]
        listed = ", ".join(chroms[:4]) + (", …" if len(chroms) > 4 else "")
        return f"{problem}, and none is on {chrom}; windows are on {listed or 'no chromosome'}"
    gaps = np.maximum(same["start"].to_numpy() - span.end, span.start - same["end"].to_numpy())
    nearest = same.iloc[int(np.argmin(gaps))]
    nearby = format_region(chrom, int(nearest["start"]), int(nearest["end"]))
    return f"{problem}; the nearest window is {nearby} ({int(gaps.min()):,} bp away)"
