"""What a file holds, read once: regular files, pipes and standard input, plain or gzip, with the checksum of what came.

A pipe can be read only once, so whoever needs the content and its checksum takes both from here. Devices without an end
and gzip data that unpacks to absurd sizes are refused before memory is spent on them.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import os
import shutil
import stat
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from seqsal.errors import SeqsalError

__all__ = ["Closing", "Content", "is_stream", "opened", "printable", "read_content", "spooled"]

STDIN = "-"
PATIENCE = 30.0  # s that a named pipe may take to be opened by a writer
MOST_BYTES = 4 << 30
SMALL_BYTES = 64 << 20  # of unpacked content, below which any ratio is fine
MOST_RATIO = 100  # of unpacked to packed; text packs 3 to 10 times


class Closing:
    """A context manager that closes itself."""

    def close(self) -> None:
        """Release what is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@dataclass(frozen=True)
class Content:
    """What a file held: its `name` for messages and provenance, `data` unpacked, size and checksum before unpacking."""

    name: str
    data: bytes
    n_bytes: int
    sha256: str

    @property
    def provenance(self) -> dict[str, str | int]:
        """What is recorded about the file."""
        return {"file": printable(self.name), "n_bytes": self.n_bytes, "sha256": self.sha256}


def printable(path: str | os.PathLike[str]) -> str:
    """Write a path that may not be UTF-8 so that it can go into any file."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Whether a path is standard input, a pipe or a device: nothing that has a size and can be read at random."""
    name = os.fspath(path)
    return name == STDIN or (os.path.exists(name) and not os.path.isfile(name) and not os.path.isdir(name))


def read_content(path: str | os.PathLike[str], expected: str, error: type[SeqsalError]) -> Content:
    """Read a file, a pipe, or standard input (`-`) to its end, and unpack it if it is gzip.

    `expected` says what it should be, for messages: `BED file`. `error` is raised when it is missing, cannot be read,
    is a device or a folder, or unpacks to too much.
    """
    name = os.fspath(path)
    try:
        with opened(name, expected, error) as file:
            raw = file.read(MOST_BYTES + 1)
        if len(raw) > MOST_BYTES:
            raise error(f"{name}: is larger than {MOST_BYTES >> 30} GiB, expected a {expected}; split it")
        data = _unpacked(raw, name, expected, error) if raw[:2] == b"\x1f\x8b" else raw
    except FileNotFoundError:
        raise error(f"{name}: no such file; check the path of the {expected}") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as fault:
        raise error(f"{name}: gzip data is truncated or damaged ({fault}); copy or download it again") from fault
    except (OSError, ValueError) as fault:  # ValueError: a NUL in the path
        reason = (fault.strerror if isinstance(fault, OSError) else None) or str(fault)
        raise error(f"{name}: cannot be read ({reason}); expected a readable {expected}") from fault
    return Content(name, data, len(raw), hashlib.sha256(raw).hexdigest())


@contextmanager
def spooled(path: str | os.PathLike[str], expected: str, error: type[SeqsalError]) -> Iterator[Path]:
    """Yield a file that can be read at random: a pipe or standard input is first copied to a temporary one."""
    with tempfile.TemporaryDirectory(prefix="seqsal-") as folder:
        copy = Path(folder) / "input"
        try:
            with opened(path, expected, error) as source, copy.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
        except OSError as fault:
            raise error(f"{path}: cannot be read ({fault.strerror or fault}); expected a {expected}") from fault
        yield copy


@contextmanager
def opened(path: str | os.PathLike[str], expected: str, error: type[SeqsalError]) -> Iterator[BinaryIO]:
    """Open a file, a pipe, or standard input (`-`) to be read once; nobody waits for ever at a pipe.

    An `error` is raised for a device, or a pipe to which nobody writes; OSError where it cannot be opened.
    """
    name = os.fspath(path)
    if name == STDIN:
        descriptor = os.dup(0)
    else:
        kind = os.stat(name).st_mode
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
        descriptor = os.open(name, os.O_RDONLY | (os.O_NONBLOCK if stat.S_ISFIFO(kind) else 0))
    with os.fdopen(descriptor, "rb") as file:
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISCHR(kind) or stat.S_ISBLK(kind):
            what = "a terminal" if os.isatty(descriptor) else "a device"
            raise error(f"{name}: is {what}, expected a {expected}; give a file or a pipe")
        if not stat.S_ISFIFO(kind):
            yield file
            return
        first = b"" if name == STDIN else _wait(descriptor, name, error)
        os.set_blocking(descriptor, True)
        yield io.BufferedReader(_Chained(first, file))


def _wait(descriptor: int, name: str, error: type[SeqsalError]) -> bytes:
    """Wait until a writer opens a pipe, and return the first bytes that it writes."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if data := os.read(descriptor, 1 << 16):
                return data
        except BlockingIOError:  # a writer, which has not written yet
            return b""
        if time.monotonic() > deadline:
            raise error(f"{name}: nobody wrote to this pipe for {PATIENCE:g} s; start its writer, or give a file")
        time.sleep(0.02)


class _Chained(io.RawIOBase):
    """Bytes that were already read, and the rest of a file."""

    def __init__(self, first: bytes, rest: BinaryIO) -> None:
        self._first, self._rest = io.BytesIO(first), rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._first.read(len(buffer)) or os.read(self._rest.fileno(), len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _unpacked(raw: bytes, name: str, expected: str, error: type[SeqsalError]) -> bytes:
    limit = min(MOST_BYTES, max(SMALL_BYTES, MOST_RATIO * len(raw)))
    with gzip.GzipFile(fileobj=io.BytesIO(raw)) as packed:
        data = packed.read(limit + 1)
    if len(data) > limit:
        raise error(
            f"{name}: {len(raw):,} bytes unpack to more than {limit:,}, expected a {expected}; if it is one, unpack it "
            "first"
        )
    return data
