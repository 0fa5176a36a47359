"""Attributions as the inputs of TF-MoDISco and Fi-NeMo, which need the scores of all four bases.

Two forms of the same (N, 4, L) arrays, rows A C G T:

- *chrombpnet's contribution scores* (Pampari et al. 2024, doi:10.1101/2024.12.25.630221), an HDF5 file::

      /raw/seq            int8     (N, 4, L)   one-hot sequence
      /shap/seq           float16  (N, 4, L)   hypothetical scores
      /projected_shap/seq float16  (N, 4, L)   their product: the score of the base that is there

  read by `modisco motifs -i`, `finemo extract-regions-chrombpnet-h5` and chrombpnet's bigWig writer. Here it is
  compressed with gzip, which every HDF5 library reads.
- *two numpy files* for `modisco motifs -s STEM.ohe.npz -a STEM.shap.npz` and `finemo extract-regions-modisco-fmt`: the
  sequence as int8 and the hypothetical scores as float32, each the only array (`arr_0`) of its file.

These programs know no strand: what row i is about, they take from line i of a narrowPeak file, as the L bases around
its summit, on the forward strand. So windows of strand "-" are turned, and that file, `STEM.regions.bed`, goes beside
the scores.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from seqsal.errors import RegionError, StoreError
from seqsal.io.arrays import npz_rows
from seqsal.io.atomic import all_or_nothing, atomic_path
from seqsal.io.attributions import Attributions
from seqsal.io.bed import write_narrowpeak
from seqsal.io.hdf5 import create_hdf5, undisturbed
from seqsal.io.sweep import CHUNK_BP, chunk_rows, forward_layers
from seqsal.regions import format_region
from seqsal.sequence.codes import one_hot

__all__ = ["write_chrombpnet_h5", "write_modisco_npz", "write_window_regions"]

_CHROMBPNET = ("raw/seq", "shap/seq", "projected_shap/seq")
MUCH_ROUNDED = 0.01  # of the total |score|
_H5_CHUNK_BYTES = 1 << 20
logger = logging.getLogger(__name__)


def write_chrombpnet_h5(
    attr: Attributions,
    path: str | os.PathLike[str],
    *,
    approximate: bool = False,
    chunk_bp: int = CHUNK_BP,
    progress: bool = False,
) -> list[Path]:
    """Write chrombpnet's contribution-score file, and its regions, as `X.regions.bed`, next to it; returns both paths.

    With `approximate`, X · track stands in for hypothetical scores that are not there: the score of the base that is
    there, 0 for the others. Memory does not grow with the number of windows. StoreError: there are no hypothetical
    scores, or some are too large for float16; RegionError: the middle of a window lies before its chromosome, where no
    peak can have its summit.
    """
    path = Path(path)
    _check_scores(attr, path, approximate)
    rounding = _Rounding(path)
    with all_or_nothing(), atomic_path(path) as temporary, create_hdf5(temporary) as (file, raw):
        regions = write_window_regions(attr, path.with_suffix(".regions.bed"))
        with undisturbed():
            shape, datasets = (len(attr), 4, attr.length), []
            for name, kind in zip(_CHROMBPNET, (np.int8, np.float16, np.float16), strict=True):
                step = min(max(_H5_CHUNK_BYTES // (4 * attr.length * np.dtype(kind).itemsize), 1), len(attr))
                packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
                datasets.append(file.create_dataset(name, shape, kind, chunks=(step, *shape[1:]), **packed))
        start = 0
        for X, exact in _forward_rows(attr, chunk_bp, progress):
            scores = rounding.round(exact)
            arrays: tuple[NDArray[Any], ...] = (X, scores, scores * X)
            with undisturbed():
                for dataset, values in zip(datasets, arrays, strict=True):
                    dataset[start : start + len(values)] = values
            raw.check()
            start += len(scores)
    rounding.warn()
    return [path, regions]


def write_modisco_npz(
    attr: Attributions,
    stem: str | os.PathLike[str],
    *,
    approximate: bool = False,
    chunk_bp: int = CHUNK_BP,
    progress: bool = False,
) -> list[Path]:
    """Write `STEM.ohe.npz` and `STEM.shap.npz`, the two inputs of `modisco motifs`, and `STEM.regions.bed`.

    `stem` may end in `.npz`. The other parameters, the result and the errors are those of :func:`write_chrombpnet_h5`.
    """
    base = str(stem).removesuffix(".npz")
    paths = [Path(f"{base}.ohe.npz"), Path(f"{base}.shap.npz")]
    _check_scores(attr, Path(stem), approximate)
    shape = (len(attr), 4, attr.length)
    with (
        all_or_nothing(),
        atomic_path(paths[0]) as sequences,
        atomic_path(paths[1]) as shap,
        npz_rows(sequences, shape, np.dtype(np.int8), compress=True) as append_sequences,
        npz_rows(shap, shape, np.dtype(np.float32), compress=False) as append_scores,
    ):
        regions = write_window_regions(attr, f"{base}.regions.bed")
        for X, scores in _forward_rows(attr, chunk_bp, progress):
            append_sequences(X)
            append_scores(scores)
    return [*paths, regions]


def write_window_regions(attr: Attributions, path: str | os.PathLike[str]) -> Path:
    """Write windows as narrowPeak: line i is row i, and its L bases are [start + summit − ⌊L/2⌋, … + L).

    Starts are cut at 0 and ends at that of the chromosome, and the summit stays the window's middle, which must lie on
    it. signalValue is the prediction, 0 where there is none.
    """
    table = attr.regions
    middle = table["start"].to_numpy(np.int64) + attr.length // 2
    if (middle < 0).any():
        row = table.iloc[int(np.argmax(middle < 0))]
        raise RegionError(
            f"regions: the middle of {row['name']} ({format_region(row['chrom'], row['start'], row['end'])}) lies "
            "before its chromosome, where narrowPeak has no summit; attribute windows that are centred on it"
        )
    sizes = table["chrom"].map(dict(attr.chrom_sizes)).to_numpy(np.float64)
    ends = np.fmin(table["end"].to_numpy(np.float64), np.fmax(sizes, middle + 1)).astype(np.int64)
    prediction = np.asarray(attr.prediction, dtype=np.float64)
    peaks = table.assign(
        end=ends, strand=".", score=0, signal=prediction, p_value=np.nan, q_value=np.nan, summit=attr.length // 2
    )
    write_narrowpeak(peaks, path)
    return Path(path)


def _check_scores(attr: Attributions, path: Path, approximate: bool) -> None:
    if attr.hypothetical is None and not approximate:
        raise StoreError(
            f"{path}: needs the hypothetical scores of all four bases, which the attributions do not keep; attribute "
            "again with --hypothetical (a method that has them), or write X · track in their place with --approximate"
        )


def _forward_rows(
    attr: Attributions, chunk_bp: int, progress: bool
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """One-hot X (n, 4, L) and hypothetical scores (n, 4, L), or X · track in their place, of some windows at a time."""
    step = chunk_rows(4 * attr.length, chunk_bp)
    with tqdm(total=len(attr), desc="export", unit="window", disable=not progress) as bar:
        for start in range(0, len(attr), step):
            codes, layers = forward_layers(attr, slice(start, min(start + step, len(attr))))
            scores = layers[:, 1:]
            if not np.isfinite(scores).all():
                bad = start + int(np.argmin(np.isfinite(scores).all(axis=(1, 2))))
                name = attr.regions["name"].iloc[bad]
                raise StoreError(f"attributions: {name} has scores that are not finite; attribute it again")
            yield one_hot(codes), scores
            bar.update(len(codes))


class _Rounding:
    """float16, as chrombpnet writes scores, and what is lost by it: 11 bits of 24, and all below 6e-8."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lost = self._total = 0.0

    def round(self, scores: NDArray[np.float32]) -> NDArray[np.float16]:
        with np.errstate(over="ignore"):
            rounded = scores.astype(np.float16)
        if not np.isfinite(rounded).all():
            raise StoreError(
                f"{self._path}: a score is {np.abs(scores).max():.3g}, and chrombpnet's float16 ends at 65,504; use "
                "--format npz, which keeps float32"
            )
        self._lost += float(np.abs(scores - rounded, dtype=np.float64).sum())
        self._total += float(np.abs(scores, dtype=np.float64).sum())
        return rounded

    def warn(self) -> None:
        """Warn of scores so small that float16 changes them."""
        if self._lost > MUCH_ROUNDED * self._total:
            logger.warning(
                "%s: chrombpnet's float16 changes the scores by %.0f %%, because they are very small; --format npz "
                "keeps float32",
                self._path,
                100 * self._lost / self._total,
            )
