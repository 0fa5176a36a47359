"""Find, make and check the index of a FASTA file.

The .fai index has one line a record: name, length in bases, offset of the first base in the (decompressed) file, bases
a line, bytes a line (samtools faidx). It is made by a pass over the whole file that looks at every line, since an index
is right only if all lines of a record but the last have one length: blanks at the end of lines do no harm, and what
else is no base is refused with its line. It is put beside the FASTA, or in a cache folder when that folder cannot be
written to. An index that is found gives wrong bases when the FASTA was edited behind its back, so it is used only if
every record's name, both its ends and some of its lines are found where it says, and made anew if it is older than the
FASTA.

A bgzip (BGZF) file is a row of gzip members of at most 64 KiB of content each, whose headers carry the extra field
"BC", and ends with an empty member. The .gzi index lists, as little-endian uint64, the number of pairs that follow and
a pair (offset in the file, offset in the content) for each member but the first (SAM specification, section 4.1;
htslib's bgzf.c).
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import logging
import mmap
import os
import stat
import tempfile
import zlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from seqsal.errors import FastaError

__all__ = [
    "BgzfContent", "FastaIndex", "check_fasta", "check_layout", "check_letters", "default_cache_dir", "open_index",
]  # fmt: skip

EOF_BLOCK = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
_N_KEPT = 256  # decompressed blocks held, 64 KiB each
_log = logging.getLogger(__name__)
_COMPRESSED = {b"BZh": "bzip2", b"PK\x03": "zip", b"\xfd7z": "xz", b"\x28\xb5\x2f": "zstd"}
_LONGEST_HEADER = 1 << 20
_LARGEST = 1 << 48  # bytes; what is more in an index is damage
_SCAN_BYTES = 1 << 23
_BLANKS = b" \t\r\n"
_AMINO_ACIDS = b"EFILPQZefilpqz"  # and no IUPAC code of bases
_IS_BLANK = np.isin(np.arange(256), list(b" \t\r"))
_IS_ODD = ~np.isin(np.arange(256), list(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz*-.\n"))


@dataclass(frozen=True)
class FastaIndex:
    """The .fai index as arrays over the records, in file order.

    `fai` and `gzi` (bgzip only) are where it is kept; `names` go up to the first blank; (n_records,) int64: `size` in
    bases, `offset` of the first base in bytes, `line_bp` and `line_bytes`, bases and bytes a line.
    """

    fai: Path
    gzi: Path | None
    names: list[str]
    size: NDArray[np.int64]
    offset: NDArray[np.int64]
    line_bp: NDArray[np.int64]
    line_bytes: NDArray[np.int64]

    def byte_of(self, record: NDArray[np.int64], position: NDArray[np.int64]) -> NDArray[np.int64]:
        """Byte at which base `position` of `record` lies, in the decompressed file."""
        line_bp = self.line_bp[record]
        return self.offset[record] + position // line_bp * self.line_bytes[record] + position % line_bp


def default_cache_dir() -> Path:
    """`$XDG_CACHE_HOME/seqsal`, or `~/.cache/seqsal`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seqsal"


def check_fasta(path: Path) -> bool:
    """Return whether the file is bgzip (else it is plain text) after a look at its first and last bytes.

    FastaError: missing, unreadable, empty, compressed in another way, truncated, or not FASTA.
    """
    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)
            file.seek(max(0, path.stat().st_size - len(EOF_BLOCK)))
            tail = file.read()
    except FileNotFoundError as error:
        raise FastaError(f"{path}: no such file; check the path of the FASTA") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", error)
        raise FastaError(f"{path}: cannot be read ({reason}); expected a readable FASTA file") from error
    if not head:
        raise FastaError(f"{path}: is empty, expected FASTA; check how the file was made")
    _check_compression(path, head)
    if is_bgzf(head):
        if tail != EOF_BLOCK:
            raise FastaError(
                f"{path}: bgzip file without its end marker, so it is truncated; copy or download it again"
            )
        return True
    if b"\r" in head and b"\n" not in head:
        raise FastaError(
            f"{path}: its lines end in CR alone, as old Macs wrote them; convert it, for example with tr '\\r' '\\n'"
        )
    if head.startswith(b"\xef\xbb\xbf"):
        raise FastaError(f"{path}: begins with a byte order mark; save it as plain ASCII text")
    text = head.lstrip()
    if b"\0" in head or not text.startswith((b">", b";")):
        raise FastaError(f"{path}: is not FASTA, got {text[:20]!r} first, expected a line that begins with '>'")
    for line in head.split(b"\n"):
        check_letters(path, line)
    return False


