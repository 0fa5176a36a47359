"""What is written of scored variants besides the table: motifs gained and lost, annotated VCF, BED."""

from __future__ import annotations

import csv
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import UsageError, VariantError
from seqsal.experiments.variants.alleles import Allele, normalise
from seqsal.io.atomic import atomic_path
from seqsal.io.fasta import Genome
from seqsal.io.variants import Variant, VariantReader, import_pysam
from seqsal.motifs import Motif
from seqsal.motifs.scan import scan_codes
from seqsal.sequence.codes import N_CODE

__all__ = ["INFO", "annotate_vcf", "check_outputs", "motif_changes", "worst_of", "write_variant_bed"]

INFO = (
    '##INFO=<ID=SEQSAL,Number=.,Type=String,Description="Effects by seqsal: '
    'Allele|target|ref_score|alt_score|effect|p_value|q_value">\n'
)
MIN_BITS = 1.0  # by which a motif's best score has to change
COLOURS = {True: "178,24,43", False: "33,102,172"}  # raises, lowers
Row = dict[str, str]


def check_outputs(reader: VariantReader, annotated: Path | None, bed: Path | None) -> None:
    """Raise unless what is wanted can be written of these variants."""
    if annotated is not None and not reader.is_vcf:
        raise UsageError(f"{annotated}: {reader.name} is a table, expected a VCF to annotate; leave --annotated out")
    if annotated is not None and not annotated.name.endswith((".vcf", ".vcf.gz")):
        raise UsageError(f"{annotated}: unknown extension, expected .vcf or .vcf.gz; rename it")
    if bed is not None and bed.suffix != ".bed":
        raise UsageError(f"{bed}: unknown extension, expected .bed; rename it")


def motif_changes(
    genome: Genome, chunk: Sequence[Variant], motifs: Sequence[Motif], *, p_value: float = 1e-4
) -> list[tuple[str, str]]:
    """Name the motif that each variant makes most, and that it breaks most: `name|bits|position|strand`, or empty.

    Bits are what its best score at the allele rises or falls by, above what the scan at `p_value` finds; the position,
    from 1, is that of the motif's first base in the reference.
    """
    reach = max(motif.width for motif in motifs)
    alleles = [normalise(genome, variant, reach) for variant in chunk]
    rows, width = [], 2 * reach + max((max(len(one.ref), len(one.alt)) for one in alleles), default=0)
    for one, around in zip(alleles, _around(genome, alleles, reach, width), strict=True):
        for bases in (one.ref, one.alt):
            row = np.concatenate([around[:reach], bases, around[reach + len(one.ref) :]])[: reach + len(bases) + reach]
            rows.append(np.pad(row, (0, width - len(row)), constant_values=N_CODE))
    if not rows:
        return []
    hits = scan_codes(np.stack(rows), motifs, p_value=p_value)
    ends = np.array([reach + len(bases) for one in alleles for bases in (one.ref, one.alt)])
    at_allele = (hits["start"] < np.maximum(ends[hits["row"]], reach + 1)) & (hits["end"] > reach)
    best = hits[at_allele].sort_values("score").drop_duplicates(["row", "motif_idx"], keep="last")
    found = {(int(hit.row), int(hit.motif_idx)): hit for hit in best.itertuples()}
    scores = {key: float(hit.score) for key, hit in found.items()}
    changes = []
    for number, one in enumerate(alleles):
        sides = []
        for own, other in ((2 * number + 1, 2 * number), (2 * number, 2 * number + 1)):
            gains = [(scores[key] - scores.get((other, key[1]), 0.0), key) for key in scores if key[0] == own]
            bits, key = max(gains, default=(0.0, (0, 0)))
            sides.append(_named(motifs, found[key], bits, one, reach, own % 2) if bits >= MIN_BITS else "")
        changes.append((sides[0], sides[1]))
    return changes


