"""Write a genome as 2bit, which genome browsers take for an assembly that they do not have.

Little-endian throughout (https://genome.ucsc.edu/FAQ/FAQformat.html#format7): a header of four 32-bit words (signature,
version 0, number of sequences, 0); an index of name length (one byte), name and 32-bit offset for each; then for each
sequence its length, the runs of N as count, starts and lengths, the lower-case runs in the same way, a zero word, and
the bases T C A G as 0 1 2 3, four to a byte, the first in the highest bits. N is stored as T, and so are the other
letters of IUPAC, which the format has no room for.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from seqsal.errors import FastaError
from seqsal.io.atomic import atomic_path
from seqsal.io.fasta import read_fasta_letters
from seqsal.sequence.codes import BYTE_TO_CODE

__all__ = ["write_twobit"]

_SIGNATURE = 0x1A412743
_LARGEST = 2**32  # bytes that an offset reaches
_LONGEST_NAME = 255  # bytes
_UNKNOWN = 255
_BASES = np.array([2, 1, 3, 0, _UNKNOWN], dtype=np.uint8)[BYTE_TO_CODE]  # of each letter; T C A G are 0 1 2 3


def write_twobit(fasta: str | os.PathLike[str], names: Sequence[str], path: str | os.PathLike[str]) -> None:
    """Write the records of a FASTA file as 2bit.

    Parameters
    ----------
    fasta
        Plain or compressed.
    names
        Of all its records, in their order.
    path
        File to write.

    Raises
    ------
    FastaError
        The FASTA cannot be read, has other records, a name is longer than 255 bytes, or it is too large (about 16 Gb).
    OutputError
        The file cannot be written.
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
        offsets = _write_index(file, encoded)
        for i, (name, letters) in enumerate(read_fasta_letters(fasta)):
            if i >= len(names) or name != names[i]:
                raise FastaError(f"{fasta}: record {i + 1} is {name}, expected other records; was the file changed?")
            _write_offset(file, Path(fasta), offsets[i])
            _write_sequence(file, np.frombuffer(letters, dtype=np.uint8))


def _write_index(file: BinaryIO, names: Sequence[bytes]) -> list[int]:
    """Write names with empty offsets; return where each offset belongs."""
    places = []
    for name in names:
        file.write(bytes([len(name)]) + name)
        places.append(file.tell())
        file.write(bytes(4))
    return places


def _write_offset(file: BinaryIO, fasta: Path, place: int) -> None:
    here = file.tell()
    if here >= _LARGEST:
        raise FastaError(f"{fasta}: is too large for 2bit, which holds 16 Gb; give the name of the assembly instead")
    file.seek(place)
    file.write(struct.pack("<I", here))
    file.seek(here)


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
