"""Motif file formats: MEME, JASPAR, TRANSFAC and HOMER, told apart by their content.

* MEME (minimal, or the text output of MEME and STREME): ``MEME version``, then per motif ``MOTIF id [name]`` and
  ``letter-probability matrix: alength= 4 w= W nsites= N`` with W rows of four probabilities.
* JASPAR: ``>id name``, then four rows of counts, ``A [ 1 2 … ]``, or the numbers alone in the order A, C, G, T.
* HOMER: ``>consensus <tab> name <tab> threshold …``, then a row of four probabilities per position. A header without
  tabs is the name (the PFM of GimmeMotifs).
* TRANSFAC: lines with two-letter keys (``AC ID NA``), ``P0 A C G T``, a row ``01 1 2 3 4`` per position, and ``//``.

The parsers here keep count of lines, for errors, and keep all digits: Biopython's MEME parser, the oracle of the tests
with its JASPAR and TRANSFAC parsers, rounds probabilities to whole sites and needs a background in the file.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from seqsal.errors import MotifError

__all__ = ["MotifRecord", "parse_motifs", "read_text"]

SUM_TOLERANCE = 0.05  # of the probabilities at a position
_BASES = "ACGT"
_TOOL_NAMES = re.compile(r"(MEME|STREME|DREME)-\d+|width|w|=|.*=.*")  # second words that are not names


class MotifRecord(NamedTuple):
    """A motif as a file gives it.

    Attributes
    ----------
    name, accession
        Its names; the accession may be empty.
    counts
        (4, W) counts or probabilities, rows A C G T.
    n_sites
        Number of sites that the file states, or None.
    line
        Where it starts, from 1; 0 when it is not from a file.
    """

    name: str
    accession: str
    counts: NDArray[np.float64]
    n_sites: float | None
    line: int


class _Line(NamedTuple):
    number: int
    text: str


class _Lines:
    """Lines of a file that are not blank, to be read one ahead; knows how to complain."""

    def __init__(self, text: str, source: str) -> None:
        self.source = source
        numbered = (_Line(i, line.strip()) for i, line in enumerate(text.splitlines(), start=1))
        self.lines = [line for line in numbered if line.text]
        self.next = 0

    def peek(self) -> _Line | None:
        return self.lines[self.next] if self.next < len(self.lines) else None

    def __iter__(self) -> Iterator[_Line]:
        while self.next < len(self.lines):
            self.next += 1
            yield self.lines[self.next - 1]

    def fail(self, line: int, fact: str) -> NoReturn:
        raise MotifError(f"{self.source}, line {line}: {fact}")

    def numbers(self, line: _Line, words: Sequence[str], n_expected: int | None = None) -> list[float]:
        """Numbers of a line's words, all finite and not negative."""
        if n_expected is not None and len(words) != n_expected:
            self.fail(line.number, f"got {len(words)} values, expected {n_expected}; the matrix is malformed or cut")
        try:
            values = [float(word) for word in words]
        except ValueError:
            self.fail(line.number, f"got {line.text[:60]!r}, expected numbers; the matrix is malformed")
        if not all(0 <= value < np.inf for value in values):
            self.fail(line.number, f"got {line.text[:60]!r}, expected numbers of 0 or more")
        return values


