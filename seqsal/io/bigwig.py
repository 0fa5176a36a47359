"""Reading bigWig and writing bigBed through pybigtools, in a process of its own; bigwig_writer.py writes bigWig.

The libraries for these files are native code that trusts what it reads: of 400 files with a few bytes changed, pyBigWig
and pybigtools wrote to stderr in two thirds, and pybigtools aborted the process once. On a disk that fills, pybigtools
panics, and it swallows the error of an iterator that it writes from, and some of a disk's. A child process keeps all of
that away from the caller, and reads back what it wrote: whatever happens in it comes back as one line. It costs 0.2 s
to start. pybigtools reads windows in 1.5 to 2 times the time of pyBigWig, 1 s for 10 million bases, and it alone writes
bigBed.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from seqsal.errors import OutputError, StoreError
from seqsal.io.atomic import atomic_path

__all__ = ["BigWigSummary", "is_bigwig", "read_bigwig", "summarize_bigwig", "write_bigbed"]

MAGICS = (b"\x26\xfc\x8f\x88", b"\x88\x8f\xfc\x26")  # of a bigWig, in either byte order
MOST_MEMORY = 8 << 30  # address space of a process that reads a file which may be damaged
_REASON = "seqsal: "
_CHILD = "import sys; sys.path[:] = {path!r}; from seqsal.io.bigwig import _serve; _serve()"
FilePath = str | os.PathLike[str]


@dataclass(frozen=True)
class BigWigSummary:
    """What a bigWig says about itself.

    `chrom_sizes`: length (bp) of each chromosome that it names, which are those with data; `n_bases` with a value;
    `least` and `largest` values, both 0 when there is none; `has_nan` says that some values are NaN.
    """

    chrom_sizes: dict[str, int]
    n_bases: int
    least: float
    largest: float
    has_nan: bool = False


def is_bigwig(path: FilePath) -> bool:
    """Whether a file begins as every bigWig does."""
    if not Path(path).is_file():
        return False
    with Path(path).open("rb") as file:
        return file.read(4) in MAGICS


def summarize_bigwig(path: FilePath) -> BigWigSummary:
    """Say which chromosomes a bigWig names and how much it covers; StoreError if it is damaged, or none."""
    with Path(path).open("rb") as file:
        header = file.read(32)
    if any(header[8:16]) and header[24:] == bytes(8):  # no index: nothing was ever added, and pybigtools cannot open it
        return BigWigSummary({}, 0, 0.0, 0.0)
    with _child("summarize", str(path)) as child:
        answer = child.output.readline()
        if not answer:
            raise _damaged(path, child.reason())
        chrom_sizes, n_bases, least, largest, has_nan = json.loads(answer)
    least, largest = (least, largest) if n_bases else (0.0, 0.0)
    return BigWigSummary(chrom_sizes, n_bases, least, largest, has_nan)


def read_bigwig(
    path: FilePath,
    chroms: Sequence[str],
    start: NDArray[np.int64],
    length: int,
    chrom_sizes: Mapping[str, int],
    step: int,
) -> Iterator[NDArray[np.float32]]:
    """Yield float32 values (n, length) of up to `step` windows at a time, NaN where there is no value.

    Windows may hang over the ends of their chromosome; on one that `chrom_sizes`, those of the bigWig, lacks, no base
    has a value. StoreError: the file is damaged.
    """
    sizes = np.array([chrom_sizes.get(chrom, 0) for chrom in chroms], dtype=np.int64)
    low = np.minimum(np.maximum(start, 0), sizes)
    high = np.maximum(np.minimum(start + length, sizes), low)
    with ExitStack() as stack:
        child = stack.enter_context(_child("read", str(path))) if chrom_sizes else None
        for first in range(0, len(start), step):
            rows = slice(first, first + step)
            if child is None:
                yield np.full((len(start[rows]), length), np.nan, dtype=np.float32)
                continue
            spans = list(zip(chroms[rows], low[rows].tolist(), high[rows].tolist(), strict=True))
            child.send(spans)
            found = child.output.read(4 * int((high[rows] - low[rows]).sum()))
            if len(found) < 4 * int((high[rows] - low[rows]).sum()):
                raise _damaged(path, child.reason())
            position = start[rows, None] + np.arange(length)
            values = np.full(position.shape, np.nan, dtype=np.float32)
            values[(position >= low[rows, None]) & (position < high[rows, None])] = np.frombuffer(found, np.float32)
            yield values


def write_bigbed(
    path: FilePath, chrom_sizes: Mapping[str, int], rows: Sequence[tuple[str, int, int, str]], autosql: str, n_bed: int
) -> None:
    """Write at least one item (chrom, start, end, the other columns joined by tabs), in any order, as bigBed.

    `autosql` declares the columns, of which the first `n_bed` are BED's own. pybigtools counts every field as one of
    BED's. The header tells them apart, and igv.js and UCSC's tools read the others by their autoSql name, so that
    number is corrected. OutputError: the file cannot be written in full.
    """
    with atomic_path(path) as temporary, _child("bigbed", str(temporary), dict(chrom_sizes), autosql, n_bed) as child:
        child.send(sorted(rows))
        child.finish(path, len(rows))


def _damaged(path: FilePath, reason: str) -> StoreError:
    return StoreError(f"{path}: cannot be read as bigWig ({reason}); copy or download it again")


class _Child:
    """The process that does the work: takes pickled messages, and answers on its standard output."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._process, self._errors = process, errors
        self._input, self.output = process.stdin, process.stdout

    def send(self, message: Any) -> None:
        try:
            pickle.dump(message, self._input, protocol=5)
            self._input.flush()
        except BrokenPipeError:
            pass  # the answer, or its absence, tells

    def finish(self, path: FilePath, n_expected: int) -> None:
        """Wait until the file is there and holds what was sent."""
        self.send(None)
        answer = self.output.readline()
        if not answer or int(answer) != n_expected:
            reason = "what is read back is not what was written" if answer else self.reason()
            raise OutputError(f"{path}: cannot be written ({reason}); is there space on the device?")

    def reason(self) -> str:
        """Why there is no answer."""
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").splitlines()
        told = [line.removeprefix(_REASON) for line in lines if line.startswith(_REASON)]
        return told[-1] if told else f"the library ended with status {code}"


