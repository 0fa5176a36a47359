"""Find, make and check the index of a FASTA file.

The .fai index has one line a record: name, length in bases, offset of the first base in the (decompressed) file, bases
a line, bytes a line (samtools faidx). pyfaidx makes it; it is put beside the FASTA, or in a cache folder when that
folder cannot be written to. An index gives wrong bases when the FASTA was edited behind its back, so it is used only if
it is not older than the FASTA and if every record's name and both its ends are found where it says.

A bgzip (BGZF) file is a row of gzip members of at most 64 KiB of content each, whose headers carry the extra field
"BC", and ends with an empty member. The .gzi index lists, as little-endian uint64, the number of pairs that follow and
a pair (offset in the file, offset in the content) for each member but the first (SAM specification, section 4.1;
htslib's bgzf.c).
"""

from __future__ import annotations

import errno
import hashlib
import logging
import mmap
import os
import stat
import struct
import tempfile
import zlib
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqsal.errors import FastaError

__all__ = ["BgzfContent", "FastaIndex", "check_fasta", "check_layout", "default_cache_dir", "open_index"]

EOF_BLOCK = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
_N_KEPT = 256  # decompressed blocks held, 64 KiB each
_log = logging.getLogger(__name__)
_COMPRESSED = {b"BZh": "bzip2", b"PK\x03": "zip", b"\xfd7z": "xz", b"\x28\xb5\x2f": "zstd"}
_LONGEST_HEADER = 1 << 20


@dataclass(frozen=True)
class FastaIndex:
    """The .fai index as arrays over the records, in file order.

    Attributes
    ----------
    fai, gzi
        Where the index is kept; `gzi` only for bgzip.
    names
        Of the records, each up to the first blank.
    size, offset, line_bp, line_bytes : ndarray of int64, shape (n_records,)
        Bases; byte of the first base; bases and bytes a line.
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

    Raises
    ------
    FastaError
        Missing, unreadable, empty, compressed in another way, truncated, or not FASTA.
    """
    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)
            file.seek(max(0, path.stat().st_size - len(EOF_BLOCK)))
            tail = file.read()
    except FileNotFoundError as error:
        raise FastaError(f"{path}: no such file; check the path of the FASTA") from error
    except OSError as error:
        raise FastaError(f"{path}: cannot be read ({error.strerror}); expected a readable FASTA file") from error
    if not head:
        raise FastaError(f"{path}: is empty, expected FASTA; check how the file was made")
    _check_compression(path, head)
    if is_bgzf(head):
        if tail != EOF_BLOCK:
            raise FastaError(
                f"{path}: bgzip file without its end marker, so it is truncated; copy or download it again"
            )
        return True
    if head.startswith(b"\xef\xbb\xbf"):
        raise FastaError(f"{path}: begins with a byte order mark; save it as plain ASCII text")
    text = head.lstrip()
    if b"\0" in head or not text.startswith((b">", b";")):
        raise FastaError(f"{path}: is not FASTA, got {text[:20]!r} first, expected a line that begins with '>'")
    return False


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
    """Read the index beside the FASTA, else the one in the cache folder, else make it.

    Parameters
    ----------
    path
        The FASTA.
    compressed
        Whether it is bgzip, and so needs a .gzi as well.
    cache_dir
        Where the index goes if not beside the FASTA; None is `default_cache_dir`.

    Raises
    ------
    FastaError
        The FASTA is newer than its index, the index is damaged, or none can be made (see `check_fasta`).
    """
    beside = Path(f"{path}.fai"), Path(f"{path}.gzi")
    cached = _cache_paths(path, cache_dir or default_cache_dir())
    for fai, gzi in (beside, cached):
        if fai.is_file() and (gzi.is_file() or not compressed):
            _check_age(path, (fai, gzi) if compressed else (fai,))
            return _read_fai(path, fai, gzi if compressed else None)
    fai, gzi = _make_index(path, (beside, cached), compressed)
    return _read_fai(path, fai, gzi if compressed else None)


