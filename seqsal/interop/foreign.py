"""Scores that other programs computed, as rows: which file holds what.

- *chrombpnet's contribution scores*, HDF5 with `/raw/seq` and `/shap/seq` (N, 4, L) (:mod:`seqsal.interop.modisco`
  gives
  the layout). chrombpnet compresses them with Blosc, which hdf5plugin adds to HDF5.
- *numpy*, `.npz` or `.npy`: scores (N, 4, L) of all four bases, as `modisco motifs -a` reads them, or of the base that
  is there, 0 for the others; or a track (N, L). Sequences come from another such file, one-hot (N, 4, L), or FASTA.
- *bigWig*: values per base on a genome, read at the windows. Bases that it leaves out count as 0.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import RegionError, StoreError
from seqsal.io.arrays import RowArray, open_array, open_dataset, rows_of
from seqsal.io.bigwig import read_bigwig, summarize_bigwig
from seqsal.regions import check_chroms

__all__ = ["ARRAY_SUFFIXES", "Given", "Scores", "open_bigwig", "open_scores"]

ARRAY_SUFFIXES = (".npz", ".npy")
_CHROMBPNET = ("raw/seq", "shap/seq")
Given = str | os.PathLike[str] | NDArray[Any]


@dataclass(frozen=True)
class Scores:
    """Scores of n sequences of L bases.

    Attributes
    ----------
    name
        The file, for messages.
    kind
        `chrombpnet-h5`, `numpy` or `bigwig`.
    values
        (n, 4, L) or (n, L).
    one_hot
        (n, 4, L), or None where the sequences are elsewhere.
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

    def with_sequences(self, given: Given) -> Scores:
        """Take one-hot sequences from another array.

        Raises
        ------
        StoreError
            It cannot be read, or has another shape than the scores.
        """
        return self._with(_open_rows(given, "sequences"))

    def _with(self, one_hot: RowArray) -> Scores:
        _check_bases(one_hot)
        expected = (len(self), 4, self.length)
        if one_hot.shape != expected:
            raise StoreError(
                f"{one_hot.name}: sequences of shape {one_hot.shape}, expected {expected} for the scores in "
                f"{self.name}; give the sequences that were scored"
            )
        return replace(self, one_hot=one_hot)


def open_scores(given: Given) -> Scores:
    """Open scores that are an array, in memory or a file.

    Raises
    ------
    StoreError
        The file is missing, damaged or of another kind, or an array has another shape: the message tells which.
    """
    if isinstance(given, np.ndarray):
        return Scores("scores", "numpy", _checked_scores(rows_of(given, "scores")))
    path = Path(given)
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


def open_bigwig(
    path: str | os.PathLike[str], windows: pd.DataFrame, length: int, chrom_sizes: Mapping[str, int]
) -> Scores:
    """Open a bigWig at windows of L bases, on the forward strand.

    Parameters
    ----------
    path
        The bigWig.
    windows
        Region table.
    length
        L.
    chrom_sizes
        Chromosome lengths (bp) of the genome that the windows are from.

    Returns
    -------
    Scores
        NaN where the bigWig has no value.

    Raises
    ------
    StoreError
        The file is damaged.
    RegionError
        Its chromosomes have other names or lengths.
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
    except OSError as error:
        raise StoreError(f"{path}: cannot be read as HDF5 ({error}); copy or download it again") from error
    missing = [name for name in _CHROMBPNET if name not in held]
    if missing:
        is_ours = "codes" in held and "track" in held
        cure = (
            "it is an attribution file of seqsal, use it as it is" if is_ours else "give one of its *_scores.h5 files"
        )
        raise StoreError(
            f"{path}: has no {' and no '.join(missing)}, expected chrombpnet's contribution scores; {cure}"
        )
    sequences, values = (open_dataset(path, name) for name in _CHROMBPNET)
    return Scores(str(path), "chrombpnet-h5", _checked_scores(values))._with(sequences)


def _open_rows(given: Given, name: str) -> RowArray:
    return rows_of(given, name) if isinstance(given, np.ndarray) else open_array(Path(given))


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
