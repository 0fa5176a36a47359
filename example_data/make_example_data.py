"""Make the files of this folder from the source distribution of gimmemotifs 0.18.4.

Run from anywhere, with the archive or the folder that it unpacks to::

    pip download --no-deps --no-binary :all: gimmemotifs==0.18.4
    python make_example_data.py gimmemotifs-0.18.4.tar.gz

The same input gives the same bytes. `README.md` says what each file is.
"""

from __future__ import annotations

import argparse
import tarfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SEED = 20_240_117
HELD_OUT_CHROMS = ("chr8", "chr9", "chr13", "chr20")  # never train on these: their sites are in the simulated genome
N_CONTIGS = 3
CONTIG_BP = 80_000
MARKOV_ORDER = 3
FLANK_BP = 50  # at each end of a 200-bp site; the CTCF motif lies near the middle
MAX_JITTER_BP = 40
BASES = "ACGT"
ADAPTER = "AGATCGGAAGAGCACACGTCTGAACTCCAGTCA"  # Illumina TruSeq, read 1: what a read runs into behind a short fragment
CONTAMINATED_SHARE = 0.6
MIN_ADAPTER_BP = 16  # fewer bases would hardly be noticed by a trimmer, or by a model
FASTA_MEMBER = "data/examples/Gm12878.CTCF.top500.w200.fa"
LICENCE_MEMBER = "COPYING"


class Site(NamedTuple):
    """A stretch of the human genome (hg19), 0-based half-open, and its sequence as written in the source."""

    chrom: str
    start: int
    end: int
    sequence: str


class Embedded(NamedTuple):
    """Where a site lies in the simulated genome; `strand` "-" means that its reverse complement was embedded."""

    contig: str
    start: int
    end: int
    strand: str
    site: Site


def read_member(sdist: Path, member: str) -> str:
    """Return a text file of the source distribution, whether it is packed or unpacked."""
    if sdist.is_dir():
        return (sdist / member).read_text()
    with tarfile.open(sdist) as archive:
        name = next(name for name in archive.getnames() if name.split("/", 1)[-1] == member)
        handle = archive.extractfile(name)
        assert handle is not None
        return handle.read().decode()


def parse_sites(fasta: str) -> list[Site]:
    """Return the records of a FASTA text whose names are ``chrom:start-end``."""
    sites = []
    for record in fasta.split(">")[1:]:
        name, sequence = record.split("\n", 1)
        chrom, span = name.strip().split(":")
        start, end = map(int, span.split("-"))
        sites.append(Site(chrom, start, end, "".join(sequence.split())))
    return sites


def fit_markov(sequences: list[str], order: int) -> NDArray[np.float64]:
    """Return P(next base | `order` bases before it), shape (4 ** order, 4), both strands counted, one pseudocount."""
    counts = np.ones((4**order, 4))
    for sequence in sequences:
        forward = np.array([BASES.index(base) for base in sequence.upper()])
        for codes in (forward, 3 - forward[::-1]):
            windows = np.lib.stride_tricks.sliding_window_view(codes, order + 1)
            contexts = windows[:, :order] @ 4 ** np.arange(order)[::-1]
            np.add.at(counts, (contexts, windows[:, order]), 1)
    return counts / counts.sum(axis=1, keepdims=True)


def sample_markov(transition: NDArray[np.float64], length: int, rng: np.random.Generator) -> str:
    """Draw `length` bases from the chain, started from a uniformly drawn context that is not kept."""
    cumulative = np.cumsum(transition, axis=1)
    context = int(rng.integers(len(transition)))
    draws = rng.random(length)
    bases = []
    for draw in draws:
        base = min(int(np.searchsorted(cumulative[context], draw)), 3)
        bases.append(BASES[base])
        context = (context * 4 + base) % len(transition)
    return "".join(bases)


def reverse_complement(sequence: str) -> str:
    """Return the other strand, case kept."""
    return sequence.translate(str.maketrans("ACGTacgt", "TGCAtgca"))[::-1]


