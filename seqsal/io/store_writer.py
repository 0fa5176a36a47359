"""Writing the attribution file in a stream, and resuming it; :mod:`seqsal.io.store` gives its layout.

Every dataset is contiguous and allocated when the file is made, so that no later write moves the file's metadata and it
stays sound whenever the process is killed.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import OutputError, SeqsalError, StoreError
from seqsal.io.atomic import check_writable, output_error
from seqsal.io.store import REGION_TYPES, SCHEMA, result_prefix
from seqsal.io.store_layout import StoreLayout, fingerprint

__all__ = ["AttributionWriter", "is_finished"]

logger = logging.getLogger(__name__)


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
        self._fingerprint = fingerprint(layout, attrs)
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
            return "progress" not in file and file.attrs.get("fingerprint") == fingerprint(layout, attrs)
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


def _write_error(path: Path, error: OSError) -> OutputError:
    """HDF5 hides the cause of a failed write in its message."""
    if error.errno is None and "No space left" in str(error):
        error = OSError(28, "No space left on device")
    return output_error(path, error)
