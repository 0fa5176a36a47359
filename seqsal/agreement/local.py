"""Where in the genome several attributions agree: a bigWig of their local agreement."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqsal.agreement.match import Matched, match_regions
from seqsal.agreement.measures import local_cosine
from seqsal.errors import OutputError, UsageError
from seqsal.io.attributions import Attributions
from seqsal.io.sweep import CHUNK_BP
from seqsal.io.tracks import write_bigwig
from seqsal.sequence.codes import N_CODE

__all__ = ["AGREEMENT_BP", "check_width", "write_agreement_bigwig"]

AGREEMENT_BP = 21  # wider than most motifs' cores, narrower than the distance between sites


def check_width(width: int) -> None:
    """Raise unless a width (bp) has a centre.

    Raises
    ------
    UsageError
        It is even, or below 3.
    """
    if width < 3 or width % 2 == 0:
        raise UsageError(f"width: got {width}, expected an odd number of bases, 3 or more")


def write_agreement_bigwig(
    results: Mapping[str, Attributions],
    path: str | os.PathLike[str],
    *,
    width: int = AGREEMENT_BP,
    chunk_bp: int = CHUNK_BP,
    progress: bool = False,
) -> None:
    """Write the local agreement of attributions, from −1 to 1, as bigWig.

    At each base it is Σ a b / √(Σ a² Σ b²) over the `width` bases around it (see :mod:`seqsal.agreement.measures`), the
    mean over all pairs of results that have a value there. Where windows overlap it is the mean over the windows.

    Parameters
    ----------
    results
        Two or more by name, of windows of one length.
    path
        File to write.
    width
        Odd, in bp.
    chunk_bp
        Values of a result read at a time.
    progress
        Show a progress bar.

    Raises
    ------
    UsageError
        Fewer than two results, windows of different lengths, or a width that is not odd.
    RegionError
        No region is in all results.
    OutputError
        The first result has no chromosome sizes, or the file cannot be written.
    """
    check_width(width)
    matched = match_regions(results)
    first = matched.results[matched.names[0]]
    if not first.chrom_sizes:
        raise OutputError(f"{matched.names[0]}: holds no chromosome sizes, which tracks need; make it again")
    rows = _AgreementRows(matched, width)
    track = Attributions(
        regions=matched.regions.assign(strand="."),  # rows are in the genome's direction
        codes=_Column(rows, 0, np.dtype(np.uint8)),  # type: ignore[arg-type]
        track=_Column(rows, 1, np.dtype(np.float32)),  # type: ignore[arg-type]
        prediction=np.zeros(len(matched.regions), dtype=np.float32),
    )
    write_bigwig(track, first.chrom_sizes, path, chunk_bp=chunk_bp, progress=progress)


class _AgreementRows:
    """Codes and local agreement of regions, computed when they are asked for; the last answer is kept for the other."""

    def __init__(self, matched: Matched, width: int) -> None:
        self.matched, self.width = matched, width
        self.shape = (len(matched.regions), matched.length)
        self._last: tuple[Any, tuple[NDArray[np.uint8], NDArray[np.float32]]] | None = None

    def read(self, regions: slice | NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        index = np.arange(self.shape[0])[regions]
        if self._last is None or not np.array_equal(self._last[0], index):
            self._last = (index, self._compute(index))
        return self._last[1]

    def _compute(self, regions: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        tracks, known = self.matched.read(regions)
        total, n_pairs = np.zeros(known.shape), np.zeros(known.shape)
        for a, b in itertools.combinations(tracks, 2):
            values = local_cosine(a, b, known, self.width)
            n_pairs += ~np.isnan(values)
            total += np.nan_to_num(values)
        codes = np.where(n_pairs > 0, 0, N_CODE).astype(np.uint8)  # of which only "unknown" is looked at
        return codes, (total / np.maximum(n_pairs, 1)).astype(np.float32)


class _Column:
    """One of the two arrays as the track writer indexes them."""

    def __init__(self, rows: _AgreementRows, column: int, dtype: np.dtype[Any]) -> None:
        self._rows, self._column = rows, column
        self.shape, self.dtype, self.ndim = rows.shape, dtype, 2

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        return self._rows.read(rows)[self._column]
