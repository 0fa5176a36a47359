"""Read windows of a genome, plain or bgzip FASTA, as codes.

The index says at which byte a base lies; a window is then one slice of the memory-mapped file (or of decompressed bgzip
blocks). The slices of many windows are joined, and a single pass over them drops the line ends and turns letters into
codes, so the cost for each window is little more than that of a slice.
"""

from __future__ import annotations

import gzip
import io
import mmap
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from seqsal.errors import FastaError, RegionError, counted
from seqsal.io.content import Closing, is_stream, opened, spooled
from seqsal.io.fasta_index import BgzfContent, check_fasta, check_layout, check_letters, open_index
from seqsal.sequence.codes import BYTE_TO_CODE, N_CODE, encode, reverse_complement

__all__ = ["Genome", "read_fasta_letters", "read_fasta_records"]

_TABLE = BYTE_TO_CODE.tobytes()
_IS_MASKED = bytes(ord("a") <= byte <= ord("z") for byte in range(256))
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz*-."
_CHUNK_BP = 1 << 20  # bases joined at a time, so that they stay in the cache of the processor
_MAPPED_BYTES = 1 << 23  # read from the file, after which the system may have that memory back
_CHUNK_BGZF = 256  # windows of a bgzip file at a time: bounds the decompressed blocks, 64 KiB each


