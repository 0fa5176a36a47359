"""Writing bigWig (Kent et al. 2010, doi:10.1093/bioinformatics/btq351): arrays in, tens of millions of bases a second.

The libraries take a Python object for each base, a million in a second. Here a stretch of adjacent bases is cut into
sections of its float32 values as they are (`fixedStep`), or of its runs of equal values (`bedGraph`) where those take
less. Blocks are deflated where that saves much, by threads while the caller goes on. Values of full precision are not,
and to hand them to threads would take longer than their sections do. Summaries at coarser scales grow along with the
sections, in nameless files of their own, so that memory does not grow with the genome. No byte can be lost without an
error, so nothing is read back.
"""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqsal.io.atomic import WRITTEN_OUT, atomic_path, write_out
from seqsal.io.packing import stored

__all__ = ["MAGIC", "Stretch", "write_bigwig"]

MAGIC, TREE_MAGIC, INDEX_MAGIC = 0x888FFC26, 0x78CA8C91, 0x2468ACE0
SECTION = 8192  # bases of a section
FINEST, COARSER, N_SCALES = 128, 4, 8  # bases of a summary at the finest scale, how many make one of the next, scales
RECORDS = 512  # summaries of a block
NODE = 256  # items of a node of a tree
BATCH = 1 << 17  # bases that are encoded, and a thread takes, at a time
N_THREADS, N_WAITING = min(os.cpu_count() or 1, 8), 16  # that deflate, and batches that wait for them
BUFFERED = 1 << 20  # bytes of sections that are written together
MOST_DUE = 1 << 13  # summaries of the finest scale that wait for the others
SAVED, SUMMARY_SAVED = 0.75, 0.5  # what is left at most of a section, or summaries, where they are deflated
TRIED = 1 << 12  # bytes of a block that tell what would be left
BEDGRAPH, FIXED = 1, 3
HEADER_BYTES = 64 + 24 * N_SCALES + 40

_SPAN = [("chrom", "<u4"), ("start", "<u4"), ("last_chrom", "<u4"), ("end", "<u4"), ("at", "<u8")]
_BLOCK, _INNER = np.dtype([*_SPAN, ("size", "<u8")]), np.dtype(_SPAN)
_RUN = np.dtype([("start", "<u4"), ("end", "<u4"), ("value", "<f4")])
_WHERE, _VALUES = ("chrom", "start", "end", "n"), ("least", "most", "sum", "squares")
_RECORD = np.dtype([*((name, "<u4") for name in _WHERE), *((name, "<f4") for name in _VALUES)])
Array = NDArray[Any]


class Stretch(NamedTuple):
    """Adjacent bases of one chromosome: where the first lies (0-based), and float32 values (n,)."""

    chrom: str
    start: int
    values: NDArray[np.float32]


class _Encoded(NamedTuple):
    """Sections, where each lies (chromosome, start, end), summaries, and sums of values and of their squares."""

    sections: Future[list[bytes]] | list[bytes]
    spans: list[tuple[int, int, int]]
    records: Array
    sums: NDArray[np.float64]


def write_bigwig(path: str | os.PathLike[str], chrom_sizes: Mapping[str, int], stretches: Iterable[Stretch]) -> int:
    """Write stretches that do not overlap, each chromosome's together and ascending, as bigWig.

    Returns how many bases they cover. Without any the file is valid and names no chromosome. OutputError: it cannot be
    written in full.
    """
    with atomic_path(path) as temporary, open(temporary, "wb", BUFFERED) as file, ExitStack() as stack:
        writer = _Writer(file, chrom_sizes, lambda: stack.enter_context(_nameless(temporary.parent)))
        threads = stack.enter_context(ThreadPoolExecutor(N_THREADS))
        waiting: deque[_Encoded] = deque()
        for batch in _batches(stretches):
            waiting.append(_encode([(writer.number_of(one.chrom), one.start, one.values) for one in batch], threads))
            while waiting and (not isinstance(waiting[0].sections, Future) or len(waiting) > N_WAITING):
                writer.add(waiting.popleft())
        for made in waiting:
            writer.add(made)
        writer.finish()
    return writer.n_bases


def _nameless(folder: os.PathLike[str]) -> Any:
    """Open a file that goes with its process, in memory while it is small."""
    return tempfile.SpooledTemporaryFile(1 << 22, dir=os.fspath(folder))


