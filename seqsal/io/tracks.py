"""Results as genome-browser tracks: bigWig and bedGraph of the attributions, tables of the predictions.

Per-base tracks come from :mod:`seqsal.io.sweep`: sorted, overlapping windows averaged, N and positions outside the
chromosome left out, float32, neighbours of equal value joined. A track without any value is written too, and said so.
"""

from __future__ import annotations

import csv
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import UsageError
from seqsal.io import bigwig_writer
from seqsal.io.atomic import atomic_path
from seqsal.io.attributions import Attributions
from seqsal.io.bed import write_bed
from seqsal.io.bigwig_writer import Stretch
from seqsal.io.sweep import Axis, Read, read_forward, sweep_track

__all__ = ["SCORE_FORMATS", "member_size", "write_agreement", "write_bedgraph", "write_bigwig", "write_scores"]

SCORE_FORMATS = (".tsv", ".bed", ".bedgraph")
LINES_AT_ONCE = 1 << 16
TRACK_BP = 1 << 17  # values in memory at a time, few enough for the system to give the same memory again
logger = logging.getLogger(__name__)


class Intervals(NamedTuple):
    """Consecutive intervals of one chromosome: (n,) starts and ends (0-based, half-open) and values."""

    chrom: str
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    values: NDArray[np.floating[Any]]

    def take(self, rows: slice) -> Intervals:
        """Return some of them."""
        return Intervals(self.chrom, self.start[rows], self.end[rows], self.values[rows])


def write_bigwig(
    attr: Attributions,
    chrom_sizes: Mapping[str, int],
    path: str | os.PathLike[str],
    *,
    read: Read | None = None,
    chunk_bp: int = TRACK_BP,
    progress: bool = False,
) -> None:
    """Write the signed per-base track, or what `read` gives, as bigWig, with `chunk_bp` values in memory at a time.

    `chrom_sizes` (bp) are in the order that the file lists them. OutputError: it cannot be written in full;
    RegionError: a window lies on a chromosome that `chrom_sizes` lacks.
    """
    sizes = {chrom: int(size) for chrom, size in chrom_sizes.items()}
    stretches = _stretches(attr, sizes, chunk_bp=chunk_bp, read=read, progress=progress)
    if not bigwig_writer.write_bigwig(path, sizes, stretches):
        logger.warning("track: no position has a value (only N or beyond the chromosomes); the bigWig is empty")


