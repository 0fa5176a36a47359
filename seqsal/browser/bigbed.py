"""Write bigBed (Kent et al. 2010, doi:10.1093/bioinformatics/btq351) through pybigtools.

pybigtools counts every field that the autoSql describes as a field of BED. The header tells them apart: `fieldCount`
is all of them, `definedFieldCount` those that are BED's own, and igv.js and UCSC's tools read the others by their
autoSql name. The second number, two bytes at offset 34, is therefore corrected.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqsal.errors import OutputError
from seqsal.io.atomic import atomic_path

__all__ = ["ARTIFACT_SCHEMA", "MOTIF_SCHEMA", "PEAK_SCHEMA", "PLAIN_SCHEMA", "BedSchema", "write_bigbed"]

Row = tuple[str, int, int, str]
_DATA_OFFSET, _DEFINED_FIELDS = 16, 34  # where the numbers lie in the header
_BED = (
    ("string", "chrom", "Chromosome or contig"),
    ("uint", "chromStart", "First base, from 0"),
    ("uint", "chromEnd", "One past the last base"),
    ("string", "name", "Name"),
    ("uint", "score", "0 to 1000"),
    ("char[1]", "strand", "+, - or ."),
    ("uint", "thickStart", "Same as chromStart"),
    ("uint", "thickEnd", "Same as chromEnd"),
    ("uint", "itemRgb", "Colour as red,green,blue"),
)


@dataclass(frozen=True)
class BedSchema:
    """What the columns of a bigBed are.

    Attributes
    ----------
    table, comment
        Name and description in autoSql.
    n_bed
        How many of the columns are BED's own, from the first.
    extra
        (type, name, comment) of the columns behind them.
    """

    table: str
    comment: str
    n_bed: int
    extra: tuple[tuple[str, str, str], ...] = ()

    @property
    def autosql(self) -> str:
        """The declaration that goes into the file."""
        fields = "".join(f'    {kind} {name}; "{comment}"\n' for kind, name, comment in self._fields)
        return f'table {self.table}\n"{self.comment}"\n(\n{fields})\n'

    @property
    def trackdb_type(self) -> str:
        """The value of `type` in a trackDb."""
        return "bigNarrowPeak" if self.table == "bigNarrowPeak" else f"bigBed {self.n_bed} {'+' if self.extra else '.'}"

    @property
    def _fields(self) -> tuple[tuple[str, str, str], ...]:
        return _BED[: self.n_bed] + self.extra


PEAK_SCHEMA = BedSchema(
    "bigNarrowPeak",
    "Peaks of attribution",
    6,
    (
        ("float", "signalValue", "Signed sum of the attributions under the peak"),
        ("float", "pValue", "-log10 of the p-value, -1 for none"),
        ("float", "qValue", "-log10 of the q-value, -1 for none"),
        ("int", "peak", "Summit, in bases from chromStart, -1 for none"),
    ),
)
MOTIF_SCHEMA = BedSchema(
    "motifInstances",
    "Instances of motif patterns",
    9,
    (
        ("string", "pattern", "Pattern that the instance belongs to"),
        ("float", "contribution", "Signed sum of the attributions under the instance"),
    ),
)
PLAIN_SCHEMA = BedSchema("instances", "Instances", 9)
ARTIFACT_SCHEMA = BedSchema("artifactHits", "Occurrences of artifacts that the model uses", 9)


def write_bigbed(
    path: str | os.PathLike[str], rows: Sequence[Row], chrom_sizes: Mapping[str, int], schema: BedSchema
) -> None:
    """Write items as bigBed.

    Parameters
    ----------
    path
        File to write.
    rows
        (chrom, start, end, the other columns joined by tabs) of each item, at least one, in any order, inside their
        chromosomes.
    chrom_sizes
        Chromosome lengths (bp).
    schema
        What the columns are.

    Raises
    ------
    OutputError
        The file cannot be written in full.
    """
    import pybigtools  # here because few commands write one

    with atomic_path(path) as temporary:
        try:
            writer = pybigtools.open(str(temporary), "w")
            writer.write(dict(chrom_sizes), iter(sorted(rows)), autosql=schema.autosql)
            n_written = _finish(temporary, schema.n_bed)
        except OSError:
            raise
        except BaseException as error:
            if not _is_theirs(error):
                raise
            raise OutputError(
                f"{path}: cannot be written as bigBed ({error}); is there space on the device?"
            ) from error
        if n_written != len(rows):
            raise OutputError(f"{path}: has {n_written} of {len(rows)} items; is there space on the device?")


def _is_theirs(error: BaseException) -> bool:
    """Whether pybigtools raised an error: a plain Exception, or on a full disk a panic, which is none."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def _finish(path: Path, n_bed: int) -> int:
    """Correct the number of BED's own fields in the header, and return the number of items in the file."""
    with path.open("r+b") as file:
        file.seek(_DEFINED_FIELDS)
        file.write(struct.pack("<H", n_bed))
        file.seek(_DATA_OFFSET)
        (data,) = struct.unpack("<Q", file.read(8))
        file.seek(data)
        (n_items,) = struct.unpack("<Q", file.read(8))
    return int(n_items)
