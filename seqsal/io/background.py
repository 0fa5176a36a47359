"""Windows of a genome away from regions: where they can lie, and the background controls among them.

Allowed window starts are computed exactly, as the complement of what the regions forbid, so that uniform draws need no
rejection except of windows with many Ns.

A *background control* of a window is another window of the genome, at least a window's length away from every region.
Of `CANDIDATES` places that (seed, the window's bases, number of the draw) choose uniformly among the allowed ones, it
is the one nearest in G+C, soft-masked share (repeats) and share of Ns, by the sum of the differences. So it does not
depend on the row, the number of controls, or what else is drawn; on the regions only as far as they forbid places.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import StoreError, counted
from seqsal.io.fasta import Genome
from seqsal.regions import check_chroms, make_regions
from seqsal.sequence.codes import N_CODE
from seqsal.sequence.draws import control_numbers, random_words

__all__ = [
    "MAX_N_FRACTION", "BackgroundControls", "WindowsOfGenome", "allowed_starts", "composition", "gc_fraction",
    "windows_at",
]  # fmt: skip

MAX_N_FRACTION = 0.05  # of a drawn window; of a background control, by which it differs from its own
CANDIDATES = 24  # of a control; on yeast they bring G+C to within 0.7 % of the window's
N_ROUNDS = 20  # of drawing again where Ns are too many
_CHUNK_BP = 1 << 24  # bases of candidates read at a time
N_CHECKED = 16  # windows that have to be in the genome


class _Reader(Protocol):
    def read_windows(self, windows: pd.DataFrame) -> NDArray[np.uint8]: ...


class WindowsOfGenome(Protocol):
    """Windows with their places; see :class:`seqsal.attribution.passes.WindowReader`."""

    windows: pd.DataFrame
    rejected: pd.DataFrame
    length: int

    def read(self, rows: slice | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return codes of some windows, (n, L) uint8."""
        ...