class Genome(Closing):
    """A FASTA file, plain or bgzip, open for reading at random; a context manager.

    Its index is the one next to it, or is made on first use, in `cache_dir` (None: `$XDG_CACHE_HOME/seqsal`) where the
    FASTA's folder cannot be written to. `path` is the file as it was given; `source` the one that is read: a copy of
    it, if it is a pipe or standard input (`-`); `index_path` the .fai index in use; `chrom_sizes` the length in bp of
    each record, in file order. Reading moves no file position; one thread at a time may read. FastaError: missing,
    unreadable, empty, truncated or otherwise damaged; gzip that is not bgzip; two records of one name; lines of
    different lengths; or edited after its index was made.
    """

    def __init__(self, path: str | os.PathLike[str], *, cache_dir: str | os.PathLike[str] | None = None) -> None:
        self.path = self.source = Path(path)
        self._files = ExitStack()
        if is_stream(path):
            self.source = self._files.enter_context(spooled(path, "FASTA file", FastaError))
        try:
            self._open(None if cache_dir is None else Path(cache_dir))
        except BaseException:
            self._files.close()
            raise

    def _open(self, cache_dir: Path | None) -> None:
        compressed = check_fasta(self.source)
        index = open_index(self.source, compressed=compressed, cache_dir=cache_dir)
        self._index = index
        self.index_path = index.fai
        self.chrom_sizes: dict[str, int] = dict(zip(index.names, index.size.tolist(), strict=True))
        self._number = {name: i for i, name in enumerate(index.names)}
        with self.source.open("rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._files.callback(self._data.close)
        self._n_mapped = 0
        self._bgzf = BgzfContent(self.path, self._data, index.gzi) if index.gzi else None
        if self._bgzf:
            check_layout(self.path, index, self._bgzf.read, self._bgzf.size)
        else:
            check_layout(self.path, index, lambda start, end: self._data[start:end], len(self._data))

    def read(self, chrom: str, start: int, end: int, strand: str = ".") -> NDArray[np.uint8]:
        """Read one span, shape (end − start,), N beyond the chromosome's ends, strand "-" as reverse complement.

        RegionError: the genome has no such chromosome, or `start` is not below `end`.
        """
        if start >= end:
            raise RegionError(f"start: got {start} with end {end}, expected start < end; give a span of 1 bp at least")
        return self.read_spans(self.chrom_numbers([chrom]), [start], [end], [strand == "-"])[0]

    def read_windows(self, windows: pd.DataFrame) -> NDArray[np.uint8]:
        """Read windows of one length L from a region table of n rows, shape (n, L), as `read` does each.

        RegionError: the genome lacks a chromosome, or the windows differ in length.
        """
        return self.read_spans(
            self.chrom_numbers(windows["chrom"]),
            windows["start"].to_numpy(np.int64),
            windows["end"].to_numpy(np.int64),
            (windows["strand"] == "-").to_numpy(bool),
        )

    def masked_fraction(self, windows: pd.DataFrame) -> NDArray[np.float64]:
        """Share of soft-masked (lower-case) bases of windows of one length, (n,); raises as `read_windows`."""
        chrom, start = self.chrom_numbers(windows["chrom"]), windows["start"].to_numpy(np.int64)
        end = windows["end"].to_numpy(np.int64)
        return (self.read_spans(chrom, start, end, np.zeros(len(chrom), bool), table=_IS_MASKED) == 1).mean(axis=1)

    def chrom_numbers(self, chroms: Iterable[str]) -> NDArray[np.int64]:
        """Return the number of each chromosome in `chrom_sizes`, shape (n,); RegionError if the genome lacks one."""
        try:
            return np.array([self._number[chrom] for chrom in chroms], dtype=np.int64)
        except KeyError as error:
            some = ", ".join(list(self._number)[:4])
            raise RegionError(
                f"{self.path}: has no chromosome {error.args[0]}, but {some} and so on; use names of this genome"
            ) from error

    def read_spans(
        self, chrom: ArrayLike, start: ArrayLike, end: ArrayLike, reverse: ArrayLike, *, table: bytes = _TABLE
    ) -> NDArray[np.uint8]:
        """Read n spans of one length L, shape (n, L): what `read_windows` does once names are numbers.

        (n,) each: `chrom` from `chrom_numbers`; `start` and `end`, 0-based half-open, N beyond the chromosome;
        `reverse`, which rows to read as the reverse complement. `table` turns letters into codes.
        """
        chrom, start, end = (np.asarray(values, dtype=np.int64) for values in (chrom, start, end))
        lengths = np.unique(end - start)
        if len(lengths) > 1:
            raise RegionError(
                f"windows: have lengths from {lengths[0]} to {lengths[-1]} bp, expected one length; resize them first"
            )
        length = int(lengths[0]) if len(lengths) else 0
        codes = np.empty((len(chrom), length), dtype=np.uint8)
        order = np.lexsort((start, chrom)) if self._bgzf else np.arange(len(chrom))
        step = max(1, _CHUNK_BP // max(1, length))
        step = min(step, _CHUNK_BGZF) if self._bgzf else step
        for first in range(0, len(chrom), step):
            rows = order[first : first + step]
            codes[rows] = self._read_chunk(chrom[rows], start[rows], length, table)
        rows = np.flatnonzero(reverse)
        codes[rows] = reverse_complement(codes[rows])
        return codes

    def close(self) -> None:
        """Release the file."""
        self._files.close()

    def __repr__(self) -> str:
        records = counted(len(self.chrom_sizes), "record")
        return f"Genome({str(self.path)!r}, {records}, {sum(self.chrom_sizes.values()):,} bp)"

    def _read_chunk(
        self, chrom: NDArray[np.int64], start: NDArray[np.int64], length: int, table: bytes
    ) -> NDArray[np.uint8]:
        """Codes (n, length), N beyond the ends."""
        low = np.maximum(start, 0)
        high = np.minimum(start + length, self._index.size[chrom])
        covered = high > low
        codes = self._read_bases(chrom[covered], low[covered], high[covered], table)
        if len(codes) == len(start) * length:
            return codes.reshape(len(start), length)
        padded = np.full((len(start), length), N_CODE, dtype=np.uint8)
        position = start[:, None] + np.arange(length)
        padded[(position >= low[:, None]) & (position < high[:, None])] = codes
        return padded

    def _read_bases(
        self, chrom: NDArray[np.int64], low: NDArray[np.int64], high: NDArray[np.int64], table: bytes
    ) -> NDArray[np.uint8]:
        """Codes of non-empty spans inside their chromosomes, one behind the other."""
        if not len(chrom):
            return np.empty(0, dtype=np.uint8)
        first = self._index.byte_of(chrom, low)
        stop = self._index.byte_of(chrom, high - 1) + 1
        data: mmap.mmap | bytes = self._data
        if self._bgzf:
            data, shifted = self._bgzf.gather(first, stop)
            first, stop = shifted, shifted + (stop - first)
        slices = [data[a:b] for a, b in zip(first.tolist(), stop.tolist(), strict=True)]
        codes = bytearray().join(slices).translate(table, b"\r\n\t ")
        self._n_mapped += len(codes)
        if self._n_mapped > _MAPPED_BYTES and hasattr(mmap, "MADV_DONTNEED"):
            self._data.madvise(mmap.MADV_DONTNEED)
            self._n_mapped = 0
        if len(codes) != int((high - low).sum()):
            raise FastaError(
                f"{self.path}: its lines are not where the index {self.index_path} says, so it was edited after it was "
                "indexed; delete the index and seqsal makes it again"
            )
        return np.frombuffer(codes, dtype=np.uint8)


def read_fasta_records(path: str | os.PathLike[str]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield (name up to the first blank, codes (L,)) of each record, plain or gzip; no index is made.

    FastaError: missing, unreadable, empty or truncated; not FASTA; a record without name; or two records of one name.
    """
    for name, letters in read_fasta_letters(path):
        yield name, encode(letters)


def read_fasta_letters(path: str | os.PathLike[str]) -> Iterator[tuple[str, bytes]]:
    """Read a FASTA file as `read_fasta_records` does, but yield (name, letters as they stand in the file)."""
    path = Path(path)
    seen: set[str] = set()
    name, lines = "", list[bytes]()
    for number, line in enumerate(_lines(path), start=1):
        if line.startswith(b">"):
            if name:
                yield name, b"".join(lines)
            name, lines = next(iter(line[1:].decode(errors="replace").split()), ""), []
            if not name or name in seen:
                what = f"a second record {name}" if name else "a record without a name"
                raise FastaError(f"{path}:{number}: {what}, expected one name for each record; rename it")
            seen.add(name)
        elif name:
            if line.translate(None, _LETTERS) and not line.startswith(b";"):
                raise FastaError(
                    f"{path}:{number}: holds {line[:20]!r}, expected nothing but letters; correct the line"
                )
            check_letters(path, line)
            lines.append(line)
        elif line.strip() and not line.startswith(b";"):
            raise FastaError(f"{path}:{number}: is not FASTA, got {line[:20]!r}, expected a line that begins with '>'")
    if not name:
        raise FastaError(f"{path}: holds no record; expected FASTA with at least one")
    yield name, b"".join(lines)


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with opened(path, "FASTA file", FastaError) as file:
            buffered = io.BufferedReader(file)  # type: ignore[type-var]
            lines = gzip.GzipFile(fileobj=buffered) if buffered.peek(2)[:2] == b"\x1f\x8b" else buffered
            for line in lines:
                yield line.rstrip()
    except FileNotFoundError as error:
        raise FastaError(f"{path}: no such file; check the path of the FASTA") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FastaError(f"{path}: gzip data is truncated or damaged ({error}); copy or download it again") from error
    except OSError as error:
        raise FastaError(f"{path}: cannot be read ({error.strerror}); expected a readable FASTA file") from error
