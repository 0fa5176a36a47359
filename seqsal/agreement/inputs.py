"""What may be given to a comparison: results in memory, files, or single results of files as `A.h5:NAME`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from seqsal.errors import UsageError
from seqsal.io.attributions import Attributions
from seqsal.io.store import read_attributions

__all__ = ["Comparable", "open_results"]

Comparable = Attributions | str | os.PathLike[str]


def open_results(
    given: Comparable | Sequence[str | os.PathLike[str]] | Mapping[str, Comparable],
) -> dict[str, Attributions]:
    """Open results to be compared, by name; files stay on disk.

    Parameters
    ----------
    given
        Results or files by name; or a list of files, each named by its stem (by its path where stems repeat); or one
        result or file that was made with others, which are then all taken. A file may be `A.h5:NAME`, for that result
        of it; else it stands for its first.

    Raises
    ------
    StoreError
        A file cannot be read, or lacks the result.
    UsageError
        The same is given twice.
    """
    if isinstance(given, Mapping):
        return {str(name): _open(one) for name, one in given.items()}
    if isinstance(given, (Attributions, str, os.PathLike)):
        return _all_results(_open(given))
    texts = [os.fspath(one) for one in given]
    if len(texts) == 1 and _split(texts[0])[1] is None:
        return _all_results(_open(texts[0]))
    return dict(zip(_labels(texts), map(_open, texts), strict=True))


def _all_results(attr: Attributions) -> dict[str, Attributions]:
    return {name: attr.result(name) for name in attr.results}


def _open(one: Comparable) -> Attributions:
    if isinstance(one, Attributions):
        return one
    path, result = _split(os.fspath(one))
    return read_attributions(path, result, in_memory=False)


def _split(text: str) -> tuple[str, str | None]:
    """Path and result of `A.h5:NAME`; a file that has such a name goes first."""
    path, colon, result = text.rpartition(":")
    return (path, result) if colon and path and not Path(text).exists() else (text, None)


def _labels(texts: list[str]) -> list[str]:
    repeated = next(_repeats(texts), None)
    if repeated is not None:
        raise UsageError(f"compare: {repeated} is given twice, expected different results")
    parts = [_split(text) for text in texts]
    short = [Path(path).stem + (f":{result}" if result else "") for path, result in parts]
    return texts if next(_repeats(short), None) else short


def _repeats(names: list[str]) -> Iterator[str]:
    return (name for i, name in enumerate(names) if name in names[:i])
