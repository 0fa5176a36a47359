"""Which genome a bundle is about: an assembly that browsers have, sequences that go along as 2bit, or sizes alone.

Browsers know an assembly by its name at UCSC. Without a name, it is recognised by the lengths of two chromosomes
(hgdownload.soe.ucsc.edu/goldenPath/NAME/bigZips/NAME.chrom.sizes).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqsal.browser.text import slug
from seqsal.browser.twobit import write_twobit
from seqsal.errors import FastaError, UsageError
from seqsal.io.atomic import atomic_path
from seqsal.io.fasta import Genome

__all__ = ["ASSEMBLIES", "SIZES_FILE", "Reference", "choose_reference", "write_reference"]

ASSEMBLIES: dict[str, dict[str, int]] = {
    "hg38": {"chr1": 248_956_422, "chr2": 242_193_529},
    "hg19": {"chr1": 249_250_621, "chr2": 243_199_373},
    "hs1": {"chr1": 248_387_328, "chr2": 242_696_752},
    "mm39": {"chr1": 195_154_279, "chr2": 181_755_017},
    "mm10": {"chr1": 195_471_971, "chr2": 182_113_224},
    "dm6": {"chr2L": 23_513_712, "chr2R": 25_286_936},
    "ce11": {"chrI": 15_072_434, "chrII": 15_279_421},
    "sacCer3": {"chrI": 230_218, "chrII": 813_184},
    "danRer11": {"chr1": 59_578_282, "chr2": 59_640_629},
}
SIZES_FILE = "genome.chrom.sizes"
LARGEST_UNASKED = 500_000_000  # bases of a genome that is written as 2bit without being asked for
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}(\.[0-9]+)?")  # hg38, GCF_000146045.2
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reference:
    """The genome that a bundle's tracks lie on.

    Attributes
    ----------
    name
        Of the assembly at UCSC, or made from the name of the FASTA.
    fasta
        What goes into the bundle as 2bit; None for an assembly that browsers have, and where no FASTA is at hand.
    known
        Whether browsers have it.
    """

    name: str
    fasta: Path | None = None
    known: bool = False

    @property
    def twobit(self) -> str | None:
        """The 2bit file, relative to the bundle's folder, where there is one."""
        return None if self.fasta is None else f"{self.name}/{self.name}.2bit"

    @property
    def in_hub(self) -> bool:
        """Whether a track hub can be about it."""
        return self.known or self.fasta is not None


def choose_reference(
    chrom_sizes: Mapping[str, int], provenance: Mapping[str, Any], *, name: str | None = None, fasta: Path | None = None
) -> Reference:
    """Find out what to put the tracks on.

    Parameters
    ----------
    chrom_sizes
        Lengths (bp) of the chromosomes of the attributions.
    provenance
        Where they come from: `Attributions.attrs["genome"]`.
    name
        Of an assembly that UCSC has, as the user gave it.
    fasta
        The genome, as the user gave it; None is the one of `provenance` if it is still there, has these chromosomes,
        and is not larger than `LARGEST_UNASKED`.

    Raises
    ------
    UsageError
        `name` is not a name, or an assembly with chromosomes of other lengths; or both `name` and `fasta` are given.
    FastaError
        `fasta` cannot be read or has other chromosomes.
    """
    if name is not None and fasta is not None:
        raise UsageError("--genome-name and --genome: got both, expected one; UCSC has the sequence of what it names")
    if name is not None:
        _check_name(name, chrom_sizes, whole="genome" in provenance)
        return Reference(name, known=True)
    if fasta is not None:
        _check_fasta(fasta, chrom_sizes)
        return Reference(_name_of(fasta), fasta)
    found = next((known for known, sizes in ASSEMBLIES.items() if sizes.items() <= chrom_sizes.items()), None)
    if found is not None:
        return Reference(found, known=True)
    given = (provenance.get("genome") or provenance.get("fasta") or {}).get("file")
    path = Path(given) if given else None
    if path is not None and _usable(path, chrom_sizes):
        return Reference(_name_of(path), path)
    logger.info(
        "no UCSC track hub: the genome is not one that is recognised, and its FASTA is not at hand; name it with "
        "--genome-name, such as hg38, or give the FASTA with --genome"
    )
    return Reference(_name_of(path) if path else "genome")


def write_reference(folder: Path, reference: Reference, chrom_sizes: Mapping[str, int]) -> None:
    """Write what browsers do not have: the sequence as 2bit, or the lengths of the chromosomes."""
    if reference.fasta is not None and reference.twobit is not None:
        (folder / reference.twobit).parent.mkdir(exist_ok=True)
        write_twobit(reference.fasta, list(chrom_sizes), folder / reference.twobit)
    elif not reference.known:
        with atomic_path(folder / SIZES_FILE) as temporary:
            text = "".join(f"{chrom}\t{size}\n" for chrom, size in chrom_sizes.items())
            temporary.write_text(text, encoding="utf-8", newline="\n")


def _check_name(name: str, chrom_sizes: Mapping[str, int], *, whole: bool) -> None:
    """Raise for what is not a name, or for an assembly whose chromosomes have other lengths.

    Lengths that were seen in a FASTA of windows are only at least as long.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"--genome-name: got {name!r}, expected the name of an assembly at UCSC, such as hg38 or mm10")
    for chrom, size in ASSEMBLIES.get(name, {}).items():
        got = chrom_sizes.get(chrom, size)
        if got > size or (whole and got != size):
            raise UsageError(
                f"--genome-name: {name} has {size:,} bp of {chrom}, and these attributions {got:,}; name the assembly "
                "that they were made on"
            )


def _check_fasta(fasta: Path, chrom_sizes: Mapping[str, int]) -> None:
    with Genome(fasta) as genome:
        if genome.chrom_sizes == dict(chrom_sizes):
            return
        wrong = next((chrom for chrom in chrom_sizes if genome.chrom_sizes.get(chrom) != chrom_sizes[chrom]), None)
    what = "more chromosomes than" if wrong is None else f"no {wrong} of the length that"
    raise FastaError(f"{fasta}: has {what} the attributions were made on; give the genome that was attributed")


def _usable(fasta: Path, chrom_sizes: Mapping[str, int]) -> bool:
    if not fasta.is_file() or sum(chrom_sizes.values()) > LARGEST_UNASKED:
        return False
    try:
        _check_fasta(fasta, chrom_sizes)
    except FastaError as error:
        logger.info("%s", error)
        return False
    return all(len(chrom.encode()) < 256 for chrom in chrom_sizes)


def _name_of(fasta: Path) -> str:
    stem = re.sub(r"\.(fa|fasta|fna)(\.gz|\.bgz)?$", "", fasta.name, flags=re.IGNORECASE)
    name = slug(stem)
    return f"genome_{name}" if name in ASSEMBLIES or not name[:1].isalpha() else name
