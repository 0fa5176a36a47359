"""Where matrices come from: JASPAR releases, and files in six formats, told apart by their content.

* MEME (minimal, or the text output of MEME and STREME): ``MEME version``, then per motif ``MOTIF id [name]`` and
  ``letter-probability matrix: alength= 4 w= W nsites= N`` with W rows of four probabilities.
* JASPAR: ``>id name``, then four rows of counts, ``A [ 1 2 … ]``, or the numbers alone in the order A, C, G, T.
* cluster-buster, and the PFM of GimmeMotifs: ``>name``, then a row of four numbers per position.
* HOMER: the same with the header ``>consensus <tab> name <tab> threshold …``.
* TRANSFAC: lines with two-letter keys (``AC ID NA``), ``P0 A C G T``, a row ``01 1 2 3 4`` per position, and ``//``.
* XMS: XML with ``<motif>``, ``<name>`` and ``<weight symbol="adenine">``.

Biopython reads all but MEME, where it rounds probabilities to whole sites and needs a background in the file, and the
header of HOMER. Since it skips what it does not understand and knows no line numbers, each entry is checked first.

JASPAR releases (Rauluseviciute et al. 2024, doi:10.1093/nar/gkad1059) come offline, from the databases that pyjaspar
carries. Its own queries ask for one motif, one base at a time (3 s for the vertebrates of 2026); the two queries here
give the same matrices of a whole tax group in a tenth of that.
"""

from __future__ import annotations

import contextlib
import functools
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from seqsal.errors import MotifError
from seqsal.io.content import read_content

__all__ = ["JASPAR_PREFIX", "MotifRecord", "fetch_jaspar", "is_jaspar", "jaspar_releases", "parse_motifs", "read_text"]

FORMATS = "MEME, JASPAR, TRANSFAC, HOMER, cluster-buster or XMS"
SUM_TOLERANCE = 0.05  # of the probabilities at a position
MOST_POSITIONS = 1_000  # of a motif; the longest in JASPAR has 35
_BASES = "ACGT"
_TOOL_NAMES = re.compile(r"(MEME|STREME|DREME)-\d+|width|w|=|.*=.*")  # second words that are not names


class MotifRecord(NamedTuple):
    """A motif as a file gives it."""

    name: str
    accession: str  # may be empty
    counts: NDArray[np.float64]  # (4, W) counts or probabilities, rows A C G T
    n_sites: float | None  # that the file states
    line: int  # where it starts, from 1; 0 when it is not from a file


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

    def check_width(self, line: int, name: str, width: int) -> None:
        if width > MOST_POSITIONS:
            self.fail(
                line, f"motif {name!r} has {width:,} positions, expected at most {MOST_POSITIONS:,}; is this a motif?"
            )

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
    """Text of a plain or gzipped motif file; raises `MotifError` where there is none."""
    if not Path(path).exists() and path != "-":
        raise MotifError(
            f"{path}: no such file; expected a motif file, or jaspar:RELEASE:TAXGROUP such as jaspar:2026:vertebrates"
        )
    try:
        return read_content(path, "motif file", MotifError).data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise MotifError(f"{path}: is not text; expected motifs in {FORMATS} format") from None


def parse_motifs(text: str, source: str) -> list[MotifRecord]:
    """Parse motifs in any of the formats; `source` names the file in errors (`MotifError`, with the line)."""
    lines = _Lines(text, source)
    first = next((line for line in lines.lines if not line.text.startswith("#")), None)
    if first is None:
        raise MotifError(f"{source}: is empty; expected motifs in {FORMATS} format")
    if any(line.text.startswith("MEME version") for line in lines.lines[:10]):
        records = _parse_meme(lines)
    elif first.text.startswith(">"):
        records = _parse_headed(lines)
    elif first.text.startswith("<"):
        records = _parse_xms(text, source)
    elif re.fullmatch(r"[A-Z][A-Z0-9]", first.text.split()[0]):
        records = _parse_transfac(lines)
    else:
        lines.fail(first.number, f"starts with {first.text[:40]!r}, expected {FORMATS} format")
    if not records:
        raise MotifError(f"{source}: holds no motif; expected at least one")
    for record in records:
        lines.check_width(record.line, record.name, record.counts.shape[-1])
    return records


