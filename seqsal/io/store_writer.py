"""Writing the attribution file in a stream, and resuming it; :mod:`seqsal.io.store` gives its layout.

Every dataset is contiguous and allocated when the file is made, so that no later write moves the file's metadata and it
stays sound whenever the process is killed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import OutputError, SeqsalError, StoreError
from seqsal.io.atomic import check_writable, output_error
from seqsal.io.store import REGION_TYPES, SCHEMA, result_prefix

__all__ = ["AttributionWriter", "ResultLayout", "StoreLayout", "is_finished"]

MEASURED = ("precision_correlation", "precision_correlation_prediction")  # outcomes, not settings
Shapes = dict[str, tuple[tuple[int, ...], Any]]
logger = logging.getLogger(__name__)


class ResultLayout(NamedTuple):
    """What a further result holds beside its track and prediction.

    Attributes
    ----------
    attrs
        Attributes of its group.
    hypothetical, completeness_error
        As in :class:`StoreLayout`.
    """

    attrs: Mapping[str, Any]
    hypothetical: bool = False
    completeness_error: bool = False


@dataclass(frozen=True)
class StoreLayout:
    """What an attribution file will hold, known before the first value is.

    Attributes
    ----------
    regions, rejected
        Window table (N rows) and unusable regions.
    length
        Bases per window, L.
    chrom_sizes
        Chromosome lengths (bp).
    n_controls
        Number of shuffled controls, M; 0 leaves `/null` out.
    hypothetical, completeness_error
        Whether to keep the (N, 4, L) scores, and the (N,) error of the promised sum.
    results
        Further results by name.
    """

    regions: pd.DataFrame
    rejected: pd.DataFrame
    length: int
    chrom_sizes: Mapping[str, int]
    n_controls: int = 0
    hypothetical: bool = False
    completeness_error: bool = False
    results: Mapping[str, ResultLayout] = field(default_factory=dict)

    def datasets(self) -> Shapes:
        """Shape and type of every streamed dataset, by its path in the file."""
        n, m, length = len(self.regions), self.n_controls, self.length
        shapes: Shapes = {"codes": ((n, length), np.uint8)}
        shapes |= self._result("", self.hypothetical, self.completeness_error)
        if m:
            shapes["null/codes"] = ((m, length), np.uint8)
            shapes["null/source"] = ((m,), np.int64)
        for name, result in self.results.items():
            shapes |= self._result(result_prefix(name), result.hypothetical, result.completeness_error)
        return shapes

    def _result(self, prefix: str, hypothetical: bool, completeness_error: bool) -> Shapes:
        """Datasets that every result has for itself."""
        n, m, length = len(self.regions), self.n_controls, self.length
        shapes: Shapes = {prefix + "track": ((n, length), np.float32), prefix + "prediction": ((n,), np.float32)}
        if hypothetical:
            shapes[prefix + "hypothetical"] = ((n, 4, length), np.float32)
        if completeness_error:
            shapes[prefix + "completeness_error"] = ((n,), np.float32)
        if m:
            shapes[prefix + "null/track"] = ((m, length), np.float32)
            shapes[prefix + "null/prediction"] = ((m,), np.float32)
        return shapes

    def n_bytes(self) -> int:
        """Bytes that the streamed datasets take on disk."""
        return sum(int(np.prod(shape)) * np.dtype(kind).itemsize for shape, kind in self.datasets().values())


class AttributionWriter:
    """Stream results into an attribution file; an interrupted one goes on where it stopped.

    Values go to a hidden file beside `path` that :meth:`finish` renames. When the process is interrupted, that file
    stays; a writer with the same layout and attributes picks it up (`done` tells how far it got), any other starts
    afresh. When a :class:`SeqsalError` ends the work, which trying again would not cure, it is removed. The space is
    reserved when the file is made, so that a disk too small is told before the work and not at its end.

    Parameters
    ----------
    path
        The file to make.
    layout
        What it will hold.
    attrs
        Root attributes; dictionaries are stored as JSON.
    resume
        False discards an earlier unfinished file.

    Raises
    ------
    OutputError
        The place cannot be written, is full, or is being written by another process.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        layout: StoreLayout,
        attrs: Mapping[str, Any],
        *,
        resume: bool = True,
    ) -> None:
        self.path = check_writable(path)
        self.partial = self.path.with_name(f".{self.path.name}.partial")
        self.layout = layout
        self._fingerprint = _fingerprint(layout, attrs)
        self._file = self._reopen() if resume else None
        if self._file is None:
            self._file = self._create(attrs)
        self.done = {"main": int(self._file["progress"][0]), "null": int(self._file["progress"][1])}

    def _reopen(self) -> h5py.File | None:
        if not self.partial.exists():
            return None
        try:
            file = h5py.File(self.partial, "r+")
        except BlockingIOError as error:
            raise OutputError(
                f"{self.path}: another process is writing it; wait for it to end or choose another name"
            ) from error
        except OSError:
            return None
        if file.attrs.get("fingerprint") != self._fingerprint or "progress" not in file:
            file.close()
            logger.warning("%s: an unfinished file of other settings is there; starting afresh", self.path)
            return None
        return file

    def _create(self, attrs: Mapping[str, Any]) -> h5py.File:
        self._check_space()
        try:
            file = h5py.File(self.partial, "w")
            file.attrs["fingerprint"] = self._fingerprint
            file.attrs["schema"] = SCHEMA
            _write_attrs(file, attrs)
            _write_table(file.create_group("regions"), self.layout.regions)
            _write_table(file.create_group("rejected"), self.layout.rejected)
            sizes = pd.DataFrame(
                {"chrom": list(self.layout.chrom_sizes), "size": list(self.layout.chrom_sizes.values())}
            )
            _write_table(file.create_group("chrom_sizes"), sizes)
            for name, (shape, kind) in self.layout.datasets().items():
                _allocate(file, name, shape, kind)
            for name, result in self.layout.results.items():
                _write_attrs(file[result_prefix(name)], result.attrs)
            file.create_dataset("progress", data=np.zeros(2, dtype=np.int64))
            file.flush()
            _reserve(self.partial)
        except OSError as error:
            self.partial.unlink(missing_ok=True)
            raise _write_error(self.path, error) from error
        return file

    def _check_space(self) -> None:
        stats = os.statvfs(self.path.parent)
        free, need = stats.f_bavail * stats.f_frsize, self.layout.n_bytes()
        if self.partial.exists():
            free += self.partial.stat().st_size
        if need > free:
            raise OutputError(
                f"{self.path}: no space left on the device, {need / 1e6:,.1f} MB are needed, {free / 1e6:,.1f} MB are "
                "free; free some, choose another place, or ask for fewer regions or controls"
            )

    def write(
        self,
        part: str,
        start: int,
        arrays: Mapping[str, NDArray[Any]],
        *,
        result: str | None = None,
        complete: bool = True,
    ) -> None:
        """Write rows from `start` on of part `main` or `null`.

        Parameters
        ----------
        part
            `main` for the windows, `null` for their controls.
        start
            First row.
        arrays
            Rows by dataset name (without the `null/`).
        result
            A further result that they belong to; None for the root.
        complete
            Whether these rows are now there for every result, so that a resumed run need not compute them.
        """
        prefix = result_prefix(result) + ("null/" if part == "null" else "")
        stop = start
        try:
            for name, rows in arrays.items():
                stop = start + len(rows)
                self.file[prefix + name][start:stop] = rows
            self.file.flush()
            if complete:
                self.file["progress"][0 if part == "main" else 1] = stop
                self.file.flush()
        except OSError as error:
            raise _write_error(self.path, error) from error
        if complete:
            self.done[part] = stop

    @property
    def file(self) -> h5py.File:
        """The open HDF5 file."""
        if self._file is None:
            raise StoreError(f"{self.path}: the writer is closed")
        return self._file

    def finish(self) -> Path:
        """Check that every row is there, close the file and give it its name.

        Raises
        ------
        StoreError
            Rows are missing.
        """
        expected = {"main": len(self.layout.regions), "null": self.layout.n_controls}
        if self.done != expected:
            raise StoreError(
                f"{self.path}: rows written {self.done}, expected {expected}; run the command again to resume"
            )
        try:
            del self.file["progress"]
            self.close()
            os.replace(self.partial, self.path)
        except OSError as error:
            raise _write_error(self.path, error) from error
        return self.path

    def close(self) -> None:
        """Close the file, leaving unfinished work to be resumed."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except (OSError, RuntimeError):
            if kind is None:  # a full disk fails again on close; the first error is the one to show
                raise
        if kind is not None and issubclass(kind, SeqsalError):
            self.partial.unlink(missing_ok=True)


def is_finished(path: str | os.PathLike[str], layout: StoreLayout, attrs: Mapping[str, Any]) -> bool:
    """Whether there is a finished attribution file of these windows and settings, whose model is known by checksum.

    The checksum of a factory is that of its weights: the code may have changed, so its files are never the same.

    Parameters
    ----------
    path
        Where it would be.
    layout, attrs
        As for :class:`AttributionWriter`.
    """
    model = attrs.get("model", {})
    if "sha256" not in model or "factory" in model or not Path(path).is_file():
        return False
    try:
        with h5py.File(path, "r") as file:
            return "progress" not in file and file.attrs.get("fingerprint") == _fingerprint(layout, attrs)
    except OSError:
        return False


def _allocate(file: h5py.File, name: str, shape: tuple[int, ...], kind: Any) -> None:
    """Make a contiguous dataset whose place in the file is fixed at once."""
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_layout(h5py.h5d.CONTIGUOUS)
    settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    settings.set_obj_track_times(False)  # the same content gives the same bytes
    links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    kind_id = h5py.h5t.py_create(np.dtype(kind), logical=True)
    h5py.h5d.create(file.id, name.encode(), kind_id, h5py.h5s.create_simple(shape), settings, links)


def _reserve(path: Path) -> None:
    """Claim the file's blocks now: datasets allocated early are still holes in a sparse file."""
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _write_attrs(group: h5py.Group, attrs: Mapping[str, Any]) -> None:
    for key, value in attrs.items():
        group.attrs[key] = json.dumps(value, sort_keys=True) if isinstance(value, (dict, list)) else value