def check_letters(path: Path, line: bytes) -> None:
    """Raise `FastaError` for a line of a protein: one with letters that are amino acids and no code for bases."""
    if line[:1] not in (b">", b";") and len(line) != len(line.translate(None, _AMINO_ACIDS)):
        raise FastaError(
            f"{path}: holds {line[:20].decode(errors='replace')!r}, a protein as it seems; expected DNA: A, C, G, T, "
            "N and other IUPAC codes of bases"
        )


def _check_compression(path: Path, head: bytes) -> None:
    if head[:2] == b"\x1f\x8b" and not is_bgzf(head):
        raise FastaError(
            f"{path}: is gzip but not bgzip, which cannot be read at random; recompress it: "
            f"gunzip -c {path.name} | bgzip > genome.fa.gz"
        )
    kind = _COMPRESSED.get(head[:3])
    if kind:
        raise FastaError(f"{path}: is compressed with {kind}; decompress it, or recompress it with bgzip")


def open_index(path: Path, *, compressed: bool, cache_dir: Path | None) -> FastaIndex:
    """Read the index next to the FASTA, else the one in the cache folder (None: `default_cache_dir`), else make it.

    `compressed` is bgzip, which needs a .gzi as well. FastaError: the index is damaged, or none can be made.
    """
    status, cache = path.stat(), cache_dir or default_cache_dir()
    date = status.st_mtime_ns
    # the cache keeps the index of the file as it is now: another size or date is another name
    key = hashlib.sha256(os.fsencode(f"{path.resolve()}\0{status.st_size}\0{date}")).hexdigest()[:16]
    beside = Path(f"{path}.fai"), Path(f"{path}.gzi")
    cached = cache / f"{path.name}.{key}.fai", cache / f"{path.name}.{key}.gzi"
    for fai, gzi in (beside, cached):
        if all(file.is_file() and file.stat().st_mtime_ns >= date for file in (fai, gzi)[: 1 + compressed]):
            return _read_fai(path, fai, gzi if compressed else None)
    if beside[0].is_file():
        _log.info("%s is older than the FASTA, so the index is made again", beside[0])
    fai, gzi = _make_index(path, (beside, cached), compressed)
    return _read_fai(path, fai, gzi if compressed else None)


def check_layout(path: Path, index: FastaIndex, read: Callable[[int, int], bytes], size: int) -> None:
    """Compare the index with the file: each record must follow its header, and end where the next one begins.

    `read` gives bytes [start, end) of the decompressed file, which has `size`. FastaError: a record is elsewhere, so
    the file was edited or cut after the index was made.
    """
    last_bp, line_bp = np.maximum(index.size - 1, 0), np.maximum(index.line_bp, 1)
    ends = index.offset + last_bp // line_bp * index.line_bytes + last_bp % line_bp + (index.size > 0)
    end = 0
    columns = (index.offset, ends, index.size, index.line_bp, index.line_bytes)
    for name, offset, next_end, size_bp, bp, n_bytes in zip(
        index.names, *(column.tolist() for column in columns), strict=True
    ):
        between = read(end, offset) if 0 < offset - end < _LONGEST_HEADER else b""
        if not _is_header(between, name, first=end == 0):
            raise _stale(path, index.fai, f"record {name} is not where the index says")
        last, after = read(next_end - 1, next_end), read(next_end, next_end + 1)
        if (next_end > offset and last in _BLANKS) or after not in _BLANKS + b">":
            raise _stale(path, index.fai, f"record {name} does not end where the index says")
        if not _lines_fit(read, offset, size_bp, bp, n_bytes):
            raise _stale(path, index.fai, f"lines of record {name} do not have the length that the index says")
        end = next_end
    if read(end, min(size, end + _LONGEST_HEADER)).strip():
        raise _stale(path, index.fai, f"record {index.names[-1]} is not the last one")


