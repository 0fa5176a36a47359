"""Read and write regions as BED and narrowPeak, and read tables of regions that name their columns.

BED has 3 to 12 columns: chrom, start, end, name, score, strand, …, 0-based half-open. narrowPeak (ENCODE, BED6+4) goes
on with signalValue, −log10 p, −log10 q (−1 for none) and the summit as an offset from start (−1 for none). A file is
narrowPeak by its suffix, or when it has ten columns that can be nothing else. Columns are separated by tabs, by blanks
where a line has no tabs, or by commas; lines that are blank or begin with "#", "track" or "browser" are skipped. See
https://genome.ucsc.edu/FAQ/FAQformat.html.

A first line that names the columns is honoured, in any order and with the names of GRanges, MACS, UCSC, HOMER or a
DataFrame; :mod:`seqsal.regions` says which names are known, and which programs count from 1. A strand is never lost in
silence: one in another spelling or column is understood, refused, or a line says that it was not read.
"""

from __future__ import annotations

import gzip
import io
import logging
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from seqsal.errors import BedError, RegionError, counted
from seqsal.io.atomic import atomic_path
from seqsal.io.content import Content, read_content
from seqsal.regions import column_roles, counts_from_one, find_strands, make_regions, parse_strands

__all__ = ["narrowpeak_columns", "parse_bed", "read_bed", "write_bed", "write_narrowpeak", "write_tsv"]

_NARROWPEAK_COLUMNS = 10
_NOT_DATA = re.compile(rb"[ \t]*(#|(track|browser)([ \t]|$)|$)")
_HEADER_START = re.compile(rb"#?(chrom|tx|thick)?_?(start|begin)", re.IGNORECASE)
_log = logging.getLogger(__name__)
_LARGEST = 2**53  # integers up to here are exact as doubles


class _Rows(NamedTuple):
    """The file and the numbers (n,) of the lines that hold regions: what a complaint names."""

    path: Path
    numbers: NDArray[np.int64]

    def check(self, wrong: NDArray[np.bool_], what: str, expected: str) -> None:
        """Raise for the first row that is wrong."""
        if wrong.any():
            others = int(wrong.sum()) - 1
            more = f" (and {others} more)" if others else ""
            line = self.numbers[wrong.argmax()]
            raise BedError(f"{self.path}:{line}: {what}{more}, {expected}; correct or remove the line")

    def integers(self, column: pd.Series, what: str) -> NDArray[np.int64]:
        """Return a column as integers."""
        if column.dtype == np.int64:
            return column.to_numpy()
        values = _numbers(column)
        wrong = ((values % 1 != 0) | (values.abs() > _LARGEST)).to_numpy(bool)
        if wrong.any():
            row = int(wrong.argmax())
            got = f"{self.path}:{self.numbers[row]}: {what} is {column[row]!r}"
            raise BedError(f"{got}, expected an integer; correct the line")
        return values.to_numpy().astype(np.int64)

    def check_spans(self, chrom: pd.Series, start: NDArray[np.int64], end: NDArray[np.int64]) -> None:
        """Raise for a region without a chromosome, or that begins below 0 or not below its end."""
        self.check((chrom == "").to_numpy(), "no chromosome name", "expected chrom, start, end")
        first = int((start < 0).argmax())
        self.check(start < 0, f"start {start[first]} is negative", "expected 0 or more")
        first = int((start >= end).argmax())
        what = f"start {start[first]} is not below end {end[first]}"
        self.check(start >= end, what, "expected 0-based half-open positions")

    def check_strands(self, column: pd.Series, wrong: NDArray[np.bool_]) -> None:
        """Raise for a strand that was not understood."""
        what = f"strand is {column[int(wrong.argmax())]!r}"
        self.check(wrong, what, 'expected +, - or ., or a word such as minus; "." is none')