def write_agreement(
    attr: Attributions, chrom_sizes: Mapping[str, int], path: str | os.PathLike[str], *, progress: bool = False
) -> None:
    """Write how far the members of an ensemble agree on each base: |mean| over root mean square of their tracks.

    1 where all give the same value, 0 where they cancel. Parameters and errors as in `write_bigwig`.
    """

    def read(rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        mean, known = read_forward(attr, rows)
        spread, _ = read_forward(replace(attr, track=attr.track_sd), rows)  # type: ignore[arg-type]
        size = member_size(attr, mean, spread)
        return np.divide(np.abs(mean), size, out=np.zeros_like(mean), where=size > 0), known

    write_bigwig(attr, chrom_sizes, path, read=read, progress=progress)


def member_size(attr: Attributions, mean: NDArray[Any], spread: NDArray[Any]) -> NDArray[Any]:
    """Root mean square of the members' values, from their mean and standard deviation."""
    n_members = max(len(attr.attrs.get("model", {}).get("ensemble", ())), 2)
    return np.asarray(np.sqrt(np.square(mean) + (n_members - 1) / n_members * np.square(spread)))


def write_bedgraph(
    attr: Attributions,
    chrom_sizes: Mapping[str, int],
    path: str | os.PathLike[str],
    *,
    chunk_bp: int = TRACK_BP,
    progress: bool = False,
) -> None:
    """Write the signed per-base track as bedGraph, neighbours of equal value joined.

    Values have the fewest digits that read back as the same float32. Parameters and errors as in `write_bigwig`.
    """
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as handle:
        for runs in _runs(_stretches(attr, chrom_sizes, chunk_bp=chunk_bp, progress=progress)):
            _write_runs(handle, runs)


def write_scores(
    table: pd.DataFrame, path: str | os.PathLike[str], *, chrom_sizes: Mapping[str, int] | None = None
) -> None:
    """Write predictions; the extension of `path` chooses the format.

    - `.tsv`: every column, in the order of the rows; `NA` where there is no value.
    - `.bed`: BED6 in the order of the rows, the prediction as score, with six digits.
    - `.bedgraph`: sorted; where windows overlap, the mean of their predictions.

    `table` is a region table with a `prediction` column; any further columns go to the TSV only. Starts below 0 are cut
    in the others, and ends beyond the `chrom_sizes` (bp). UsageError: unknown extension, or no predictions.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SCORE_FORMATS:
        raise UsageError(
            f"{path}: unknown extension {suffix or '(none)'}, expected one of {', '.join(SCORE_FORMATS)}; rename it"
        )
    if "prediction" not in table:
        raise UsageError(f"table: no column prediction, got {', '.join(map(str, table.columns))}; add the predictions")
    if suffix == ".bed":
        write_bed(_clip(table, chrom_sizes).assign(score=table["prediction"]), path)
        return
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as handle:
        if suffix == ".tsv":
            plain = table.copy()  # as BED has them: no quotes, and so no tabs inside
            for key in table.select_dtypes(exclude="number"):
                plain[key] = table[key].map(lambda one: re.sub(r"[\t\r\n]", "_", one) if isinstance(one, str) else one)
            plain.to_csv(handle, sep="\t", index=False, na_rep="NA", lineterminator="\n", quoting=csv.QUOTE_NONE)
            return
        known = _clip(table[np.isfinite(table["prediction"].to_numpy(dtype=np.float64))], chrom_sizes)
        kind = np.float32 if table["prediction"].dtype == np.float32 else np.float64
        for chrom, rows in known.groupby("chrom"):
            spans = (rows["start"].to_numpy(np.int64), rows["end"].to_numpy(np.int64))
            start, end, mean = _mean_coverage(*spans, rows["prediction"].to_numpy(dtype=np.float64))
            _write_runs(handle, Intervals(str(chrom), start, end, mean.astype(kind)))


def _run_bounds(breaks: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and one-past-last index of every run, from the (P-1,) mask of breaks between neighbours."""
    cuts = np.flatnonzero(breaks) + 1
    return np.concatenate([[0], cuts]), np.append(cuts, len(breaks) + 1)


def _stretches(attr: Attributions, chrom_sizes: Mapping[str, int], **sweep: Any) -> Iterator[Stretch]:
    """Sweep a track as stretches of adjacent bases on its chromosomes, without positions outside them."""
    axis = Axis.of(attr, list(chrom_sizes))
    for block in sweep_track(attr, axis, **sweep):
        if not len(block.positions):
            continue
        values = block.values.astype(np.float32)
        is_whole = block.positions[-1] - block.positions[0] == len(block.positions) - 1
        gaps = np.zeros(len(block.positions) - 1, np.bool_) if is_whole else np.diff(block.positions) != 1
        first, last = _run_bounds(gaps)  # there is a gap between chromosomes
        numbers, starts = axis.locate(block.positions[first])
        for number, start, a, b in zip(numbers.tolist(), starts.tolist(), first.tolist(), last.tolist(), strict=True):
            chrom = axis.chroms[number]
            low, high = max(start, 0), min(start + b - a, chrom_sizes[chrom])
            if low < high:
                yield Stretch(chrom, low, values[a + low - start : a + high - start])


def _runs(stretches: Iterable[Stretch]) -> Iterator[Intervals]:
    """Yield runs of adjacent bases with one value, joined over the borders of stretches."""
    waiting = None
    for chrom, start, values in stretches:
        first, last = _run_bounds(values[1:] != values[:-1])
        runs = Intervals(chrom, start + first, start + last, values[first])
        if waiting is not None:
            before = (waiting.chrom, int(waiting.end[0]), waiting.values[0])
            if before == (chrom, start, values[0]):
                runs.start[0] = waiting.start[0]
            else:
                yield waiting
        yield runs.take(slice(-1))
        waiting = runs.take(slice(-1, None))
    if waiting is not None:
        yield waiting


def _write_runs(handle: TextIO, runs: Intervals) -> None:
    """Write bedGraph lines, many to a formatting call."""
    line = runs.chrom.replace("%", "%%") + "\t%d\t%d\t%s\n"
    for a in range(0, len(runs.start), LINES_AT_ONCE):
        part = slice(a, a + LINES_AT_ONCE)
        texts = runs.values[part].astype("U24").tolist()  # numpy prints the shortest digits that round-trip the type
        fields = chain.from_iterable(zip(runs.start[part].tolist(), runs.end[part].tolist(), texts, strict=True))
        handle.write((line * len(texts)) % tuple(fields))


def _clip(table: pd.DataFrame, chrom_sizes: Mapping[str, int] | None) -> pd.DataFrame:
    """Cut windows at 0 and, where the size is known, at the end of their chromosome."""
    clipped = table.assign(start=np.maximum(table["start"].to_numpy(), 0))
    if chrom_sizes is not None:
        limit = table["chrom"].map(dict(chrom_sizes)).fillna(np.inf).to_numpy(dtype=np.float64)
        clipped["end"] = np.minimum(table["end"].to_numpy(dtype=np.float64), limit).astype(np.int64)
    return clipped


def _mean_coverage(
    start: NDArray[np.int64], end: NDArray[np.int64], values: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Mean value of the spans over every base, as non-overlapping spans with neighbours of equal value joined.

    Under a single span the value is that span's own, to the bit: the running sum of row numbers tells which it is.
    """
    edges = np.concatenate([start, end])
    order = np.argsort(edges, kind="stable")
    change = np.repeat([1, -1], len(start))[order]
    row = np.tile(np.arange(len(start)), 2)[order]
    depth, row_sum = np.cumsum(change), np.cumsum(change * row)
    total = np.cumsum(change * values[row])
    closed = np.maximum.accumulate(np.where(depth == 0, np.arange(len(depth)), -1))
    total -= np.where(closed >= 0, total[closed], 0.0)  # no rounding is carried over a stretch without a span
    edges = edges[order]
    keep = np.flatnonzero((edges[:-1] < edges[1:]) & (depth[:-1] > 0))
    mean = np.where(depth[keep] == 1, values[np.where(depth[keep] == 1, row_sum[keep], 0)], total[keep] / depth[keep])
    left, right = edges[keep], edges[keep + 1]
    if not len(left):
        return left, right, mean
    first, last = _run_bounds((left[1:] != right[:-1]) | (mean[1:] != mean[:-1]))
    return left[first], right[last - 1], mean[first]