def gc_fraction(codes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Share of G and C among the known bases of each sequence, (N, L) → (N,); 0.5 where nothing is known."""
    n_known = (codes != N_CODE).sum(axis=1)
    n_gc = ((codes == 1) | (codes == 2)).sum(axis=1)
    return np.where(n_known > 0, n_gc / np.maximum(n_known, 1), 0.5)


def allowed_starts(
    chrom_sizes: Mapping[str, int], avoid: pd.DataFrame, chroms: Iterable[str], length: int, min_distance: int
) -> pd.DataFrame:
    """Return spans (chrom, first, last) of window starts that keep the distance; `last` is exclusive."""
    rows: list[tuple[str, int, int]] = []
    for chrom in chroms:
        here = avoid[avoid["chrom"] == chrom].sort_values("start", kind="stable")
        # A start s is forbidden when [s, s + length) comes nearer than min_distance to [start, end).
        first = here["start"].to_numpy() - min_distance - length + 1
        after = np.maximum.accumulate(here["end"].to_numpy() + min_distance) if len(here) else here["end"].to_numpy()
        free_from = np.concatenate([[0], after]).clip(min=0)
        free_to = np.concatenate([first, [chrom_sizes.get(chrom, 0) - length + 1]])
        free_to = np.minimum(free_to, max(chrom_sizes.get(chrom, 0) - length + 1, 0))
        rows += [(chrom, int(a), int(b)) for a, b in zip(free_from, free_to, strict=True) if a < b]
    return pd.DataFrame(rows, columns=["chrom", "first", "last"])


def windows_at(spans: pd.DataFrame, picks: NDArray[np.int64], length: int, name: str) -> pd.DataFrame:
    """Return the windows whose starts are the `picks`-th of all allowed starts."""
    ends = np.cumsum((spans["last"] - spans["first"]).to_numpy(dtype=np.int64))
    span = np.searchsorted(ends, picks, side="right")
    starts = spans["last"].to_numpy(dtype=np.int64)[span] - (ends[span] - picks)
    return make_regions(spans["chrom"].to_numpy(dtype=object)[span], starts, starts + length, name=name)


def composition(genome: _Reader, windows: pd.DataFrame, length: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return GC and N fractions of windows, (n,) each, reading in genome order and in chunks."""
    gc, n_fraction = np.empty(len(windows)), np.empty(len(windows))
    order = windows.sort_values(["chrom", "start"], kind="stable").index.to_numpy()
    step = max(1, _CHUNK_BP // length)
    for begin in range(0, len(order), step):
        rows = order[begin : begin + step]
        codes = genome.read_windows(windows.iloc[rows].reset_index(drop=True))
        gc[rows] = gc_fraction(codes)
        n_fraction[rows] = (codes == N_CODE).mean(axis=1)
    return gc, n_fraction


class BackgroundControls:
    """Background controls of some windows of a genome.

    `parents` (M,) is the row of `source` that each is matched to, `places` the region table of the controls themselves.
    StoreError: the windows are not of this genome, it has no room for so many windows, or nearly all of it is N.
    """

    def __init__(
        self,
        source: WindowsOfGenome,
        parents: NDArray[np.int64],
        genome: str | os.PathLike[str],
        *,
        seed: int,
        draw: int = 0,
    ) -> None:
        self.parents, self._path, self._length = parents, genome, source.length
        self._read, self._seed = source.read, seed
        numbers = control_numbers("background", source, parents, draw)
        with Genome(genome) as reader:
            _check_windows(source, reader)
            avoid = pd.concat([one[["chrom", "start", "end"]] for one in (source.windows, source.rejected) if len(one)])
            spans = allowed_starts(reader.chrom_sizes, avoid, sorted(reader.chrom_sizes), source.length, source.length)
            self._check_room(spans)
            masked = reader.masked_fraction(source.windows.iloc[parents])
            step = max(1, _CHUNK_BP // (source.length * CANDIDATES))
            parts = [
                self._choose(reader, spans, masked[first : first + step], numbers[first : first + step], first)
                for first in range(0, len(parents), step)
            ]
        self.places = pd.concat(parts, ignore_index=True)

    def read(self, rows: slice) -> NDArray[np.uint8]:
        """Return codes of some controls, (n, L) uint8."""
        with Genome(self._path) as reader:
            return reader.read_windows(self.places.iloc[rows])

    def _check_room(self, spans: pd.DataFrame) -> None:
        """Raise unless as many windows as there are controls fit side by side into what the regions leave."""
        n_fit = int(((spans["last"] - spans["first"] - 1) // self._length + 1).sum())
        if n_fit < len(self.parents):
            advice = f"ask for {n_fit:,} controls at most, or " if n_fit >= 100 else ""
            raise StoreError(
                f"{self._path}: has room for {counted(n_fit, 'window')} of {self._length:,} bp, {self._length:,} bp or "
                f"more from every region, fewer than {len(self.parents):,} background controls; {advice}take "
                "shuffles (--null shuffle), which need no room"
            )

    def _choose(
        self,
        genome: Genome,
        spans: pd.DataFrame,
        masked: NDArray[np.float64],
        numbers: NDArray[np.int64],
        first: int,
    ) -> pd.DataFrame:
        """Choose the places of the controls from `first` on, n of them."""
        codes = self._read(self.parents[first : first + len(numbers)])
        wanted = np.stack([gc_fraction(codes), (codes == N_CODE).mean(axis=1), masked])
        n_starts = np.uint64((spans["last"] - spans["first"]).sum())
        chosen, due = np.zeros(len(codes), dtype=np.int64), np.arange(len(codes))
        for round_ in range(N_ROUNDS):
            words = random_words(codes[due], CANDIDATES * (round_ + 1), seed=self._seed, draw=numbers[due])
            picks = (words[:, -CANDIDATES:] % n_starts).astype(np.int64)
            windows = windows_at(spans, picks.ravel(), self._length, "background")
            found = np.stack([*composition(genome, windows, self._length), genome.masked_fraction(windows)])
            gaps = np.abs(found.reshape(3, *picks.shape) - wanted[:, due, None])
            total = np.where(gaps[1] <= MAX_N_FRACTION, gaps.sum(axis=0), np.inf)
            best = total.argmin(axis=1)
            chosen[due] = np.take_along_axis(picks, best[:, None], axis=1)[:, 0]
            due = due[np.isinf(total.min(axis=1))]
            if not len(due):
                return windows_at(spans, chosen, self._length, "background")
        raise StoreError(
            f"{self._path}: no background window with as few Ns was found for {len(due):,} controls, nearly all of the "
            "genome away from the regions is N; take shuffles (--null shuffle)"
        )


def _check_windows(source: WindowsOfGenome, genome: Genome) -> None:
    """Raise unless some of the windows are in the genome, where they say."""
    rows = np.unique(np.linspace(0, len(source.windows) - 1, N_CHECKED).astype(np.int64))
    windows = source.windows.iloc[rows].reset_index(drop=True)
    check_chroms(windows, genome.chrom_sizes, regions_name="regions", genome_name=str(genome.path))
    inside = windows["chrom"].isin(list(genome.chrom_sizes)).to_numpy()
    if inside.all() and np.array_equal(genome.read_windows(windows), source.read(rows)):
        return
    raise StoreError(
        f"{genome.path}: has other bases at the regions than they were attributed with, expected the genome that they "
        "are from; give it, or take shuffles (--null shuffle)"
    )
