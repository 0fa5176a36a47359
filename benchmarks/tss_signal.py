"""Real reads for `benchmarks/signals.py`: starts of transcripts in yeast, base by base, as a bigWig and windows.

    python benchmarks/tss_signal.py S288C_TSSs.RDS sacCer3.fa.gz OUT_DIR [--windows 1500] [--least 50] [--width 150]

The file is `inst/extdata/S288C_TSSs.RDS` of github.com/zentnerlab/TSRexploreR (MIT): 5′ ends of STRIPE-seq reads
(Policastro et al. 2020, doi:10.1101/gr.261545.120; GEO GSE142524). The three untreated samples are added up, both
strands together. Windows are `--windows` of the genome's stretches of `--width` bp with `--least` reads or more, and as
many of those with fewer but one. Reading it takes the package rdata.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqsal.io.bigwig_writer import Stretch, write_bigwig
from seqsal.io.fasta import Genome

FIRST, LAST = 400, 600  # bp at the beginning and the end of chromosomes that no window begins in


def read_starts(path: Path, sizes: dict[str, int]) -> dict[str, NDArray[np.float32]]:
    """Add up the untreated samples, a list of GRanges of 1 bp with scores."""
    import rdata

    tracks = {chrom: np.zeros(size, np.float32) for chrom, size in sizes.items() if chrom != "chrM"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes that it has no constructor for are given as they are
        samples: dict[str, Any] = rdata.conversion.convert(rdata.parser.parse_file(path))
    for name, ranges in samples.items():
        if "_WT_" not in name:
            continue
        names = np.repeat(np.asarray(ranges.seqnames.values, dtype=str), np.asarray(ranges.seqnames.lengths))
        at, score = (np.asarray(one) for one in (ranges.ranges.start, ranges.elementMetadata.listData["score"]))
        for chrom, track in tracks.items():
            mine = names == chrom.removeprefix("chr")
            np.add.at(track, at[mine] - 1, score[mine])
    return tracks


def main() -> None:
    """Write `tss.bw` and `windows.bed`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("starts", "genome", "out"):
        parser.add_argument(name, type=Path)
    for name, default in (("windows", 1500), ("least", 50), ("width", 150)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with Genome(options.genome) as genome:
        tracks = read_starts(options.starts, dict(genome.chrom_sizes))
    options.out.mkdir(exist_ok=True)
    sizes = {chrom: len(track) for chrom, track in tracks.items()}
    write_bigwig(options.out / "tss.bw", sizes, (Stretch(chrom, 0, track) for chrom, track in tracks.items()))
    rows = [(chrom, start, n) for chrom, track in tracks.items()
            for start in range(FIRST, len(track) - LAST, options.width)
            if (n := int(track[start : start + options.width].sum()))]  # fmt: skip
    counts, rng = np.array([n for _, _, n in rows]), np.random.default_rng(0)
    high = rng.choice(np.flatnonzero(counts >= options.least), options.windows, replace=False)
    low = rng.choice(np.flatnonzero(counts < options.least), options.windows, replace=False)
    with open(options.out / "windows.bed", "w", encoding="utf-8") as file:
        for i in sorted([*high, *low]):
            chrom, start, n = rows[i]
            file.write(f"{chrom}\t{start}\t{start + options.width}\t{chrom}.{start}\t{n}\t.\n")


if __name__ == "__main__":
    main()
