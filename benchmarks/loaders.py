"""Time reading windows of a FASTA file against pyfaidx and tangermeme, in one run on one core.

Run as `python benchmarks/loaders.py [--genome FILE] [--n-bases 60000000]`. Without a genome it writes a random one, as
plain text and as bgzip, into a temporary folder.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyfaidx
import torch
from Bio import bgzf
from tangermeme.io import extract_loci

from seqsal.io.bed import read_bed, write_bed
from seqsal.io.fasta import Genome
from seqsal.regions import make_regions
from seqsal.sequence.codes import encode, one_hot
from seqsal.sequence.draws import dinucleotide_shuffle

N_CHROMS = 4
LINE_BP = 60


def write_genome(folder: Path, n_bases: int, rng: np.random.Generator) -> Path:
    path = folder / "random.fa"
    rows = n_bases // N_CHROMS // LINE_BP
    with path.open("wb") as file:
        for i in range(N_CHROMS):
            lines = np.full((rows, LINE_BP + 1), ord("\n"), dtype=np.uint8)
            lines[:, :LINE_BP] = np.frombuffer(b"ACGTacgt", dtype=np.uint8)[rng.integers(0, 8, (rows, LINE_BP))]
            file.write(b">chr%d\n" % (i + 1) + lines.tobytes())
    return path


def compress(path: Path) -> Path:
    compressed = path.with_suffix(".fa.gz")
    with path.open("rb") as source, bgzf.BgzfWriter(str(compressed)) as target:
        while block := source.read(0xFF00):  # the blocks of htslib; pyfaidx fails at the end of longer ones
            target.write(block)
            target.flush()
    return compressed


def draw_windows(sizes: dict[str, int], n: int, length: int, rng: np.random.Generator) -> pd.DataFrame:
    names = [name for name, size in sizes.items() if size > length]
    weights = np.array([sizes[name] for name in names], dtype=float)
    chrom = np.sort(rng.choice(len(names), n, p=weights / weights.sum()))
    start = (rng.random(n) * (np.array([sizes[name] for name in names])[chrom] - length)).astype(np.int64)
    order = np.lexsort((start, chrom))
    start = start[order]
    return make_regions(np.array(names)[chrom[order]], start, start + length)


def seconds(function: Callable[[], object], repeats: int = 3) -> float:
    """Best of `repeats` runs."""
    best = np.inf
    for _ in range(repeats):
        begin = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - begin)
    return best


def read_batches(genome: Genome, windows: pd.DataFrame, batch: int) -> None:
    for first in range(0, len(windows), batch):
        genome.read_windows(windows.iloc[first : first + batch])


def read_pyfaidx(fasta: pyfaidx.Fasta, windows: pd.DataFrame) -> None:
    for chrom, start, end in zip(windows["chrom"], windows["start"], windows["end"], strict=True):
        encode(fasta[chrom][start:end])


def report(what: str, n_bases: int, taken: float, reference: float | None = None) -> float:
    rate = n_bases / taken / 1e6
    ratio = f"  ({rate / reference:8.1f}x pyfaidx sorted)" if reference else ""
    print(f"  {what:<52}{rate:10.1f} Mbp/s{ratio}")
    return rate


def compare(path: Path, n_windows: int, length: int, rng: np.random.Generator, *, n_peer: int) -> None:
    with Genome(path) as genome:
        windows = draw_windows(genome.chrom_sizes, n_windows, length, rng)
        shuffled = windows.sample(frac=1, random_state=0, ignore_index=True)
        few = windows.iloc[:n_peer]
        n_bases, n_few = n_windows * length, len(few) * length
        print(f"{path.name}: {n_windows:,} windows of {length:,} bp (peers: the first {len(few):,})")
        fasta = pyfaidx.Fasta(str(path), as_raw=True)
        base = report("pyfaidx + encode, sorted", n_few, seconds(lambda: read_pyfaidx(fasta, few), 1))
        report("seqsal, sorted, all at once", n_bases, seconds(lambda: genome.read_windows(windows)), base)
        report("seqsal, sorted, batches of 1,024", n_bases, seconds(lambda: read_batches(genome, windows, 1024)), base)
        taken = seconds(lambda: read_batches(genome, shuffled, 1024), 1)
        report("seqsal, unsorted, batches of 1,024", n_bases, taken, base)
        report("seqsal to one-hot float32", n_few, seconds(lambda: one_hot(genome.read_windows(few))), base)
        if path.suffix != ".gz":
            loci = few[["chrom", "start", "end"]]
            taken = seconds(lambda: extract_loci(loci, str(path), in_window=length))
            report("tangermeme extract_loci to one-hot int8", n_few, taken, base)


def compare_bed(folder: Path, rng: np.random.Generator) -> None:
    regions = draw_windows({f"chr{i}": 100_000_000 for i in range(1, 23)}, 500_000, 200, rng)
    path = folder / "regions.bed"
    write_bed(regions, path)
    plain = seconds(lambda: pd.read_csv(path, sep="\t", header=None), 1)
    ours = seconds(lambda: read_bed(path), 1)
    print(f"BED of 500,000 lines: {ours:.2f} s, {ours / plain:.1f} times a bare pandas.read_csv without checks")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--genome", type=Path, help="plain or bgzip FASTA (indexed beside it)")
    parser.add_argument("--n-bases", type=int, default=60_000_000, help="size of the random genome")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain = arguments.genome or write_genome(folder, arguments.n_bases, rng)
        paths = [plain] if arguments.genome else [plain, compress(plain)]
        for path in paths:
            for n_bases, length in ((40_000_000, 200), (40_000_000, 2_114)):
                compressed = path.suffix == ".gz"
                n_windows = n_bases // length // (4 if compressed else 1)
                # both keep decompressed blocks: all windows, so that neither finds everything in memory
                compare(path, n_windows, length, rng, n_peer=n_windows if compressed else n_windows // 10)
        compare_bed(folder, rng)
    codes = rng.integers(0, 4, (1_000, 2_114)).astype(np.uint8)
    print(f"dinucleotide shuffle of 1,000 x 2,114 bp: {seconds(lambda: dinucleotide_shuffle(codes, seed=0)):.2f} s")


if __name__ == "__main__":
    main()