def _biopython(text: str, kind: str) -> list[tuple[Any, NDArray[np.float64]]]:
    """Motifs that Bio.motifs reads from a text that was checked, each with its counts (4, W)."""
    from Bio import motifs

    try:
        parsed = motifs.parse(io.StringIO(text), kind, strict=False)
    except Exception as error:  # such as an UnboundLocalError: its parsers stumble over damage in any way
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error
    return [(motif, np.array([motif.counts[base] for base in _BASES], dtype=np.float64)) for motif in parsed]


def _parse_meme(lines: _Lines) -> list[MotifRecord]:
    records: list[MotifRecord] = []
    open_motif: _Line | None = None
    for line in lines:
        if line.text.startswith("ALPHABET"):
            stated = line.text.removeprefix("ALPHABET").lstrip("= ").strip()
            if stated not in ("ACGT", "ACGU") and not re.search("DNA|RNA", stated.upper()):
                is_protein = len(stated) >= 20 or "PROTEIN" in stated.upper()
                what = f"{stated[:40]!r} is {'a protein alphabet' if is_protein else 'not that of DNA'}"
                lines.fail(line.number, f"the alphabet {what}, expected ACGT; use DNA motifs")
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


def _meme_record(lines: _Lines, motif: _Line, matrix: _Line) -> MotifRecord:
    words = motif.text.split()[1:]
    if not words or words[0] in ("width", "w="):
        lines.fail(motif.number, "a motif without a name; write MOTIF followed by its name")
    named = len(words) > 1 and not _TOOL_NAMES.fullmatch(words[1])
    accession = words[0] if named else ""
    name = words[1].removeprefix(f"{accession}.") if named else words[0]
    stated: dict[str, float] = {}
    for key, text in re.findall(r"\b(alength|w|nsites)\s*=\s*(\S+)", matrix.text):
        (stated[key],) = lines.numbers(matrix._replace(text=f"{key}= {text}"), [text])
    alength, width, n_sites = (stated.get(key) for key in ("alength", "w", "nsites"))
    if alength not in (None, 4):
        kind = "protein" if alength == 20 else "not DNA"
        lines.fail(matrix.number, f"a matrix of {alength:g} letters ({kind}), expected 4; use DNA motifs")
    rows = _meme_rows(lines, matrix, width)
    return MotifRecord(name, accession, np.array(rows).T * (n_sites or 1.0), n_sites or None, motif.number)


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


class _Entry(NamedTuple):
    """A header with > and the rows below it."""

    header: _Line
    fields: list[str]
    rows: list[_Line]

    @property
    def is_homer(self) -> bool:
        return len(self.fields) > 2 or (len(self.fields) == 2 and not self.fields[1])

    @property
    def is_lettered(self) -> bool:
        return not re.match(r"[-+.\d]", self.rows[0].text)

    def fail(self, lines: _Lines, fact: str) -> NoReturn:
        lines.fail(self.header.number, fact)


