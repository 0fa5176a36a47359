"""The sequences of a contaminated data set: backgrounds, sites and copies, and where each was put."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from contaminated import CTCF, Design, known_motifs
from numpy.typing import NDArray

from seqsal.io.bed import read_bed
from seqsal.io.fasta import read_fasta_records
from seqsal.io.inputs import open_input
from seqsal.motifs.scan import scan_codes
from seqsal.sequence.codes import encode, reverse_complement
from seqsal.sequence.draws import dinucleotide_shuffle

__all__ = ["LENGTH", "Codes", "Labelled", "draw_sets"]

Codes = NDArray[np.uint8]
LENGTH, N_EXAMPLES, N_HELD_OUT = 200, 400, 150
LEAST_PARTIAL_BP = 8
ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Labelled:
    """Sequences (n, 200) with the sites and the copies of the word in them, as (sequence, start, end)."""

    codes: Codes
    sites: list[tuple[int, int, int]]
    copies: list[tuple[int, int, int]]

    def free_starts(self, row: int, width: int) -> NDArray[np.int64]:
        """List the starts at which a span touches nothing that was put in."""
        starts = np.arange(1, LENGTH - width)
        taken = [span for span in (*self.sites, *self.copies) if span[0] == row]
        is_free = np.ones(len(starts), dtype=bool)
        for _, start, end in taken:
            is_free &= (starts + width <= start) | (starts >= end)
        return starts[is_free]


def draw_sets(design: Design, rng: np.random.Generator, yeast: Path | None) -> dict[str, Labelled]:
    at = int(rng.integers(10, LENGTH - max(len(design.word), 1) - 10))  # for `one place`
    bases, negatives = _draw_background(design, rng, yeast)
    positives = Labelled(bases, _real_sites(design, bases), [])
    clean = None if design.negatives == "background" else positives.codes.copy()
    _plant_copies(design, rng, positives, at)
    for motif in design.motifs:
        _plant_sites(rng, positives, motif, design.motif_share)
    if clean is not None:
        source = clean if design.condition == "unused" else positives.codes
        negatives = dinucleotide_shuffle(source[: _n_train(source)], seed=design.seed)
    other = Labelled(negatives, [], [])
    if design.condition == "unused":
        _plant_copies(design, rng, other, at)
    split = _n_train(positives.codes)
    return {
        "positives": _slice(positives, 0, split),
        "held_out": _slice(positives, split, len(positives.codes)),
        "negatives": other,
    }


def _n_train(codes: Codes) -> int:
    return min(N_EXAMPLES, len(codes) - N_HELD_OUT)


def _slice(members: Labelled, begin: int, end: int) -> Labelled:
    sites, copies = (
        [(row - begin, a, b) for row, a, b in spans if begin <= row < end] for spans in (members.sites, members.copies)
    )
    return Labelled(members.codes[begin:end], sites, copies)


def _draw_background(design: Design, rng: np.random.Generator, yeast: Path | None) -> tuple[Codes, Codes]:
    """Draw sequences for the positives, with held-out ones after them, and for the negatives."""
    n = N_EXAMPLES + N_HELD_OUT
    if design.background == "CTCF sites":
        sites = _ctcf_sites()
        return sites[rng.permutation(len(sites))], np.zeros((0, LENGTH), np.uint8)
    if design.background.endswith("sites"):
        assert yeast is not None
        return _yeast_sites(rng, yeast, design.background.removesuffix(" sites"))
    codes = _draw_chain(rng, n + N_EXAMPLES, design.background)
    return codes[:n], codes[n:]


@cache
def _ctcf_sites() -> Codes:
    return np.stack([codes for _, codes in read_fasta_records(ROOT / "example_data" / "ctcf_sites.fa")])


def _yeast_sites(rng: np.random.Generator, folder: Path, name: str) -> tuple[Codes, Codes]:
    """Windows on real sites and, at least 500 bp from any, at random places of the same chromosomes."""
    genome, regions = folder / "sacCer3.fa.gz", read_bed(folder / f"{name}.bed")
    with open_input(genome=genome, regions=regions, length=LENGTH) as source:
        order = rng.permutation(len(source))[: N_EXAMPLES + N_HELD_OUT]
        positives = source.read(np.sort(order))[rng.permutation(len(order))]
    shift = rng.integers(500, 5_000, len(regions))
    moved = regions.assign(start=regions["start"] + shift, end=regions["end"] + shift, summit=-1)
    middle = ((regions["start"] + regions["end"]) // 2).to_numpy()
    place = ((moved["start"] + moved["end"]) // 2).to_numpy()
    chroms = regions["chrom"].to_numpy()
    away = [np.abs(middle[chroms == chrom] - x).min() >= 500 for chrom, x in zip(chroms, place, strict=True)]
    with open_input(genome=genome, regions=moved[np.array(away)].reset_index(drop=True), length=LENGTH) as source:
        negatives = source.read(np.sort(rng.permutation(len(source))[:N_EXAMPLES]))
    return positives, negatives


def _draw_chain(rng: np.random.Generator, n: int, background: str) -> Codes:
    if background == "uniform":
        return rng.integers(4, size=(n, LENGTH)).astype(np.uint8)
    if background == "gc":
        gc = rng.uniform(0.3, 0.65, n)[:, None]
        is_gc, second = rng.random((n, LENGTH)) < gc, rng.integers(2, size=(n, LENGTH))
        return np.where(is_gc, 1 + second, 3 * second).astype(np.uint8)
    cumulative = np.cumsum(_markov(), axis=1)
    context, codes = rng.integers(64, size=n), np.empty((n, LENGTH), np.uint8)
    for i in range(LENGTH):
        codes[:, i] = np.minimum((rng.random(n)[:, None] > cumulative[context]).sum(axis=1), 3)
        context = (context * 4 + codes[:, i]) % 64
    return codes


@cache
def _markov(order: int = 3, flank_bp: int = 50) -> NDArray[np.float64]:
    """P(next base | three before it), (64, 4), in the flanks of the real CTCF sites, both strands, one pseudocount."""
    sites, counts = _ctcf_sites(), np.ones((4**order, 4))
    for flank in (sites[:, :flank_bp], sites[:, -flank_bp:]):
        for codes in (flank, reverse_complement(flank)):
            words = np.lib.stride_tricks.sliding_window_view(codes, order + 1, axis=1).reshape(-1, order + 1)
            words = words[(words < 4).all(axis=1)].astype(np.int64)
            np.add.at(counts, (words[:, :order] @ 4 ** np.arange(order)[::-1], words[:, order]), 1)
    return counts / counts.sum(axis=1, keepdims=True)


def _real_sites(design: Design, codes: Codes) -> list[tuple[int, int, int]]:
    own = {"CTCF sites": CTCF, "Reb1 sites": "MA0363.3", "Abf1 sites": "MA0265.3"}.get(design.background)
    if own is None:
        return []
    hits = scan_codes(codes, [motif for motif in known_motifs() if motif.accession == own], p_value=1e-4)
    return [tuple(map(int, hit)) for hit in hits[["row", "start", "end"]].to_numpy()]


def _plant_copies(design: Design, rng: np.random.Generator, members: Labelled, at: int) -> None:
    """Put copies of the word into a share of the sequences; a real site that one falls on is a site no longer."""
    if not design.word:
        return
    for row in np.flatnonzero(rng.random(len(members.codes)) < design.share):
        start, end, copy = _draw_copy(design, rng, members, int(row), at)
        members.codes[row, start:end] = copy
        members.sites = [span for span in members.sites if span[0] != row or span[2] <= start or span[1] >= end]
        members.copies.append((int(row), start, end))


def _draw_copy(
    design: Design, rng: np.random.Generator, members: Labelled, row: int, at: int
) -> tuple[int, int, NDArray[np.uint8]]:
    copy = encode(design.word)
    if design.both_strands and rng.random() < 0.5:
        copy = reverse_complement(copy)
    is_other = rng.random(len(copy)) < design.mismatches
    copy = np.where(is_other, (copy + rng.integers(1, 4, len(copy))) % 4, copy).astype(np.uint8)
    width = len(copy)
    if design.placement == "one place":
        return at, at + width, copy
    if design.placement == "anywhere":
        free = members.free_starts(row, width)
        start = int(rng.choice(free if len(free) else np.arange(1, LENGTH - width)))
        return start, start + width, copy
    if rng.random() < 0.5 and width > LEAST_PARTIAL_BP:
        width = int(rng.integers(LEAST_PARTIAL_BP, width))
    if rng.random() < 0.5:
        return 0, width, copy[len(copy) - width :]
    return LENGTH - width, LENGTH, copy[:width]


def _plant_sites(rng: np.random.Generator, members: Labelled, accession: str, share: float) -> None:
    ppm = next(motif for motif in known_motifs() if motif.accession == accession).ppm
    width = ppm.shape[1]
    for row in np.flatnonzero(rng.random(len(members.codes)) < share):
        free = members.free_starts(int(row), width)
        if not len(free):
            continue
        start = int(rng.choice(free))
        site = np.array([rng.choice(4, p=column / column.sum()) for column in ppm.T], np.uint8)
        members.codes[row, start : start + width] = site if rng.random() < 0.5 else reverse_complement(site)
        members.sites.append((int(row), start, start + width))