def _lines_fit(read: Callable[[int, int], bytes], offset: int, size: int, line_bp: int, line_bytes: int) -> bool:
    """Whether the first line of a record, and one in its middle, are as long as the index says."""
    n_whole = (size - 1) // max(line_bp, 1)  # lines with another one below them
    for line in {0, n_whole - 1, n_whole // 2} if n_whole > 0 else ():
        text = read(offset + line * line_bytes, offset + (line + 1) * line_bytes)
        if len(text[:line_bp].split()) != 1 or text[:line_bp].strip(_BLANKS) != text[:line_bp]:
            return False
        if text[line_bp:].strip(_BLANKS) or not text.endswith(b"\n"):
            return False
    return True


def _is_header(between: bytes, name: str, *, first: bool) -> bool:
    """Whether the bytes between two records are one line, the header of `name`; comments may precede the first."""
    lines = between.strip(_BLANKS).split(b"\n")
    if not between.endswith(b"\n") or (len(lines) > 1 and not first) or any(line[:1] == b">" for line in lines[:-1]):
        return False
    return lines[-1][:1] == b">" and lines[-1][1:].decode(errors="replace").split()[:1] == [name]


def _stale(path: Path, fai: Path, what: str) -> FastaError:
    return FastaError(
        f"{path}: does not fit its index {fai} ({what}): it was edited or truncated after it was indexed, or its "
        f"lines differ in length; check the FASTA, then delete the index and seqsal makes it again"
    )


def _make_index(path: Path, choices: tuple[tuple[Path, Path], ...], compressed: bool) -> tuple[Path, Path]:
    """Make the index in the first folder that can be written to; it appears there complete or not at all."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        pairs: list[tuple[int, int]] = []
        pieces = (data[start : start + _SCAN_BYTES] for start in range(0, len(data), _SCAN_BYTES))
        rows = _scan(path, _blocks(path, data, pairs) if compressed else pieces)
    for fai, gzi in choices:
        try:
            fai.parent.mkdir(parents=True, exist_ok=True)
            if not fai.parent.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH):
                # root could write there, but the folder is meant to stay as it is
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(fai.parent))
            with tempfile.TemporaryDirectory(dir=fai.parent, prefix=".seqsal-index-") as folder:
                made_fai, made_gzi = Path(folder) / "fai", Path(folder) / "gzi"
                made_fai.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows), encoding="utf-8")
                if compressed:
                    made_gzi.write_bytes(np.array([len(pairs), *np.ravel(pairs)], dtype="<u8").tobytes())
                    os.replace(made_gzi, gzi)
                os.replace(made_fai, fai)
                _log.info("indexed %s; the index is kept as %s", path, fai)
                return fai, gzi
        except OSError as error:
            refusal = error
    elsewhere, reason = choices[-1][0].parent, refusal.strerror or refusal
    raise FastaError(
        f"{path}: its index cannot be written next to it or in {elsewhere} ({reason}); "
        "set XDG_CACHE_HOME to a folder that you may write to"
    )


def _blocks(path: Path, data: mmap.mmap, pairs: list[tuple[int, int]]) -> Iterator[bytes]:
    """Yield the content of a bgzip file, and note where its blocks begin, as the .gzi index does."""
    at = offset = 0
    parts: list[bytes] = []
    while at < len(data):
        head = data[at : at + 18]
        size = int.from_bytes(head[16:18], "little") + 1
        try:
            if not is_bgzf(head):
                raise zlib.error("no block begins there")
            content = zlib.decompress(data[at : at + size], wbits=31)
        except zlib.error as error:
            raise FastaError(
                f"{path}: bgzip content is damaged at byte {at} ({error}); copy or download it again"
            ) from error
        if at and content:
            pairs.append((at, offset))
        at, offset = at + size, offset + len(content)
        parts.append(content)
        if len(parts) == _SCAN_BYTES >> 16:
            yield b"".join(parts)
            parts = []
    yield b"".join(parts)


class _Row(NamedTuple):
    """A line of the .fai index."""

    name: str
    size: int
    offset: int
    line_bp: int
    line_bytes: int


class _Lines(NamedTuple):
    """Some lines of a FASTA: where they start and how many bases and bytes each has; blanks at the end do not count."""

    letters: NDArray[np.uint8]
    start: NDArray[np.int64]
    end: NDArray[np.int64]  # of the line, where its newline is
    n_bp: NDArray[np.int64]
    first: NDArray[np.uint8]

    @classmethod
    def of(cls, data: bytes) -> _Lines:
        letters = np.frombuffer(data, dtype=np.uint8)
        end = np.flatnonzero(letters == ord("\n"))
        if not data.endswith(b"\n"):
            end = np.append(end, len(data))
        start = np.concatenate([[0], end[:-1] + 1])
        stop = end.copy()
        while (trailing := (stop > start) & _IS_BLANK[letters[np.maximum(stop - 1, 0)]]).any():
            stop -= trailing
        first = np.where(stop > start, letters[np.minimum(start, len(letters) - 1)], 0).astype(np.uint8)
        return cls(letters, start, end, stop - start, first)


def _scan(path: Path, chunks: Iterable[bytes]) -> list[_Row]:
    """Index a FASTA from its content, looking at every line.

    FastaError: a line that is no bases, or of another length than those before it; a record without a name, or two of
    one.
    """
    scan, rest = _Scan(path), b""
    for chunk in chunks:
        whole, newline, rest = (rest + chunk).rpartition(b"\n")
        if newline:
            scan.add(whole + newline)
    if rest:
        scan.add(rest)
    scan.finish()
    if not scan.rows:
        raise FastaError(f"{path}: holds no record; expected FASTA with at least one")
    return scan.rows


class _Scan:
    """The rows so far, and the record that is being read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[_Row] = []
        self._names: set[str] = set()
        self._row: _Row | None = None
        self._is_closed = False  # by a line that only the last of a record may be
        self._n_lines = self._n_bytes = 0

    def add(self, data: bytes) -> None:
        """Take whole lines."""
        lines = _Lines.of(data)
        self._check_letters(lines)
        headers = np.flatnonzero(lines.first == ord(">")).tolist()
        bounds = [-1, *headers, len(lines.start)]
        for header, following in itertools.pairwise(bounds):
            if header >= 0:
                self._begin(header, data[lines.start[header] + 1 : lines.end[header]], int(lines.end[header]) + 1)
            if header + 1 < following:
                self._extend(lines, header + 1, following)
        self._n_lines += len(lines.start)
        self._n_bytes += len(data)

    def finish(self) -> None:
        """End the record that is being read."""
        if self._row is not None:
            self.rows.append(self._row)
        self._row, self._is_closed = None, False

    def _begin(self, line: int, header: bytes, offset: int) -> None:
        self.finish()
        try:
            name = next(iter(header.decode().split()), "")
        except UnicodeDecodeError:
            self._fail(line, "the record's name is not text", "check how the file was made")
        if not name:
            self._fail(line, "a record without a name", "write one after the >")
        if name in self._names:
            raise _duplicate(self.path, name)
        self._names.add(name)
        self._row = _Row(name, 0, self._n_bytes + offset, 0, 0)

    def _extend(self, lines: _Lines, low: int, high: int) -> None:
        """Take the lines of one record, of which blank ones may stand at its ends."""
        filled = low + np.flatnonzero(lines.n_bp[low:high])
        if not len(filled):
            self._is_closed |= self._row is not None and self._row.size > 0
            return
        begin, last = int(filled[0]), int(filled[-1])
        if self._row is None:
            if (lines.first[filled] != ord(";")).any():
                self._fail(begin, "stands before the first record", "begin the file with a line like >chr1")
            return
        if (comments := lines.first[filled] == ord(";")).any():
            self._fail(int(filled[np.argmax(comments)]), "a comment inside a record", "remove it")
        n_bp, n_bytes = lines.n_bp[begin : last + 1], (lines.end - lines.start + 1)[begin : last + 1]
        row = self._row
        if not row.size:
            offset = self._n_bytes + int(lines.start[begin])
            row = row._replace(offset=offset, line_bp=int(n_bp[0]), line_bytes=int(n_bytes[0]))
        odd = (n_bp != row.line_bp) | (n_bytes != row.line_bytes)
        wrong = odd[:-1] if not self._is_closed else np.ones(1, np.bool_)
        if wrong.any() or n_bp[-1] > row.line_bp:
            at = int(np.argmax(wrong)) if wrong.any() else len(n_bp) - 1
            self._fail(
                begin + at,
                f"{row.name} has lines of different lengths (its first has {row.line_bp} bases)",
                "give all lines of a record but the last the same length, for example with seqkit seq -w 60",
            )
        self._is_closed = bool(odd[-1]) or last + 1 < high
        self._row = row._replace(size=row.size + int(n_bp.sum()))

    def _check_letters(self, lines: _Lines) -> None:
        odd = np.flatnonzero(_IS_ODD[lines.letters])
        if not len(odd):
            return
        line = np.searchsorted(lines.end, odd)
        inside = (odd - lines.start[line] < lines.n_bp[line]) & ~np.isin(lines.first[line], [ord(">"), ord(";")])
        if inside.any():
            at = int(np.argmax(inside))
            code = int(lines.letters[odd[at]])
            what = repr(chr(code)) if 32 < code < 127 else "a blank" if code in b" \t\r" else "bytes that are not text"
            self._fail(
                int(line[at]),
                f"holds {what} among the bases",
                "give FASTA with nothing but letters in its lines: no numbers, no blanks",
            )

    def _fail(self, line: int, fact: str, remedy: str) -> NoReturn:
        raise FastaError(f"{self.path}:{self._n_lines + line + 1}: {fact}; {remedy}")


def _duplicate(path: Path, name: str) -> FastaError:
    return FastaError(
        f"{path}: the record name {name} occurs twice; names must differ, rename or remove one of the two"
    )


def _read_fai(path: Path, fai: Path, gzi: Path | None) -> FastaIndex:
    try:
        rows = [line.rstrip("\r\n").split("\t") for line in fai.read_text(encoding="utf-8").splitlines() if line]
        numbers = np.array([row[1:5] for row in rows], dtype=np.int64).reshape(len(rows), 4)
        if not rows or ((numbers < 0) | (numbers >= _LARGEST)).any() or (numbers[numbers[:, 0] > 0, 2] < 1).any():
            raise ValueError("numbers out of range")
    except (ValueError, OverflowError, OSError) as error:
        raise FastaError(f"{fai}: is not a complete .fai index; delete it, and seqsal makes it again") from error
    names = [row[0] for row in rows]
    if len(set(names)) < len(names):
        raise _duplicate(path, Counter(names).most_common(1)[0][0])
    if numbers[-1, 0] == 0:
        raise FastaError(f"{path}: the last record {names[-1]} has no sequence; the file is truncated, copy it again")
    return FastaIndex(fai, gzi, names, *numbers.T.copy())


def is_bgzf(head: bytes) -> bool:
    """Tell whether the first 18 bytes of a file are those of bgzip: gzip with the extra field BC."""
    return head[:4] == b"\x1f\x8b\x08\x04" and head[12:14] == b"BC"


def read_gzi(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Read a .gzi index: offsets of all blocks, the first included, in the file and in the content.

    FastaError: it is cut short, or its offsets do not rise.
    """
    words = np.frombuffer(path.read_bytes()[: path.stat().st_size // 8 * 8], dtype="<u8").astype(np.int64)
    if not len(words) or len(words) != 1 + 2 * words[0] or (words < 0).any():
        raise FastaError(f"{path}: is not a complete .gzi index; delete it, and seqsal makes it again")
    pairs = np.concatenate([np.zeros((1, 2), np.int64), words[1:].reshape(-1, 2)])
    if (np.diff(pairs[:, 0]) <= 0).any() or (np.diff(pairs[:, 1]) < 0).any():
        raise FastaError(f"{path}: offsets of the .gzi index do not rise; delete it, and seqsal makes it again")
    return pairs[:, 0].copy(), pairs[:, 1].copy()


class BgzfContent:
    """The content of a bgzip file, memory-mapped as `data`, block by block; the blocks used last are kept."""

    def __init__(self, path: Path, data: mmap.mmap, gzi: Path) -> None:
        self._path, self._data, self._gzi = path, data, gzi
        self._file_offset, self._offset = read_gzi(gzi)
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        last = len(self._offset) - 1
        self.size = int(self._offset[last]) + len(self._inflate(last, None))
        """Length of the content in bytes."""

    def read(self, start: int, end: int) -> bytes:
        """Bytes [start, end) of the content; fewer where it ends before."""
        if start >= min(end, self.size):
            return b""
        data, shifted = self.gather(np.array([start]), np.array([min(end, self.size)]))
        return data[int(shifted[0]) : int(shifted[0]) + min(end, self.size) - start]

    def gather(self, start: NDArray[np.int64], end: NDArray[np.int64]) -> tuple[bytes, NDArray[np.int64]]:
        """Decompress the blocks under non-empty spans [start, end), (n,) each, each block once.

        Returns the blocks, one behind the other, a span's own being neighbours, and where each span begins in them.
        """
        first = np.searchsorted(self._offset, start, side="right") - 1
        last = np.searchsorted(self._offset, end - 1, side="right") - 1
        lowest = int(first.min())
        change = np.zeros(int(last.max()) - lowest + 2, dtype=np.int64)
        np.add.at(change, first - lowest, 1)
        np.add.at(change, last - lowest + 1, -1)
        needed = lowest + np.flatnonzero(np.cumsum(change))
        blocks = [self._block(block) for block in needed.tolist()]
        lengths = np.fromiter(map(len, blocks), dtype=np.int64, count=len(blocks))
        position = (np.cumsum(lengths) - lengths)[np.searchsorted(needed, first)]
        return b"".join(blocks), position + start - self._offset[first]

    def _block(self, block: int) -> bytes:
        content = self._kept.get(block)
        if content is None:
            end = int(self._offset[block + 1]) if block + 1 < len(self._offset) else self.size
            content = self._inflate(block, end - int(self._offset[block]))
            self._kept[block] = content
            if len(self._kept) > _N_KEPT:
                self._kept.popitem(last=False)
        return content

    def _inflate(self, block: int, expected: int | None) -> bytes:
        start = int(self._file_offset[block])
        try:
            inflater = zlib.decompressobj(wbits=31)  # gzip, its checksum tested
            content = inflater.decompress(self._data[start : start + (1 << 16)])
        except zlib.error as error:
            raise self._damaged(start, str(error)) from error
        if not inflater.eof or (expected is not None and len(content) != expected):
            raise self._damaged(start, "its length differs")
        return content

    def _damaged(self, start: int, what: str) -> FastaError:
        return FastaError(
            f"{self._path}: block at byte {start} cannot be read ({what}): the file is damaged, or edited after its "
            f"index {self._gzi} was made; check it with bgzip -t, then delete the index"
        )