@contextmanager
def _child(*job: Any) -> Iterator[_Child]:
    """Start the process on a job; it ends with the block."""
    command = [sys.executable, "-I", "-c", _CHILD.format(path=[os.path.abspath(entry) for entry in sys.path if entry])]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "RUST_BACKTRACE": "0"}
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment
        )
        try:
            child = _Child(process, errors)
            child.send(job)
            yield child
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                try:
                    pipe.close()  # type: ignore[union-attr]
                except BrokenPipeError:
                    pass


def _serve() -> None:
    """Do the job that arrives on standard input: what the child runs. Its last words are the reason of a failure."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the caller is who ends on it, and ends this process
    source, answer = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # pybigtools prints
    try:
        kind, *job = pickle.load(source)
        _JOBS[kind](source, answer, *job)
        answer.flush()
    except BaseException as error:  # panics are no Exceptions
        is_told = isinstance(error, Exception) and str(error)
        reason = " ".join(str(error).split()) if is_told else "pybigtools gave up on its content"
        os.write(2, f"\n{_REASON}{reason[:200]}\n".encode())
    os._exit(0)  # without the destructors of a library that has panicked


def _messages(source: IO[bytes]) -> Iterator[Any]:
    while (message := pickle.load(source)) is not None:
        yield message


def _open_to_read(path: str) -> Any:
    import resource

    import pybigtools

    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    return pybigtools.open(path)


def _serve_summary(source: IO[bytes], answer: IO[bytes], path: str) -> None:
    with _open_to_read(path) as file:
        summary = file.info()["summary"]
        least, largest, total = (float(summary[name]) for name in ("min", "max", "sum"))
        found = (file.chroms(), int(summary["basesCovered"]), least, largest, bool(np.isnan(total)))
    answer.write(json.dumps(found).encode() + b"\n")


def _serve_values(source: IO[bytes], answer: IO[bytes], path: str) -> None:
    with _open_to_read(path) as file:
        while True:
            try:
                spans = pickle.load(source)
            except EOFError:
                return
            for chrom, low, high in spans:
                if low < high:
                    answer.write(file.values(chrom, low, high, fillna=None).astype(np.float32).tobytes())
            answer.flush()


def _ends_with(path: str, magic: bytes) -> bool:
    """Whether the last thing that is written is there."""
    with open(path, "rb") as file:
        file.seek(-len(magic), os.SEEK_END)
        return file.read() == magic


def _is_zoomed(file: Any, n_bases: int) -> bool:
    """Whether each summary at a coarser scale can be read; pybigtools counts gaps in it as bases with a value."""
    return all(
        sum(summary["bases_covered"] for chrom in file.chroms() for *_, summary in file.zoom_records(level, chrom))
        >= n_bases
        for level in file.zooms()
    )


def _serve_bigbed(
    source: IO[bytes], answer: IO[bytes], path: str, chrom_sizes: dict[str, int], autosql: str, n_bed: int
) -> None:
    import pybigtools

    rows = [row for some in _messages(source) for row in some]
    pybigtools.open(path, "w").write(chrom_sizes, iter(rows), autosql=autosql)
    with open(path, "r+b") as file:
        file.seek(34)  # definedFieldCount
        file.write(struct.pack("<H", n_bed))
    covered, end_of = 0, dict.fromkeys(chrom_sizes, 0)
    for chrom, start, end, _ in rows:
        covered += max(end - max(start, end_of[chrom]), 0)
        end_of[chrom] = max(end, end_of[chrom])
    with pybigtools.open(path) as written:
        found = [(chrom, *row) for chrom in sorted(written.chroms()) for row in written.records(chrom)]
        is_right = _words(found) == _words(rows) and _is_zoomed(written, covered)
    is_right &= _ends_with(path, b"\xeb\xf2\x89\x87")
    answer.write(f"{len(rows) if is_right else -1}\n".encode())


def _words(rows: Iterable[tuple[Any, ...]]) -> list[list[str]]:
    """Items as pybigtools splits them: at any white space."""
    return [" ".join(map(str, row)).split() for row in rows]


_JOBS: dict[str, Any] = {
    "summarize": _serve_summary,
    "read": _serve_values,
    "bigbed": _serve_bigbed,
}
