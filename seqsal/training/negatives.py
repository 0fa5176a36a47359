"""Negatives for each part of the split, made from that part's own chromosomes or sequences, so that nothing leaks."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import UsageError
from seqsal.io.fasta import Genome
from seqsal.regions import check_chroms
from seqsal.sequence.draws import count_repeats, dinucleotide_shuffle, draw_number, window_keys
from seqsal.training.sampling import gc_fraction, sample_windows
from seqsal.training.settings import TrainConfig
from seqsal.training.sources import Regions, is_fasta, read_table
from seqsal.training.split import PARTS

__all__ = ["ClassWindows", "sample_negatives"]


@dataclass(frozen=True)
class ClassWindows:
    """The windows of one class before they are put together."""

    windows: pd.DataFrame
    codes: NDArray[np.uint8]
    parts: NDArray[np.str_]
    provenance: dict[str, Any]


def sample_negatives(
    positive: ClassWindows, regions: Regions, genome: str | os.PathLike[str] | None, training: TrainConfig, seed: int
) -> ClassWindows:
    """Make negatives for each part of the split from that part's chromosomes or sequences only."""
    sampling = training.negative_sampling
    if sampling == "auto":
        sampling = "shuffle" if genome is None or is_fasta(regions) else "gc"
    n_each = training.negatives_per_positive
    provenance = {"sampling": sampling, "negatives_per_positive": n_each}
    if sampling == "shuffle":
        repeats = count_repeats(window_keys(positive.codes))  # a window that is there twice gets other negatives
        numbers = [draw_number("negatives", n_each * repeats + i) for i in range(n_each)]
        draws = [dinucleotide_shuffle(positive.codes, seed=seed, draw=number) for number in numbers]
        windows = pd.concat([positive.windows] * n_each, ignore_index=True)
        return ClassWindows(windows, np.concatenate(draws), np.tile(positive.parts, n_each), provenance)
    if genome is None:
        raise UsageError(
            f"negative_sampling: {sampling!r} draws from a genome, but none was given; give --genome, or use 'shuffle'"
        )
    return _sample_genome(positive, regions, genome, training, sampling, seed)


def _sample_genome(
    positive: ClassWindows,
    regions: Regions,
    genome: str | os.PathLike[str],
    training: TrainConfig,
    sampling: str,
    seed: int,
) -> ClassWindows:
    width = positive.codes.shape[1]
    distance = width if training.min_distance is None else training.min_distance
    avoid = positive.windows if is_fasta(regions) else pd.concat([positive.windows, read_table(regions)])
    windows, parts = [], []
    with Genome(genome) as reader:
        check_chroms(positive.windows, reader.chrom_sizes, regions_name="positives", genome_name=str(genome))
        for number, part in enumerate(PARTS):
            rows = np.flatnonzero(positive.parts == part)
            drawn = sample_windows(
                reader,
                avoid,
                n_windows=len(rows) * training.negatives_per_positive,
                length=width,
                chroms=positive.windows["chrom"].to_numpy()[rows],
                min_distance=distance,
                seed=int(np.random.SeedSequence([seed, number]).generate_state(1)[0]),
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
