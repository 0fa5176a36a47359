"""HDF5 files to write, on disks that fill up.

HDF5 cannot close a file that it cannot write, and then ends the process with a segmentation fault. So it writes here to
a file that never fails: the first error is kept for :meth:`CheckedFile.check`, and what comes after it stays in memory.
Python calls the handlers of signals inside that file's methods as anywhere else, and what they raise, such as
KeyboardInterrupt, would be a failed write to HDF5: while it works, signals wait (:func:`undisturbed`).
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from seqsal.io.atomic import WRITTEN_OUT, write_out

__all__ = ["DAMAGE", "CheckedFile", "create_hdf5", "undisturbed"]

# What h5py raises, in whatever function, where a file is damaged.
DAMAGE = (KeyError, OSError, ValueError, RuntimeError, TypeError, AttributeError, UnicodeDecodeError, MemoryError)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let signals with a handler in Python wait for the end of the block."""
    arrived: list[tuple[int, Any]] = []
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # which runs all handlers
        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if callable(signal.getsignal(one)):
                before[one] = signal.signal(one, lambda *given: arrived.append(given))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for received, frame in arrived[:1]:
            before[received](received, frame)


class CheckedFile:
    """What HDF5 takes for a file, at `path`; `is_new` empties it.

    `error` is the first of a write, which is to be raised as soon as HDF5 is not at work.
    """

    def __init__(self, path: Path, *, is_new: bool) -> None:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_TRUNC if is_new else 0)
        self._descriptor, self._at = os.open(path, flags, 0o666), 0
        self._unwritten: list[tuple[int, bytes]] = []
        self.error: OSError | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position."""
        self._at = offset
        if whence == os.SEEK_END:
            ends = (start + len(data) for start, data in self._unwritten)
            self._at += max(os.fstat(self._descriptor).st_size, *ends, 0)
        return self._at

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def readinto(self, given: memoryview) -> int:
        """Read from the position on into a buffer, and fill it; what is beyond the end is 0."""
        view, n_read = memoryview(given).cast("B"), 0
        while n_read < len(view) and (n := os.preadv(self._descriptor, [view[n_read:]], self._at + n_read)):
            n_read += n
        view[n_read:] = bytes(len(view) - n_read)
        for start, kept in self._unwritten:
            low, high = max(start, self._at), min(start + len(kept), self._at + len(view))
            if low < high:
                view[low - self._at : high - self._at] = kept[low - start : high - start]
        return len(view)

    def read(self, size: int) -> bytes:
        """Read from the position on; what is beyond the end is 0."""
        data = bytearray(size)
        self.readinto(memoryview(data))
        return bytes(data)

    def write(self, data: memoryview) -> int:
        """Write at the position, or keep in memory what cannot be written."""
        view = memoryview(data).cast("B")
        n_done = 0
        try:
            while self.error is None and n_done < len(view):
                n_done += os.pwrite(self._descriptor, view[n_done:], self._at + n_done)
            if n_done >= WRITTEN_OUT:
                write_out(self._descriptor, self._at, self._at + n_done)
        except OSError as error:
            self.error = error
        if n_done < len(view):
            self._unwritten.append((self._at + n_done, bytes(view[n_done:])))
        self._at += len(view)
        return len(view)

    def truncate(self, size: int) -> int:
        """Set the length."""
        try:
            os.ftruncate(self._descriptor, size)
        except OSError as error:
            self.error = self.error or error
        return size

    def flush(self) -> None:
        """Do nothing: nothing is buffered here."""

    def reserve(self) -> None:
        """Claim the file's blocks now, as datasets that are allocated early are still holes in a sparse file."""
        os.posix_fallocate(self._descriptor, 0, max(os.fstat(self._descriptor).st_size, 1))

    def check(self) -> None:
        """Raise the first error of a write."""
        if self.error is not None:
            raise self.error

    def sync(self) -> None:
        """Have it on the disk."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


@contextmanager
def create_hdf5(path: Path) -> Iterator[tuple[h5py.File, CheckedFile]]:
    """Yield a new HDF5 file, and what to :meth:`CheckedFile.check` after each write, :func:`undisturbed`."""
    raw = CheckedFile(path, is_new=True)
    try:
        with undisturbed():
            file = h5py.File(raw, "w")
        try:
            yield file, raw
        finally:
            with undisturbed():
                file.close()
        raw.check()
    finally:
        raw.close()
