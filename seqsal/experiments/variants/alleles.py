"""From variants to windows: REF checked, alleles trimmed and moved left, both alleles in windows of one length.

*Normalised.* Bases that both alleles end or begin with are taken off, and what is then an insertion or a deletion is
moved left as far as it reads the same (Tan, Abecasis and Kang 2015, doi:10.1093/bioinformatics/btv112), so that one
change has one score however it is written. The table keeps the variant as it was written.

*Windows.* L bases in which the normalised allele begins at index c = L // 2 + shift; an insertion stands before the
base that is at c in the reference. A substitution leaves every other base where it is. An insertion or deletion moves
the bases on one side of it, in a window that keeps its length, so there are two windows of the alternative allele::

    reference    l l l l l l [R R] r r r r        (the same for both)
    left         l l l l l l [A] r r r r r        bases left of the allele stand where they stood
    right        l l l l l l l [A] r r r r        bases right of the allele stand where they stood

and f(alt) is the mean of the two. Beyond a chromosome's end the window is N. Where the genome is N (or a letter for
several bases) REF says what is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import VariantError
from seqsal.io.fasta import Genome
from seqsal.io.variants import Variant, VariantReader
from seqsal.regions import check_chroms
from seqsal.sequence.codes import N_CODE, decode, encode

__all__ = ["Allele", "Pairs", "check_variants", "normalise", "pairs_of", "read_around", "usable"]

N_NAMED = 5  # variants that do not fit the genome which a message lists
N_COUNTED = 1000  # of a chromosome, for the comparison of names
Codes = NDArray[np.uint8]


@dataclass(frozen=True)
class Allele:
    """A normalised variant: the bases `ref` from `start` (from 0) on become `alt`; codes, of which one may be empty."""

    chrom: int
    start: int
    ref: Codes
    alt: Codes

    @property
    def shift(self) -> int:
        """Bases by which what follows is moved."""
        return len(self.alt) - len(self.ref)


def check_variants(reader: VariantReader, genome: Genome, length: int) -> int:
    """Read all variants once, and return how many can be scored; `reader.skipped` names the others.

    VariantError: REF is not what the genome has, or lies beyond it, or nothing can be scored; RegionError: the
    chromosomes are named differently.
    """
    counts: Counter[str] = Counter()
    wrong, beyond, n_swapped, n_usable, n_all = list[str](), list[str](), 0, 0, 0
    n_wrong = n_beyond = 0
    for chunk in reader.chunks():
        counts.update(variant.chrom for variant in chunk)
        n_all += len(chunk)
        for variant, there in _with_genome(genome, chunk):
            if there is None:
                n_beyond += 1
                beyond += [f"{variant} (of {genome.chrom_sizes[variant.chrom]:,} bp)"] if n_beyond <= N_NAMED else []
                continue
            if not _agrees(variant.ref, there):
                n_wrong += 1
                n_swapped += _agrees(variant.alt, there[: len(variant.alt)]) and len(variant.alt) <= len(there)
                wrong += [f"{variant} (genome {decode(there)[:20]})"] if n_wrong <= N_NAMED else []
        n_usable += sum(1 for _ in usable(reader, genome, chunk, length))
    table = pd.DataFrame({"chrom": [name for name, n in counts.items() for _ in range(min(n, N_COUNTED))]})
    annotate = "bcftools annotate --rename-chrs, with a table of old and new names"
    names = {"regions_name": reader.name, "genome_name": str(genome.path)}
    check_chroms(table, genome.chrom_sizes, **names, **({"rename": annotate} if reader.is_vcf else {}))
    if n_beyond:
        raise VariantError(
            f"{reader.name}: {n_beyond:,} of {n_all:,} variants lie beyond the chromosome, which "
            f"begins at position 1: {_listed(beyond, n_beyond)}; use the genome of the variants' assembly"
        )
    if n_wrong:
        swapped = f"; at {n_swapped:,} of them it has ALT, so the alleles may be swapped" if n_swapped else ""
        raise VariantError(
            f"{reader.name}: REF differs from the genome at {n_wrong:,} of {n_all:,} variants: "
            f"{_listed(wrong, n_wrong)}{swapped}; use the genome of the variants' assembly, or fix the file: bcftools "
            "norm --check-ref s swaps alleles, --check-ref x leaves such variants out"
        )
    if not n_usable:
        skipped = reader.describe_skipped()
        what = f"; not scored are {skipped}" if skipped else ""
        raise VariantError(f"{reader.name}: holds no variant that can be scored{what}; give variants with bases as ALT")
    return n_usable


def usable(reader: VariantReader, genome: Genome, chunk: Iterable[Variant], length: int) -> Iterator[Variant]:
    """Yield the variants that fit a window of `length` bp, on chromosomes of the genome; others are set aside."""
    for variant in chunk:
        if variant.chrom not in genome.chrom_sizes:
            reader.skip(variant, "on chromosomes that the genome lacks")
        elif max(len(variant.ref), len(variant.alt)) > length:
            reader.skip(variant, f"with an allele longer than the window of {length:,} bp")
        else:
            yield variant


def _with_genome(genome: Genome, chunk: Sequence[Variant]) -> Iterator[tuple[Variant, Codes | None]]:
    """Yield each variant with what the genome has in place of REF; None beyond its chromosome."""
    known = [one for one in chunk if one.chrom in genome.chrom_sizes]
    widths = np.array([len(one.ref) for one in known], dtype=np.int64)
    numbers, starts = genome.chrom_numbers([one.chrom for one in known]), np.array([one.pos - 1 for one in known])
    for width in np.unique(widths):
        rows = np.flatnonzero(widths == width)
        found = genome.read_spans(numbers[rows], starts[rows], starts[rows] + width, np.zeros(len(rows), bool))
        for row, there in zip(rows, found, strict=True):
            inside = 0 <= starts[row] and starts[row] + width <= genome.chrom_sizes[known[row].chrom]
            yield known[row], there if inside else None


def _agrees(allele: str, there: Codes) -> bool:
    """Whether an allele is what the genome has, as far as both are known."""
    codes = encode(allele)
    return len(codes) == len(there) and bool(((codes == there) | (codes == N_CODE) | (there == N_CODE)).all())


def _listed(named: Sequence[str], n: int) -> str:
    return ", ".join(named) + (f" and {n - len(named):,} more" if n > len(named) else "")


def normalise(genome: Genome, variant: Variant, reach: int) -> Allele:
    """Trim a variant, and move it left by up to `reach` bases."""
    ref, alt, start = encode(variant.ref), encode(variant.alt), variant.pos - 1
    chrom = int(genome.chrom_numbers([variant.chrom])[0])
    n = min(len(ref), len(alt))
    same = (ref[::-1][:n] == alt[::-1][:n]) & (ref[::-1][:n] < N_CODE)
    last = n if same.all() else int(same.argmin())
    ref, alt = ref[: len(ref) - last], alt[: len(alt) - last]
    n -= last
    same = (ref[:n] == alt[:n]) & (ref[:n] < N_CODE)
    first = n if same.all() else int(same.argmin())
    ref, alt, start = ref[first:], alt[first:], start + first
    if (len(ref) and len(alt)) or not len(ref) + len(alt) or not start:
        return Allele(chrom, start, ref, alt)
    moved = ref if len(ref) else alt
    before = genome.read_spans([chrom], [start - reach], [start], [False])[0]
    cycle = np.resize(moved[::-1], reach)  # the bases that move to its end, the nearest first
    same = (before[::-1] == cycle) & (cycle < N_CODE)
    steps = reach if same.all() else int(same.argmin())
    moved = np.roll(moved, steps)
    return Allele(chrom, start - steps, *((moved, alt) if len(ref) else (ref, moved)))


def read_around(genome: Genome, alleles: Sequence[Allele], length: int, reach: int) -> Codes:
    """Read the bases (n, L + 2 · reach) around the starts of alleles, which come to index L // 2 + reach."""
    start = np.array([allele.start for allele in alleles], dtype=np.int64) - length // 2 - reach
    chrom = np.array([allele.chrom for allele in alleles], dtype=np.int64)
    codes = genome.read_spans(chrom, start, start + length + 2 * reach, np.zeros(len(start), dtype=bool))
    for row, allele in enumerate(alleles):
        there = codes[row, length // 2 + reach :][: len(allele.ref)]
        there[there == N_CODE] = allele.ref[: len(there)][there == N_CODE]
    return codes


@dataclass(frozen=True)
class Pairs:
    """Windows of both alleles: `ref` (n, L) and those of the alternative (n, L): one, or anchored left and right.

    `at` is the index that a substitution of a single base is at; None where the alleles are of other kinds.
    """

    ref: Codes
    alts: tuple[Codes, ...]
    at: int | None

    def __len__(self) -> int:
        return len(self.ref)


def pairs_of(around: Codes, alleles: Sequence[Allele], length: int, shift: int) -> Pairs:
    """Cut windows (n, L) of both alleles out of what is around them (n, L + 2 · reach).

    All `alleles` are substitutions of one base, all others that keep the length, or all move what follows;
    `reach` is at least |shift| and the bases that are moved.
    """
    reach = (around.shape[1] - length) // 2
    low, at = reach - shift, reach + length // 2  # where the window begins, and the allele
    ref = around[:, low : low + length]
    if not any(allele.shift for allele in alleles):
        alt, index = ref.copy(), length // 2 + shift
        for row, allele in enumerate(alleles):
            put = allele.alt[max(-index, 0) : max(length - index, 0)]
            alt[row, max(index, 0) : max(index, 0) + len(put)] = put
        is_single = all(len(allele.ref) == 1 for allele in alleles) and 0 <= index < length
        return Pairs(ref, (alt,), index if is_single else None)
    left, right = np.empty_like(ref), np.empty_like(ref)
    for row, allele in enumerate(alleles):
        before, after = around[row, :at], around[row, at + len(allele.ref) :]
        changed = np.concatenate([before, allele.alt, after])
        left[row] = changed[low : low + length]
        right[row] = changed[low + allele.shift :][:length]
    return Pairs(ref, (left, right), None)