def _batches(stretches: Iterable[Stretch]) -> Iterator[list[Stretch]]:
    """Cut long stretches, and put short ones together."""
    batch: list[Stretch] = []
    n_bases = 0
    for chrom, start, values in stretches:
        for at in range(0, len(values), BATCH):
            batch.append(Stretch(chrom, start + at, values[at : at + BATCH]))
            n_bases += len(batch[-1].values)
            if n_bases >= BATCH:
                yield batch
                batch, n_bases = [], 0
    if batch:
        yield batch


def _encode(batch: Sequence[tuple[int, int, NDArray[np.float32]]], threads: Executor) -> _Encoded:
    """Make sections and summaries of stretches: number of the chromosome, start, and values."""
    sections: list[tuple[bytes, memoryview]] = []
    spans: list[tuple[int, int, int]] = []
    summaries, sums = [], np.zeros(2)
    for number, start, values in batch:
        breaks = values[1:] != values[:-1]
        for at in range(0, len(values), SECTION):
            here = slice(at, at + SECTION)
            sections.append(_section(number, start + at, values[here], breaks[at : at + SECTION - 1]))
            spans.append((number, start + at, start + min(at + SECTION, len(values))))
        bins = np.arange(start // FINEST * FINEST, start + len(values), FINEST) - start
        bins[0] = 0
        records = np.empty(len(bins), _RECORD)
        records["chrom"], records["start"] = number, start + bins
        records["end"] = start + np.append(bins[1:], len(values))
        records["n"] = records["end"] - records["start"]
        records["least"], records["most"] = np.minimum.reduceat(values, bins), np.maximum.reduceat(values, bins)
        wide = values.astype(np.float64)
        exact = np.empty((2, len(bins)))
        exact[0] = np.add.reduceat(wide, bins)
        exact[1] = np.add.reduceat(np.square(wide, out=wide), bins)
        with np.errstate(over="ignore"):
            records["sum"], records["squares"] = exact
        summaries.append(records)
        sums += exact.sum(axis=1)
    packed = threads.submit(_deflate, sections) if _is_worth(sections, SAVED) else [stored(*one) for one in sections]
    return _Encoded(packed, spans, _joined(summaries), sums)


def _section(
    number: int, start: int, values: NDArray[np.float32], breaks: NDArray[np.bool_]
) -> tuple[bytes, memoryview]:
    """Lay out adjacent bases as their values, or as runs of equal ones where that is shorter: a head, and what follows.

    `breaks` are true where a value differs from the one before.
    """
    kind = FIXED
    content: Array = np.ascontiguousarray(values)
    if 3 * (np.count_nonzero(breaks) + 1) < len(values):
        begin = np.append(0, np.flatnonzero(breaks) + 1)
        kind, content = BEDGRAPH, np.empty(len(begin), _RUN)
        content["start"], content["end"] = start + begin, start + np.append(begin[1:], len(values))
        content["value"] = values[begin]
    step = int(kind == FIXED)
    end = start + len(values)
    head = struct.pack("<IIIIIBBH", number, start, end, step, step, kind, 0, len(content))
    return head, content.view(np.uint8).data


def _is_worth(blocks: Sequence[Sequence[bytes | memoryview]], most: float) -> bool:
    """Whether deflating blocks of one kind, in parts, leaves `most` or less, to judge by the start of the first."""
    tried = b"".join(part[:TRIED] for part in blocks[0])[:TRIED]
    return len(zlib.compress(tried, 1)) <= most * len(tried)


def _deflate(blocks: Sequence[Sequence[bytes | memoryview]]) -> list[bytes]:
    return [zlib.compress(b"".join(parts), 1) for parts in blocks]


class _Writer:
    """Puts blocks in their order into the file, and at the end everything that tells where they are."""

    def __init__(self, file: IO[bytes], chrom_sizes: Mapping[str, int], open_file: Callable[[], IO[bytes]]) -> None:
        self._file, self._sizes = file, chrom_sizes
        self._numbers: dict[str, int] = {}
        self._data_at = HEADER_BYTES + len(_chrom_tree(HEADER_BYTES, dict.fromkeys(chrom_sizes, 0), chrom_sizes))
        self._index, self._largest, self.n_bases = _Index(), 24 + 12 * SECTION, 0
        self._scales = [_Scale(FINEST * COARSER**i, open_file()) for i in range(N_SCALES)]
        self._least, self._most, self._sums = np.inf, -np.inf, np.zeros(2)
        self._due: list[Array] = []
        self._n_due, self._at, self._out = 0, self._data_at + 8, 0
        file.write(bytes(self._at))

    def number_of(self, chrom: str) -> int:
        """Return the number of a chromosome, which is given as it comes."""
        return self._numbers.setdefault(chrom, len(self._numbers))

    def add(self, made: _Encoded) -> None:
        """Write sections as soon as they are there."""
        sections = made.sections.result() if isinstance(made.sections, Future) else made.sections
        for section, (number, start, end) in zip(sections, made.spans, strict=True):
            self._index.add(number, start, number, end, self._at, len(section))
            self._at += len(section)
            self.n_bases += end - start
        self._file.writelines(sections)
        if self._at - self._out >= 16 * WRITTEN_OUT:
            write_out(self._file.fileno(), self._out, self._at)
            self._out = self._at
        self._least = min(self._least, float(made.records["least"].min()))
        self._most = max(self._most, float(made.records["most"].max()))
        self._sums += made.sums
        self._due.append(made.records)
        self._n_due += len(made.records)
        if self._n_due > MOST_DUE:
            self._pass_on()

    def _pass_on(self, is_last: bool = False) -> None:
        """Add the summaries of the finest scale to all scales, each from the one before."""
        records = _joined(self._due)
        self._due, self._n_due = [], 0
        for scale in self._scales:
            records = scale.add(records, is_last)

    def finish(self) -> None:
        """Write what tells where everything is."""
        self._pass_on(is_last=True)
        file, index_at = self._file, self._file.tell()
        file.write(self._index.as_bytes(index_at))
        zooms = b""
        n_scales, n_before = 0, self.n_bases
        for scale in self._scales:
            if scale.n_records == n_before or not scale.n_records:
                break
            at, n_scales, n_before = file.tell(), n_scales + 1, scale.n_records
            file.write(struct.pack("<I", scale.n_records))
            scale.copy_to(file)
            zooms += struct.pack("<IIQQ", scale.reduction, 0, at, file.tell())
            file.write(scale.index.as_bytes(file.tell(), shift=at + 4))
        file.write(struct.pack("<I", MAGIC))
        file.seek(0)
        file.write(struct.pack("<IHHQQQHHQQIQ", MAGIC, 4, n_scales, HEADER_BYTES, self._data_at, index_at, 0, 0, 0,
                               HEADER_BYTES - 40, self._largest, 0))  # fmt: skip
        file.write(zooms.ljust(24 * N_SCALES, b"\0"))
        extremes = (self._least, self._most) if self.n_bases else (0.0, 0.0)
        file.write(struct.pack("<Qdddd", self.n_bases, *extremes, *self._sums))
        file.write(_chrom_tree(HEADER_BYTES, self._numbers, self._sizes))
        file.seek(self._data_at)
        file.write(struct.pack("<Q", self._index.n_blocks))


class _Index:
    """Where the blocks of one kind are."""

    def __init__(self) -> None:
        self._rows = bytearray()
        self.n_blocks = 0

    def add(self, *row: int) -> None:
        """Note a block: first chromosome and start, last chromosome and end, where it is and how long."""
        self._rows += struct.pack("<IIIIQQ", *row)
        self.n_blocks += 1

    def as_bytes(self, at: int, shift: int = 0) -> bytes:
        """Lay the index out, as from byte `at` on; blocks lie `shift` further than was noted."""
        blocks = np.frombuffer(self._rows, _BLOCK).copy()
        blocks["at"] += shift
        span = (*blocks[0].tolist()[:2], *blocks[-1].tolist()[2:4]) if len(blocks) else (0, 0, 0, 0)
        head = struct.pack("<IIQIIIIQII", INDEX_MAGIC, NODE, len(blocks), *span, at, 1, 0)
        return head + _tree(at + len(head), blocks, _inner)


def _inner(first: Array, last: Array) -> Array:
    """Items of inner nodes of an index, from the first and last items of their children."""
    found = np.zeros(len(first), _INNER)
    for name in ("chrom", "start"):
        found[name] = first[name]
    for name in ("last_chrom", "end"):
        found[name] = last[name]
    return found


def _chrom_tree(at: int, numbers: Mapping[str, int], sizes: Mapping[str, int]) -> bytes:
    """Lay out the names, numbers and sizes of chromosomes, as from byte `at` on."""
    names = sorted(name.encode() for name in numbers)
    width = max(map(len, (name.encode() for name in sizes)), default=1)
    items = np.zeros(len(names), [("name", f"S{width}"), ("number", "<u4"), ("size", "<u4")])
    items["name"] = names
    items["number"] = [numbers[name.decode()] for name in names]
    items["size"] = [sizes[name.decode()] for name in names]

    def inner(first: Array, last: Array) -> Array:
        found = np.zeros(len(first), [("name", f"S{width}"), ("at", "<u8")])
        found["name"] = first["name"]
        return found

    head = struct.pack("<IIIIQQ", TREE_MAGIC, NODE, width, 8, len(items), 0)
    return head + _tree(at + len(head), items, inner)


def _tree(at: int, items: Array, inner: Callable[[Array, Array], Array]) -> bytes:
    """Lay out the nodes of a tree over sorted items, the root first, as from byte `at` on."""
    levels = [items]
    while len(levels[0]) > NODE:
        first = np.arange(0, len(levels[0]), NODE)
        levels.insert(0, inner(levels[0][first], levels[0][np.minimum(first + NODE, len(levels[0])) - 1]))
    laid = []
    for depth, level in enumerate(levels):
        nodes = [level[i : i + NODE] for i in range(0, max(len(level), 1), NODE)]
        at += 4 * len(nodes) + level.nbytes
        if depth < len(levels) - 1:
            level["at"] = at + np.arange(len(level)) * (4 + NODE * levels[depth + 1].itemsize)
        laid += [struct.pack("<BBH", depth == len(levels) - 1, 0, len(node)) + node.tobytes() for node in nodes]
    return b"".join(laid)


def _joined(parts: Sequence[Any]) -> Array:
    """Put records one after the other: numpy would copy them field by field."""
    return np.frombuffer(b"".join(parts), _RECORD)


class _Scale:
    """Summaries of `reduction` bases each, in blocks in a file of their own."""

    def __init__(self, reduction: int, file: IO[bytes]) -> None:
        self.reduction, self.index, self.n_records = reduction, _Index(), 0
        self._file, self._open, self._due = file, np.empty(0, _RECORD), np.empty(0, _RECORD)

    def add(self, finer: Array, is_last: bool) -> Array:
        """Add summaries of a finer scale; returns those of this one that are done, all of them with `is_last`."""
        records = _joined([self._open, finer])
        if not len(records):
            return records
        chrom, place = records["chrom"], records["start"] // self.reduction
        first = np.flatnonzero(np.append(True, (chrom[1:] != chrom[:-1]) | (place[1:] != place[:-1])))
        joined = records.take(first)
        joined["end"] = records["end"][np.append(first[1:], len(records)) - 1]
        for name, join in (
            ("n", np.add),
            ("least", np.minimum),
            ("most", np.maximum),
            ("sum", np.add),
            ("squares", np.add),
        ):
            joined[name] = join.reduceat(records[name], first)
        n_done = len(joined) if is_last else len(joined) - 1
        self._open = joined[n_done:]
        self._due = _joined([self._due, joined[:n_done]])
        self._write(is_last)
        return joined[:n_done]

    def _write(self, is_last: bool) -> None:
        """Write full blocks, and with `is_last` what is left."""
        n = len(self._due) if is_last else len(self._due) // RECORDS * RECORDS
        blocks = [self._due[i : min(i + RECORDS, n)] for i in range(0, n, RECORDS)]
        raw = [(block.tobytes(),) for block in blocks]
        packed = _deflate(raw) if raw and _is_worth(raw, SUMMARY_SAVED) else [stored(*one) for one in raw]
        for block, data in zip(blocks, packed, strict=True):
            first, last = block[0], block[-1]
            self.index.add(first["chrom"], first["start"], last["chrom"], last["end"], self._file.tell(), len(data))
            self._file.write(data)
        self.n_records += n
        self._due = self._due[n:]

    def copy_to(self, file: IO[bytes]) -> None:
        """Append the blocks to another file."""
        self._file.seek(0)
        shutil.copyfileobj(self._file, file, 1 << 20)
