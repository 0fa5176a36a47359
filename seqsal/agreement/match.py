"""Which results are compared, and which of their rows are the same region: matched by position, never by row number.

Results are given in memory, as files, or as single results of files, `A.h5:NAME`.

Regions match by chromosome, start, end and strand; those that are left then match by chromosome, start and end alone,
so that the strands of one region can be compared. A region that is there several times matches in the order of rows.
Everything is compared in the genome's direction: rows of strand "-" are turned.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import RegionError, UsageError, counted
from seqsal.io.attributions import Attributions
from seqsal.io.store import read_attributions
from seqsal.io.sweep import forward_codes, read_forward
from seqsal.regions import format_region
from seqsal.sequence.codes import N_CODE

__all__ = ["Comparable", "Matched", "match_regions", "open_results"]

Comparable = Attributions | str | os.PathLike[str]


def open_results(
    given: Comparable | Sequence[str | os.PathLike[str]] | Mapping[str, Comparable],
) -> dict[str, Attributions]:
    """Open results to be compared, by name; files stay on disk.

    `given` is results or files by name; or a list of files, each named by its stem (by its path where stems repeat); or
    one result or file that was made with others, which are then all taken. A file may be `A.h5:NAME`, for that result
    of it; else it stands for its first. Raises `StoreError` for a file, `UsageError` where the same is given twice.
    """
    if isinstance(given, Mapping):
        return {str(name): _open(one) for name, one in given.items()}
    if isinstance(given, (Attributions, str, os.PathLike)):
        return _all_results(_open(given))
    texts = [os.fspath(one) for one in given]
    if len(texts) == 1 and _split(texts[0])[1] is None:
        return _all_results(_open(texts[0]))
    return dict(zip(_labels(texts), map(_open, texts), strict=True))


def _all_results(attr: Attributions) -> dict[str, Attributions]:
    return {name: attr.result(name) for name in attr.results}


def _open(one: Comparable) -> Attributions:
    if isinstance(one, Attributions):
        return one
    path, result = _split(os.fspath(one))
    return read_attributions(path, result, in_memory=False)


def _split(text: str) -> tuple[str, str | None]:
    """Path and result of `A.h5:NAME`; a file that has such a name goes first."""
    path, colon, result = text.rpartition(":")
    return (path, result) if colon and path and not Path(text).exists() else (text, None)


def _labels(texts: list[str]) -> list[str]:
    repeated = next(_repeats(texts), None)
    if repeated is not None:
        raise UsageError(f"compare: {repeated} is given twice, expected different results")
    parts = [_split(text) for text in texts]
    short = [Path(path).stem + (f":{result}" if result else "") for path, result in parts]
    return texts if next(_repeats(short), None) else short


def _repeats(names: list[str]) -> Iterator[str]:
    return (name for i, name in enumerate(names) if name in names[:i])


SPAN = ["chrom", "start", "end"]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Matched:
    """Regions that all of several results hold."""

    results: dict[str, Attributions]  # F of them, by name
    rows: NDArray[np.int64]  # (F, M) rows of the M common regions in each, in the order of the first
    regions: pd.DataFrame  # the M regions as the first has them
    unmatched: pd.DataFrame  # regions that not all have: `result`, chrom, start, end, strand

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the results."""
        return tuple(self.results)

    @property
    def length(self) -> int:
        """Bases per window, L."""
        return next(iter(self.results.values())).length

    def read(self, regions: slice | NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read tracks (F, n, L) of some regions in the genome's direction, and whether all know the base (n, L)."""
        parts = [
            read_forward(attr, rows) for attr, rows in zip(self.results.values(), self.rows[:, regions], strict=True)
        ]
        return np.stack([values for values, _ in parts]), np.logical_and.reduce([known for _, known in parts])

    def n_other_bases(self, regions: slice) -> NDArray[np.int64]:
        """Count, for each result (F,), those of some regions where it has another known base than the first."""
        codes = [
            forward_codes(attr, rows) for attr, rows in zip(self.results.values(), self.rows[:, regions], strict=True)
        ]
        first = codes[0]
        differs = [((other != first) & (other != N_CODE) & (first != N_CODE)).any(1).sum() for other in codes]
        return np.array(differs, dtype=np.int64)


def match_regions(results: Mapping[str, Attributions]) -> Matched:
    """Find the regions that all results, two or more of windows of one length, hold; `RegionError` for none."""
    if len(results) < 2:
        raise UsageError(f"compare: got {counted(len(results), 'result')}, expected two or more")
    lengths = {name: attr.length for name, attr in results.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{length} bp in {name}" for name, length in lengths.items())
        raise UsageError(f"compare: windows of different lengths, {listed}; attribute windows of one length")
    (first_name, first), *others = results.items()
    rows = np.stack([np.arange(len(first)), *(_rows_of(first.regions, attr.regions) for _, attr in others)])
    common = (rows >= 0).all(0)
    if not common.any():
        lacking = next((i for i, row in enumerate(rows) if not (row >= 0).any()), len(rows) - 1)
        name, other = list(results.items())[lacking]
        raise RegionError(
            f"compare: no region is in all of {', '.join(results)} (such as {_example(first)} in {first_name} and "
            f"{_example(other)} in {name}); compare attributions of the same windows of one genome"
        )
    rows, tables = rows[:, common], []
    for (name, attr), own in zip(results.items(), rows, strict=True):
        left = attr.regions.iloc[np.setdiff1d(np.arange(len(attr)), own)]
        table = left[[*SPAN, "strand"]].reset_index(drop=True)
        table.insert(0, "result", np.full(len(left), name, dtype=object))
        tables.append(table)
        if len(left):
            logger.warning(
                "%s: %d of %d regions are not in all results and were left out, such as %s",
                name, len(left), len(attr), format_region(*left[[*SPAN, "strand"]].iloc[0]),
            )  # fmt: skip
    common_regions = first.regions.iloc[np.flatnonzero(common)].reset_index(drop=True)
    return Matched(dict(results), rows, common_regions, pd.concat(tables, ignore_index=True))


def _rows_of(regions: pd.DataFrame, other: pd.DataFrame) -> NDArray[np.int64]:
    """Row of each region in another table, (N,); −1 where it has none."""
    found = np.full(len(regions), -1)
    free = np.arange(len(other))
    for keys in ([*SPAN, "strand"], SPAN):
        wanting = np.flatnonzero(found < 0)
        left, right = _numbered(regions, wanting, keys), _numbered(other, free, keys)
        pairs = left.merge(right, on=[*keys, "occurrence"], suffixes=("", "_other"))
        found[pairs["row"].to_numpy(np.int64)] = pairs["row_other"].to_numpy(np.int64)
        free = np.setdiff1d(free, found)
    return found


def _numbered(regions: pd.DataFrame, rows: NDArray[np.int64], keys: list[str]) -> pd.DataFrame:
    """Keys of some rows, with the row and how many equal ones precede it."""
    table = regions[keys].iloc[rows].assign(row=rows)
    return table.assign(occurrence=table.groupby(keys, sort=False).cumcount())


def _example(attr: Attributions) -> str:
    return format_region(*attr.regions[[*SPAN, "strand"]].iloc[0]) if len(attr) else "none"
