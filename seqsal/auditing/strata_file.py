"""Strata from a file: a column of a BED or of a table with a header, joined to the regions.

Regions are joined by name where names are unique on both sides, else by place: a region belongs to the span that its
centre lies in, of several to the one whose own centre is nearest. Where both ways are open, that which places more
regions counts.
"""

from __future__ import annotations

import csv
import gzip
import io
import logging
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import SeqsalError, UsageError
from seqsal.regions import check_chroms

__all__ = ["read_strata"]

_log = logging.getLogger(__name__)
_KNOWN = {
    "chrom": ("chrom", "chr", "chromosome", "seqnames", "contig"),
    "start": ("start", "chromstart", "chrom_start", "begin"),
    "end": ("end", "chromend", "chrom_end", "stop"),
    "name": ("name", "id", "region", "region_name", "peak"),
}
_BED = {"chrom": 0, "start": 1, "end": 2, "name": 3}
_MISSING = ("", ".", "NA", "NaN", "nan")


def read_strata(spec: str, regions: pd.DataFrame) -> pd.DataFrame:
    """Read which stratum each region belongs to.

    Parameters
    ----------
    spec
        `FILE:COLUMN`. The file is a BED without a header, with the column by its number from 1, or a table with a
        header (tabs, or commas in a `.csv`), with the column by name or number; plain or gzip. It has chrom, start and
        end, or names, or both.
    regions
        Region table of N windows.

    Returns
    -------
    DataFrame
        One column, named as in the file, N rows in the order of `regions`: text, None where the file says nothing of
        a region. `attrs` has `source` (the spec), `n_unmatched` and `joined_by` (`name` or `place`).

    Raises
    ------
    UsageError
        The text is no FILE:COLUMN; the file is missing, unreadable or empty; it has no such column; none of its rows
        belongs to a region.
    RegionError
        File and regions name their chromosomes differently.
    """
    path, column = _split_spec(spec)
    table = _read(path)
    values = table.column(column)
    rows, joined_by = _join(table, regions)
    if not (rows >= 0).any():
        raise UsageError(
            f"{path}: none of its {len(values)} rows belongs to one of the {len(regions)} regions, neither by name nor "
            "by place; give strata of the same regions and assembly"
        )
    found = np.array([None if row < 0 or values[row] in _MISSING else values[row] for row in rows], dtype=object)
    n_unmatched = int(sum(value is None for value in found))
    if n_unmatched:
        _log.warning("%s: says nothing of %d of the %d regions; they are left out", spec, n_unmatched, len(regions))
    strata = pd.DataFrame({table.label(column): pd.Series(found, dtype=object)})
    strata.attrs.update(source=spec, n_unmatched=n_unmatched, joined_by=joined_by)
    return strata


def _split_spec(spec: str) -> tuple[Path, str]:
    file, _, column = spec.rpartition(":")
    if not file or not column:
        raise UsageError(f"strata: got {spec!r}, expected FILE:COLUMN, for example samples.tsv:batch or peaks.bed:5")
    return Path(file), column


@dataclass(frozen=True)
class _Table:
    """Cells of a file as text, with the names of its columns where it has any."""

    path: Path
    header: list[str] | None
    cells: list[list[str]]

    def column(self, name: str) -> list[str]:
        idx = self._find(name)
        if idx is None:
            known = ", ".join(self.header or [f"1 to {len(self.cells[0])}"])
            what = "columns" if self.header else "no header, so columns are numbers:"
            raise UsageError(f"{self.path}: has no column {name!r}, expected one of its {what} {known}")
        return [row[idx].strip() if idx < len(row) else "" for row in self.cells]

    def label(self, name: str) -> str:
        idx = self._find(name)
        return self.header[idx] if self.header and idx is not None else f"column {name}"

    def known(self, what: str) -> list[str] | None:
        """Column of chrom, start, end or name, or None."""
        if self.header is None:
            idx = _BED[what] if len(self.cells[0]) > _BED[what] else None
        else:
            lower = [name.lower() for name in self.header]
            idx = next((lower.index(name) for name in _KNOWN[what] if name in lower), None)
        return None if idx is None else [row[idx].strip() if idx < len(row) else "" for row in self.cells]

    def spans(self) -> pd.DataFrame | None:
        columns = {what: self.known(what) for what in ("chrom", "start", "end")}
        if any(column is None for column in columns.values()):
            return None
        table = pd.DataFrame(columns)
        for what in ("start", "end"):
            table[what] = pd.to_numeric(table[what], errors="coerce")
        return table if table["start"].notna().all() and table["end"].notna().all() else None

    def _find(self, name: str) -> int | None:
        if self.header is not None and name in self.header:
            return self.header.index(name)
        width = len(self.header if self.header is not None else self.cells[0])
        return int(name) - 1 if name.isdecimal() and 1 <= int(name) <= width else None