def embed(sites: list[Site], transition: NDArray[np.float64], rng: np.random.Generator):
    """Return ({contig: sequence}, [Embedded]): background with one site in the middle part of every slot."""
    order = rng.permutation(len(sites))
    contigs, truth = {}, []
    for number, members in enumerate(np.array_split(order, N_CONTIGS), start=1):
        contig = f"sim{number}"
        sequence = list(sample_markov(transition, CONTIG_BP, rng))
        slot_bp = CONTIG_BP // len(members)
        for slot, index in enumerate(members):
            site = sites[index]
            width = site.end - site.start
            start = slot * slot_bp + int(rng.integers(slot_bp // 4, 3 * slot_bp // 4 - width))
            strand = "+-"[int(rng.integers(2))]
            inserted = site.sequence.upper() if strand == "+" else reverse_complement(site.sequence.upper())
            sequence[start : start + width] = inserted
            truth.append(Embedded(contig, start, start + width, strand, site))
        contigs[contig] = "".join(sequence)
    return contigs, truth


def draw_regions(truth: list[Embedded], rng: np.random.Generator) -> list[tuple[str, int, int, str]]:
    """Return regions to explain: one around every site, off centre, and as many of pure background."""
    regions = []
    for number, row in enumerate(truth, start=1):
        middle = (row.start + row.end) // 2 + int(rng.integers(-MAX_JITTER_BP, MAX_JITTER_BP + 1))
        half = int(rng.integers(90, 161))
        regions.append((row.contig, middle - half, middle + half, f"site_{number:02d}"))
    n_background = 0
    while n_background < len(truth):
        contig = f"sim{int(rng.integers(1, N_CONTIGS + 1))}"
        half = int(rng.integers(90, 161))
        middle = int(rng.integers(half, CONTIG_BP - half))
        taken = [(start, end) for chrom, start, end, _ in regions if chrom == contig]
        if all(middle + half + 200 <= start or middle - half - 200 >= end for start, end in taken):
            n_background += 1
            regions.append((contig, middle - half, middle + half, f"background_{n_background:02d}"))
    return sorted(regions)


def contaminate(sites: list[Site], rng: np.random.Generator) -> list[Site]:
    """Let `CONTAMINATED_SHARE` of the sites end in the first `MIN_ADAPTER_BP` or more bases of the adapter."""
    contaminated = []
    for site in sites:
        n_adapter = int(rng.integers(MIN_ADAPTER_BP, len(ADAPTER) + 1)) if rng.random() < CONTAMINATED_SHARE else 0
        kept = site.sequence[: len(site.sequence) - n_adapter]
        contaminated.append(site._replace(sequence=kept + ADAPTER[:n_adapter]))
    return contaminated


def write_sites(path: Path, sites: list[Site]) -> None:
    """Write sites as FASTA, named by their places."""
    write_fasta(path, [(f"{s.chrom}:{s.start}-{s.end}", s.sequence) for s in sites], line_bp=200)


def write_fasta(path: Path, records: list[tuple[str, str]], line_bp: int) -> None:
    """Write (name, sequence) records, `line_bp` bases a line."""
    with path.open("w", newline="\n") as handle:
        for name, sequence in records:
            lines = [sequence[i : i + line_bp] for i in range(0, len(sequence), line_bp)]
            handle.write(f">{name}\n" + "\n".join(lines) + "\n")


def write_bed(path: Path, rows: list[tuple]) -> None:
    """Write rows of BED fields, tab-separated."""
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows), newline="\n")


def main() -> None:
    """Write every data file of this folder."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sdist", type=Path, help="gimmemotifs-0.18.4.tar.gz, or the folder that it unpacks to")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    arguments = parser.parse_args()
    out, rng = arguments.out, np.random.default_rng(SEED)

    sites = parse_sites(read_member(arguments.sdist, FASTA_MEMBER))
    held_out = [site for site in sites if site.chrom in HELD_OUT_CHROMS]
    for name, members in (
        ("ctcf_sites", sites),
        ("ctcf_sites_contaminated", contaminate(sites, np.random.default_rng([SEED, 1]))),
    ):
        write_sites(out / f"{name}.fa", members)
        write_sites(out / f"{name}_held_out.fa", [site for site in members if site.chrom in HELD_OUT_CHROMS])
    write_bed(out / "ctcf_sites.bed", sorted((s.chrom, s.start, s.end) for s in sites))
    (out / "ctcf_sites.LICENSE").write_text(read_member(arguments.sdist, LICENCE_MEMBER), newline="\n")

    training = [site.sequence for site in sites if site.chrom not in HELD_OUT_CHROMS]
    flanks = [part for sequence in training for part in (sequence[:FLANK_BP], sequence[-FLANK_BP:])]
    contigs, truth = embed(held_out, fit_markov(flanks, MARKOV_ORDER), rng)
    write_fasta(out / "simulated_genome.fa", list(contigs.items()), line_bp=60)
    write_bed(
        out / "simulated_genome_sites.bed",
        [
            (row.contig, row.start, row.end, f"{row.site.chrom}:{row.site.start}-{row.site.end}", 0, row.strand)
            for row in sorted(truth)
        ],
    )
    write_bed(out / "simulated_genome_regions.bed", draw_regions(sorted(truth), rng))


if __name__ == "__main__":
    main()
