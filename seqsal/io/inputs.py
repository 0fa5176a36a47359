"""Model inputs from files: regions of a genome, or the records of a FASTA, as windows of one length read on demand."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import BedError, FastaError, RegionError, SeqsalError, UsageError, counted
from seqsal.io.bed import parse_bed
from seqsal.io.content import Closing, printable, read_content
from seqsal.io.fasta import Genome
from seqsal.io.tiles import chroms_named, drop_unknown, read_stretches
from seqsal.regions import (
    Region,
    check_chroms,
    complete_regions,
    fit_windows,
    format_region,
    lay_windows,
    lift_span,
    make_regions,
    parse_region,
    resize_regions,
    tile_regions,
)
from seqsal.sequence.codes import N_CODE, reverse_complement

__all__ = ["SharedWindows", "WindowSource", "open_codes", "open_input"]

_log = logging.getLogger(__name__)
_HASHED_WHOLE_BYTES = 200_000_000  # larger genomes are known by samples, and by the bases of the windows
_READ_BP = 1 << 24
_N_SAMPLES, _SAMPLE_BYTES = 256, 1 << 16
_N_KEPT = 4096  # windows in memory, of whose tables the last are kept
_COPIES = int(pd.__version__.split(".")[0]) < 3  # from 3 on pandas copies a table when one of its copies is changed
_N_NAMED = 5  # rejected regions that the warning lists


@dataclass
class WindowSource(Closing):
    """Windows of one length, of which any rows can be read; a context manager.

    `windows` is the region table of the N usable ones in input order, with `padded` (bool: partly N, over an end) and
    `input_row` (int64: row in the input); `rejected` the regions that cannot be used, with `reason`; `length` L in bp;
    `chrom_sizes` in bp by name, for a FASTA of windows the largest end seen; `provenance` files with size, checksum and
    number of records, and how many windows there are, as JSON values.
    """

    windows: pd.DataFrame
    rejected: pd.DataFrame
    length: int
    chrom_sizes: dict[str, int]
    provenance: dict[str, Any]
    _read: Callable[[Any], NDArray[np.uint8]] = field(repr=False)
    _close: Callable[[], None] = field(repr=False, default=lambda: None)

    def read(self, rows: slice | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Codes (n, L) uint8 of some rows of `windows`, as the model sees them: "-" is the reverse complement."""
        codes = self._read(rows)
        return codes.reshape(len(codes), self.length)  # no rows are (0, L) too

    def close(self) -> None:
        """Release the files."""
        self._close()

    def __len__(self) -> int:
        return len(self.windows)


def open_input(
    *,
    genome: str | os.PathLike[str] | None = None,
    regions: str | os.PathLike[str] | pd.DataFrame | Sequence[str] | None = None,
    fasta: str | os.PathLike[str] | None = None,
    length: int | None = None,
    ignore_strand: bool = False,
    tile: bool | None = None,
    blocks: bool = False,
    span: int | str | None = None,
    flank: int = 0,
    mark: bool = False,
    step: int | None = None,
    exclude: str | os.PathLike[str] | None = None,
) -> WindowSource:
    """Open `genome` with `regions`, or `fasta` alone, as windows.

    `regions` is a file, a table with chrom, start and end, or text such as ``chr8:74,086,660-74,086,860``, one or
    several. A FASTA record named `chrom:start-end` or `chrom:start-end(strand)`, as bedtools getfasta writes it, keeps
    these coordinates if they span as many bases as it has; any other is its own contig from 0. Windows have `length`
    bp: regions are centred on their summit, or else midpoint; records are cropped around their middle, or padded with N
    and flagged; None takes them as they are if all have one length. `tile` covers those that are longer by several
    windows (see `tile_regions`); False warns of them; so does None, for callers who cannot tile. `ignore_strand` reads
    everything forward. `blocks` reads the blocks of BED12 (exons) spliced: each region becomes a contig of its own,
    named for it, from 0. `span`, what is going to be kept, lays windows around the regions themselves where it is
    ``region``, each widened by `flank` bp, and is what `tile` covers them with where it is a number. `mark` notes where
    the regions themselves are in a column `readout`.

    Where `regions` are names of chromosomes (``chrI,chrII``), or ``genome``, these are covered but for the regions of
    the BED file `exclude` and for runs of N, by windows whose kept parts lie `step` bp apart (half their width by
    default), of which `edge` (bool) tells those next to nothing; `step` is that of `tile` too.

    UsageError: neither or both ways of input, or options that need others; FastaError, BedError: a file cannot be used;
    RegionError: no region can, the lengths differ, or regions and genome name their chromosomes differently.
    """
    if fasta is not None and genome is None and regions is None:
        if blocks:
            raise UsageError("blocks: are those of regions; give genome and regions, not fasta")
        _check_tiling(tile, step, exclude)
        return _open_fasta(Path(fasta), length, ignore_strand, _Laying(tile, span, flank, mark, step))
    if fasta is not None or genome is None or regions is None:
        ways = {"genome": genome, "regions": regions, "fasta": fasta}
        given = [key for key, value in ways.items() if value is not None]
        raise UsageError(
            f"input: got {' and '.join(given) or 'nothing'}, expected genome and regions, or fasta alone; give either"
        )
    laying = _Laying(tile, span, flank, mark, step)
    return _open_genome(Path(genome), regions, length, ignore_strand, laying, blocks, exclude)


