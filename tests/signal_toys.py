"""A small genome with sites, and bigWigs of reads on both strands around them, as an experiment would give."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.io.bigwig_writer import Stretch, write_bigwig
from seqsal.sequence.codes import decode, encode, reverse_complement

MOTIF = encode("TTACCCGTA")
CHROMS = ("chr1", "chr2", "chr3", "chr4")


class SignalData(NamedTuple):
    """Paths of a genome and regions, of the reads of each strand and of both."""

    genome: Path
    regions: Path
    plus: Path
    minus: Path
    both: Path


def write_track(path: Path, tracks: dict[str, NDArray[np.float32]]) -> Path:
    """Write dense values of chromosomes as bigWig."""
    sizes = {chrom: len(values) for chrom, values in tracks.items()}
    write_bigwig(path, sizes, (Stretch(chrom, 0, values) for chrom, values in tracks.items()))
    return path


def make_signal(folder: Path, n_each: int = 60, width: int = 300, seed: int = 0, depth: float = 80.0) -> SignalData:
    """Write `n_each` regions of `width` bp on each of four chromosomes, half with a site on either strand.

    Reads on the strand of a site pile up 12 bp before its middle, on the other strand 12 bp after it; a second copy
    of the site doubles them; there are a few reads anywhere.
    """
    rng = np.random.default_rng(seed)
    lines, rows = [], []
    strands: dict[str, dict[str, NDArray[np.float32]]] = {"plus": {}, "minus": {}}
    for chrom in CHROMS:
        size = (n_each + 2) * (width + 40)
        codes = rng.integers(0, 4, size, dtype=np.uint8)
        rate = np.full((2, size), 0.01)
        for i in range(n_each):
            start = (i + 1) * (width + 40)
            rows.append((chrom, start, start + width, f"{chrom}.{i}", 0, "."))
            n_sites = int(rng.integers(0, 3))
            for at in rng.choice(np.arange(width // 3, 2 * width // 3, 20), n_sites, replace=False) + start:
                is_turned = bool(rng.integers(0, 2))
                codes[at : at + len(MOTIF)] = reverse_complement(MOTIF) if is_turned else MOTIF
                for strand, offset in ((0, -12), (1, 12)):
                    place = np.arange(-15, 16) + at + 4 + offset
                    shape = np.exp(-0.5 * ((place - at - 4 - offset) / 4) ** 2)
                    share = 0.5 if is_turned == bool(strand) else 0.25
                    rate[strand, place] += depth * share * shape / shape.sum()
        lines += [f">{chrom}", decode(codes)]
        for strand, name in enumerate(("plus", "minus")):
            strands[name][chrom] = rng.poisson(rate[strand]).astype(np.float32)
    (folder / "genome.fa").write_text("\n".join(lines) + "\n")
    pd.DataFrame(rows).to_csv(folder / "regions.bed", sep="\t", header=False, index=False)
    strands["both"] = {chrom: strands["plus"][chrom] + strands["minus"][chrom] for chrom in CHROMS}
    plus, minus, both = (write_track(folder / f"{name}.bw", strands[name]) for name in strands)
    return SignalData(folder / "genome.fa", folder / "regions.bed", plus, minus, both)