def _read(path: Path) -> _Table:
    lines = [line for line in _text(path).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(("track", "browser", "##"))]
    separator = "," if ".csv" in [suffix.lower() for suffix in path.suffixes] else "\t"
    if lines and separator == "\t" and "\t" not in lines[0]:
        rows = [line.split() for line in lines]
    else:
        rows = list(csv.reader(io.StringIO("\n".join(lines)), delimiter=separator))
    has_header = bool(rows) and not _is_bed_row(rows[0])
    cells = [row for row in rows[has_header:] if not row[0].startswith("#")]
    if not cells:
        raise UsageError(f"{path}: holds no rows, expected a BED, or a table with a header; check how it was made")
    return _Table(path, [name.strip().lstrip("#") for name in rows[0]] if has_header else None, cells)


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read as text ({error})"
        raise UsageError(f"{path}: {what}, expected strata as a BED or a table with a header; check the path") from None


def _is_bed_row(row: list[str]) -> bool:
    return len(row) >= 3 and row[1].strip().isdecimal() and row[2].strip().isdecimal()


def _join(table: _Table, regions: pd.DataFrame) -> tuple[NDArray[np.int64], str]:
    """Row of the table (N,) of each region, -1 where it has none, and the way that found them."""
    by_name = _by_name(table.known("name"), regions)
    if (by_name >= 0).all():
        return by_name, "name"
    spans = table.spans()
    if spans is None:
        return by_name, "name"
    by_place = _by_place(spans, regions)
    if not (by_name >= 0).any() and not (by_place >= 0).any():
        _check_same_names(spans, regions, table.path)
    return (by_place, "place") if (by_place >= 0).sum() > (by_name >= 0).sum() else (by_name, "name")


def _by_name(names: list[str] | None, regions: pd.DataFrame) -> NDArray[np.int64]:
    given = pd.Index(regions["name"].astype(str))
    if names is None or len(set(names)) < len(names) or not given.is_unique:
        return np.full(len(regions), -1, dtype=np.int64)
    return pd.Index(names).get_indexer(given).astype(np.int64)


def _by_place(spans: pd.DataFrame, regions: pd.DataFrame) -> NDArray[np.int64]:
    centres = ((regions["start"] + regions["end"]) // 2).to_numpy(np.int64)
    found = np.full(len(regions), -1, dtype=np.int64)
    rows_of = regions.groupby("chrom", sort=False).indices
    for chrom, inside in spans.groupby("chrom", sort=False):
        rows = rows_of.get(chrom)
        if rows is not None:
            found[rows] = _nearest(inside, centres[rows])
    return found


def _nearest(spans: pd.DataFrame, centres: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index (n,) of the span with each centre in it, the one whose own centre is nearest, or -1."""
    ordered = spans.sort_values("start", kind="stable")
    start, end = ordered["start"].to_numpy(np.float64), ordered["end"].to_numpy(np.float64)
    reach = np.maximum.accumulate(end)
    found = np.full(len(centres), -1, dtype=np.int64)
    for i, centre in enumerate(centres):
        first, last = np.searchsorted(reach, centre, side="right"), np.searchsorted(start, centre, side="right")
        near = np.arange(first, last)
        near = near[end[near] > centre]
        if len(near):
            found[i] = ordered.index[near[np.argmin(np.abs((start[near] + end[near]) / 2 - centre))]]
    return found


def _check_same_names(spans: pd.DataFrame, regions: pd.DataFrame, path: Path) -> None:
    sizes = {str(chrom): int(end) for chrom, end in regions.groupby("chrom", sort=False)["end"].max().items()}
    try:
        check_chroms(spans, sizes, regions_name=str(path), genome_name="the attributed regions")
    except SeqsalError as error:
        if set(spans["chrom"]) & set(sizes):
            return
        raise error from None