def _check_tiling(tile: bool | None, step: int | None, exclude: str | os.PathLike[str] | None) -> None:
    """Raise UsageError for options of whole chromosomes that are given with other windows."""
    if exclude is not None:
        raise UsageError("exclude: is for whole chromosomes (regions genome, or chrI,chrII); leave those regions out")
    if step is not None and not tile:
        raise UsageError(
            "step: is between windows that cover whole chromosomes (regions genome, or chrI,chrII) or long regions "
            "(--tile); give one of these"
        )


class SharedWindows(Closing):
    """The windows of the request before, for the next if that reads the same files in the same way."""

    def __init__(self) -> None:
        self._key = ""
        self._source: WindowSource | None = None

    def open(self, **arguments: Any) -> WindowSource:
        """Give what :func:`open_input` gives for text and numbers; its files are closed with these windows."""
        key = json.dumps(arguments)
        if self._source is None or self._key != key:
            self.close()
            self._key, self._source = key, open_input(**arguments)
        table = self._source.windows.copy(deep=_COPIES)
        return replace(self._source, windows=table, _close=lambda: None)

    def close(self) -> None:
        """Release the files."""
        if self._source is not None:
            self._source.close()
            self._source = None


class _Laying(NamedTuple):
    """How windows are laid around regions; see :func:`open_input`."""

    tile: bool | None
    span: int | str | None = None
    flank: int = 0
    mark: bool = False
    step: int | None = None

    def lay(self, regions: pd.DataFrame, length: int | None, name: str) -> pd.DataFrame:
        """Return windows of `length` bp; the index says which row of `regions` each is from."""
        windows = self._lay(regions, length, name)
        if not self.mark:
            return windows
        start, end = (regions[key].reset_index(drop=True)[windows.index] for key in ("start", "end"))
        return windows.assign(readout=[f"{a}-{b}" for a, b in zip(start, end, strict=True)])

    def _lay(self, regions: pd.DataFrame, length: int | None, name: str) -> pd.DataFrame:
        by_region = self.span == "region"
        if not by_region and not (self.tile and isinstance(self.span, int)):
            return _with_length(regions, length, name, self.tile, self.step)
        if length is None:
            raise RegionError(
                "span: the length of the model's window is not known, expected one to be laid around the spans; give "
                "input_length (--input-length)"
            )
        if not by_region:
            assert isinstance(self.span, int)
            tiles = tile_regions(regions, self.kept(length), self.step)
            return lay_windows(tiles, length).drop(columns=["region_start", "region_end"])
        if self.tile:
            raise UsageError("span: 'region' keeps whole regions, which tile (--tile) divides; give a width, or one")
        wider = regions.assign(start=regions["start"] - self.flank, end=regions["end"] + self.flank)
        wider["summit"] = np.where(regions["summit"] >= 0, regions["summit"] + self.flank, -1)
        return lay_windows(wider, length)

    def kept(self, length: int) -> int:
        """Bases that are kept of each window of `length` bp."""
        return self.span + 2 * self.flank if isinstance(self.span, int) else length

    def over(self, stretches: pd.DataFrame, genome: Genome, length: int | None) -> pd.DataFrame:
        """Cover stretches of chromosomes by overlapping windows, but for runs of N."""
        if length is None:
            raise UsageError("regions: whole chromosomes need the length of the model's window; give input_length")
        kept = self.kept(length)
        if kept > length:
            raise UsageError(
                f"span: got {kept:,} bp, wider than the model's window of {length:,} bp; give that at most"
            )
        is_whole = stretches["name"] == stretches["chrom"]
        is_short = ~is_whole & (stretches["end"] - stretches["start"] < kept)
        if is_short.all():
            raise RegionError(
                f"exclude: leaves no stretch of {kept:,} bp, which are kept of a window; exclude less, or keep fewer "
                "(span)"
            )
        if is_short.any():
            n_bp = int((stretches["end"] - stretches["start"])[is_short].sum())
            _log.warning("exclude: %d stretches between excluded regions are shorter than the %d bp that are kept of a "
                         "window, and their %s bp are left out", is_short.sum(), kept, f"{n_bp:,}")  # fmt: skip
        laying = self._replace(tile=True, step=max(kept // 2, 1) if self.step is None else self.step)
        windows = laying.lay(stretches[~is_short].reset_index(drop=True), length, "regions")
        return drop_unknown(windows, genome, kept, (length - kept) // 2)


def open_codes(codes: NDArray[np.uint8], regions: pd.DataFrame | None = None) -> WindowSource:
    """Make a source of codes (N, L) in memory, each its own contig `sequence_1`, … unless `regions` say otherwise.

    RegionError: `codes` has another shape, or `regions` other lengths or another number of rows.
    """
    if codes.ndim != 2 or not codes.size:
        raise RegionError(
            f"codes: got shape {codes.shape}, expected (N, L) with at least one base; encode sequences first"
        )
    n, length = codes.shape
    if regions is None:
        tables = (_contigs if n <= _N_KEPT else _contigs.__wrapped__)(n, length)
        windows, rejected = (table.copy(deep=_COPIES) for table in tables)
        sizes: dict[str, int] = dict.fromkeys(windows["chrom"], int(length))
    else:
        windows = complete_regions(regions)
        if len(windows) != n or (windows["end"] - windows["start"] != length).any():
            raise RegionError(
                f"regions: {len(windows)} given for {counted(n, 'sequence')} of {length} bp; give one of that length "
                "for each"
            )
        sizes = {str(chrom): int(end) for chrom, end in windows.groupby("chrom", sort=False)["end"].max().items()}
        windows["padded"], windows["input_row"] = False, np.arange(n, dtype=np.int64)
        rejected = windows.iloc[:0].assign(reason=windows["chrom"].iloc[:0])
    return WindowSource(windows, rejected, length, sizes, {"n_windows": n, "length": length}, codes.__getitem__)


@functools.lru_cache(maxsize=2)
def _contigs(n: int, length: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Windows that are contigs of their own, and an empty table of rejected ones: making them takes a millisecond."""
    names = pd.array([f"sequence_{i + 1}" for i in range(n)], dtype="str")
    windows = pd.DataFrame(  # what make_regions would give, which checks for longer than a window takes
        {"chrom": names, "start": 0, "end": length, "name": names, "score": np.nan, "strand": ".", "summit": -1}
    ).assign(padded=False, input_row=np.arange(n, dtype=np.int64))
    return windows, windows.iloc[:0].assign(reason=windows["chrom"].iloc[:0])


def _open_genome(
    path: Path,
    regions: str | os.PathLike[str] | pd.DataFrame | Sequence[str],
    length: int | None,
    ignore_strand: bool,
    laying: _Laying,
    blocks: bool,
    exclude: str | os.PathLike[str] | None,
) -> WindowSource:
    regions = _as_table(regions)  # text that is no region is told before a genome is opened
    genome = Genome(path)
    try:
        chroms = chroms_named(regions, genome.chrom_sizes, str(path))
        described: dict[str, Any]
        if chroms is None:
            _check_tiling(laying.tile, laying.step, exclude)
            table, name, described = _read_table(regions, blocks, ignore_strand)
            windows = table if blocks else laying.lay(table, length, name)
        else:
            table, described = read_stretches(chroms, genome.chrom_sizes, exclude, str(path))
            windows, name = laying.over(table, genome, length), "regions"
        check_chroms(windows, genome.chrom_sizes, regions_name=name, genome_name=str(path))
        usable, rejected = fit_windows(windows, genome.chrom_sizes)
        for part in (usable, rejected):  # several tiles may be of one region
            part["input_row"] = windows.index.to_numpy(np.int64)[part["input_row"]]
        _check_usable(usable, rejected, name)
        provenance = {"genome": _describe(genome), "regions": {**described, "n_records": len(table)}}
        if blocks:
            sequences = _spliced(genome, usable, name)
            genome.close()
            contigs = _contig_names(usable["name"], name)
            sizes = {contig: len(codes) for contig, codes in zip(contigs, sequences, strict=True)}
            records = make_regions(contigs, [0] * len(sizes), list(sizes.values()), name=contigs, score=usable["score"])
            spans, number = _spans(records, length, name, laying)
            low, high = spans["start"].to_numpy(), spans["end"].to_numpy()
            windows = spans.assign(
                padded=(low < 0) | (high > records["end"].to_numpy()[number]),
                input_row=usable["input_row"].to_numpy()[number],
            )
            where = (number, low, high, np.zeros(len(low), np.bool_))
            return _source(windows, rejected, sizes, provenance, _InMemory(sequences).read_spans, where, genome.close)
    except SeqsalError:
        genome.close()
        raise
    chrom = genome.chrom_numbers(usable["chrom"])
    reverse = (usable["strand"] == "-").to_numpy(bool)
    where = (chrom, usable["start"].to_numpy(), usable["end"].to_numpy(), reverse)
    return _source(usable, rejected, dict(genome.chrom_sizes), provenance, genome.read_spans, where, genome.close)


def _read_table(
    regions: str | os.PathLike[str] | pd.DataFrame | Sequence[str], blocks: bool, ignore_strand: bool
) -> tuple[pd.DataFrame, str, dict[str, Any]]:
    """Read regions, with what messages call them and what describes them."""
    given, described = _as_table(regions), dict[str, Any](file=None)
    if isinstance(given, pd.DataFrame):
        table, name = complete_regions(given), "regions"
    else:
        content = read_content(given, "BED file", BedError)
        table, name, described = parse_bed(content, blocks=blocks), content.name, content.provenance
    if table.empty:
        raise RegionError(f"{name}: holds no regions, expected at least one; check how it was made")
    return table.assign(strand=".") if ignore_strand else table, name, described


def _as_table(regions: str | os.PathLike[str] | pd.DataFrame | Sequence[str]) -> pd.DataFrame | str | os.PathLike[str]:
    """Turn regions that are written out, ``chrom:start-end`` and no file, into a table; a file or a table stays."""
    if isinstance(regions, (str, os.PathLike)):
        text = os.fspath(regions)
        if os.path.exists(text) or not re.fullmatch(r"[^\s/]+:\d[^/:.]*-[^/:.]*(\([-+.]\))?", str(text)):
            return regions
        regions = [str(text)]
    if isinstance(regions, pd.DataFrame):
        return regions
    found = [parse_region(text) for text in regions]
    names = [format_region(*region) for region in found]
    columns = zip(*found, strict=True) if found else ([], [], [], [])
    chrom, start, end, strand = map(list, columns)
    return make_regions(chrom, start, end, name=names, strand=strand)


def _open_fasta(path: Path, length: int | None, ignore_strand: bool, laying: _Laying) -> WindowSource:
    """Read windows from records: spans in record coordinates, lifted to where the record comes from."""
    genome = Genome(path)
    records, sizes = _place_records(path, genome.chrom_sizes)
    n_bases = (records["end"] - records["start"]).to_numpy()
    turned = np.where((records["strand"] == "-") & ignore_strand, "-", ".")  # when it is read
    whole = make_regions(list(genome.chrom_sizes), np.zeros_like(n_bases), n_bases, name=records["name"], strand=turned)
    try:
        spans, number = _spans(whole, length, str(path), laying)
    except RegionError:
        genome.close()
        raise
    low, high = spans["start"].to_numpy(), spans["end"].to_numpy()
    records, n_bases = records.iloc[number].reset_index(drop=True), n_bases[number]
    windows = records.assign(name=spans["name"])
    windows["start"], windows["end"] = lift_span(records["start"], records["end"], records["strand"], low, high)
    if "region_start" in spans:
        kept = (spans[key].to_numpy() for key in ("region_start", "region_end"))
        kept_start, kept_end = lift_span(records["start"], records["end"], records["strand"], *kept)
        windows = windows.assign(region_start=kept_start, region_end=kept_end)
    if laying.mark:
        windows["readout"] = [f"{a}-{b}" for a, b in zip(records["start"], records["end"], strict=True)]
    windows = windows.assign(padded=(low < 0) | (high > n_bases), input_row=number)
    if n_short := int((n_bases < high - low).sum()):
        _log.warning(
            "%s: %d of %d windows are longer (%d bp) than their record (%d bp at least) and are filled up with N, of "
            "which few models have learned anything; give records as long as the window", path, n_short, len(windows),
            high[0] - low[0], n_bases.min(),
        )  # fmt: skip
    # a record of the reverse strand is written as that strand reads: it is turned only to be read forward
    reverse = (records["strand"] == "-").to_numpy(bool) & ignore_strand
    if ignore_strand:
        windows["strand"] = "."
    rejected = windows.iloc[:0].assign(reason=pd.Series(dtype=str))
    where, provenance = (number, low, high, reverse), {"fasta": _describe(genome)}
    return _source(windows, rejected, sizes, provenance, genome.read_spans, where, genome.close)


def _spans(
    records: pd.DataFrame, length: int | None, name: str, laying: _Laying
) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """Windows on whole records, and the number of the record that each is on."""
    spans = laying.lay(records, length, name)
    return spans.reset_index(drop=True), spans.index.to_numpy(np.int64)


def _spliced(genome: Genome, regions: pd.DataFrame, name: str) -> list[NDArray[np.uint8]]:
    """Read the blocks of each region, one behind the other, as its strand reads."""
    if not {"block_sizes", "block_starts"} <= set(regions.columns):
        raise RegionError(f"{name}: has no blocks, expected the 12 columns of BED12; leave --blocks out")
    sequences = []
    columns = (regions[key] for key in ("chrom", "start", "strand", "block_starts", "block_sizes"))
    for chrom, start, strand, starts, sizes in zip(*columns, strict=True):
        blocks = [genome.read(chrom, start + at, start + at + n) for at, n in zip(starts, sizes, strict=True)]
        codes = np.concatenate(blocks)
        sequences.append(reverse_complement(codes) if strand == "-" else codes)
    return sequences


def _contig_names(names: pd.Series, source: str) -> list[str]:
    """Names of regions, those that are taken with a number behind."""
    repeat = names.groupby(names).cumcount()
    contigs = names.where(repeat == 0, names + "_" + (repeat + 1).astype(str))
    if contigs.duplicated().any():
        raise RegionError(f"{source}: {contigs[contigs.duplicated()].iloc[0]!r} names two regions; rename one")
    if repeat.any():
        _log.warning("%s: %d of %s have the name of another; numbered, such as %r", source, (repeat > 0).sum(),
                     counted(len(contigs), "region"), contigs[repeat > 0].iloc[0])  # fmt: skip
    return contigs.tolist()


class _InMemory:
    """Sequences of several lengths, read like a genome."""

    def __init__(self, sequences: list[NDArray[np.uint8]]) -> None:
        self._sequences = sequences

    def read_spans(self, number: Any, start: Any, end: Any, reverse: Any) -> NDArray[np.uint8]:
        codes = np.full((len(number), end[0] - start[0] if len(start) else 0), N_CODE, dtype=np.uint8)
        for row, (of, low, high) in enumerate(zip(number, start, end, strict=True)):
            inside = self._sequences[of][max(low, 0) : high]
            codes[row, max(-low, 0) : max(-low, 0) + len(inside)] = inside
        return codes


def _place_records(path: Path, record_sizes: dict[str, int]) -> tuple[pd.DataFrame, dict[str, int]]:
    """Where each record comes from, and how long the chromosomes are at least."""
    empty = next((name for name, size in record_sizes.items() if not size), None)
    if empty is not None:
        raise FastaError(f"{path}: the record {empty} has no sequence, expected at least one base; remove it")
    placed = [_place_record(name, size) for name, size in record_sizes.items()]
    n_misfits = sum(region is None and ":" in name for region, name in zip(placed, record_sizes, strict=True))
    if n_misfits:
        _log.warning(
            "%s: %d record names hold a colon but are not chrom:start-end (0-based, as bedtools getfasta writes) of "
            "the length of their sequence; each is taken as its own contig",
            path,
            n_misfits,
        )
    spans = [region or (name, 0, size, ".") for region, (name, size) in zip(placed, record_sizes.items(), strict=True)]
    chrom, start, end, strand = (list(column) for column in zip(*spans, strict=True))
    sizes: dict[str, int] = {}
    for name, chrom_end in zip(chrom, end, strict=True):
        sizes[name] = max(sizes.get(name, 0), chrom_end)
    return make_regions(chrom, start, end, name=list(record_sizes), strand=strand), sizes


def _place_record(name: str, size: int) -> Region | None:
    """Read `chrom:start-end(strand)`, after the `name::` of bedtools getfasta -name, if it spans `size` bp."""
    try:
        region = parse_region(re.sub(r"^.*::", "", name))
    except RegionError:
        return None
    return region if region.end - region.start == size else None


def _with_length(
    regions: pd.DataFrame, length: int | None, name: str, tile: bool | None, step: int | None
) -> pd.DataFrame:
    width = (regions["end"] - regions["start"]).to_numpy()
    if length is None:
        if np.ptp(width):
            raise RegionError(
                f"{name}: lengths from {width.min()} to {width.max()} bp, expected one length; give the window length, "
                "to which all are resized around summit or midpoint"
            )
        if len(width) and width[0] == 1:
            raise RegionError(
                f"{name}: all {len(width):,} regions are 1 bp wide, places and no windows; give the window length "
                "(--input-length; of `seqsal controls` --length), to which all are widened around them"
            )
        return regions
    if tile:
        return tile_regions(regions, length, step)
    cut = width[(width > length) & (regions["summit"] < 0).to_numpy()]  # a summit says where to look
    if len(cut):
        remedy = (
            ""
            if tile is None
            else f"; --tile (tile=True) covers them with {counted((-(-cut // length)).sum(), 'window')}"
        )
        _log.warning(
            "%s: %d of %d regions are longer than the window of %d bp, and %s of their %s bp, at their ends, are not "
            "read%s", name, len(cut), len(width), length, f"{(cut - length).sum():,}", f"{cut.sum():,}", remedy,
        )  # fmt: skip
    return resize_regions(regions, length)


def _check_usable(usable: pd.DataFrame, rejected: pd.DataFrame, name: str) -> None:
    """Warn of regions that cannot be used, and raise if there are no others."""
    if rejected.empty:
        return
    first = rejected.head(_N_NAMED)
    some = "; ".join(
        f"{row['name']} {format_region(row['chrom'], row['start'], row['end'])} ({row['reason']})"
        for row in first.to_dict("records")
    )
    more = f"; and {len(rejected) - len(first)} more" if len(rejected) > len(first) else ""
    if usable.empty:
        raise RegionError(
            f"{name}: none of {len(rejected)} regions can be used: {some}{more}; use this genome's regions"
        )
    _log.warning(
        "%s: %d of %d regions cannot be used: %s%s", name, len(rejected), len(rejected) + len(usable), some, more
    )


def _source(
    windows: pd.DataFrame,
    rejected: pd.DataFrame,
    chrom_sizes: dict[str, int],
    provenance: dict[str, Any],
    read_spans: Callable[..., NDArray[np.uint8]],
    spans: tuple[NDArray[Any], ...],
    close: Callable[[], None],
) -> WindowSource:
    """Make a source whose windows `read_spans` reads: of each (N,) what it takes, chrom, start, end and reverse."""

    def read(rows: Any) -> NDArray[np.uint8]:
        return read_spans(*(column[rows] for column in spans))

    length = int(windows["end"].iloc[0] - windows["start"].iloc[0])
    for described in provenance.values():
        if "samples_sha256" in described:  # bases may have changed between the samples
            digest, step = hashlib.sha256(), max(1, _READ_BP // length)
            for start in range(0, len(windows), step):
                digest.update(read(np.arange(start, min(start + step, len(windows)))).tobytes())
            described["windows_sha256"] = digest.hexdigest()
    provenance.update(
        n_windows=len(windows), n_padded=int(windows["padded"].sum()), n_rejected=len(rejected), length=length
    )
    counts = [provenance[key] for key in ("n_windows", "length", "n_padded", "n_rejected")]
    _log.info("%d windows of %d bp, %d padded with N, and %d unusable", *counts)
    return WindowSource(windows, rejected, length, chrom_sizes, provenance, read, close)


def _describe(genome: Genome) -> dict[str, Any]:
    """Name as given, size, checksum and number of records; of a large genome, the checksum of samples."""
    with genome.source.open("rb") as file:
        n_bytes = file.seek(0, os.SEEK_END)
        if n_bytes <= _HASHED_WHOLE_BYTES:
            file.seek(0)
            checksum = {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}
        else:
            digest = hashlib.sha256()
            for start in np.linspace(0, max(0, n_bytes - _SAMPLE_BYTES), _N_SAMPLES).astype(np.int64).tolist():
                file.seek(start)
                digest.update(file.read(_SAMPLE_BYTES))
            checksum = {"samples_sha256": digest.hexdigest()}
    return {"file": printable(genome.path), "n_bytes": n_bytes, **checksum, "n_records": len(genome.chrom_sizes)}
