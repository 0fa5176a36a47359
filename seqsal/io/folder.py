"""A folder that results go into."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seqsal.errors import OutputError, SeqsalError
from seqsal.io.atomic import output_error

__all__ = ["check_folder", "make_folder"]


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


@contextmanager
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