def check_layout(path: Path, index: FastaIndex, read: Callable[[int, int], bytes], size: int) -> None:
    """Compare the index with the file: each record must follow its header, and end where the next one begins.

    Parameters
    ----------
    read
        Bytes [start, end) of the decompressed file.
    size
        Its length.

    Raises
    ------
    FastaError
        A record is not where the index says: the file was edited or cut after the index was made.
    """
    last_bp, line_bp = np.maximum(index.size - 1, 0), np.maximum(index.line_bp, 1)
    ends = index.offset + last_bp // line_bp * index.line_bytes + last_bp % line_bp + (index.size > 0)
    end = 0
    for name, offset, next_end in zip(index.names, index.offset.tolist(), ends.tolist(), strict=True):
        between = read(end, offset) if 0 < offset - end < _LONGEST_HEADER else b""
        if not _is_header(between, name, first=end == 0):
            raise _stale(path, index.fai, f"record {name} is not where the index says")
        last, after = read(next_end - 1, next_end), read(next_end, next_end + 1)
        if (next_end > offset and last in b"\r\n") or after not in b"\r\n>":
            raise _stale(path, index.fai, f"record {name} does not end where the index says")
        end = next_end
    if read(end, min(size, end + _LONGEST_HEADER)).strip():
        raise _stale(path, index.fai, f"record {index.names[-1]} is not the last one")


def _is_header(between: bytes, name: str, *, first: bool) -> bool:
    """Whether the bytes between two records are one line, the header of `name`; comments may precede the first."""
    lines = between.strip(b"\r\n").split(b"\n")
    if not between.endswith(b"\n") or (len(lines) > 1 and not first) or any(line[:1] == b">" for line in lines[:-1]):
        return False
    return lines[-1][:1] == b">" and lines[-1][1:].decode(errors="replace").split()[:1] == [name]


def _stale(path: Path, fai: Path, what: str) -> FastaError:
    return FastaError(
        f"{path}: does not fit its index {fai} ({what}): it was edited or truncated after it was indexed, or its "
        f"lines differ in length; check the FASTA, then delete the index and seqsal makes it again"
    )


def _check_age(path: Path, index_paths: tuple[Path, ...]) -> None:
    for index_path in index_paths:
        if path.stat().st_mtime_ns > index_path.stat().st_mtime_ns:
            raise FastaError(
                f"{path}: is newer than its index {index_path}, so it was edited after it was indexed; delete the "
                f"index (rm {index_path}) and seqsal makes it again"
            )


def _cache_paths(path: Path, cache_dir: Path) -> tuple[Path, Path]:
    """Where the cache keeps the index of the file as it is now: another size or date is another name."""
    status = path.stat()
    key = hashlib.sha256(f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}".encode()).hexdigest()[:16]
    return cache_dir / f"{path.name}.{key}.fai", cache_dir / f"{path.name}.{key}.gzi"


def _make_index(path: Path, choices: tuple[tuple[Path, Path], ...], compressed: bool) -> tuple[Path, Path]:
    """Make the index in the first folder that can be written to; it appears there complete or not at all."""
    for fai, gzi in choices:
        try:
            fai.parent.mkdir(parents=True, exist_ok=True)
            _check_folder(fai.parent)
            with tempfile.TemporaryDirectory(dir=fai.parent, prefix=".seqsal-index-") as folder:
                link = Path(folder) / ("genome.fa.gz" if compressed else "genome.fa")  # pyfaidx goes by the suffix
                link.symlink_to(path.resolve())
                _log.info("indexing %s; the index is kept as %s", path, fai)
                _run_pyfaidx(path, link)
                if compressed:
                    os.replace(f"{link}.gzi", gzi)
                os.replace(f"{link}.fai", fai)
                return fai, gzi
        except OSError as error:
            refusal = error
    raise FastaError(
        f"{path}: its index cannot be written beside it or in {choices[-1][0].parent} ({refusal.strerror or refusal}); "
        "set XDG_CACHE_HOME to a folder that you may write to"
    )