def _around(genome: Genome, alleles: Sequence[Allele], reach: int, width: int) -> NDArray[np.uint8]:
    start = np.array([one.start - reach for one in alleles], dtype=np.int64)
    chrom = np.array([one.chrom for one in alleles], dtype=np.int64)
    return genome.read_spans(chrom, start, start + width, np.zeros(len(start), dtype=bool))


def _named(motifs: Sequence[Motif], hit: Any, bits: float, one: Allele, reach: int, is_alt: int) -> str:
    moved = one.shift if is_alt and hit.start > reach else 0
    position = one.start - reach + int(hit.start) - moved + 1
    return f"{motifs[int(hit.motif_idx)].name.replace('|', '/')}|{bits:.2f}|{position}|{hit.strand}"


def _rows(table: Path) -> Iterator[Row]:
    """Read the rows of a written table."""
    with table.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file, delimiter="\t")


def annotate_vcf(reader: VariantReader, table: Path, out: str | os.PathLike[str]) -> None:
    """Write the VCF again, with the rows of the table of its variants in the field `SEQSAL` of INFO."""
    pysam = import_pysam()
    rows = itertools.groupby(_rows(table), key=lambda row: (row["chrom"], row["pos"], row["ref"], row["alt"]))
    waiting = next(rows, None)
    with atomic_path(out) as temporary, pysam.VariantFile(os.fspath(reader.path)) as source:
        is_packed = str(out).endswith(".gz")
        sink = pysam.BGZFile(os.fspath(temporary), "wb") if is_packed else temporary.open("wb")
        with sink:
            header = str(source.header)
            at = header.index("#CHROM")
            sink.write((header[:at] + INFO + header[at:]).encode())
            for record in source:
                found = []
                for alt in record.alts or ():
                    if waiting is not None and waiting[0] == (record.chrom, str(record.pos), record.ref, alt):
                        found += [_annotation(row) for row in waiting[1]]
                        waiting = next(rows, None)
                fields = str(record).rstrip("\n").split("\t")
                if found:
                    fields[7] = ("" if fields[7] == "." else f"{fields[7]};") + f"SEQSAL={','.join(found)}"
                sink.write(("\t".join(fields) + "\n").encode())
    if waiting is not None:
        raise VariantError(f"{reader.name}: changed while it was scored; run again")


def _annotation(row: Row) -> str:
    names = ("alt", "target", "ref_score", "alt_score", "effect", "p_value", "q_value")
    plain = str.maketrans(dict.fromkeys(" ,;=|", "_"))
    return "|".join(row[name].translate(plain) for name in names)


def write_variant_bed(table: Path, out: str | os.PathLike[str]) -> None:
    """Write the variants of a written table as BED9 for browsers, red where they raise the first target, else blue.

    The score is −100 log10 p up to 1000, and 0 without p-values.
    """
    with atomic_path(out) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        first = None
        for row in _rows(table):
            first = first or row["target"]
            if row["target"] != first:
                continue
            start, name = int(row["pos"]) - 1, "" if row["id"] == "." else f"{row['id']}:"
            end = start + len(row["ref"])
            score = 0 if row["p_value"] == "NA" else min(1000, int(-100 * np.log10(float(row["p_value"]))))
            label = f"{name}{row['ref']}>{row['alt']}".replace(" ", "_")
            colour = COLOURS[float(row["effect"]) > 0]
            file.write(f"{row['chrom']}\t{start}\t{end}\t{label}\t{score}\t.\t{start}\t{end}\t{colour}\n")


def worst_of(tables: Sequence[pd.DataFrame], n: int) -> pd.DataFrame:
    """Return the `n` rows that matter most, by q-value where there is one, then by the size of the effect."""
    both = pd.concat(tables, ignore_index=True)
    order = np.lexsort([-both["effect"].abs().to_numpy(), both["q_value"].fillna(1.0).to_numpy()])
    return both.iloc[np.sort(order[:n])].reset_index(drop=True)
