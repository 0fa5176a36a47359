"""What an attribution file holds, in Python: regions with their arrays, in memory or left on disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import StoreError

__all__ = ["Array", "Attributions", "DiskArray"]


class DiskArray:
    """A dataset of an open HDF5 file that indexes like a numpy array along its rows.

    Slices, one integer, and integer arrays in any order and with repeats are read from disk on demand.
    """

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._dataset = dataset
        self.shape: tuple[int, ...] = dataset.shape
        self.dtype: np.dtype[Any] = dataset.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | slice | NDArray[np.int64]) -> NDArray[Any]:
        if isinstance(rows, (int, np.integer, slice)):
            return np.asarray(self._dataset[rows])
        index = np.asarray(rows)
        if index.dtype == bool:
            index = np.flatnonzero(index)
        unique, inverse = np.unique(np.where(index < 0, index + len(self), index), return_inverse=True)
        return np.asarray(self._dataset[unique])[inverse]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self._dataset[...], dtype=dtype)

    def __repr__(self) -> str:
        return f"DiskArray(shape={self.shape}, dtype={self.dtype})"


Array = NDArray[Any] | DiskArray


@dataclass(frozen=True, repr=False, eq=False)
class Attributions:
    """Attributions of N windows of L bases, with the regions that they are about.

    Attributes
    ----------
    regions
        Window table; row i describes row i of every array.
    codes
        (N, L) uint8, what the model saw.
    track
        (N, L) float32, attribution of the base that is there, in units of the attributed output.
    prediction
        (N,) float32, the attributed output in `output_space`.
    hypothetical
        (N, 4, L) float32, scores of all four bases, or None when they were not kept.
    completeness_error
        (N,) float32, relative error of the promised sum, or None when the method promises none.
    null_track, null_codes, null_source
        (M, L), (M, L) and (M,): attributions, codes and parent rows of the dinucleotide-shuffled controls, or None.
    rejected
        Regions of the input that could not be used, with a `reason` each.
    chrom_sizes
        Chromosome lengths (bp).
    attrs
        What made the file: method, target, output_space, model, genome, seed, options, …
    """

    regions: pd.DataFrame
    codes: Array
    track: Array
    prediction: Array
    hypothetical: Array | None = None
    completeness_error: Array | None = None
    null_track: Array | None = None
    null_codes: Array | None = None
    null_source: Array | None = None
    rejected: pd.DataFrame = field(default_factory=lambda: pd.DataFrame())
    chrom_sizes: dict[str, int] = field(default_factory=dict)
    attrs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n_regions = len(self.regions)
        for name in ("codes", "track", "prediction", "hypothetical", "completeness_error"):
            array = getattr(self, name)
            if array is not None and len(array) != n_regions:
                raise StoreError(f"{name}: got {len(array)} rows, expected one for each of the {n_regions} regions")

    def __len__(self) -> int:
        return len(self.regions)

    @property
    def length(self) -> int:
        """Bases per window."""
        return int(self.track.shape[1])

    @property
    def n_controls(self) -> int:
        """Number of shuffled controls."""
        return 0 if self.null_track is None else len(self.null_track)

    @property
    def output_space(self) -> str:
        """What the attributions are about: `logit`, `probability`, `log`, `linear`, …."""
        return str(self.attrs.get("output_space", "unknown"))

    @property
    def method(self) -> str:
        """Name of the method that made the track."""
        return str(self.attrs.get("method", "unknown"))

    def __repr__(self) -> str:
        kept = [name for name in ("hypothetical", "completeness_error") if getattr(self, name) is not None]
        extra = f", with {' and '.join(kept)}" if kept else ""
        return (
            f"Attributions({len(self):,} regions × {self.length:,} bp, method={self.method}, "
            f"output_space={self.output_space}, {self.n_controls:,} controls{extra})"
        )
