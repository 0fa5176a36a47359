"""Attributions with hypothetical scores on a small genome, for the tests of export and import."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from toys import random_codes

from seqsal.io.attributions import Attributions
from seqsal.io.fasta import Genome
from seqsal.regions import make_regions
from seqsal.sequence.codes import decode, one_hot

SIZES = {"chr1": 3000, "chr2": 2000}


@dataclass(frozen=True)
class Case:
    """A genome, and attributions of windows on it."""

    genome: Path
    attr: Attributions

    def forward(self) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
        """Codes (N, L), hypothetical scores (N, 4, L) and track (N, L), one window at a time, all forward."""
        codes, scores, track = (np.array(getattr(self.attr, key)) for key in ("codes", "hypothetical", "track"))
        complement = np.array([3, 2, 1, 0, 4], dtype=np.uint8)
        for i, strand in enumerate(self.attr.regions["strand"]):
            if strand == "-":
                codes[i] = complement[codes[i][::-1]]
                scores[i] = scores[i][[3, 2, 1, 0]][:, ::-1]
                track[i] = track[i][::-1]
        return codes, scores, track


def make_case(
    folder: Path, rng: np.random.Generator, *, n: int = 12, length: int = 61, strand: str = ".", overhang: bool = False
) -> Case:
    """Windows that do not overlap; `strand` "mixed" has both; with `overhang` the first and last hang over an end."""
    path = folder / "genome.fa"
    sequences = {chrom: random_codes(rng, 1, size, 0.01)[0] for chrom, size in SIZES.items()}
    path.write_text("".join(f">{chrom}\n{decode(codes)}\n" for chrom, codes in sequences.items()))
    start = 100 + np.arange(n) * 130
    chrom = np.array(["chr1", "chr2"] * n)[:n]
    if overhang:
        start[0], start[-1] = -20, SIZES[str(chrom[-1])] - 40
    strands = np.array(["+", "-", "."] * n)[:n] if strand == "mixed" else strand
    regions = make_regions(chrom, start, start + length, strand=strands, name=[f"r{i}" for i in range(n)])
    with Genome(path) as genome:
        codes = genome.read_windows(regions)
    scores = rng.normal(size=(n, 4, length)).astype(np.float32) * (codes != 4)[:, None]
    track = (one_hot(codes) * scores).sum(axis=1)
    prediction = rng.normal(size=n).astype(np.float32)
    attr = Attributions(regions, codes, track, prediction, hypothetical=scores, chrom_sizes=SIZES)
    return Case(path, replace(attr, attrs={"method": "ism", "output_space": "logit"}))
