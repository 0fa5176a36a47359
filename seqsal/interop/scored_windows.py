"""Scores of others with the windows that they are about: which row belongs where, and whether the sequences agree.

Sequences that come with the scores are compared with the genome, base by base where both are known, because a table of
regions that is off by one base, of another order or of the other strand would put every score in the wrong place.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import RegionError, StoreError, UsageError
from seqsal.interop.foreign import ARRAY_SUFFIXES, Given, Scores, open_bigwig, open_scores
from seqsal.io.bed import read_bed
from seqsal.io.bigwig import is_bigwig
from seqsal.io.inputs import WindowSource, open_codes, open_input
from seqsal.regions import complete_regions, format_region, resize_regions
from seqsal.sequence.codes import N_CODE, codes_from_one_hot, reverse_complement

__all__ = ["ScoredChunk", "ScoredWindows", "open_scored_windows"]

Codes = NDArray[np.uint8]
_PATH = str | os.PathLike[str]


class ScoredChunk(NamedTuple):
    """Some windows: first row, scores (n, 4, L) or (n, L), codes (n, L)."""

    start: int
    values: NDArray[np.float32]
    codes: Codes


@dataclass(frozen=True)
class ScoredWindows:
    """Scores with the windows that they are about.

    Attributes
    ----------
    scores
        Of all regions that were given.
    source
        The windows among them that can be used.
    rows
        (N,) row of `scores` that each window has, ascending.
    has_sequences
        Whether `source` knows the sequences.
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
    given: Given,
    sequences: Given | None,
    *,
    regions: _PATH | pd.DataFrame | None = None,
    genome: _PATH | None = None,
    length: int | None = None,
    stranded: bool = False,
    is_null: bool = False,
) -> ScoredWindows:
    """Open scores with their windows.

    Parameters
    ----------
    given, sequences, regions, genome, length, stranded
        Of :class:`seqsal.interop.importing.ImportedScores`.
    is_null
        Whether these are the controls, for messages.

    Raises
    ------
    UsageError, StoreError, RegionError
        Those of :class:`seqsal.interop.importing.ImportedScores`.
    """
    what = "null_sequences" if is_null else "sequences"
    is_array = isinstance(sequences, np.ndarray) or Path(sequences or "").suffix in ARRAY_SUFFIXES
    fasta = None if is_array else sequences
    if not isinstance(given, np.ndarray) and is_bigwig(given):
        if is_array:
            raise UsageError(f"{what}: are an array, but the windows of a bigWig need a place; give a FASTA")
        source = open_input(genome=genome, regions=regions, fasta=fasta, length=length, ignore_strand=True)  # type: ignore[arg-type]
        return _on_bigwig(given, source)
    scores = open_scores(given)
    if is_array and sequences is not None:
        if scores.one_hot is not None:
            raise UsageError(f"{what}: given, but {scores.name} holds its own; leave them away")
        scores = scores.with_sequences(sequences)
    source = _place(scores, regions, genome, fasta, stranded)  # type: ignore[arg-type]
    has_sequences = fasta is not None or genome is not None
    if scores.one_hot is None and not has_sequences:
        source.close()
        raise UsageError(
            f"{what}: none given, and {scores.name} holds none; give one-hot sequences (.npz), a FASTA"
            + ("" if is_null else ", or genome and regions")
        )
    return ScoredWindows(scores, source, source.windows["input_row"].to_numpy(np.int64), has_sequences)


def _on_bigwig(path: _PATH, source: WindowSource) -> ScoredWindows:
    try:
        scores = open_bigwig(path, source.windows, source.length, source.chrom_sizes)
    except (RegionError, StoreError):
        source.close()
        raise
    return ScoredWindows(scores, source, np.arange(len(source)), True)


def _place(
    scores: Scores, regions: _PATH | pd.DataFrame | None, genome: _PATH | None, fasta: _PATH | None, stranded: bool
) -> WindowSource:
    """Windows of the scores, of which those that a genome lacks are set aside."""
    if fasta is not None or genome is not None:
        length = None if genome is None else scores.length
        source = open_input(
            genome=genome, regions=regions, fasta=fasta, length=length, ignore_strand=not stranded and fasta is None
        )
    else:
        n = len(scores) if regions is None else None
        table = None if regions is None else _read_regions(regions, scores.length, stranded)
        unknown = np.broadcast_to(np.uint8(N_CODE), (n or len(table), scores.length))  # type: ignore[arg-type]
        source = open_codes(unknown, table)
    n_given = len(source) + len(source.rejected)
    if n_given != len(scores) or source.length != scores.length:
        source.close()
        raise RegionError(
            f"{scores.name}: {len(scores):,} scores of {scores.length} bp, but {n_given:,} regions of {source.length} "
            "bp; give the regions that the program wrote beside its scores, one for each and in their order"
        )
    return source


def _read_regions(regions: _PATH | pd.DataFrame, length: int, stranded: bool) -> pd.DataFrame:
    table = complete_regions(regions) if isinstance(regions, pd.DataFrame) else read_bed(regions)
    return resize_regions(table if stranded else table.assign(strand="."), length)


def _why(codes: Codes, genome: Codes) -> str:
    """Say what may be wrong with a window whose sequence is not the genome's."""
    if (codes == reverse_complement(genome)).all():
        return "it is the reverse complement: give --stranded, or regions with the strand that was scored"
    for name, ours, theirs in (("right", codes[:-1], genome[1:]), ("left", codes[1:], genome[:-1])):
        if (ours == theirs).all():
            return f"it lies one base to the {name}: correct the regions, which are 0-based and half-open"
    return (
        "give the genome that was scored and the regions in the order of the scores, or leave the genome away where "
        "sequences are meant to differ from it"
    )