def _write_table(group: h5py.Group, table: pd.DataFrame) -> None:
    for column in map(str, table.columns):
        kind = REGION_TYPES.get(column)
        if kind is None:
            kind = np.float64 if pd.api.types.is_numeric_dtype(table[column]) else str
        if kind is str:
            values = table[column].astype(str).to_numpy(dtype=object)
            group.create_dataset(column, data=values, dtype=h5py.string_dtype())
        else:
            group.create_dataset(column, data=table[column].to_numpy(dtype=kind))


def _fingerprint(layout: StoreLayout, attrs: Mapping[str, Any]) -> str:
    settings = [attrs, *(result.attrs for result in layout.results.values())]
    settings = [{key: value for key, value in given.items() if key not in MEASURED} for given in settings]
    digest = hashlib.sha256(json.dumps([SCHEMA, settings], sort_keys=True, default=str).encode())
    digest.update(repr([(name, shape) for name, (shape, _) in layout.datasets().items()]).encode())
    for column in ("chrom", "start", "end", "strand", "name"):
        digest.update("\n".join(map(str, layout.regions[column])).encode())
    return digest.hexdigest()


def _write_error(path: Path, error: OSError) -> OutputError:
    """HDF5 hides the cause of a failed write in its message."""
    if error.errno is None and "No space left" in str(error):
        error = OSError(28, "No space left on device")
    return output_error(path, error)
