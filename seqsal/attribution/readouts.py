"""Which output positions are read of each window: `readout_at` of a request, found in genome coordinates.

A window's place is text in the column `readout` of its table, ``start-end`` on its chromosome, several with commas;
the bins under it are read (:class:`seqsal.models.grid.Grid`), turned with the window where it is read backwards.
Windows whose bins are the same go through the model together.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from seqsal.errors import RegionError, UsageError, shown
from seqsal.io.bed import read_bed
from seqsal.io.gtf import gene_intervals
from seqsal.models.grid import Grid
from seqsal.regions import check_chroms, format_region

__all__ = ["Place", "check_readout", "model_at", "place_groups", "places_of", "with_readouts"]

Place = tuple[tuple[float, float], ...]  # spans of the output, in units of bins; () for all of it
_SUMMIT = re.compile(r"summit(?:(?:±|\+-|\+/-|:)(\d[\d,]*))?")
_GENES = re.compile(r"(tss|exons)(?:(?:±|\+-|\+/-)(\d[\d,]*))?:(.+)")


def check_readout(at: Any, gene: str | None) -> str | None:
    """Return a place in plain form; UsageError where it is of no known kind."""
    if at is None:
        if gene is not None:
            raise UsageError("gene: chooses among genes; give readout_at='tss:GENES.gtf' (--readout-at) too")
        return None
    text = os.fspath(at) if isinstance(at, (str, os.PathLike)) else None
    if not isinstance(text, str):
        raise UsageError(f"readout_at: got {shown(at)}, expected 'region', 'summit±100', a BED file or 'tss:GENES.gtf'")
    genes = _GENES.fullmatch(text)
    if text == "region" or _SUMMIT.fullmatch(text) or genes or Path(text).is_file():
        if gene is not None and not genes:
            raise UsageError(f"gene: chooses among genes, but readout_at is {text!r}; give tss:GENES.gtf")
        return text
    raise UsageError(
        f"readout_at: got {text!r}, expected 'region', 'summit±100' (or summit:100), a BED file that is there, "
        "'tss:GENES.gtf' or 'exons:GENES.gtf'"
    )


def with_readouts(windows: pd.DataFrame, at: str, gene: str | None = None) -> pd.DataFrame:
    """Return windows with the positions that are read of each in a column `readout`.

    BedError, RegionError: a file cannot be read, holds nothing near some window, or names chromosomes in another way.
    """
    if at == "region":
        if "readout" not in windows:
            raise UsageError("readout_at: got 'region' for windows that are given directly; give genome and regions")
        return windows
    start, end = (windows[key].to_numpy(np.int64) for key in ("start", "end"))
    if summit := _SUMMIT.fullmatch(at):
        reach = int((summit[1] or "0").replace(",", ""))
        middle = np.where(windows["summit"] >= 0, start + windows["summit"], (start + end) // 2)
        return windows.assign(readout=[f"{c - reach}-{c + reach + 1}" for c in middle])
    genes = _GENES.fullmatch(at)
    if genes is None:
        return windows.assign(readout=_overlapping(windows, read_bed(at), at))
    intervals = gene_intervals(genes[3], genes[1], gene)
    check_chroms(
        intervals, dict.fromkeys(windows["chrom"], 1), regions_name=genes[3], genome_name="the regions",
        rename="sed '{script}' {name} > renamed.gtf",
    )  # fmt: skip
    reach = int((genes[2] or "0").replace(",", ""))
    intervals = intervals.assign(start=intervals["start"] - reach, end=intervals["end"] + reach)
    return windows.assign(readout=_overlapping(windows, intervals, genes[3], by_gene=True))


def _overlapping(windows: pd.DataFrame, intervals: pd.DataFrame, source: str, by_gene: bool = False) -> list[str]:
    """Intervals that share a base with each window, of one gene: that of the region's name, or the nearest."""
    found = []
    for chrom, start, end, name in windows[["chrom", "start", "end", "name"]].itertuples(index=False):
        is_near = (intervals["chrom"] == chrom) & (intervals["end"] > start) & (intervals["start"] < end)
        near = intervals[is_near]
        if near.empty:
            what = "gene" if by_gene else "interval"
            raise RegionError(
                f"readout_at: {source} has no {what} in the window {format_region(chrom, start, end)} of {name}, "
                "expected one in each; leave such regions out, or take wider windows"
            )
        if by_gene:
            is_named = (near["gene_name"] == name) | (near["gene_id"] == name)
            middle = (near["start"] + near["end"] - start - end).abs()
            gene = near.loc[is_named, "gene_id"].iloc[0] if is_named.any() else near.loc[middle.idxmin(), "gene_id"]
            near = near[near["gene_id"] == gene]
        found.append(",".join(f"{a}-{b}" for a, b in zip(near["start"], near["end"], strict=True)))
    return found


def places_of(windows: pd.DataFrame, grid: Grid) -> list[Place]:
    """Return the bins that are read of each window.

    RegionError: of some window none is, as its place is outside the model's output.
    """
    places = []
    columns = (windows[key] for key in ("start", "end", "strand", "readout"))
    for row, (start, end, strand, text) in enumerate(zip(*columns, strict=True)):
        spans = []
        for part in str(text).split(","):
            low, high = (int(value) - start for value in re.fullmatch(r"(-?\d+)-(-?\d+)", part).groups())  # type: ignore[union-attr]
            low, high = (end - start - high, end - start - low) if strand == "-" else (low, high)
            spans.append(grid.bins(low, high))
        place = _merged([span for span in spans if span is not None])
        if not place:
            region = windows.iloc[row]
            first, last = start + grid.crop, start + grid.crop + grid.n_bins * grid.size
            raise RegionError(
                f"readout_at: {region['name']} would be read at {region['chrom']}:{text}, which is outside the "
                f"model's output, {region['chrom']}:{first}-{last}; read nearer to the middle of the window"
            )
        places.append(place)
    return places


def _merged(spans: list[tuple[float, float]]) -> Place:
    """Join spans that touch."""
    joined: list[tuple[float, float]] = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return tuple(joined)


def place_groups(model: nn.Module, windows: pd.DataFrame) -> tuple[list[Place], NDArray[np.int64]]:
    """Return the places that are read, and which of them (N,) is each window's; of most models all is read."""
    grid = getattr(model, "grid", None)
    if grid is None or "readout" not in windows:
        return [()], np.zeros(len(windows), dtype=np.int64)
    numbers: dict[Place, int] = {}
    of = [numbers.setdefault(place, len(numbers)) for place in places_of(windows, grid)]
    return list(numbers), np.array(of, dtype=np.int64)


def model_at(model: Any, place: Place) -> Any:
    """Return the model as it reads some bins."""
    return model.at(place) if place else model