def read_bed(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read BED3 to BED12, narrowPeak, or a table with named columns, plain or gzip, into a region table.

    Any line ends, UTF-8; what follows the sixth column of BED is ignored. A pipe, or `-` for standard input, is read
    once. Row i is the i-th region of the file. A score that is not a number is NaN; without names regions are
    `region_1`, … For narrowPeak `summit` is set, and the columns `signal`, `p_value` and `q_value` follow (NaN where
    the file has −1). BedError, with file and line: the file is missing, unreadable, truncated, not text or without
    regions; or a line has too few columns, a position that is negative or not an integer, a start that is not below its
    end, or a summit outside its region.
    """
    return parse_bed(read_content(path, "BED file", BedError))


def parse_bed(content: Content, *, blocks: bool = False) -> pd.DataFrame:
    """Read what `read_bed` does from the content of a file.

    With `blocks` the table has `block_sizes` and `block_starts` (lists of bp, from the region's start), where the file
    is BED12; without, a line tells how many regions have several blocks, of which the whole span is read.
    """
    path = Path(content.name)
    lines, numbers, header = _data_lines(path, content.data)
    rows = _Rows(path, numbers)
    if header is not None:
        return _read_named(rows, lines, header)
    n_columns = np.array([line.count(b"\t") for line in lines]) + 1
    rows.check(n_columns < 3, "too few columns", "expected chrom, start, end separated by tabs")
    table = _parse(lines, n_columns.max(), blocks)
    start, end = rows.integers(table[1], "start"), rows.integers(table[2], "end")
    rows.check_spans(table[0], start, end)
    summit = _summits(rows, table, n_columns, end - start)
    is_bed12 = summit is None and bool((n_columns == 12).all())
    if is_bed12 and not blocks and (n_spliced := int((_numbers(table[9]) > 1).sum())):
        _log.warning(
            "%s: %d of %s have several blocks; the whole span of each is read, --blocks reads the blocks spliced",
            path, n_spliced, counted(len(table), "region"),
        )  # fmt: skip
    regions = make_regions(
        table[0],
        start,
        end,
        name=table[3].where(table[3] != "", ".") if 3 in table else None,
        score=_numbers(table[4]) if 4 in table else None,
        strand=_strands(rows, table),
        summit=summit,
    )
    if is_bed12 and blocks:
        return regions.assign(**_blocks(rows, table, end - start))
    if summit is None:
        return regions
    p_values, q_values = (10.0 ** -value.where(value >= 0) for value in (_numbers(table[7]), _numbers(table[8])))
    return regions.assign(signal=_numbers(table[6]), p_value=p_values, q_value=q_values)


def write_bed(regions: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a region table as BED6, gzip if the name ends in `.gz`.

    Scores have up to six digits, "." stands for NaN, and a start below 0 becomes 0, as BED has no negative positions.
    """
    columns: list[Iterable[str]] = [
        regions["chrom"],
        regions["start"].clip(lower=0).astype(str),
        regions["end"].astype(str),
        _clean_names(regions["name"]),
        _format(regions["score"], missing="."),
        regions["strand"],
    ]
    _write_columns(columns, path)


def write_narrowpeak(peaks: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write peaks, with the columns that `narrowpeak_columns` takes, as narrowPeak, gzip if the name ends in `.gz`."""
    _write_columns(narrowpeak_columns(peaks), path)


def narrowpeak_columns(peaks: pd.DataFrame) -> list[Iterable[str]]:
    """Return the ten columns of narrowPeak as text.

    `peaks` has chrom, start, end, name, score (int, 0 to 1000), strand, signal, p_value and q_value (0 to 1, NaN for
    none), which become −log10, at most 323.3 (the smallest positive double), and summit (offset from start, −1 for
    none).
    """
    return [
        peaks["chrom"],
        peaks["start"].clip(lower=0).astype(str),
        peaks["end"].astype(str),
        _clean_names(peaks["name"]),
        peaks["score"].astype(np.int64).astype(str),
        peaks["strand"],
        _format(peaks["signal"], missing="0"),
        _format(_minus_log10(peaks["p_value"]), missing="-1"),
        _format(_minus_log10(peaks["q_value"]), missing="-1"),
        (peaks["summit"] + peaks["start"].clip(upper=0).where(peaks["summit"] >= 0, 0)).astype(str),
    ]


def _data_lines(path: Path, data: bytes) -> tuple[list[bytes], NDArray[np.int64], bytes | None]:
    """Return the lines that hold regions, tabs between their columns, their numbers in the file, and the header."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data
    try:
        text = b"\0" not in data and data.decode() is not None
    except UnicodeDecodeError:
        text = False
    if not text:
        raise BedError(f"{path}: is not text, expected BED as UTF-8; convert or decompress the file")
    lines = data.split(b"\n")
    kept = [i for i, line in enumerate(lines) if not _NOT_DATA.match(line)]
    header = None
    if kept and _has_names(lines[kept[0]]):
        header, kept = lines[kept[0]], kept[1:]
    elif kept:  # UCSC and bedtools put the names behind a #
        above = (line.lstrip(b" \t#") for line in lines[: kept[0]] if line.lstrip().startswith(b"#"))
        header = next((line for line in above if _has_names(line)), None)
        if header is not None and len(_split(header)) != len(_split(lines[kept[0]])):
            header = None
    if not kept:
        raise BedError(f"{path}: holds no regions, expected lines of chrom, start, end; check how the file was made")
    rows = [lines[i] for i in kept]
    if header is None:
        rows = [line if line.count(b"\t") >= 2 else b"\t".join(_split(line)) for line in rows]
    return rows, np.array(kept) + 1, header


def _has_names(line: bytes) -> bool:
    """Whether a line names its columns: chrom, start and end are among them, or the second one says start."""
    fields = _split(line)
    if any(field.strip(b'"').lstrip(b"-").isdigit() for field in fields[1:3]):
        return False
    names = [field.decode() for field in fields]
    return bool(column_roles(names)) or _HEADER_START.fullmatch(b" ".join(fields[1:2])) is not None


def _split(line: bytes) -> list[bytes]:
    """Split a line at tabs, else at commas, else at blanks."""
    if line.count(b"\t") >= 2:
        return line.split(b"\t")
    if line.count(b",") >= 2 and len(line.split()) < 3:
        return line.strip().split(b",")
    return line.split()


def _read_named(rows: _Rows, lines: list[bytes], header: bytes) -> pd.DataFrame:
    """Read a table whose columns have names."""
    path = rows.path
    separator = "\t" if header.count(b"\t") >= 2 else "," if header.count(b",") >= 2 else r"\s+"
    options: dict[str, Any] = {"sep": separator, "header": None, "dtype": str, "encoding": "utf-8"}
    options |= {"na_filter": False, "skip_blank_lines": False}
    try:
        names = [str(name) for name in pd.read_csv(io.BytesIO(header), **options).iloc[0]]
        table = pd.read_csv(io.BytesIO(b"\n".join(lines)), **options)
    except (ValueError, pd.errors.ParserError) as error:
        reason = " ".join(str(error).split())
        raise BedError(f"{path}: rows do not fit the names of the columns ({reason}); correct the file") from error
    if len(table.columns) == len(names) + 1:  # as R writes row names
        names = ["", *names]
    roles = column_roles(names)
    if roles and max(roles.values()) >= len(table.columns):
        raise BedError(f"{path}: rows have {len(table.columns)} columns, but {len(names)} are named; correct the file")
    if not roles:
        raise BedError(
            f"{path}: its columns are {', '.join(map(repr, names[:8]))}, expected names such as chrom, start and end; "
            "rename them, or remove that line where the columns are those of BED"
        )
    columns = {role: table.iloc[:, at].str.strip() for role, at in roles.items()}
    start, end = rows.integers(columns["start"], "start"), rows.integers(columns["end"], "end")
    width = _numbers(columns["width"]).to_numpy() if "width" in columns else None
    try:
        shift = int(counts_from_one(names, start, end, width))
    except RegionError as error:
        raise BedError(f"{path}: {error}") from error
    if not shift and not {"chrom", "chromstart"} & {name.strip('"').lower() for name in names}:
        _log.warning("%s: positions are read as counted from 0, half-open, as BED does", path)
    start = start - shift
    rows.check_spans(columns["chrom"], start, end)
    summit = None
    if "abs_summit" in columns or "summit" in columns:
        key = "summit" if "summit" in columns else "abs_summit"
        summit = rows.integers(columns[key], key)
        summit = summit if key == "summit" else summit - shift - start
        outside = (summit < -1) | (summit >= end - start)
        rows.check(outside, "summit lies outside the region", "expected a position in it")
    if "strand" not in columns:
        strand = find_strands(table, [i for i in range(len(names)) if i not in roles.values()], str(path))
    else:
        strand, understood = parse_strands(columns["strand"])
        rows.check_strands(columns["strand"], ~understood)
    return make_regions(
        columns["chrom"],
        start,
        end,
        name=columns["name"].where(columns["name"] != "", ".") if "name" in columns else None,
        score=_numbers(columns["score"]) if "score" in columns else None,
        strand=strand,
        summit=summit,
    )


def _strands(rows: _Rows, table: pd.DataFrame) -> Any:
    """Strands of column 6; where that holds none, of the only column that holds nothing else."""
    if 5 in table:
        strands, understood = parse_strands(table[5])
        signed = strands != "."
        is_number = _numbers(table[5]).notna().to_numpy()
        if understood.all() and signed.any():
            return strands
        if (signed & ~is_number).any():
            rows.check_strands(table[5], ~understood)
        if not understood.all():
            example = table[5][int((~understood).argmax())]
            _log.warning("%s: column 6 is no strand (%r), so no region has one", rows.path, example[:40])
    others = [i for i in range(3, len(table.columns)) if i != 5]
    return find_strands(table, others, str(rows.path), "column 6 holds none")


def _blocks(rows: _Rows, table: pd.DataFrame, length: NDArray[np.int64]) -> dict[str, Any]:
    """Columns 11 and 12: blocks in ascending order that do not overlap, from the region's start to its end."""
    sizes, starts, fits = [], [], np.zeros(len(table), np.bool_)
    for row, (count, *texts) in enumerate(zip(table[9], table[10], table[11], strict=True)):
        try:
            size, start = ([int(one) for one in text.strip().rstrip(",").split(",")] for text in texts)
            ends = np.add(start, size)
            fits[row] = len(size) == len(start) == int(count) and start[0] == 0 and ends[-1] == length[row]
            fits[row] &= min(size) > 0 and bool((ends[:-1] <= start[1:]).all())
        except (ValueError, OverflowError):
            size, start = [], []
        sizes.append(size)
        starts.append(start)
    what = "blocks (columns 10 to 12) do not fill the region in ascending order"
    rows.check(~fits, what, "expected as many sizes and starts as blocks, the first start 0")
    return {"block_sizes": sizes, "block_starts": starts}


def _parse(lines: list[bytes], n_columns: int, blocks: bool) -> pd.DataFrame:
    """Split lines into text columns, named by their number; positions are integers if all of them are."""
    names = list(range(n_columns))
    used = names[: 12 if blocks else _NARROWPEAK_COLUMNS]

    def parse(position_type: type) -> pd.DataFrame:
        return pd.read_csv(
            io.BytesIO(b"\n".join(lines)),
            sep="\t",
            header=None,
            names=names,
            usecols=used,
            dtype={key: position_type if key in (1, 2) else str for key in used},
            quoting=3,  # QUOTE_NONE
            na_filter=False,
            skip_blank_lines=False,
            encoding="utf-8",
        )

    try:
        table = parse(np.int64)
    except (ValueError, OverflowError):
        table = parse(str)
    for key in set(used) & {0, 3, 5}:  # chrom, name and strand may have blanks around them
        table[key] = table[key].str.strip()
    return table


def _summits(
    rows: _Rows, table: pd.DataFrame, n_columns: NDArray[np.int64], length: NDArray[np.int64]
) -> NDArray[np.int64] | None:
    """Column 10 as summits if the file is narrowPeak, by its suffix or because it can be nothing else; else None."""
    by_name = ".narrowpeak" in (suffix.lower() for suffix in rows.path.suffixes)
    if by_name:
        rows.check(n_columns < _NARROWPEAK_COLUMNS, "too few columns", "expected the 10 columns of narrowPeak")
    elif not (n_columns == _NARROWPEAK_COLUMNS).all():
        return None
    elif any((_numbers(table[i]).isna() & (table[i] != ".")).any() for i in (6, 7, 8)):  # "." is none
        return None
    summit = _numbers(table[9]).to_numpy()
    with np.errstate(invalid="ignore"):  # infinity has no remainder
        wrong = (summit % 1 != 0) | (summit < -1) | (summit >= length)
    if wrong.any() and not by_name:
        return None
    rows.check(wrong, "summit (column 10) lies outside the region", "expected an offset from start or -1")
    return summit.astype(np.int64)


def _numbers(column: pd.Series) -> pd.Series:
    return pd.to_numeric(column, errors="coerce").astype(np.float64)


def _minus_log10(values: pd.Series) -> NDArray[np.float64]:
    smallest = np.nextafter(0.0, 1.0)
    return (-np.log10(values.astype(np.float64).clip(smallest, 1.0).to_numpy())) + 0.0  # + 0.0 makes −0 a 0


def _format(values: ArrayLike, *, missing: str) -> list[str]:
    return [missing if value != value else f"{value:.6g}" for value in np.asarray(values, dtype=np.float64).tolist()]


def _clean_names(names: pd.Series) -> pd.Series:
    return names.astype(str).str.replace(r"[\t\r\n]", "_", regex=True)


def _write_columns(columns: Sequence[Iterable[str]], path: str | os.PathLike[str]) -> None:
    text = "".join("\t".join(row) + "\n" for row in zip(*columns, strict=True)).encode()
    with atomic_path(path) as temporary:
        compress = temporary.suffix == ".gz"
        temporary.write_bytes(gzip.compress(text, mtime=0) if compress else text)  # no date, so the same bytes


def write_tsv(table: pd.DataFrame, path: str | os.PathLike[str], *, missing: str = "NA") -> None:
    """Write a table with a header line as tab-separated text, numbers with six digits."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, sep="\t", index=False, na_rep=missing, float_format="%.6g", lineterminator="\n")
