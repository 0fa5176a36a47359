"""Variants from files: VCF and BCF, read by pysam, and tables that name the columns chrom, pos, ref and alt.

A position counts from 1, as in VCF (https://samtools.github.io/hts-specs/VCFv4.3.pdf). Records with several ALT alleles
become a variant each. What names no bases is set aside by kind: symbolic alleles (`<DEL>`), breakends (`G]17:198982]`),
`*` (removed by a deletion upstream) and records without ALT. A file is read as often as wanted, some thousand variants
at a time, so that its size does not matter; neither does its order, nor whether it has an index.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from seqsal.errors import UsageError, VariantError, counted, did_you_mean, first_line, kind_of
from seqsal.io.content import Closing, is_stream, spooled

__all__ = ["CHUNK_VARIANTS", "Variant", "VariantReader", "import_pysam"]

CHUNK_VARIANTS = 4096
N_NAMED = 5  # of each kind that is set aside
_NOUNS = ("symbolic allele", "breakend")  # kinds that have a plural
COLUMNS = ("chrom", "pos", "ref", "alt")
ALIASES = {"chromosome": "chrom", "chr": "chrom", "position": "pos", "reference": "ref", "alternate": "alt",
           "rsid": "id", "name": "id", "variant": "id"}  # fmt: skip
BASES = frozenset("ACGTUNRYSWKMBDHVacgtunryswkmbdhv")
KNOWN = frozenset("ACGTUacgtu")


class Variant(NamedTuple):
    """One ALT allele: `pos` from 1, `id` "." where there is none, `record` its record's number in the file, from 0."""

    chrom: str
    pos: int
    id: str
    ref: str
    alt: str
    record: int

    def __str__(self) -> str:
        return f"{self.chrom}:{self.pos} {_short(self.ref)}>{_short(self.alt)}"


def _short(allele: str) -> str:
    return allele if len(allele) <= 20 else f"{allele[:8]}…({len(allele)} bp)"


def import_pysam() -> Any:
    """Import pysam, quiet about what it corrects by itself; VariantError where it is not installed."""
    try:
        import pysam
    except ImportError as error:
        raise VariantError(
            "variants: VCF and BCF are read by pysam, which is not installed; pip install 'seqsal[variants]', or give "
            "a table with the columns chrom, pos, ref and alt"
        ) from error
    pysam.set_verbosity(0)
    return pysam


