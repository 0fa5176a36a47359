"""Shuffled controls for attributions that another program makes: written as FASTA, recognised when they come back.

A control is worth something as a null only if it is what seqsal's own are: a window with its bases in another order and
every dinucleotide as often as before. That can be told from its sequence alone, so nothing but the sequences has to
survive the other program.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqsal.errors import StoreError, UsageError
from seqsal.io.atomic import atomic_path
from seqsal.io.bed import write_narrowpeak
from seqsal.io.inputs import WindowSource
from seqsal.io.sweep import chunk_rows
from seqsal.regions import format_region, make_regions
from seqsal.sequence.codes import N_CODE, decode
from seqsal.sequence.draws import ShuffledControls

__all__ = ["ParentFinder", "write_controls"]

_SUFFIXES = (".fa", ".fasta")
_N_PAIRS = 16


def write_controls(
    source: WindowSource, parents: NDArray[np.int64], path: str | os.PathLike[str], *, seed: int
) -> list[Path]:
    """Write dinucleotide-preserving shuffles of windows as FASTA, and the regions that span them.

    They are the controls that `seqsal attribute` makes of the same windows with the same seed.

    Parameters
    ----------
    source
        The windows, L bp each.
    parents
        (M,) row of `source` that each control is a shuffle of.
    path
        FASTA, `.fa` or `.fasta`: a record `control_1`, … of L bases each, with the window in its description. Beside it
        goes `X.regions.bed`, narrowPeak with a line a record and the summit in its middle, for programs that ask for a
        genome and regions.
    seed
        Of the shuffles.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    UsageError
        Another extension.
    OutputError
        A file cannot be written.
    """
    path = Path(path)
    if path.suffix not in _SUFFIXES:
        raise UsageError(f"{path}: unknown extension, expected {' or '.join(_SUFFIXES)}; give a FASTA name")
    windows = source.windows.iloc[parents]
    of = [format_region(*row) for row in zip(windows["chrom"], windows["start"], windows["end"], strict=True)]
    step, controls = chunk_rows(source.length), ShuffledControls(source, parents, seed=seed)
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        for start in range(0, len(parents), step):
            shuffled = controls.read(slice(start, min(start + step, len(parents))))
            file.writelines(
                f">control_{row + 1} shuffle of {of[row]}\n{decode(codes)}\n"
                for row, codes in enumerate(shuffled, start)
            )
    regions = path.with_suffix(".regions.bed")
    names = [f"control_{row + 1}" for row in range(len(parents))]
    table = make_regions(names, np.zeros_like(parents), np.full_like(parents, source.length), name=of, score=0)
    values = {"signal": 0.0, "p_value": np.nan, "q_value": np.nan, "summit": source.length // 2}
    write_narrowpeak(table.assign(**values), regions)
    return [path, regions]


class ParentFinder:
    """Finds the window that a control is a shuffle of, by its dinucleotides.

    The 16 counts of adjacent known bases, and the number of pairs with an unknown one, are the same in a window and in
    its shuffles.
    """

    def __init__(self) -> None:
        self._rows: dict[bytes, int] = {}
        self._n = 0

    def add(self, codes: NDArray[np.uint8]) -> None:
        """Take windows (n, L), the next rows."""
        for row, key in enumerate(_composition(codes), start=self._n):
            self._rows.setdefault(key.tobytes(), row)
        self._n += len(codes)

    def find(self, codes: NDArray[np.uint8], name: str, first: int) -> NDArray[np.int64]:
        """Return the row (n,) that each control (n, L) is a shuffle of.

        Parameters
        ----------
        codes
            Controls.
        name, first
            For messages: where they are from, and the number of the first.

        Raises
        ------
        StoreError
            One is no shuffle of any window.
        """
        rows = np.array([self._rows.get(key.tobytes(), -1) for key in _composition(codes)], dtype=np.int64)
        if (rows < 0).any():
            raise StoreError(
                f"{name}: sequence {first + int(np.argmax(rows < 0))} (from 0) is not a dinucleotide-preserving "
                "shuffle of any of the windows, which controls must be; make them with `seqsal controls` from the same "
                "regions, score them as the windows were, and give those"
            )
        return rows


def _composition(codes: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return the counts (n, 17) of the dinucleotides, and of pairs with an unknown base."""
    left, right = codes[:, :-1].astype(np.int64), codes[:, 1:].astype(np.int64)
    pair = np.where((left == N_CODE) | (right == N_CODE), _N_PAIRS, 4 * left + right)
    pair += np.arange(len(codes))[:, None] * (_N_PAIRS + 1)
    counts = np.bincount(pair.ravel(), minlength=len(codes) * (_N_PAIRS + 1))
    return counts.reshape(len(codes), _N_PAIRS + 1).astype(np.int32)