def _check_folder(folder: Path) -> None:
    """Raise where nobody has write permission: root could write there, but the folder is meant to stay as it is."""
    if not folder.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def _run_pyfaidx(path: Path, link: Path) -> None:
    """Make `link`.fai (and .gzi), and tell what is wrong with the file if that fails."""
    import pyfaidx

    try:
        pyfaidx.Faidx(link).close()
    except pyfaidx.FastaIndexingError as error:
        cure = "give all lines of a record but the last the same length, for example with seqkit seq -w 60"
        if "not consistent" not in str(error):
            cure = "check how the file was made"
        reason = " ".join(str(error).split()).replace(str(link), path.name)
        raise FastaError(f"{path}: cannot be indexed ({reason.rstrip('.!')}); {cure}") from error
    except UnicodeDecodeError as error:
        raise FastaError(
            f"{path}: holds bytes that are not text, expected FASTA; check how the file was made"
        ) from error
    except (zlib.error, EOFError, RuntimeError, struct.error) as error:
        raise FastaError(f"{path}: bgzip content is damaged ({error}); copy or download it again") from error
    except ValueError as error:
        if "Duplicate key" in str(error):
            raise _duplicate(path, str(error).split('"')[1]) from error
        raise FastaError(f"{path}: cannot be indexed ({error}); check that it is a FASTA file") from error


def _duplicate(path: Path, name: str) -> FastaError:
    return FastaError(
        f"{path}: the record name {name} occurs twice; names must differ, rename or remove one of the two"
    )


def _read_fai(path: Path, fai: Path, gzi: Path | None) -> FastaIndex:
    try:
        rows = [line.rstrip("\r\n").split("\t") for line in fai.read_text(encoding="utf-8").splitlines() if line]
        numbers = np.array([row[1:5] for row in rows], dtype=np.int64).reshape(len(rows), 4)
    except (ValueError, OSError) as error:
        raise FastaError(f"{fai}: is not a complete .fai index; delete it, and seqsal makes it again") from error
    if not rows or (numbers < 0).any() or ((numbers[:, 2] < 1) & (numbers[:, 0] > 0)).any():
        raise FastaError(f"{fai}: is not a complete .fai index; delete it, and seqsal makes it again")
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

    Raises
    ------
    FastaError
        The index is cut short, or its offsets do not rise.
    """
    words = np.frombuffer(path.read_bytes()[: path.stat().st_size // 8 * 8], dtype="<u8").astype(np.int64)
    if not len(words) or len(words) != 1 + 2 * words[0] or (words < 0).any():
        raise FastaError(f"{path}: is not a complete .gzi index; delete it, and seqsal makes it again")
    pairs = np.concatenate([np.zeros((1, 2), np.int64), words[1:].reshape(-1, 2)])
    if (np.diff(pairs[:, 0]) <= 0).any() or (np.diff(pairs[:, 1]) < 0).any():
        raise FastaError(f"{path}: offsets of the .gzi index do not rise; delete it, and seqsal makes it again")
    return pairs[:, 0].copy(), pairs[:, 1].copy()


class BgzfContent:
    """The decompressed content of a bgzip file, block by block, the last blocks used kept.

    Parameters
    ----------
    path
        Named in errors.
    data
        The file, memory-mapped.
    gzi
        The path of its .gzi index.
    """

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
        """Decompress the blocks under the spans [start, end), each block once.

        Parameters
        ----------
        start, end : ndarray of int64, shape (n,)
            Non-empty spans within the content.

        Returns
        -------
        data : bytes
            The blocks, one behind the other; a span's blocks are neighbours in it.
        start : ndarray of int64, shape (n,)
            Where each span begins in `data`.
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
