"""Files and folders to write: checked before work begins, and never half-written."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import platform
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from seqsal.errors import OutputError, SeqsalError, UsageError

__all__ = ["atomic_path", "check_distinct", "check_folder", "check_writable", "make_folder", "output_error"]


def output_error(path: str | os.PathLike[str], error: OSError) -> OutputError:
    """Turn an operating-system error met while writing `path` into one that says what to do.

    Parameters
    ----------
    path
        The file that the user asked for (not the temporary one beside it).
    error
        What the operating system said.
    """
    if error.errno in (28, 122):  # ENOSPC, EDQUOT
        return OutputError(f"{path}: no space left on the device; free some or choose another place, then run again")
    reason = error.strerror or str(error)
    return OutputError(f"{path}: cannot be written ({reason}); choose a folder that exists and that you may write to")


def check_writable(path: str | os.PathLike[str]) -> Path:
    """Return `path` if a file can be created there, so that hours of work do not end in a refusal.

    Raises
    ------
    OutputError
        The parent is missing, is not a folder, or may not be written to; or `path` is a folder, a device or a pipe.
    """
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
    parent = target.parent
    if not parent.is_dir():
        what = "is not a folder" if parent.exists() else "does not exist"
        raise OutputError(f"{target}: cannot be written, the folder {parent} {what}; create it first")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"{target}: cannot be written, no permission for the folder {parent}; choose another")
    return target


def check_distinct(outputs: Iterable[str | os.PathLike[str]], inputs: Iterable[Any]) -> None:
    """Raise where an output would replace an input or another output, links resolved.

    Parameters
    ----------
    outputs
        Files to write.
    inputs
        Files to read; what is no path, or not there, is passed over.

    Raises
    ------
    UsageError
        Two of them are one file.
    """
    paths = [path for path in inputs if isinstance(path, (str, os.PathLike)) and os.path.isfile(path)]
    seen: set[str] = set()
    for output in outputs:
        is_there = os.path.exists(output)
        same = next((path for path in paths if is_there and os.path.samefile(path, output)), None)
        if same is not None:
            name = "" if str(same) == str(output) else f" ({same})"
            raise UsageError(f"{output}: is an input as well{name}, and would be replaced; choose another name")
        if os.path.realpath(output) in seen:
            raise UsageError(f"{output}: two outputs have this name; choose another for one of them")
        seen.add(os.path.realpath(output))


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path next to `path`; rename it to `path` on success, delete it on any error.

    The temporary name keeps the suffix, for writers that choose the format by it. The file is on the disk before it is
    renamed, so that a power cut leaves the old one or the new. What killed processes of this machine left for the same
    path is removed.

    Raises
    ------
    OutputError
        The operating system refuses (permission, full disk, missing folder).
    """
    target = check_writable(path)
    host = hashlib.sha256(platform.node().encode()).hexdigest()[:6]
    for leftover in target.parent.glob(f".{glob.escape(target.stem)}.{host}-*.partial{glob.escape(target.suffix)}"):
        pid = leftover.name.removesuffix(f".partial{target.suffix}").rpartition("-")[2]
        if pid.isdecimal() and not _is_alive(int(pid)):
            _remove(leftover)
    temporary = target.with_name(f".{target.stem}.{host}-{os.getpid()}.partial{target.suffix}")
    try:
        yield temporary
        if temporary.is_file():
            _sync(temporary)
        os.replace(temporary, target)
        with contextlib.suppress(OSError):  # not every file system can
            _sync(target.parent)
    except OSError as error:
        raise output_error(target, error) from error
    finally:
        _remove(temporary)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_folder(out: str | os.PathLike[str]) -> Path:
    """Check that :func:`make_folder` would work, without doing it; returns the nearest folder that is there.

    Raises
    ------
    OutputError
        `out` is a file, or below one, or may not be written.
    """
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
    """Make a folder for results, or take one that is there, and check that it can be written to.

    A folder made here goes away again when an error leaves it empty.

    Raises
    ------
    OutputError
        It is a file, or the operating system refuses.
    """
    folder = Path(out)
    was_missing = not folder.exists()
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file, expected a folder to write to; choose another name")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{folder}: cannot be written, no permission; choose another folder")
    try:
        yield folder
    except SeqsalError:
        if was_missing and not any(folder.iterdir()):
            folder.rmdir()
        raise