def _parse_headed(lines: _Lines) -> list[MotifRecord]:
    """JASPAR, cluster-buster and HOMER: a header with > and the rows below it."""
    entries: list[_Entry] = []
    for line in lines.lines:
        if line.text.startswith(">"):
            entries.append(_Entry(line, [field.strip() for field in line.text[1:].strip(" ").split("\t")], []))
        elif not line.text.startswith("#") and entries:
            entries[-1].rows.append(line)
    for entry in entries:
        if not any(entry.fields):
            entry.fail(lines, "a motif without a name; write it after the >")
        if not entry.rows:
            entry.fail(lines, f"motif {entry.fields[0]!r} has no matrix; the file is malformed or cut")
        lines.check_width(entry.header.number, entry.fields[0], max(len(entry.rows), len(entry.rows[0].text) // 16))
    orientations = {_orientation(entry) for entry in entries} - {None}
    return [_headed_record(lines, entry, orientations) for entry in entries]


def _orientation(entry: _Entry) -> str | None:
    """Whether the rows of a bare matrix are bases or positions, None where its shape and sums fit both."""
    if entry.is_homer or entry.is_lettered:
        return None
    words = [row.text.split() for row in entry.rows]
    if len(words) != 4 or any(len(row) != 4 for row in words):
        return "positions" if all(len(row) == 4 for row in words) else "bases"
    try:
        values = np.array(words, dtype=np.float64)
    except ValueError:
        return None
    by_row, by_column = (bool(np.ptp(values.sum(axis=axis)) <= 0.01 * values.sum(axis=axis).max()) for axis in (1, 0))
    return None if by_row == by_column else ("positions" if by_row else "bases")


def _headed_record(lines: _Lines, entry: _Entry, orientations: set[str | None]) -> MotifRecord:
    """Read one entry; `orientations` are those that the matrices of the file show."""
    header, fields, rows = entry
    if entry.is_lettered:
        text = _checked_letters(lines, entry)
    elif entry.is_homer or (_orientation(entry) or _shared(lines, entry, orientations)) == "positions":
        if len(fields) > 1 and not fields[1]:
            entry.fail(lines, "a motif without a name; write it after the consensus and a tab")
        for row in rows:
            lines.numbers(row, row.text.split(), 4)
        ((_, counts),) = _biopython("\n".join([">motif", *(row.text for row in rows)]), "clusterbuster")
        return MotifRecord(fields[1] if len(fields) > 1 else fields[0], "", counts, None, header.number)
    else:
        if len(rows) != 4:
            entry.fail(lines, f"a matrix of {len(rows)} rows, expected 4 (A, C, G, T) or 4 values a row")
        for row in rows:
            lines.numbers(row, row.text.split(), len(rows[0].text.split()))
        text = "\n".join(row.text for row in rows)
    words = " ".join(fields).split(maxsplit=1)  # id and name, or a name alone; Biopython's ends at a blank
    ((_, counts),) = _biopython(f">motif\n{text}", "jaspar")
    return MotifRecord(words[-1], words[0] if len(words) == 2 else "", counts, None, header.number)


def _shared(lines: _Lines, entry: _Entry, orientations: set[str | None]) -> str:
    """Orientation of a matrix of 4 × 4 that fits both, from the other motifs of the file."""
    if len(orientations) == 1:
        return str(next(iter(orientations)))
    entry.fail(
        lines,
        f"motif {entry.fields[0]!r} is 4 × 4 and the other motifs do not tell whether its rows are bases or positions; "
        "write the rows as A [ … ], C [ … ], G [ … ], T [ … ]",
    )


def _checked_letters(lines: _Lines, entry: _Entry) -> str:
    """Four rows that start with their letter, ``A [ 1 2 3 ]``, as JASPAR writes them."""
    found: dict[str, list[str]] = {}
    for row in entry.rows:
        letter = row.text[0].upper().replace("U", "T")
        if letter not in _BASES:
            lines.fail(row.number, f"a row of {row.text.split()[0]!r}, expected A, C, G or T; protein cannot be used")
        if letter in found:
            lines.fail(row.number, f"a second row of {letter} in one motif; the file is malformed")
        words = re.sub(r"[\[\]]", " ", row.text[1:]).split()
        lines.numbers(row, words, len(next(iter(found.values()))) if found else None)
        found[letter] = words
    if len(found) != 4 or not found["A"]:
        entry.fail(lines, f"got rows of {', '.join(found) or 'nothing'}, expected A, C, G and T with counts")
    return "\n".join(f"{base} [ {' '.join(found[base])} ]" for base in _BASES)


def _parse_transfac(lines: _Lines) -> list[MotifRecord]:
    records: list[MotifRecord] = []
    entry: list[_Line] = []
    for line in lines:
        entry.append(line)
        if line.text.split()[0] == "//":
            records += _transfac_records(lines, entry)
            entry = []
    if entry:
        lines.fail(entry[0].number, "an entry without // at its end; the file is cut")
    return records


def _transfac_records(lines: _Lines, entry: list[_Line]) -> list[MotifRecord]:
    """Read one entry: one motif, or none where it has no matrix."""
    text: list[str] = []
    n_rows: int | None = None  # None before the matrix
    for line in entry:
        key, *values = line.text.split()
        if key.upper() in ("P0", "PO"):
            if [value.upper().replace("U", "T") for value in values[:4]] != list(_BASES) or len(values) > 5:
                lines.fail(line.number, f"columns {' '.join(values)!r}, expected A C G T; protein cannot be used")
            text.append("P0      A      C      G      T")
            n_rows = 0
            continue
        if key.isdigit() and n_rows is not None:
            lines.numbers(line, values[:4], 4)
            n_rows += 1
        elif n_rows == 0 and key != "//":
            lines.fail(line.number, f"got {line.text[:60]!r}, expected a numbered row of four counts")
        if key in ("AC", "ID", "NA", "//") or key.isdigit():  # Biopython is strict about references, no use here
            text.append(line.text)
    if n_rows is None:
        return []
    start = entry[0].number
    if not any(line.split()[0] in ("AC", "ID", "NA") and len(line.split()) > 1 for line in text):
        lines.fail(start, "a motif without a name; give it a line AC, ID or NA")
    try:
        ((motif, counts),) = _biopython("\n".join(text) + "\n", "transfac")
    except ValueError as error:
        lines.fail(start, f"an entry that cannot be read ({' '.join(str(error).split())[:120]})")
    accession = motif.get("AC", "")
    name = motif.get("NA") or motif.get("ID") or accession
    if not n_rows:
        lines.fail(start, f"motif {name!r} has no rows of counts; the file is malformed or cut")
    return [MotifRecord(name, accession if accession != name else "", counts, None, start)]


def _parse_xms(text: str, source: str) -> list[MotifRecord]:
    try:
        return [MotifRecord(motif.name.strip(), "", counts, None, 0) for motif, counts in _biopython(text, "xms")]
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise MotifError(f"{source}: cannot be read as XMS ({error}); expected XML with <motif> elements") from None


JASPAR_PREFIX = "jaspar:"
_JASPAR_GROUPS = """
    SELECT DISTINCT a.VAL FROM MATRIX_ANNOTATION a JOIN MATRIX m ON m.ID = a.ID
    WHERE a.TAG = 'tax_group' AND m.COLLECTION = 'CORE' ORDER BY a.VAL"""
_JASPAR_LATEST = """
    SELECT m.ID, m.BASE_ID || '.' || m.VERSION, m.NAME FROM MATRIX m JOIN MATRIX_ANNOTATION a ON a.ID = m.ID
    JOIN (SELECT BASE_ID, MAX(VERSION) AS VERSION FROM MATRIX GROUP BY BASE_ID) last
    ON last.BASE_ID = m.BASE_ID AND last.VERSION = m.VERSION
    WHERE a.TAG = 'tax_group' AND a.VAL = ? AND m.COLLECTION = 'CORE' ORDER BY m.BASE_ID"""
_JASPAR_COUNTS = """
    SELECT ID, ROW, VAL FROM MATRIX_DATA
    WHERE ID IN (SELECT ID FROM MATRIX_ANNOTATION WHERE TAG = 'tax_group' AND VAL = ?) ORDER BY ID, COL"""


def jaspar_releases() -> list[str]:
    """Years of the JASPAR releases that are installed, newest first."""
    from pyjaspar import jaspar_releases as files

    return sorted((name.removeprefix("JASPAR") for name in files), reverse=True)


def is_jaspar(text: str) -> bool:
    """Whether a text is `jaspar:RELEASE:TAXGROUP`, in letters of either case, and no path."""
    return text.lower().startswith(JASPAR_PREFIX)


@functools.cache
def fetch_jaspar(spec: str) -> tuple[MotifRecord, ...]:
    """Latest matrices of the CORE collection of `jaspar:RELEASE:TAXGROUP`, in the order of their accessions."""
    parts, known = spec[len(JASPAR_PREFIX) :].split(":"), jaspar_releases()
    if len(parts) != 2 or not all(parts):
        raise MotifError(
            f"{spec}: expected jaspar:RELEASE:TAXGROUP, for example jaspar:{known[0]}:vertebrates; the releases are "
            f"{', '.join(known)}"
        )
    release, group = parts[0].upper().removeprefix("JASPAR"), parts[1].lower()
    if release not in known:
        raise MotifError(f"{spec}: JASPAR release {parts[0]!r} is not known; expected one of {', '.join(known)}")
    from pyjaspar import jaspardb

    with contextlib.closing(jaspardb(release=f"JASPAR{release}").conn) as connection:
        groups = [str(row[0]) for row in connection.execute(_JASPAR_GROUPS)]
        if group not in groups:
            raise MotifError(
                f"{spec}: tax group {parts[1]!r} is not in JASPAR {release}; expected one of {', '.join(groups)}"
            )
        matrices = connection.execute(_JASPAR_LATEST, (group,)).fetchall()
        columns: dict[int, dict[str, list[float]]] = {key: {base: [] for base in _BASES} for key, _, _ in matrices}
        for key, base, value in connection.execute(_JASPAR_COUNTS, (group,)):
            if key in columns:
                columns[key][base].append(float(value))
    return tuple(
        MotifRecord(name, accession, np.array([columns[key][base] for base in _BASES]), None, 0)
        for key, accession, name in matrices
    )
