"""Which genome a bundle is about: an assembly that browsers have, sequences that are included as 2bit, or sizes alone.

Browsers know an assembly by its name at UCSC. Without a name, it is recognised by the lengths of two chromosomes
(hgdownload.soe.ucsc.edu/goldenPath/NAME/bigZips/NAME.chrom.sizes).

Browsers take a genome that they do not have as 2bit, little-endian throughout
(https://genome.ucsc.edu/FAQ/FAQformat.html#format7): a header of four 32-bit words (signature, version 0, number of
sequences, 0); an index of name length (one byte), name and 32-bit offset for each; then for each sequence its length,
the runs of N as count, starts and lengths, the lower-case runs in the same way, a zero word, and the bases T C A G as 0
1 2 3, four to a byte, the first in the highest bits. N is stored as T, and so are the other letters of IUPAC, which the
format has no room for.
"""

from __future__ import annotations

import logging
import os
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from seqsal.browser.labels import slug
from seqsal.errors import FastaError, UsageError
from seqsal.io.atomic import atomic_path
from seqsal.io.fasta import Genome, read_fasta_letters
from seqsal.sequence.codes import BYTE_TO_CODE

__all__ = ["ASSEMBLIES", "SIZES_FILE", "Reference", "choose_reference", "write_reference", "write_twobit"]

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
LARGEST_UNASKED = 500_000_000  # bases of a genome that is written as 2bit by default
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}(\.[0-9]+)?")  # hg38, GCF_000146045.2
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reference:
    """The genome that a bundle's tracks lie on."""

    name: str  # of the assembly at UCSC, or made from the name of the FASTA
    fasta: Path | None = None  # what goes into the bundle as 2bit
    known: bool = False  # whether browsers have it

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

    `name` is an assembly that UCSC has, `fasta` the genome, as the user gave them; without them it is recognised by the
    `chrom_sizes` (bp), or is the FASTA of `provenance` (`Attributions.attrs["genome"]`) if that is still there, has
    these chromosomes, and is not larger than `LARGEST_UNASKED`. Raises `UsageError` for a name that does not fit the
    sizes or for both, `FastaError` for a FASTA that cannot be read or has other chromosomes.
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


_SIGNATURE = 0x1A412743
_LARGEST = 2**32  # bytes that an offset reaches
_LONGEST_NAME = 255  # bytes
_UNKNOWN = 255
_BASES = np.array([2, 1, 3, 0, _UNKNOWN], dtype=np.uint8)[BYTE_TO_CODE]  # of each letter; T C A G are 0 1 2 3


def write_twobit(fasta: str | os.PathLike[str], names: Sequence[str], path: str | os.PathLike[str]) -> None:
    """Write the records of a FASTA file as 2bit; `names` are those of all of them, in their order.

    Raises `FastaError` for other records, a name of more than 255 bytes, or more than about 16 Gb.
    """
    encoded = [name.encode() for name in names]
    too_long = next((name for name in encoded if len(name) > _LONGEST_NAME), None)
    if too_long is not None:
        raise FastaError(
            f"{fasta}: the record name {too_long[:20].decode(errors='replace')}… has {len(too_long)} bytes, and 2bit "
            f"takes {_LONGEST_NAME}; shorten it"
        )
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(struct.pack("<4I", _SIGNATURE, 0, len(encoded), 0))
        places = []  # of the offsets, filled in below
        for name in encoded:
            file.write(bytes([len(name)]) + name)
            places.append(file.tell())
            file.write(bytes(4))
        for i, (record, letters) in enumerate(read_fasta_letters(fasta)):
            if i >= len(names) or record != names[i]:
                raise FastaError(f"{fasta}: record {i + 1} is {record}, expected other records; was the file changed?")
            here = file.tell()
            if here >= _LARGEST:
                raise FastaError(
                    f"{fasta}: is too large for 2bit, which holds 16 Gb; give the name of the assembly instead"
                )
            file.seek(places[i])
            file.write(struct.pack("<I", here))
            file.seek(here)
            _write_sequence(file, np.frombuffer(letters, dtype=np.uint8))


def _write_sequence(file: BinaryIO, letters: NDArray[np.uint8]) -> None:
    codes = _BASES[letters]
    unknown = codes == _UNKNOWN
    file.write(struct.pack("<I", len(letters)))
    for runs in (unknown, (letters >= ord("a")) & (letters <= ord("z"))):
        starts, lengths = _runs(runs)
        file.write(struct.pack("<I", len(starts)) + starts.tobytes() + lengths.tobytes())
    file.write(bytes(4))
    codes[unknown] = 0
    quads = np.zeros((len(codes) + 3) // 4 * 4, dtype=np.uint8)
    quads[: len(codes)] = codes
    first, second, third, fourth = quads.reshape(-1, 4).T
    file.write((first << 6 | second << 4 | third << 2 | fourth).tobytes())


def _runs(mask: NDArray[np.bool_]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return starts and lengths of the runs of True."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
    return edges[::2].astype("<u4"), (edges[1::2] - edges[::2]).astype("<u4")
