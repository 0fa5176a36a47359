"""Nothing half-written: build a file or folder beside its target, then rename it into place."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from seqsal.errors import OutputError

__all__ = ["atomic_path", "check_writable", "output_error"]


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
        The parent is missing, is not a folder, or may not be written to; or `path` is a folder.
    """
    target = Path(path)
    if target.is_dir():
        raise OutputError(f"{target}: is a folder, expected a file name to write to; add a file name")
    parent = target.parent
    if not parent.is_dir():
        what = "is not a folder" if parent.exists() else "does not exist"
        raise OutputError(f"{target}: cannot be written, the folder {parent} {what}; create it first")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"{target}: cannot be written, no permission for the folder {parent}; choose another")
    return target


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, delete it on any error.

    The temporary name keeps the suffix, for writers that choose the format by it.

    Raises
    ------
    OutputError
        The operating system refuses (permission, full disk, missing folder).
    """
    target = check_writable(path)
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.partial{target.suffix}")
    try:
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        raise output_error(target, error) from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
