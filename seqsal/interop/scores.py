"""Scores that other programs computed: which file holds what, and which windows the rows are about.

- *chrombpnet's contribution scores*, HDF5 with `/raw/seq` and `/shap/seq` (N, 4, L) (:mod:`seqsal.interop.modisco`
  gives the layout). chrombpnet compresses them with Blosc, which hdf5plugin adds to HDF5.
- *numpy*, `.npz` or `.npy`: scores (N, 4, L) of all four bases, as `modisco motifs -a` reads them, or of the base that
  is there, 0 for the others; or a track (N, L). Sequences come from another such file, one-hot (N, 4, L), or FASTA.
- *bigWig*: values per base on a genome, read at the windows. Bases that it leaves out count as 0.

Sequences that come with the scores are compared with the genome, base by base where both are known, because a table of
regions that is off by one base, of another order or of the other strand would put every score in the wrong place.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import RegionError, StoreError, UsageError
from seqsal.io.arrays import RowArray, open_array, open_dataset, rows_of
from seqsal.io.bed import read_bed
from seqsal.io.bigwig import is_bigwig, read_bigwig, summarize_bigwig
from seqsal.io.hdf5 import DAMAGE
from seqsal.io.inputs import WindowSource, open_codes, open_input
from seqsal.io.store import in_use
from seqsal.regions import check_chroms, complete_regions, format_region, resize_regions
from seqsal.sequence.codes import N_CODE, codes_from_one_hot, reverse_complement

__all__ = ["ArrayOrPath", "ScoredChunk", "ScoredWindows", "Scores", "open_scored_windows"]

ARRAY_SUFFIXES = (".npz", ".npy")
_CHROMBPNET = ("raw/seq", "shap/seq")
FilePath = str | os.PathLike[str]
ArrayOrPath = FilePath | NDArray[Any]
Codes = NDArray[np.uint8]


@dataclass(frozen=True)
class Scores:
    """Scores (n, 4, L) or (n, L) of n sequences, and the sequences (n, 4, L) unless they are elsewhere.

    `name` is the file, for messages; `kind` is `chrombpnet-h5`, `numpy` or `bigwig`.
    """

    name: str
    kind: str
    values: RowArray
    one_hot: RowArray | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def length(self) -> int:
        """L, bases of a sequence."""
        return self.values.shape[-1]

    @property
    def has_all_bases(self) -> bool:
        """Whether there are four rows of scores; those of absent bases may yet all be 0."""
        return len(self.values.shape) == 3

    def with_sequences(self, one_hot: RowArray) -> Scores:
        """Take one-hot sequences, of the shape of the scores."""
        _check_bases(one_hot)
        expected = (len(self), 4, self.length)
        if one_hot.shape != expected:
            raise StoreError(
                f"{one_hot.name}: sequences of shape {one_hot.shape}, expected {expected} for the scores in "
                f"{self.name}; give the sequences that were scored"
            )
        return replace(self, one_hot=one_hot)


def open_scores(scores: ArrayOrPath) -> Scores:
    """Open scores that are an array, in memory or a file; raises StoreError where there are none of a shape known."""
    if isinstance(scores, np.ndarray):
        return Scores("scores", "numpy", _checked_scores(rows_of(scores, "scores")))
    path = Path(scores)
    if path.suffix in ARRAY_SUFFIXES:
        return Scores(str(path), "numpy", _checked_scores(open_array(path)))
    if not path.is_file():
        raise StoreError(f"{path}: no such file; check the path of the scores")
    if not h5py.is_hdf5(path):
        raise StoreError(
            f"{path}: is neither HDF5, .npz, .npy nor bigWig; expected scores in one of these, as chrombpnet and "
            "modisco-lite have them"
        )
    return _open_chrombpnet(path)


def open_bigwig(path: FilePath, windows: pd.DataFrame, length: int, chrom_sizes: Mapping[str, int]) -> Scores:
    """Open a bigWig at windows of L bases, on the forward strand; NaN where it has no value.

    Raises StoreError where it is damaged, and RegionError where its chromosomes have other names or lengths than the
    genome that the windows are from.
    """
    sizes = summarize_bigwig(path).chrom_sizes
    if sizes and not sizes.keys() & chrom_sizes.keys():
        check_chroms(windows, sizes, regions_name="regions", genome_name=str(path))
    for chrom in dict.fromkeys(windows["chrom"]):  # writers leave out chromosomes without data
        if sizes.get(chrom, chrom_sizes[chrom]) != chrom_sizes[chrom]:
            raise RegionError(
                f"{path}: {chrom} has {sizes[chrom]:,} bp, but {chrom_sizes[chrom]:,} in the genome; give the "
                "genome that the bigWig was made for"
            )
    chroms, start = windows["chrom"].tolist(), windows["start"].to_numpy(np.int64)

    def read(step: int) -> Iterator[NDArray[Any]]:
        return read_bigwig(path, chroms, start, length, sizes, step)

    return Scores(str(path), "bigwig", RowArray(str(path), (len(windows), length), read))


def _open_chrombpnet(path: Path) -> Scores:
    import hdf5plugin  # noqa: F401  # registers Blosc with HDF5

    try:
        with h5py.File(path, "r") as file:
            held = [name for name in (*_CHROMBPNET, "codes", "track") if name in file]
    except BlockingIOError as error:
        raise in_use(path) from error
    except DAMAGE as error:
        raise StoreError(f"{path}: cannot be read as HDF5 ({error}); copy or download it again") from error
    missing = [name for name in _CHROMBPNET if name not in held]
    if missing:
        is_ours = "codes" in held and "track" in held
        remedy = (
            "it is an attribution file of seqsal, use it as it is" if is_ours else "give one of its *_scores.h5 files"
        )
        raise StoreError(
            f"{path}: has no {' and no '.join(missing)}, expected chrombpnet's contribution scores; {remedy}"
        )
    sequences, values = (open_dataset(path, name) for name in _CHROMBPNET)
    return Scores(str(path), "chrombpnet-h5", _checked_scores(values)).with_sequences(sequences)


def _checked_scores(values: RowArray) -> RowArray:
    if len(values.shape) != 2 or min(values.shape) == 0:
        _check_bases(values)
    return values


def _check_bases(array: RowArray) -> None:
    """Raise unless the array is (n, 4, L), and tell of the other order."""
    shape = array.shape
    if len(shape) == 3 and shape[1] == 4 and min(shape) > 0:
        return
    if len(shape) == 3 and shape[2] == 4:
        raise StoreError(
            f"{array.name}: has shape {shape}, which is (N, L, 4), expected (N, 4, L); save array.transpose(0, 2, 1)"
        )
    raise StoreError(
        f"{array.name}: has shape {shape}, expected (N, 4, L) with rows A C G T, or (N, L) for the scores of a track; "
        "save the array in one of these shapes"
    )


class ScoredChunk(NamedTuple):
    """Some windows: first row, scores (n, 4, L) or (n, L), codes (n, L)."""

    start: int
    values: NDArray[np.float32]
    codes: Codes


@dataclass(frozen=True)
class ScoredWindows:
    """Scores with the windows that they are about.

    `scores` are of all regions that were given, `source` of the windows among them that can be used, `rows` (N,) the
    row of `scores` that each has, ascending; `has_sequences` says whether `source` knows the sequences.
    """

    scores: Scores
    source: WindowSource
    rows: NDArray[np.int64]
    has_sequences: bool

    def chunks(self, step: int) -> Iterator[ScoredChunk]:
        """Usable windows with their scores, in order."""
        one_hot = None if self.scores.one_hot is None else self.scores.one_hot.read(step)
        for i, values in enumerate(self.scores.values.read(step)):
            X = None if one_hot is None else next(one_hot)
            low, high = np.searchsorted(self.rows, [i * step, i * step + len(values)]).tolist()
            rows = self.rows[low:high] - i * step
            if len(rows):
                codes = self._codes(low, high, None if X is None else X[rows])
                yield ScoredChunk(low, values[rows].astype(np.float32), codes)

    def describe(self, row: int) -> str:
        """Name and place of a window."""
        table = self.source.windows.iloc[row]
        return f"{table['name']} ({format_region(table['chrom'], table['start'], table['end'], table['strand'])})"

    def _codes(self, low: int, high: int, X: NDArray[Any] | None) -> Codes:
        read = self.source.read(slice(low, high)) if self.has_sequences else None
        if X is None:
            assert read is not None
            return read
        codes = self._from_one_hot(X, low)
        if read is not None:
            differs = (codes != read) & (codes != N_CODE) & (read != N_CODE)
            if differs.any():
                row = int(np.argmax(differs.any(axis=1)))
                raise RegionError(
                    f"{self.scores.name}: the sequence of {self.describe(low + row)} differs from the genome's at "
                    f"{int(differs[row].sum()):,} of {codes.shape[1]:,} bases; {_why(codes[row], read[row])}"
                )
        return codes

    def _from_one_hot(self, X: NDArray[Any], low: int) -> Codes:
        try:
            return codes_from_one_hot(X)
        except UsageError as error:
            assert self.scores.one_hot is not None
            row, column = np.argwhere(~((X == 1).sum(axis=1) + (X == 0).sum(axis=1) == 4) | (X.sum(axis=1) > 1))[0]
            raise StoreError(
                f"{self.scores.one_hot.name}: {self.describe(low + int(row))} holds {X[row, :, column].tolist()} at "
                f"position {column}, expected a single 1 and zeros, or four zeros for an unknown base; give the "
                "one-hot sequences, not the scores"
            ) from error


def open_scored_windows(
    scores: ArrayOrPath,
    sequences: ArrayOrPath | None,
    *,
    regions: FilePath | pd.DataFrame | None = None,
    genome: FilePath | None = None,
    length: int | None = None,
    stranded: bool = False,
    is_null: bool = False,
) -> ScoredWindows:
    """Open scores with their windows; see :func:`seqsal.interop.attributions.import_attributions`."""
    what = "null_sequences" if is_null else "sequences"
    is_array = isinstance(sequences, np.ndarray) or Path(sequences or "").suffix in ARRAY_SUFFIXES
    fasta = None if is_array else sequences
    if not isinstance(scores, np.ndarray) and is_bigwig(scores):
        if is_array:
            raise UsageError(f"{what}: are an array, but the windows of a bigWig need a place; give a FASTA")
        source = open_input(genome=genome, regions=regions, fasta=fasta, length=length, ignore_strand=True)  # type: ignore[arg-type]
        try:
            opened = open_bigwig(scores, source.windows, source.length, source.chrom_sizes)
        except (RegionError, StoreError):
            source.close()
            raise
        return ScoredWindows(opened, source, np.arange(len(source)), True)
    opened = open_scores(scores)
    if is_array and sequences is not None:
        if opened.one_hot is not None:
            raise UsageError(f"{what}: given, but {opened.name} holds its own; leave them out")
        bases = rows_of(sequences, "sequences") if isinstance(sequences, np.ndarray) else open_array(Path(sequences))
        opened = opened.with_sequences(bases)
    source = _place(opened, regions, genome, fasta, stranded)  # type: ignore[arg-type]
    has_sequences = fasta is not None or genome is not None
    if opened.one_hot is None and not has_sequences:
        source.close()
        raise UsageError(
            f"{what}: none given, and {opened.name} holds none; give one-hot sequences (.npz), a FASTA"
            + ("" if is_null else ", or genome and regions")
        )
    return ScoredWindows(opened, source, source.windows["input_row"].to_numpy(np.int64), has_sequences)


def _place(
    scores: Scores,
    regions: FilePath | pd.DataFrame | None,
    genome: FilePath | None,
    fasta: FilePath | None,
    stranded: bool,
) -> WindowSource:
    """Windows of the scores, of which those that a genome lacks are set aside."""
    if fasta is not None or genome is not None:
        length = None if genome is None else scores.length
        source = open_input(
            genome=genome, regions=regions, fasta=fasta, length=length, ignore_strand=not stranded and fasta is None
        )
    else:
        table = None
        if regions is not None:
            table = complete_regions(regions) if isinstance(regions, pd.DataFrame) else read_bed(regions)
            table = resize_regions(table if stranded else table.assign(strand="."), scores.length)
        n = len(scores) if table is None else len(table)
        source = open_codes(np.broadcast_to(np.uint8(N_CODE), (n, scores.length)), table)
    n_given = len(source) + len(source.rejected)
    if n_given != len(scores) or source.length != scores.length:
        source.close()
        raise RegionError(
            f"{scores.name}: {len(scores):,} scores of {scores.length} bp, but {n_given:,} regions of {source.length} "
            "bp; give the regions that the program wrote next to its scores, one for each and in their order"
        )
    return source


def _why(codes: Codes, genome: Codes) -> str:
    """Say what may be wrong with a window whose sequence is not the genome's."""
    if (codes == reverse_complement(genome)).all():
        return "it is the reverse complement: give --stranded, or regions with the strand that was scored"
    for name, ours, theirs in (("right", codes[:-1], genome[1:]), ("left", codes[1:], genome[:-1])):
        if (ours == theirs).all():
            return f"it lies one base to the {name}: correct the regions, which are 0-based and half-open"
    return (
        "give the genome that was scored and the regions in the order of the scores, or leave the genome out where "
        "sequences are meant to differ from it"
    )