class VariantReader(Closing):
    """Variants of a VCF, BCF or table, or of a DataFrame, that can be read several times; a context manager.

    `name` is the file for messages; `is_vcf` whether it is one; `skipped` what has been set aside in the latest
    reading, the number and the first few by kind. VariantError: the file is missing, damaged or of another kind.
    """

    def __init__(self, variants: str | os.PathLike[str] | pd.DataFrame) -> None:
        self._files = ExitStack()
        self.skipped: dict[str, tuple[int, list[str]]] = {}
        self._table = variants if isinstance(variants, pd.DataFrame) else None
        if self._table is not None:
            self.name, self.is_vcf = "variants", False
            return
        if not isinstance(variants, (str, os.PathLike)):
            raise UsageError(f"variants: got {kind_of(variants)}, expected a file or a table")
        self.name = os.fspath(variants)
        try:
            self._open(variants)
        except BaseException:
            self._files.close()
            raise

    def _open(self, variants: str | os.PathLike[str]) -> None:
        """Find out what kind of file it is."""
        self.path = Path(variants)
        if is_stream(variants):
            self.path = self._files.enter_context(spooled(variants, "VCF file", VariantError))
        elif not self.path.is_file():
            what = "is a folder" if self.path.is_dir() else "no such file"
            raise VariantError(f"{self.name}: {what}; give a VCF, a BCF or a table of variants")
        start = self._start()
        named = [suffix for suffix in Path(self.name).suffixes[-2:] if suffix in (".vcf", ".bcf")]
        self.is_vcf = bool(named) or start.startswith((b"##fileformat=VCF", b"#CHROM\tPOS\tID", b"BCF\2"))
        if self.is_vcf and not start.startswith((b"##", b"#CHROM", b"BCF\2")):
            raise VariantError(
                f"{self.name}: has no header, expected a VCF that begins with ##fileformat=VCF and names its columns "
                "in a line #CHROM; add it, or give a table with the columns chrom, pos, ref and alt"
            )

    def chunks(self, n: int = CHUNK_VARIANTS) -> Iterator[list[Variant]]:
        """Yield the variants in the order of the file, `n` at a time."""
        self.skipped = {}
        rows = self._named_bases(self._records() if self.is_vcf else self._lines())
        while chunk := list(islice(rows, n)):
            yield chunk

    def skip(self, variant: Variant, kind: str) -> None:
        """Set a variant aside."""
        count, named = self.skipped.get(kind, (0, []))
        self.skipped[kind] = (count + 1, [*named, str(variant)] if len(named) < N_NAMED else named)

    def describe_skipped(self) -> str:
        """Say what was set aside, by kind, with the first few; empty where nothing was."""
        return "; ".join(
            f"{counted(count, kind) if kind in _NOUNS else f'{count:,} {kind}'} "
            f"({', '.join(named)}{', …' if count > len(named) else ''})"
            for kind, (count, named) in self.skipped.items()
        )

    def close(self) -> None:
        """Release the copy of a pipe."""
        self._files.close()

    def _named_bases(self, rows: Iterable[Variant]) -> Iterator[Variant]:
        """Leave out what is no bases, and what changes none."""
        for row in rows:
            kind = _kind_of(row)
            if kind:
                self.skip(row, kind)
            elif not row.ref or not BASES.issuperset(row.ref):
                raise VariantError(
                    f"{self.name}: REF of {row} (record {row.record + 1}) is not bases, expected letters such as "
                    "ACGTN; correct the record"
                )
            else:
                yield row

    def _start(self) -> bytes:
        """Return the first bytes, unpacked; gzip that is not bgzip, in which htslib cannot seek, is unpacked whole."""
        try:
            with self.path.open("rb") as file:
                head = file.read(16)
            if head[:2] == b"\x1f\x8b" and head[12:14] != b"BC":
                folder = self._files.enter_context(tempfile.TemporaryDirectory(prefix="seqsal-"))
                with gzip.open(self.path) as packed, (Path(folder) / "variants").open("wb") as plain:
                    shutil.copyfileobj(packed, plain, 1 << 20)
                self.path = Path(folder) / "variants"
            with gzip.open(self.path) if head[12:14] == b"BC" else self.path.open("rb") as data:
                return data.read(64)
        except (OSError, EOFError, zlib.error) as error:
            raise VariantError(f"{self.name}: cannot be read ({error}); copy or download it again") from error

    def _records(self) -> Iterator[Variant]:
        """Read a VCF or BCF."""
        pysam, record = import_pysam(), -1
        try:
            with pysam.VariantFile(os.fspath(self.path)) as file:
                for record, row in enumerate(file):
                    for alt in row.alts or (".",):
                        yield Variant(row.chrom, row.pos, row.id or ".", row.ref or "", alt, record)
        except (ValueError, OSError, UnicodeDecodeError) as error:
            raise VariantError(
                f"{self.name}: record {record + 2} cannot be read ({first_line(error)}); expected a whole VCF or BCF, "
                "check it with bcftools view"
            ) from error

    def _lines(self) -> Iterator[Variant]:
        """Read a table with named columns."""
        if self._table is not None:
            lines = self._table.astype(str).itertuples(index=False, name=None)
            yield from self._variants([str(name) for name in self._table.columns], lines, 1)
            return
        try:
            with self.path.open("rb") as raw:
                packed = raw.peek(2)[:2] == b"\x1f\x8b"
                with io.TextIOWrapper(gzip.GzipFile(fileobj=raw) if packed else raw, encoding="utf-8-sig") as text:
                    rows = csv.reader((line for line in text if not line.startswith("##")), delimiter="\t")
                    yield from self._variants(next(rows, []), rows, 2)
        except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
            raise VariantError(f"{self.name}: cannot be read ({error}); expected a table of text") from error

    def _variants(self, header: list[str], lines: Iterable[Any], first: int) -> Iterator[Variant]:
        names = [name.strip().lstrip("#").lower() for name in header]
        names = [ALIASES.get(name, name) for name in names]
        missing = [name for name in COLUMNS if name not in names]
        if missing:
            hint = did_you_mean(missing[0], names)
            raise VariantError(
                f"{self.name}: has no column {missing[0]}, expected a VCF, or a table separated by tabs whose first "
                f"line names chrom, pos, ref and alt{hint}"
            )
        at = [names.index(name) for name in COLUMNS]
        id_at = names.index("id") if "id" in names else None
        for record, line in enumerate(lines):
            if not line:
                continue
            try:
                chrom, pos, ref, alts = (line[i].strip() for i in at)
                position = int(pos)
            except (IndexError, ValueError) as error:
                raise VariantError(
                    f"{self.name}:{record + first}: got {' '.join(map(str, line))[:60]!r}, expected chrom, pos (a "
                    "whole number, from 1), ref and alt; correct the line"
                ) from error
            name = "." if id_at is None or id_at >= len(line) else line[id_at] or "."
            for alt in alts.split(","):
                yield Variant(chrom, position, name, ref, alt, record)


def _kind_of(variant: Variant) -> str:
    """Say why a variant cannot be scored, or nothing."""
    alt = variant.alt
    if BASES.issuperset(alt) and alt:
        if sum(base not in KNOWN for base in alt) > sum(base not in KNOWN for base in variant.ref):
            return "whose ALT has unknown bases"
        return "whose ALT is REF" if alt.upper() == variant.ref.upper() else ""
    if alt in (".", "", "<NON_REF>", "<*>"):
        return "without ALT"
    if alt == "*":
        return "whose ALT is * (removed by a deletion upstream)"
    if alt.startswith("<"):
        return "symbolic allele"
    return "breakend" if "[" in alt or "]" in alt or "." in alt else "whose ALT is not bases"
