"""Negatives for each part of the split, made from that part's own chromosomes or sequences, so that nothing leaks.

Windows lie where :mod:`seqsal.io.background` allows them. GC matching draws more windows than needed and keeps, for
each positive, one of the same GC content (to 1 %), or the nearest that is left.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import TrainingError, UsageError
from seqsal.io.background import (
    MAX_N_FRACTION,
    N_ROUNDS,
    allowed_starts,
    composition,
    gc_fraction,
    windows_at,
)  # fmt: skip
from seqsal.io.fasta import Genome
from seqsal.regions import check_chroms
from seqsal.sequence.draws import count_repeats, dinucleotide_shuffle, draw_number, window_keys
from seqsal.training.settings import TrainConfig
from seqsal.training.sources import Regions, is_fasta, read_table
from seqsal.training.split import PARTS

__all__ = ["ClassWindows", "match_values", "negatives_text", "sample_negatives", "sample_windows"]

_N_GC_BINS = 101  # one per percent
_CANDIDATES_PER_WINDOW = 10  # for GC matching
_MOST_DRAWN = 16  # times the windows that are needed, in one round


class _Reader(Protocol):
    @property
    def chrom_sizes(self) -> Mapping[str, int]: ...

    def read_windows(self, windows: pd.DataFrame) -> NDArray[np.uint8]: ...


def sample_windows(
    genome: _Reader,
    avoid: pd.DataFrame,
    *,
    n_windows: int,
    length: int,
    chroms: Iterable[str],
    min_distance: int,
    seed: int,
    match_gc: NDArray[np.float64] | None = None,
) -> pd.DataFrame:
    """Draw windows uniformly from a genome, away from given regions.

    Parameters
    ----------
    genome
        Open; gives `chrom_sizes` and `read_windows`.
    avoid
        Region table; other chromosomes than `chroms` are ignored.
    n_windows, length
        How many windows, and their length in bp. They lie wholly inside their chromosome.
    chroms
        Where to draw from.
    min_distance
        Least number of bases between a window and any region of `avoid`; 0 allows neighbours that touch.
    seed
        Same arguments and seed, same windows.
    match_gc : ndarray of float, shape (P,), optional
        GC fractions to imitate: n_windows / P windows for each, as nearly as can be.

    Returns
    -------
    DataFrame
        Region table of `n_windows` rows, strand ".", names ``negative``; in no particular order.

    Raises
    ------
    TrainingError
        There is no room for windows of this length so far from the regions, or nearly all of it is N.
    """
    rng = np.random.default_rng(seed)
    spans = allowed_starts(genome.chrom_sizes, avoid, sorted(set(chroms)), length, min_distance)
    if n_windows < 1:
        return windows_at(spans, np.empty(0, dtype=np.int64), length, "negative")
    if spans.empty:
        raise TrainingError(
            f"negatives: no room for windows of {length} bp at least {min_distance} bp away from the positives; "
            "lower the minimal distance, or give --negatives"
        )
    if match_gc is None:
        windows, _ = _draw(genome, spans, n_windows, length, rng)
        return windows
    n_candidates = n_windows * _CANDIDATES_PER_WINDOW
    candidates, gc = _draw(genome, spans, n_candidates, length, rng)
    wanted = np.resize(rng.permutation(match_gc), n_windows)
    chosen = match_values(wanted, gc, rng)
    return candidates.iloc[chosen].reset_index(drop=True)


def _draw(
    genome: _Reader, spans: pd.DataFrame, n_windows: int, length: int, rng: np.random.Generator
) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """Draw windows with few Ns, and their GC fractions."""
    n_starts = int((spans["last"] - spans["first"]).sum())
    kept: list[pd.DataFrame] = []
    fractions: list[NDArray[np.float64]] = []
    n_missing, n_drawn = n_windows, n_windows
    for _ in range(N_ROUNDS):
        windows = windows_at(spans, rng.integers(0, n_starts, n_drawn), length, "negative")
        gc, n_fraction = composition(genome, windows, length)
        good = np.flatnonzero(n_fraction <= MAX_N_FRACTION)[:n_missing]
        kept.append(windows.iloc[good])
        fractions.append(gc[good])
        n_missing -= len(good)
        if n_missing == 0:
            return pd.concat(kept, ignore_index=True), np.concatenate(fractions)
        n_drawn = min(2 * n_drawn, _MOST_DRAWN * n_windows)
    raise TrainingError(
        f"negatives: {n_missing} of {n_windows} windows of {length} bp could not be drawn, nearly all of the genome "
        "there is N; give --negatives"
    )


def match_values(wanted: NDArray[np.float64], gc: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Pick one candidate for each wanted value from 0 to 1, such as a GC fraction, without repeats.

    It is from the same bin of a hundredth, else from the nearest with any left.

    Returns
    -------
    ndarray of int64, shape (len(wanted),)
        Indices into `gc`, which has at least as many entries.
    """
    need = np.bincount(np.rint(wanted * (_N_GC_BINS - 1)).astype(np.int64), minlength=_N_GC_BINS)
    bins = np.rint(gc * (_N_GC_BINS - 1)).astype(np.int64)
    pools = [rng.permutation(np.flatnonzero(bins == i)) for i in range(_N_GC_BINS)]
    left = np.array([len(pool) for pool in pools])
    take = np.minimum(need, left)
    short, left = need - take, left - take
    for i in np.flatnonzero(short):
        for j in sorted(range(_N_GC_BINS), key=lambda j: (abs(j - i), j)):
            n_moved = min(short[i], left[j])
            take[j] += n_moved
            left[j] -= n_moved
            short[i] -= n_moved
    return np.sort(np.concatenate([pool[:n] for pool, n in zip(pools, take, strict=True)]))


