"""Files and folders to write: checked before work begins, written by one process at a time, never half-written.

Whoever writes `NAME` holds a lock on the file `.NAME.seqsal-lock` next to it (`.seqsal-lock` in a folder), which the
system frees when its owner dies, writes to `.STEM.PID.partial.SUFFIX`, and renames that. So what lies under such a name
while the lock can be had was left by a killed process, and is removed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from seqsal.errors import OutputError, SeqsalError, UsageError

__all__ = [
    "all_or_nothing", "atomic_path", "check_distinct", "check_folder", "check_writable", "locked", "make_folder",
    "output_error", "replace_file", "write_out",
]  # fmt: skip

LOCK = ".seqsal-lock"
WRITTEN_OUT = 1 << 18  # bytes from which on it pays to call `write_out`
PATIENCE = 30.0  # s that a finished result waits for another process that is writing the same file
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF)  # of some network file systems


def output_error(path: str | os.PathLike[str], error: OSError) -> OutputError:
    """Turn an operating-system error met while writing `path`, which the user gave, into one that says what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"{path}: no space left on the device; free some or choose another place, then run again")
    if error.errno in (errno.EIO, errno.EFBIG):
        return OutputError(f"{path}: cannot be written ({error.strerror}); choose another place, then run again")
    reason = error.strerror or str(error)
    return OutputError(f"{path}: cannot be written ({reason}); choose a folder that exists and that you may write to")


def check_writable(path: str | os.PathLike[str]) -> Path:
    """Return `path` if a file can be created there, else raise OutputError: hours of work must not end in that."""
    target = Path(path)
    if "\0" in str(target):
        raise OutputError(f"{str(target)!r}: is no file name, it holds a NUL; choose another")
    try:
        kind = target.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        kind = stat.S_IFREG
    except OSError as error:
        raise output_error(target, error) from error
    if stat.S_ISDIR(kind):
        raise OutputError(f"{target}: is a folder, expected a file name to write to; add a file name")
    if not stat.S_ISREG(kind):
        raise OutputError(f"{target}: is a device or a pipe, which would be replaced by a file; give a file name")
    parent = _real(target).parent if target.is_symlink() else target.parent
    if not parent.is_dir():
        what = "is not a folder" if parent.exists() else "does not exist"
        raise OutputError(f"{target}: cannot be written, the folder {parent} {what}; create it first")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"{target}: cannot be written, no permission for the folder {parent}; choose another")
    return target


def check_distinct(outputs: Iterable[str | os.PathLike[str]], inputs: Iterable[Any]) -> None:
    """Raise UsageError where an output would replace an input or another output, links resolved.

    Of the inputs, which may be lists, what is no path, or not there, is passed over.
    """
    given = [one for value in inputs for one in (value if isinstance(value, (list, tuple)) else [value])]
    paths = [path for path in given if isinstance(path, (str, os.PathLike)) and os.path.isfile(path)]
    seen: set[Path] = set()
    for output in outputs:
        is_there = os.path.exists(output)
        same = next((path for path in paths if is_there and os.path.samefile(path, output)), None)
        if same is not None:
            name = "" if str(same) == str(output) else f" ({same})"
            raise UsageError(f"{output}: is an input as well{name}, and would be replaced; choose another name")
        if _real(output) in seen:
            raise UsageError(f"{output}: two outputs have this name; choose another for one of them")
        seen.add(_real(output))


def _real(path: str | os.PathLike[str]) -> Path:
    return Path(os.path.realpath(path))


@contextlib.contextmanager
def locked(path: str | os.PathLike[str], *, patience: float = 0.5) -> Iterator[bool]:
    """Be the only one, in this process and all others, who writes a file, or into a folder that is there.

    Waits `patience` seconds for another to end (some, since who looks for the locks of the dead holds them for a
    moment), then raises OutputError. Yields False on a file system without locks, where nobody can tell.
    """
    place = _real(path)
    lock = place / LOCK if place.is_dir() else place.with_name(f".{place.name}{LOCK}")
    deadline = time.monotonic() + patience
    try:
        while (descriptor := _try_lock(lock)) is None:
            if time.monotonic() > deadline:
                raise OutputError(f"{path}: another process is writing it; wait for it to end or choose another name")
            time.sleep(0.01)
    except OSError as error:
        raise output_error(path, error) from error
    try:
        if descriptor >= 0 and lock.name != LOCK:
            _sweep_for(place)
        yield descriptor >= 0
    finally:
        _remove(lock)  # before it is free: who waits for it then looks whether it is still there
        if descriptor >= 0:
            os.close(descriptor)


