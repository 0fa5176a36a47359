"""The region table: spans of chromosomes as a pandas DataFrame, 0-based and half-open.

The columns are `COLUMNS`, in this order and with these types: chrom (str), start and end (int64), name (str), score
(float64, NaN where there is none), strand ("+", "-" or "."), summit (int64, offset from start, -1 where there is none).
More columns may follow. A window is a region of the model's input length; it may hang over a chromosome's end, and then
starts below 0 or ends beyond the chromosome.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from seqsal.errors import RegionError, UsageError

__all__ = [
    "COLUMNS", "Region", "Span", "Spans", "check_chroms", "column_roles", "complete_regions", "counts_from_one",
    "cut_windows", "find_strands", "fit_windows", "format_region", "lay_windows", "lift_span", "make_regions",
    "mark_edges", "mask_of", "merge_regions", "parse_region", "parse_strands", "resize_regions", "runs_of",
    "spans_in_windows", "tile_regions", "windows_of",
]  # fmt: skip

COLUMNS = ("chrom", "start", "end", "name", "score", "strand", "summit")
_STRANDS = ("+", "-", ".")
_REGION = re.compile(r"(?P<chrom>\S+):(?P<start>\d[\d,]*)-(?P<end>\d[\d,]*)(?:\((?P<strand>[-+.])\))?")
_ROLES = {  # names of columns in tables of other programs, without case, blanks, dots and dashes
    "chrom": ("chrom", "chr", "chromosome", "seqnames", "seqname", "seqid", "contig", "genochrom", "tname"),
    "start": ("start", "chromstart", "begin", "txstart", "genostart", "tstart", "peakstart", "startposition"),
    "end": ("end", "chromend", "stop", "txend", "genoend", "tend", "peakend", "endposition"),
    "name": ("name", "peakname", "peakid", "id", "geneid", "regionname"),
    "score": ("score",),
    "strand": ("strand",),
    "summit": ("summit",),
    "abs_summit": ("abssummit",),
    "width": ("width", "length", "size"),
}
_SIGNS = {
    **dict.fromkeys(("+", "plus", "forward", "fwd", "+1", "1"), "+"),
    **dict.fromkeys(("-", "minus", "reverse", "rev", "-1"), "-"),
    **dict.fromkeys((".", "*", "", "na", "nan", "none", "0", "?"), "."),
}
_STRAND_WORDS = {"+", "-", ".", "*", "plus", "minus", "forward", "reverse"}
_N_SPELLINGS = 16  # of strands, at most, that are looked at
_log = logging.getLogger(__name__)
MAX_LENGTH = 1 << 31  # bp of a window; no model reads as much
_N_NAMED = 4  # chromosome names of each side that an error lists


class Region(NamedTuple):
    """One span of a chromosome, 0-based and half-open."""

    chrom: str
    start: int
    end: int
    strand: str = "."


class Span(NamedTuple):
    """The part of every window that is kept: offsets along the window as the model reads it, half-open."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """Bases that are kept."""
        return self.end - self.start


def parse_region(text: str) -> Region:
    """Read `chr1:1,000-2,000` or `chr1:10-20(-)`, the way bedtools getfasta names its records: 0-based, half-open.

    RegionError: the text has another form, or its start is not below its end.
    """
    match = _REGION.fullmatch(text.strip())
    if match is None:
        raise RegionError(f"region {text!r}: not understood, expected chrom:start-end, for example chr1:1000-2000")
    start, end = (int(match[key].replace(",", "")) for key in ("start", "end"))
    if start >= end:
        raise RegionError(f"region {text!r}: start {start} is not below end {end}; give start-end, 0-based half-open")
    return Region(match["chrom"], start, end, match["strand"] or ".")


def format_region(chrom: str, start: int, end: int, strand: str = ".") -> str:
    """Write a region as `chr1:10-20`, or as `chr1:10-20(-)` when it has a strand."""
    suffix = f"({strand})" if strand in ("+", "-") else ""
    return f"{chrom}:{start}-{end}{suffix}"


def make_regions(
    chrom: ArrayLike | Sequence[str],
    start: ArrayLike,
    end: ArrayLike,
    *,
    name: Any = None,
    score: Any = None,
    strand: Any = None,
    summit: Any = None,
) -> pd.DataFrame:
    """Build a region table from columns, of length N each; a single value may stand for all but start and end.

    Spans are 0-based half-open, and a start may be negative (a window over the chromosome's start). Without names they
    are `region_1`, `region_2`, …; None is NaN as score, "." as strand, and -1, absent, as summit (offset from start in
    bp). RegionError: a start that is not below its end, a coordinate that is not an integer, a strand of another kind,
    a summit outside its region, or columns of different lengths.
    """
    starts, ends = _integers(start, "start"), _integers(end, "end")
    n_regions = len(starts)
    columns: dict[str, Any] = {
        "chrom": chrom,
        "start": starts,
        "end": ends,
        "name": [f"region_{i + 1}" for i in range(n_regions)] if name is None else name,
        "score": np.nan if score is None else score,
        "strand": "." if strand is None else strand,
        "summit": -1 if summit is None else _integers(summit, "summit"),
    }
    for key, values in columns.items():
        if np.ndim(values) and len(values) != n_regions:
            raise RegionError(
                f"regions: {len(values)} values of {key} for {n_regions} starts; give one for each region"
            )
    table = pd.DataFrame(
        {key: values if np.ndim(values) == 0 else np.asarray(values) for key, values in columns.items()},
        index=pd.RangeIndex(n_regions),
    )
    kinds = {"chrom": "str", "name": "str", "strand": "str", "score": "float64", "summit": "int64"}
    others = {key: kind for key, kind in kinds.items() if table[key].dtype != kind}
    table = table.astype(others) if others else table  # most are what they should be, and a cast takes longer than this
    _check_spans(table)
    return table


def column_roles(names: Sequence[Any]) -> dict[str, int]:
    """Tell which column of a table is chrom, start, end, name, score, strand, summit, abs_summit or width.

    Returns its number by role; of several that fit, the one whose name comes first in `_ROLES`. Empty unless chrom,
    start and end are there.
    """
    plain = [_plain(name) for name in names]
    roles: dict[str, int] = {}
    for role, known in _ROLES.items():
        found = next((plain.index(name) for name in known if name in plain), None)
        if found is not None:
            roles[role] = found
    return roles if {"chrom", "start", "end"} <= roles.keys() else {}


def counts_from_one(
    names: Sequence[Any], start: NDArray[np.int64], end: NDArray[np.int64], width: NDArray[np.float64] | None
) -> bool:
    """Tell whether a table counts positions from 1, both ends included, rather than from 0, half-open.

    A column of widths tells; else the names do, where they are those of a program that counts so: GRanges (seqnames),
    MACS (abs_summit), HOMER (PeakID) and SAF (GeneID). RegionError: the widths are of neither kind throughout.
    """
    plain = {_plain(name) for name in names}
    if width is not None and len(start):
        for extra in (0, 1):
            if (width == end - start + extra).all():
                return bool(extra)
        if plain.isdisjoint({"chrom", "size"}):  # such a column may be the length of something else
            raise RegionError(
                "regions: the widths are neither end - start nor end - start + 1, so it cannot be told whether "
                "positions count from 0 or from 1; give chrom, start, end, 0-based and half-open"
            )
    first = _plain(names[0]) if len(names) else ""
    is_theirs = first in ("peakid", "geneid") or not plain.isdisjoint({"seqnames", "abssummit"})
    return is_theirs and plain.isdisjoint({"chrom", "chromstart"})


def parse_strands(values: Any) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
    """Read strands in any usual spelling: + and -, plus and minus, forward and reverse, 1 and -1; "." and "*" for none.

    Returns "+", "-" or ".", (n,), and which of them were understood, (n,); where one was not, "." stands.
    """
    column = pd.Series(np.asarray(values, dtype=object), dtype=object)
    spelled = column.where(column.notna(), "").astype(str).str.strip().str.lower().str.removesuffix(".0")
    strands = spelled.map(_SIGNS)
    return strands.fillna(".").to_numpy(object), strands.notna().to_numpy(bool)


def find_strands(table: pd.DataFrame, others: Iterable[int], source: str, why: str = "none is named so") -> Any:
    """Read strands from the first of `others` (numbers of columns) that holds nothing else; a line tells which.

    None if there is no such column. One of 1 and -1 may be anything, and is reported but not read.
    """
    for i in others:
        values = set(table.iloc[:, i].astype(str).str.strip().str.lower().unique()[:_N_SPELLINGS])
        label = repr(table.columns[i]) if isinstance(table.columns[i], str) else i + 1
        if not values - _STRAND_WORDS and values - {".", "*"}:
            _log.warning("%s: the strand is read from column %s, since %s", source, label, why)
            return parse_strands(table.iloc[:, i])[0]
        if values == {"1", "-1"}:
            _log.warning("%s: column %s holds 1 and -1, which are not read as strands; write + and -", source, label)
    return None


def complete_regions(regions: pd.DataFrame) -> pd.DataFrame:
    """Return the user's table with every column of `COLUMNS`, checked, extra columns kept behind them, index reset.

    Columns may have the names of other programs (GRanges, MACS, UCSC, HOMER), and strands any usual spelling, as in
    files: see `column_roles`, `counts_from_one` and `parse_strands`. RegionError: `chrom`, `start` or `end` is missing,
    or a value is not allowed (see `make_regions`).
    """
    roles = column_roles(list(regions.columns))
    if not roles:
        missing = ", ".join(key for key in COLUMNS[:3] if key not in regions)
        raise RegionError(f"regions: no column {missing}, expected chrom, start and end; rename the columns")
    columns: dict[str, Any] = {key: regions.iloc[:, at].to_numpy() for key, at in roles.items()}
    width, summit = columns.pop("width", None), columns.pop("abs_summit", None)
    if width is not None or not set(COLUMNS[:3]) <= set(regions.columns):
        start, end = _integers(columns["start"], "start"), _integers(columns["end"], "end")
        widths = None if width is None else pd.to_numeric(pd.Series(width), errors="coerce").to_numpy(np.float64)
        shift = int(counts_from_one(list(regions.columns), start, end, widths))
        columns["start"] = start - shift
        if summit is not None and "summit" not in columns:
            columns["summit"] = _integers(summit, "abs_summit") - shift - columns["start"]
    if "strand" not in columns:
        others = [i for i in range(len(regions.columns)) if i not in roles.values()]
        columns["strand"] = find_strands(regions, others, "regions")
    else:
        strands, understood = parse_strands(columns["strand"])
        columns["strand"] = np.where(understood, strands, columns["strand"].astype(object))
    table = make_regions(**columns)
    for i, key in enumerate(regions.columns):
        if key not in COLUMNS and (i not in roles.values() or i in (roles.get("width"), roles.get("abs_summit"))):
            table[key] = regions[key].to_numpy()
    return table


def _plain(name: Any) -> str:
    return re.sub(r"[\s\"'._#-]", "", str(name)).lower()


def resize_regions(regions: pd.DataFrame, length: int) -> pd.DataFrame:
    """Give every region `length` bp, around its summit when it has one, else around its midpoint.

    The centre c = start + summit, or ⌊(start + end) / 2⌋, comes to offset ⌊length / 2⌋, so a region that has the length
    already, and no summit, stays as it is. Starts may become negative. Summits stay on the same base.
    """
    if not 1 <= length <= MAX_LENGTH:
        raise RegionError(
            f"length: got {length} bp, expected 1 to {MAX_LENGTH:,}; give the length of the model's input"
        )
    resized = regions.copy()
    start, summit = (regions[key].to_numpy(np.int64) for key in ("start", "summit"))
    has_summit = summit >= 0
    centre = np.where(has_summit, start + summit, (start + regions["end"].to_numpy(np.int64)) // 2)
    resized["start"] = centre - length // 2
    resized["end"] = centre - length // 2 + length
    resized["summit"] = np.where(has_summit, length // 2, -1).astype(np.int64)
    return resized


def tile_regions(regions: pd.DataFrame, length: int, step: int | None = None) -> pd.DataFrame:
    """Cover every region that is longer than `length` bp by windows of that length; others are resized.

    Windows lie `step` bp apart (`length` by default) from the region's start on, and the last ends where the region
    ends, so that it may overlap the one before by more. They are named `NAME.1`, `NAME.2`, …, without summits; the
    index of the result says which row of `regions` each is from. UsageError: the step leaves bases out.
    """
    step = length if step is None else step
    if not 1 <= step <= length:
        raise UsageError(
            f"step: got {step:,} bp, expected 1 to {length:,}, the bases that are kept of each window; a longer one "
            "would leave out those between"
        )
    resized = resize_regions(regions.reset_index(drop=True), length)
    start, end = (regions[key].to_numpy(np.int64) for key in ("start", "end"))
    n_tiles = np.maximum(-(-(end - start - length) // step) + 1, 1)
    row = np.repeat(np.arange(len(regions)), n_tiles)
    number = np.arange(len(row)) - np.repeat(np.cumsum(n_tiles) - n_tiles, n_tiles)
    tiles, is_tile = resized.iloc[row].copy(), n_tiles[row] > 1
    first = np.minimum(start[row] + number * step, end[row] - length)
    tiles["start"] = np.where(is_tile, first, tiles["start"])
    tiles["end"] = tiles["start"] + length
    tiles["summit"] = np.where(is_tile, -1, tiles["summit"])
    named = zip(tiles["name"], number.tolist(), is_tile.tolist(), strict=True)
    tiles["name"] = pd.array([f"{name}.{at + 1}" if several else name for name, at, several in named], dtype="str")
    return tiles


def mark_edges(windows: pd.DataFrame) -> pd.DataFrame:
    """Add `edge` (bool): next to the window, on one side or both, lies no other, so that it is all that is known there.

    Windows are in order along each chromosome.
    """
    chrom, start, end = (windows[key].to_numpy() for key in ("chrom", "start", "end"))
    parted = np.ones(len(windows) + 1, np.bool_)
    parted[1:-1] = (chrom[1:] != chrom[:-1]) | (start[1:] > end[:-1])
    return windows.assign(edge=parted[1:] | parted[:-1])


def lay_windows(regions: pd.DataFrame, length: int) -> pd.DataFrame:
    """Lay windows of `length` bp around regions, all of whose spans are then kept at one place of the windows.

    The kept span is as wide as the widest region, K, and begins (length - K) // 2 bases into the window as the model
    reads it; the others stand in its middle. `region_start` and `region_end` (int64) say where each region is.
    RegionError: a region is wider than the window.
    """
    start, end, summit = (regions[key].to_numpy(np.int64) for key in ("start", "end", "summit"))
    widths = end - start
    width, worst = int(widths.max()), regions.iloc[int(widths.argmax())]
    if width > length:
        raise RegionError(
            f"span: {worst['name']} {format_region(worst['chrom'], worst['start'], worst['end'])} is {width:,} bp wide "
            f"and does not fit into the model's window of {length:,} bp; give narrower regions, or a width (--span N)"
        )
    before = (length - width) // 2
    forward = np.where(regions["strand"].to_numpy() == "-", length - width - before, before)
    laid = regions.copy()
    laid["start"] = start - (width - widths) // 2 - forward
    laid["end"] = laid["start"] + length
    laid["summit"] = np.where(summit >= 0, summit + start - laid["start"], -1)
    return laid.assign(region_start=start, region_end=end)


def cut_windows(windows: pd.DataFrame, span: Span) -> pd.DataFrame:
    """Return the regions of the kept span of windows; `window_start` and `window_end` (int64) say where these are.

    A span that is all of the window leaves them as they are. A summit outside the span is dropped.
    """
    start, end = (windows[key].to_numpy(np.int64) for key in ("start", "end"))
    if not len(windows) or span.length == end[0] - start[0]:
        return windows
    regions = windows.assign(window_start=start, window_end=end)
    regions["start"], regions["end"] = lift_span(start, end, windows["strand"].to_numpy(), span.start, span.end)
    summit = windows["summit"].to_numpy(np.int64) + start - regions["start"].to_numpy()
    is_kept = (windows["summit"].to_numpy() >= 0) & (summit >= 0) & (summit < span.length)
    regions["summit"] = np.where(is_kept, summit, -1)
    return regions


def windows_of(regions: pd.DataFrame) -> pd.DataFrame:
    """Return the windows that regions of spans were cut from, as far as these are known: `cut_windows` undone."""
    if "window_start" not in regions:
        return regions
    windows = regions.drop(columns=["window_start", "window_end"])
    summit = np.where(regions["summit"] >= 0, regions["summit"] + regions["start"] - regions["window_start"], -1)
    return windows.assign(start=regions["window_start"], end=regions["window_end"], summit=summit)


def check_chroms(
    regions: pd.DataFrame, chrom_sizes: Mapping[str, int], *, regions_name: str, genome_name: str,
    rename: str = "sed '{script}' {name} > renamed.bed",
) -> None:  # fmt: skip
    """Raise RegionError when regions and genome name their chromosomes in different ways.

    A few regions on a chromosome that the genome lacks are for `fit_windows` to set aside; here the sides disagree as a
    whole: they share no name, or more regions would find their chromosome with "chr" added or taken away. The message
    has a few names of each side and, for `1` against `chr1`, the command that renames, of which `rename` is the form.
    """
    counts = regions["chrom"].value_counts(sort=False)
    if counts.empty:
        return
    n_shared = int(counts[[chrom in chrom_sizes for chrom in counts.index]].sum())
    n_toggled = int(counts[[_toggle_prefix(chrom) in chrom_sizes for chrom in counts.index]].sum())
    if n_shared and n_toggled <= n_shared:
        return
    remedy = f"use regions and genome of the same assembly, or rename the chromosomes in {regions_name}"
    if n_toggled:
        n_prefixed = sum(chrom.startswith("chr") for chrom in counts.index)
        script = "s/^chr//" if 2 * n_prefixed > len(counts) else "s/^/chr/"
        remedy = f"rename them, for example: {rename.format(script=script, name=regions_name)}"
    raise RegionError(
        f"{regions_name}: its chromosomes are named {_some(counts.index)}, those of {genome_name} "
        f"{_some(chrom_sizes)}; {remedy}"
    )


def fit_windows(windows: pd.DataFrame, chrom_sizes: Mapping[str, int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split windows into those that a genome covers, at least in part, and those that cannot be used.

    The first get `padded` (bool: hangs over an end of the chromosome, and is read as N there) and `input_row` (int64:
    row in `windows`), index reset; the others the same columns and `reason` (str). `chrom_sizes` are in bp by name.
    """
    table = windows.reset_index(drop=True)
    sizes = table["chrom"].map({chrom: size for chrom, size in chrom_sizes.items()}).to_numpy(np.float64)
    start, end = table["start"].to_numpy(), table["end"].to_numpy()
    unknown = np.isnan(sizes)
    beyond = ~unknown & ((end <= 0) | (start >= sizes))
    table["padded"] = ~unknown & ((start < 0) | (end > sizes))
    table["input_row"] = np.arange(len(table), dtype=np.int64)
    rejected = table[unknown | beyond].reset_index(drop=True)
    rejected["reason"] = pd.Series(
        [_reason(chrom, chrom_sizes) for chrom in rejected["chrom"]], index=rejected.index, dtype=str
    )
    return table[~(unknown | beyond)].reset_index(drop=True), rejected


def merge_regions(regions: pd.DataFrame, max_gap: int = 0) -> pd.DataFrame:
    """Join regions, of either strand, that overlap, touch, or lie at most `max_gap` bp apart.

    Returns a region table sorted by chromosome name and start, with `n_merged` (int64), how many went into each.
    """
    if regions.empty:
        return make_regions([], [], []).assign(n_merged=np.zeros(0, np.int64))
    import bioframe  # here because it loads matplotlib, half a second that most commands can do without

    spans = regions[["chrom", "start", "end"]].reset_index(drop=True)
    with warnings.catch_warnings():  # bioframe 0.8 uses a keyword that pandas 3.1 deprecates
        warnings.simplefilter("ignore", DeprecationWarning)
        merged = bioframe.merge(spans, min_dist=max_gap).sort_values(["chrom", "start"])
    table = make_regions(*(merged[key].to_numpy() for key in COLUMNS[:3]))
    return table.assign(n_merged=merged["n_intervals"].to_numpy(np.int64))


def lift_span(
    start: ArrayLike, end: ArrayLike, strand: ArrayLike, span_start: ArrayLike, span_end: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Turn half-open spans of windows, in offsets along the window as the model read it, into spans of the chromosome.

    `start`, `end` and `strand` are the windows'; one with strand "-" was read as the reverse complement. All arguments
    broadcast against each other.
    """
    start, end, span_start, span_end = (
        np.asarray(values, dtype=np.int64) for values in (start, end, span_start, span_end)
    )
    reverse = np.asarray(strand) == "-"
    return np.where(reverse, end - span_end, start + span_start), np.where(reverse, end - span_start, start + span_end)


class Spans(NamedTuple):
    """Half-open spans of windows, (S,) each."""

    row: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Spans:
        """Return some of the spans."""
        return Spans(*(column[index] for column in self))


def runs_of(mask: NDArray[np.bool_]) -> Spans:
    """Return the runs of a mask (n, L), in order."""
    edges = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    row, start = np.nonzero(edges == 1)
    return Spans(row.astype(np.int64), start.astype(np.int64), np.nonzero(edges == -1)[1].astype(np.int64))


def mask_of(spans: Spans, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Mark the bases (n, L) under spans, which may reach beyond their windows."""
    steps = np.zeros((shape[0], shape[1] + 1), dtype=np.int32)
    for edge, step in ((spans.start, 1), (spans.end, -1)):
        np.add.at(steps, (spans.row, np.clip(edge, 0, shape[1])), step)
    return np.asarray(np.cumsum(steps[:, :-1], axis=1) > 0)


def spans_in_windows(windows: pd.DataFrame, spans: pd.DataFrame) -> tuple[Spans, NDArray[np.int64]]:
    """Find the spans (chrom, start, end) that share a base with each window (chrom, start, end, strand).

    Returns them by window and in the order of the table, in offsets along the window as the model reads it, which may
    reach beyond it; and the row of the table that each is.
    """
    parts: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = [
        (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    ]
    by_chrom = spans.reset_index(drop=True).sort_values("start", kind="stable").groupby("chrom", sort=False)
    known = {chrom: (group.index.to_numpy(), group["start"].to_numpy(), group["end"].to_numpy())
             for chrom, group in by_chrom}  # fmt: skip
    for row, (chrom, start, end) in enumerate(zip(windows["chrom"], windows["start"], windows["end"], strict=True)):
        if chrom in known:
            index, starts, ends = known[chrom]
            first = int(np.searchsorted(np.maximum.accumulate(ends), start, side="right"))
            last = int(np.searchsorted(starts, end, side="left"))
            found = index[first:last][ends[first:last] > start]
            parts.append((np.full(len(found), row, dtype=np.int64), np.sort(found)))
    rows, which = (np.concatenate(column) for column in zip(*parts, strict=True))
    of_windows, of_spans = windows.iloc[rows], spans.iloc[which]
    start, end, strand = (of_windows[name].to_numpy() for name in ("start", "end", "strand"))
    low, high = of_spans["start"].to_numpy() - start, of_spans["end"].to_numpy() - start
    return Spans(rows, *lift_span(np.zeros_like(start), end - start, strand, low, high)), which


def _integers(values: Any, column: str) -> NDArray[np.int64]:
    array = np.asarray(values)
    try:
        with np.errstate(invalid="ignore"):  # NaN is caught by the comparison
            integers = array.astype(np.int64)
        exact = array.dtype.kind not in "f" or bool(np.all(integers == array))
    except (TypeError, ValueError, OverflowError):
        exact = False
    if not exact:
        raise RegionError(f"regions: {column} holds a value that is not an integer; give positions in bp")
    return integers


def _check_spans(table: pd.DataFrame) -> None:
    start, end, summit = (table[key].to_numpy() for key in ("start", "end", "summit"))
    problems = (
        (start >= end, "start is not below end", "give 0-based half-open positions"),
        (~table["strand"].isin(_STRANDS).to_numpy(), "strand is not +, - or .", "use . where it is unknown"),
        ((summit < -1) | (summit >= end - start), "summit lies outside the region", "use -1 where there is none"),
    )
    for wrong, what, cure in problems:
        if wrong.any():
            row = table.iloc[int(np.argmax(wrong))]
            raise RegionError(
                f"regions: {what} in row {row.name} ({row.chrom} {row.start} {row.end}, strand {row.strand}, summit "
                f"{row.summit}) and {int(wrong.sum()) - 1} more; {cure}"
            )


def _toggle_prefix(chrom: str) -> str:
    if chrom in ("MT", "chrM"):
        return "chrM" if chrom == "MT" else "MT"
    return chrom[3:] if chrom.startswith("chr") else f"chr{chrom}"


def _reason(chrom: str, chrom_sizes: Mapping[str, int]) -> str:
    if chrom in chrom_sizes:
        return f"beyond the end of {chrom} ({chrom_sizes[chrom]:,} bp)"
    other = _toggle_prefix(chrom)
    return f"no chromosome {chrom} in the genome" + (f", but {other}" if other in chrom_sizes else "")


def _some(names: Any) -> str:
    listed = list(names)
    return ", ".join(listed[:_N_NAMED]) + (f" … ({len(listed)} names)" if len(listed) > _N_NAMED else "")