def read_text(path: str) -> str:
    """Text of a plain or gzipped motif file.

    Raises
    ------
    MotifError
        It is missing, cannot be read, or is not text.
    """
    try:
        data = Path(path).read_bytes()
        return (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise MotifError(f"{path}: is not text; expected motifs in MEME, JASPAR, TRANSFAC or HOMER format") from None
    except FileNotFoundError:
        raise MotifError(
            f"{path}: no such file; expected a motif file, or jaspar:RELEASE:TAXGROUP such as jaspar:2026:vertebrates"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise MotifError(f"{path}: cannot be read ({reason}); expected a motif file") from None


def parse_motifs(text: str, source: str) -> list[MotifRecord]:
    """Parse motifs in any of the formats.

    Parameters
    ----------
    text
        Content of the file.
    source
        Its name, for errors.

    Raises
    ------
    MotifError
        No motif in it, an unknown format, or a malformed line, which is named.
    """
    lines = _Lines(text, source)
    first = next((line for line in lines.lines if not line.text.startswith("#")), None)
    if first is None:
        raise MotifError(f"{source}: is empty; expected motifs in MEME, JASPAR, TRANSFAC or HOMER format")
    if any(line.text.startswith("MEME version") for line in lines.lines[:10]):
        records = _parse_meme(lines)
    elif first.text.startswith(">"):
        records = _parse_headed(lines)
    elif re.fullmatch(r"[A-Z][A-Z0-9]", first.text.split()[0]):
        records = _parse_transfac(lines)
    else:
        lines.fail(first.number, f"starts with {first.text[:40]!r}, expected MEME, JASPAR, TRANSFAC or HOMER format")
    if not records:
        raise MotifError(f"{source}: holds no motif; expected at least one")
    return records


def _parse_meme(lines: _Lines) -> list[MotifRecord]:
    records: list[MotifRecord] = []
    open_motif: _Line | None = None
    for line in lines:
        if line.text.startswith("ALPHABET"):
            _check_meme_alphabet(lines, line)
        elif line.text.split()[0] == "MOTIF":
            _check_has_matrix(lines, open_motif)
            open_motif = line
        elif line.text.startswith("letter-probability matrix"):
            if open_motif is None:
                lines.fail(line.number, "a matrix without a MOTIF line before it, so without a name; name the motif")
            records.append(_meme_record(lines, open_motif, line))
            open_motif = None
    _check_has_matrix(lines, open_motif)
    return records


def _check_has_matrix(lines: _Lines, motif: _Line | None) -> None:
    if motif is not None:
        lines.fail(motif.number, f"{motif.text[:60]!r} has no letter-probability matrix; the file is malformed or cut")


def _check_meme_alphabet(lines: _Lines, line: _Line) -> None:
    """Accept DNA and RNA, in both ways of stating them."""
    stated = line.text.removeprefix("ALPHABET").lstrip("= ").strip()
    if stated in ("ACGT", "ACGU") or "DNA" in stated.upper() or "RNA" in stated.upper():
        return
    kind = "a protein alphabet" if len(stated) >= 20 or "PROTEIN" in stated.upper() else "not that of DNA"
    lines.fail(line.number, f"the alphabet {stated[:40]!r} is {kind}, expected ACGT; use DNA motifs")


def _meme_record(lines: _Lines, motif: _Line, matrix: _Line) -> MotifRecord:
    words = motif.text.split()[1:]
    if not words or words[0] in ("width", "w="):
        lines.fail(motif.number, "a motif without a name; write MOTIF followed by its name")
    named = len(words) > 1 and not _TOOL_NAMES.fullmatch(words[1])
    accession = words[0] if named else ""
    name = words[1].removeprefix(f"{accession}.") if named else words[0]
    stated = dict(re.findall(r"(\w+)\s*=\s*(\S+)", matrix.text))
    alength, width, n_sites = (_stated(lines, matrix, stated, key) for key in ("alength", "w", "nsites"))
    if alength not in (None, 4):
        kind = "protein" if alength == 20 else "not DNA"
        lines.fail(matrix.number, f"a matrix of {alength:g} letters ({kind}), expected 4; use DNA motifs")
    rows = _meme_rows(lines, matrix, width)
    return MotifRecord(name, accession, np.array(rows).T * (n_sites or 1.0), n_sites or None, motif.number)


def _stated(lines: _Lines, matrix: _Line, stated: dict[str, str], key: str) -> float | None:
    if key not in stated:
        return None
    return lines.numbers(matrix._replace(text=f"{key}= {stated[key]}"), [stated[key]])[0]


def _meme_rows(lines: _Lines, matrix: _Line, width: float | None) -> list[list[float]]:
    """Rows of probabilities up to the first line that does not start like a number."""
    rows: list[list[float]] = []
    line = lines.peek()
    while line is not None and re.match(r"[-+.\d]|nan|inf", line.text, re.IGNORECASE):
        row = lines.numbers(line, line.text.split(), 4)
        if abs(sum(row) - 1) > SUM_TOLERANCE:
            lines.fail(line.number, f"the probabilities sum to {sum(row):g}, expected 1")
        rows.append(row)
        lines.next += 1
        line = lines.peek()
    if not rows or (width is not None and len(rows) != width):
        expected = "at least 1" if width is None else f"{width:g} (w=)"
        lines.fail(matrix.number, f"the matrix has {len(rows)} rows, expected {expected}; it is malformed or cut")
    return rows


def _parse_headed(lines: _Lines) -> list[MotifRecord]:
    """JASPAR and HOMER: a header with > and the rows below it."""
    records: list[MotifRecord] = []
    header: _Line | None = None
    rows: list[_Line] = []
    for line in [*lines.lines, _Line(0, ">")]:
        if line.text.startswith("#"):
            continue
        if not line.text.startswith(">"):
            rows.append(line)
            continue
        if header is not None:
            records.append(_headed_record(lines, header, rows))
        header, rows = line, []
    return records


def _headed_record(lines: _Lines, header: _Line, rows: list[_Line]) -> MotifRecord:
    fields = [field.strip() for field in header.text[1:].strip(" ").split("\t")]
    if not any(fields):
        lines.fail(header.number, "a motif without a name; write it after the >")
    if not rows:
        lines.fail(header.number, f"motif {fields[0]!r} has no matrix; the file is malformed or cut")
    is_homer = len(fields) > 2 or (len(fields) == 2 and not fields[1])
    by_position = all(len(row.text.split()) == 4 for row in rows) and (len(rows) != 4 or is_homer)
    if not re.match(r"[-+.\d]", rows[0].text):
        name, accession = _jaspar_name(fields)
        return MotifRecord(name, accession, _lettered_rows(lines, header, rows), None, header.number)
    if is_homer or by_position:
        if len(fields) > 1 and not fields[1]:
            lines.fail(header.number, "a motif without a name; write it after the consensus and a tab")
        values = [lines.numbers(row, row.text.split(), 4) for row in rows]
        return MotifRecord(fields[1] if len(fields) > 1 else fields[0], "", np.array(values).T, None, header.number)
    name, accession = _jaspar_name(fields)
    return MotifRecord(name, accession, _bare_rows(lines, header, rows), None, header.number)


def _jaspar_name(fields: list[str]) -> tuple[str, str]:
    """Name and accession of ``id name``, or of a name alone."""
    words = " ".join(fields).split(maxsplit=1)
    return (words[1], words[0]) if len(words) == 2 else (words[0], "")


def _lettered_rows(lines: _Lines, header: _Line, rows: list[_Line]) -> NDArray[np.float64]:
    """Four rows that start with their letter: ``A [ 1 2 3 ]``."""
    values: dict[str, list[float]] = {}
    for row in rows:
        letter = row.text[0].upper().replace("U", "T")
        if letter not in _BASES:
            lines.fail(row.number, f"a row of {row.text.split()[0]!r}, expected A, C, G or T; protein cannot be used")
        if letter in values:
            lines.fail(row.number, f"a second row of {letter} in one motif; the file is malformed")
        numbers = re.sub(r"[\[\]]", " ", row.text[1:]).split()
        values[letter] = lines.numbers(row, numbers, len(next(iter(values.values()))) if values else None)
    if len(values) != 4 or not values["A"]:
        lines.fail(header.number, f"got rows of {', '.join(values) or 'nothing'}, expected A, C, G and T with counts")
    return np.array([values[base] for base in _BASES])


def _bare_rows(lines: _Lines, header: _Line, rows: list[_Line]) -> NDArray[np.float64]:
    """Four rows of numbers in the order A, C, G, T."""
    if len(rows) != 4:
        lines.fail(header.number, f"a matrix of {len(rows)} rows, expected 4 (A, C, G, T) or 4 values a row")
    width = len(rows[0].text.split())
    return np.array([lines.numbers(row, row.text.split(), width) for row in rows])


def _parse_transfac(lines: _Lines) -> list[MotifRecord]:
    records: list[MotifRecord] = []
    entry: dict[str, str] = {}
    rows: list[list[float]] = []
    start: _Line | None = None
    for line in lines:
        key, *values = line.text.split()
        start = start or line
        if key == "//":
            if "P0" in entry:
                records.append(_transfac_record(lines, start, entry, rows))
            entry, rows, start = {}, [], None
        elif key.upper() in ("P0", "PO"):
            if [value.upper().replace("U", "T") for value in values[:4]] != list(_BASES) or len(values) > 5:
                lines.fail(line.number, f"columns {' '.join(values)!r}, expected A C G T; protein cannot be used")
            entry["P0"] = line.text
        elif key.isdigit() and "P0" in entry:
            rows.append(lines.numbers(line, values[:4], 4))
        elif "P0" in entry and not rows:
            lines.fail(line.number, f"got {line.text[:60]!r}, expected a numbered row of four counts")
        else:
            entry.setdefault(key, " ".join(values))
    if start is not None:
        lines.fail(start.number, "an entry without // at its end; the file is cut")
    return records


def _transfac_record(lines: _Lines, start: _Line, entry: dict[str, str], rows: list[list[float]]) -> MotifRecord:
    accession = entry.get("AC", "")
    name = entry.get("NA") or entry.get("ID") or accession
    if not name:
        lines.fail(start.number, "a motif without a name; give it a line AC, ID or NA")
    if not rows:
        lines.fail(start.number, f"motif {name!r} has no rows of counts; the file is malformed or cut")
    return MotifRecord(name, accession if accession != name else "", np.array(rows).T, None, start.number)