def _try_lock(lock: Path) -> int | None:
    """Return a descriptor that holds the lock, -1 where there are no locks, or None while another has it."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(lock)):
                return descriptor
        except FileNotFoundError:
            pass  # its owner removed it meanwhile: the next one counts
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return None
            if error.errno in NO_LOCKS:
                return -1
            raise
        os.close(descriptor)


def _sweep(folder: Path) -> None:
    """Remove what killed processes left in a folder: locks that nobody holds, and unfinished files under them."""
    for lock in folder.glob(f".?*{LOCK}"):
        with contextlib.suppress(OSError):
            descriptor = _try_lock(lock)
            if descriptor is not None and descriptor >= 0:
                _sweep_for(folder / lock.name[1:].removesuffix(LOCK))
                _remove(lock)
                os.close(descriptor)


def _sweep_for(place: Path) -> None:
    """Remove the unfinished files of one whose lock is held here, also as earlier versions called them."""
    name = re.compile(rf"\.{re.escape(place.stem)}\.(?:[0-9a-f]{{6}}-)?\d+\.partial{re.escape(place.suffix)}")
    for entry in os.listdir(place.parent):
        if name.fullmatch(entry):
            _remove(place.parent / entry)


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path next to `path`; rename it to `path` on success, delete it on any error.

    The temporary name keeps the suffix, for writers that choose the format by it. The file is on the disk before it is
    renamed, so that a power cut leaves the old one or the new. Inside :func:`all_or_nothing` it is renamed later. A
    link is followed. Raises OutputError where the operating system refuses, or another process is writing it.
    """
    target = check_writable(path)
    place = _real(target)
    with contextlib.ExitStack() as stack:
        _sweep(place.parent)
        stack.enter_context(locked(target, patience=PATIENCE))
        temporary = place.with_name(f".{place.stem}.{os.getpid()}.partial{place.suffix}")
        stack.callback(_remove, temporary)
        try:
            yield temporary
            _sync(temporary)
        except OSError as error:
            raise output_error(target, error) from error
        together = _TOGETHER.get()
        if together is None:
            replace_file(temporary, target)
        else:
            together.append((stack.pop_all(), temporary, target))


_Waiting = list[tuple[contextlib.ExitStack, Path, Path]]
_TOGETHER: ContextVar[_Waiting | None] = ContextVar("together", default=None)


@contextlib.contextmanager
def all_or_nothing(stale: Iterable[str | os.PathLike[str]] = ()) -> Iterator[None]:
    """Give the files that :func:`atomic_path` writes in this block their names at its end, or, on any error, none.

    Earlier files of these names go first, so that whenever the process is killed, no old one stands next to a new one.
    `stale` are files that an earlier block of the same kind may have left: those not written now are removed too.
    """
    waiting: _Waiting = []
    token = _TOGETHER.set(waiting)
    with contextlib.ExitStack() as stack:
        try:
            yield
        finally:
            _TOGETHER.reset(token)
            for one, _, _ in waiting:
                stack.push(one)
        made = {_real(target) for _, _, target in waiting}
        old = [*(target for _, _, target in waiting[1:]), *(Path(path) for path in stale if _real(path) not in made)]
        for path in old:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise output_error(path, error) from error
        for _, temporary, target in waiting:
            replace_file(temporary, target)


def replace_file(made: Path, path: str | os.PathLike[str]) -> None:
    """Give a finished file its name, links followed, and have the folder on the disk."""
    place = _real(path)
    try:
        os.replace(made, place)
    except OSError as error:
        raise output_error(path, error) from error
    with contextlib.suppress(OSError):  # not every file system can
        _sync(place.parent)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def write_out(descriptor: int, start: int, stop: int) -> None:
    """Have the system begin to put bytes that were just written on the disk, which `fsync` would otherwise wait for.

    Linux does so when told that they are not needed; what is not on the disk yet stays in memory nevertheless.
    """
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):  # of what is no file
            os.posix_fadvise(descriptor, start, stop - start, os.POSIX_FADV_DONTNEED)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_folder(out: str | os.PathLike[str]) -> Path:
    """Check that :func:`make_folder` would work, without doing it; returns the nearest folder that is there."""
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file, expected a folder to write to; choose another name")
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not there.is_dir():
        raise OutputError(f"{folder}: cannot be made, {there} is a file; choose another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise OutputError(f"{folder}: cannot be written, no permission for {there}; choose another folder")
    return there


@contextlib.contextmanager
def make_folder(out: str | os.PathLike[str]) -> Iterator[Path]:
    """Make a folder for results, or take one that is there; raises OutputError where nothing can be written to it.

    A folder made here goes away again when an error leaves it empty.
    """
    check_folder(out)
    folder, is_mine = Path(out), False
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            is_mine = True
    except OSError as error:
        raise output_error(folder, error) from error
    try:
        yield folder
    except SeqsalError:
        if is_mine:
            with contextlib.suppress(OSError):  # not empty
                folder.rmdir()
        raise