def negatives_text(provenance: Mapping[str, Any]) -> str:
    """Say of what kind the negatives of a run were."""
    kinds = {
        "gc": "windows of the genome of the same GC content",
        "random": "random windows of the genome",
        "shuffle": "dinucleotide shuffles of the positives",
    }
    made = provenance.get("negatives")
    return "none" if made is None else kinds.get(str(made.get("sampling")), "given")


@dataclass(frozen=True)
class ClassWindows:
    """The windows of one class before they are put together."""

    windows: pd.DataFrame
    codes: NDArray[np.uint8]
    parts: NDArray[np.str_]
    provenance: dict[str, Any]


def sample_negatives(
    positive: ClassWindows,
    regions: Regions,
    genome: str | os.PathLike[str] | None,
    training: TrainConfig,
    seed: int,
    *,
    parts: Sequence[str] = PARTS,
    draw: int = 0,
) -> ClassWindows:
    """Make negatives for each of some parts of the split, from that part's chromosomes or sequences only.

    Another `draw` makes others.
    """
    sampling = training.negative_sampling
    if sampling == "auto":
        sampling = "shuffle" if genome is None or is_fasta(regions) else "gc"
    n_each = training.negatives_per_positive
    provenance = {"sampling": sampling, "negatives_per_positive": n_each}
    if sampling == "shuffle":
        repeats = count_repeats(window_keys(positive.codes))  # a window that is there twice gets other negatives
        rows = np.flatnonzero(np.isin(positive.parts, parts))
        numbers = [draw_number("negatives", n_each * repeats[rows] + i, draw) for i in range(n_each)]
        draws = [dinucleotide_shuffle(positive.codes[rows], seed=seed, draw=number) for number in numbers]
        windows = pd.concat([positive.windows.iloc[rows]] * n_each, ignore_index=True)
        return ClassWindows(windows, np.concatenate(draws), np.tile(positive.parts[rows], n_each), provenance)
    if genome is None:
        raise UsageError(
            f"negative_sampling: {sampling!r} draws from a genome, but none was given; give --genome, or use 'shuffle'"
        )
    return _sample_genome(positive, regions, genome, training, sampling, [seed, draw] if draw else [seed], parts)


def _sample_genome(
    positive: ClassWindows,
    regions: Regions,
    genome: str | os.PathLike[str],
    training: TrainConfig,
    sampling: str,
    seeds: list[int],
    of_parts: Sequence[str],
) -> ClassWindows:
    width = positive.codes.shape[1]
    distance = width if training.min_distance is None else training.min_distance
    avoid = positive.windows if is_fasta(regions) else pd.concat([positive.windows, read_table(regions)])
    windows, parts = [], []
    with Genome(genome) as reader:
        check_chroms(positive.windows, reader.chrom_sizes, regions_name="positives", genome_name=str(genome))
        for number, part in [(PARTS.index(part), part) for part in of_parts]:
            rows = np.flatnonzero(positive.parts == part)
            drawn = sample_windows(
                reader,
                avoid,
                n_windows=len(rows) * training.negatives_per_positive,
                length=width,
                chroms=positive.windows["chrom"].to_numpy()[rows],
                min_distance=distance,
                seed=int(np.random.SeedSequence([*seeds, number]).generate_state(1)[0]),
                match_gc=gc_fraction(positive.codes[rows]) if sampling == "gc" else None,
            )
            windows.append(drawn)
            parts.append(np.repeat(part, len(drawn)))
        table = pd.concat(windows, ignore_index=True)
        codes = reader.read_windows(table)
    provenance = {
        "sampling": sampling,
        "negatives_per_positive": training.negatives_per_positive,
        "min_distance": distance,
    }
    return ClassWindows(table, codes, np.concatenate(parts), provenance)
