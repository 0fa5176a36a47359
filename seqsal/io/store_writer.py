"""Writing the attribution file in a stream, resuming it, and adding controls to it.

:mod:`seqsal.io.store` gives its layout.

Every dataset is contiguous and allocated when the file is made, so that no later write moves the file's metadata and it
stays sound whenever the process is killed; bases and rounded scores lie in slots of :mod:`seqsal.io.packing`, which is
as good. A packed copy takes the place of a file of long windows when all rows are there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import OutputError, SeqsalError, StoreError
from seqsal.io.atomic import check_writable, locked, output_error, replace_file
from seqsal.io.attributions import SPREADS, Controls
from seqsal.io.hdf5 import DAMAGE, CheckedFile, undisturbed
from seqsal.io.packing import Slots, slot_rows
from seqsal.io.rounding import is_score, kept_bytes, round_bits
from seqsal.io.store import REGION_TYPES, SCHEMA, Shapes, StoreLayout, n_bytes_of, result_prefix

__all__ = [
    "AttributionWriter", "ControlsWriter", "MemorySink", "RowsWriter", "fingerprint", "is_already_written",
    "rows_fingerprint",
]  # fmt: skip

# outcomes, and a place
NO_SETTINGS = ("trained_on", "null", "precision_correlation", "precision_correlation_prediction", "model_path")
CONTROLS = ".controls.partial"
CHUNK_BYTES = 1 << 26  # copied at a time
LONG = 1 << 15  # bp of a row from which on rows are compressed, in chunks of so many
PACKED_BYTES = 1 << 16  # of bases or rounded scores, from which on they are packed
PACKED_ROWS = 1 << 12  # of a table, from which on it is compressed; it is whole before the first value is written
DIGESTED_ROWS = 1 << 16  # of a table at a time
logger = logging.getLogger(__name__)


class _PartialFile(ABC):
    """A hidden file next to `path` that takes rows, and is picked up again when the process is interrupted.

    It counts the rows that are there for every result in the dataset `progress`. Only a writer with the same
    fingerprint picks it up, any other starts afresh, as do all with `resume` false. When a :class:`SeqsalError` ends
    the work, which trying again would not mend, it is removed. While it is open, nobody else writes `path`.

    `n_rows` are the rows expected of each part: `main` for the windows, `null` for their controls. Scores are rounded
    to `keep_bits`.
    """

    def __init__(
        self, path: Path, ending: str, fingerprint: str, n_rows: dict[str, int], *, resume: bool,
        keep_bits: int | None,
    ) -> None:  # fmt: skip
        self.path, place = path, Path(os.path.realpath(path))
        self.partial = place.with_name(f".{place.name}{ending}")
        self._fingerprint, self._n_rows = fingerprint, n_rows
        self._slots, self._keep_bits = Slots(keep_bits), keep_bits
        self._targets: dict[str, h5py.Dataset] = {}
        self._file: h5py.File | None = None
        with ExitStack() as opened:
            opened.enter_context(locked(path))
            try:
                with undisturbed():
                    if not self._reopen(resume):
                        self._create()
            except OSError as error:
                self.partial.unlink(missing_ok=True)
                raise output_error(self.path, error) from error
            opened.callback(lambda: self._raw.close())  # which may be another by then
            self._opened = opened.pop_all()
        self.done = {"main": int(self.file["progress"][0]), "null": int(self.file["progress"][1])}

    @abstractmethod
    def _fill(self, file: h5py.File) -> None:
        """Make the datasets of a new file."""

    def _dataset(self, part: str, result: str | None, name: str) -> str:
        """Path of a dataset in the file."""
        return result_prefix(result) + ("null/" if part == "null" else "") + name

    @abstractmethod
    def _n_bytes(self) -> int:
        """Bytes that the finished work takes on the disk."""

    def _reopen(self, resume: bool) -> bool:
        """Open the file of an earlier process, if it is whole and of the same work."""
        if not (resume and self.partial.exists()):
            return False
        self._raw = CheckedFile(self.partial, is_new=False)
        try:
            self._file = h5py.File(self._raw, "r+")
            if self.file.attrs.get("fingerprint") == self._fingerprint and self._is_whole(self.file):
                self._raw.check()
                return True
            logger.warning("%s: an unfinished file of other settings is there; starting afresh", self.path)
        except DAMAGE:
            logger.warning("%s: the unfinished file of an earlier run cannot be read; starting afresh", self.path)
        if self._file is not None:
            self._file.close()
        self._raw.close()
        return False

    def _is_whole(self, file: h5py.File) -> bool:
        """Whether the datasets are there, which a process killed in its first writes did not come to."""
        done = np.asarray(file["progress"][...])
        return done.shape == (2,) and all(0 <= n <= most for n, most in zip(done, self._n_rows.values(), strict=True))

    def _create(self) -> None:
        self._check_space()
        self._raw = CheckedFile(self.partial, is_new=True)
        try:
            with ExitStack() as opened:
                self._file = opened.enter_context(h5py.File(self._raw, "w"))
                self._file.attrs["fingerprint"] = self._fingerprint
                self._fill(self._file)
                self._file.create_dataset("progress", data=np.zeros(2, dtype=np.int64))
                self._flush()
                self._raw.reserve()
                opened.pop_all()
        except BaseException:
            self._raw.close()
            raise

    def _check_space(self) -> None:
        stats = os.statvfs(self.path.parent)
        free, need = stats.f_bavail * stats.f_frsize, self._n_bytes()
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
        """Write rows from `start` on of part `main` (windows) or `null` (their controls), by name without `null/`.

        They belong to the first result, or to `result`. `complete` says that they are now there for every result, so
        that a resumed run need not compute them.
        """
        stop = start
        try:
            with undisturbed():
                for name, rows in arrays.items():
                    stop = start + len(rows)
                    _put(self._target(self._dataset(part, result, name)), np.arange(start, stop), rows, self._slots)
                self._flush()
                if complete:
                    self._target("progress")[0 if part == "main" else 1] = stop
                    self._flush()
        except OSError as error:
            raise output_error(self.path, error) from error
        if complete:
            self.done[part] = stop

    def _target(self, name: str) -> h5py.Dataset:
        """Return a dataset, which is looked up once: HDF5 takes half a millisecond."""
        if not self._targets.get(name):  # or its file is closed
            self._targets[name] = self.file[name]
        return self._targets[name]

    @property
    def file(self) -> h5py.File:
        """The open HDF5 file."""
        if self._file is None:
            raise StoreError(f"{self.path}: the writer is closed")
        return self._file

    def _flush(self) -> None:
        self.file.flush()
        self._raw.check()

    def _check_complete(self) -> None:
        if self.done != self._n_rows:
            raise StoreError(
                f"{self.path}: rows written {self.done}, expected {self._n_rows}; run the command again to resume"
            )

    def _put_in_place(self) -> None:
        """Close the file, whole, and give it its name."""
        try:
            with undisturbed():
                del self.file["progress"]
                self.file.close()
            self._file = None
            self._raw.check()
            self._raw.sync()
        except OSError as error:
            raise output_error(self.path, error) from error
        replace_file(self.partial, self.path)

    def close(self) -> None:
        """Close the file and free its name, leaving unfinished work to be resumed."""
        if self._file is not None:
            with undisturbed():
                self._file.close()
            self._file = None
        self._opened.close()

    def discard(self) -> None:
        """Remove the hidden file."""
        self.partial.unlink(missing_ok=True)
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and issubclass(kind, SeqsalError):
            self.discard()
        else:
            self.close()


class AttributionWriter(_PartialFile):
    """Stream results into an attribution file; an interrupted one goes on where it stopped.

    Values go to a hidden file next to `path` that :meth:`finish` renames; `done` says how many rows an earlier,
    interrupted writer left there. The space is reserved when the file is made, so that a disk too small shows before
    the work and not at its end. An unfinished file with another number of controls keeps its windows, unless `resume`
    is false. Root attributes that are dictionaries are stored as JSON.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        layout: StoreLayout,
        attrs: Mapping[str, Any],
        *,
        resume: bool = True,
    ) -> None:
        self.layout, self._attrs = layout, attrs
        n_rows = {"main": len(layout.regions), "null": layout.n_controls}
        super().__init__(
            check_writable(path), ".partial", fingerprint(layout, attrs), n_rows, resume=resume,
            keep_bits=layout.keep_bits,
        )  # fmt: skip

    def _fill(self, file: h5py.File, packed: bool = False) -> None:
        file.attrs["schema"] = SCHEMA
        _write_attrs(file, self._attrs)
        _write_table(file.create_group("regions"), self.layout.regions)
        _write_table(file.create_group("rejected"), self.layout.rejected)
        sizes = self.layout.chrom_sizes
        _write_table(
            file.create_group("chrom_sizes"), pd.DataFrame({"chrom": list(sizes), "size": list(sizes.values())})
        )
        _allocate(file, self.layout.datasets(), self._slots, packed=packed)
        for name, result in self.layout.results.items():
            _write_attrs(file[result_prefix(name)], result.attrs)

    def _reopen(self, resume: bool) -> bool:
        if not super()._reopen(resume):
            return False
        if self.file["progress"][...].tolist() == list(self._n_rows.values()):
            self._write_anew()
        return True

    def _write_anew(self) -> None:
        """Copy a file that has every row: HDF5 may have been killed while it gave it its last form."""
        whole, raw = self.file, self._raw
        if shutil.disk_usage(self.partial.parent).free < self._n_bytes():
            return
        self.partial.unlink()
        try:
            self._create()
            for name, shape in self.layout.datasets().items():
                _copy_rows(whole, self.file, name, shape, self._raw, self._slots)
            self.file["progress"][...] = list(self._n_rows.values())
            self._flush()
        finally:
            whole.close()
            raw.close()

    def _is_whole(self, file: h5py.File) -> bool:
        has_other = file.attrs.get("null", "shuffle") != self.layout.null
        if has_other or (len(file["null/source"]) if "null/source" in file else 0) != self.layout.n_controls:
            _drop_controls(file)
            _set_null(file, self.layout.null)
            _allocate(file, _of_controls(self.layout.datasets()), self._slots)
            file["progress"][1] = 0
            file.flush()
            self._raw.reserve()
        return super()._is_whole(file) and all(name in file for name in self.layout.datasets())

    def _n_bytes(self) -> int:
        shapes = self.layout.datasets()
        long = {name: shape for name, shape in shapes.items() if _is_long(shape)}  # as they are, and then packed
        return n_bytes_of(shapes, self._keep_bits) + n_bytes_of(long)

    def finish(self) -> Path:
        """Check that every row is there, close the file and give it its name."""
        self._check_complete()
        if any(map(_is_long, self.layout.datasets().values())):
            self._pack()
        self._put_in_place()
        Path(f"{self.partial}".removesuffix(".partial") + CONTROLS).unlink(missing_ok=True)  # of what was replaced
        self.close()
        return self.path

    def _pack(self) -> None:
        """Go on with a copy in which the rows of long windows are chunked and compressed."""
        packed = self.partial.with_name(f"{self.partial.name}.packed")
        whole, raw = self.file, self._raw
        try:
            with undisturbed():
                self._raw = CheckedFile(packed, is_new=True)
                self._file = h5py.File(self._raw, "w")
                self._file.attrs["fingerprint"] = self._fingerprint
                self._fill(self._file, packed=True)
                for name, shape in self.layout.datasets().items():
                    _copy_rows(whole, self._file, name, shape, self._raw, self._slots)
                self._file.create_dataset("progress", data=whole["progress"][...])
                self._flush()
            packed.replace(self.partial)
        except OSError as error:
            packed.unlink(missing_ok=True)
            raise output_error(self.path, error) from error
        finally:
            whole.close()
            raw.close()

    def take(self, unit: h5py.File, rows: Mapping[str, Mapping[str, NDArray[np.int64]]]) -> None:
        """Copy rows of a file of :class:`RowsWriter`: of each part, which of its rows go to which of this file's."""
        shapes = self.layout.datasets()
        nulls = _of_controls(shapes)
        try:
            with undisturbed():
                for name, (shape, kind) in shapes.items():
                    given = rows["null" if name in nulls else "main"]
                    step = max(CHUNK_BYTES // max(n_bytes_of({name: ((1, *shape[1:]), kind)}), 1), 1)
                    for start in range(0, len(given["of"]), step):
                        here = slice(start, start + step)
                        values = unit[name][_as_slice(given["of"][here])]
                        if name == "null/source" and "parents" in given:
                            values = given["parents"][here]
                        _put(self.file[name], given["to"][here], values, self._slots)
                        self._raw.check()
                self._flush()
        except OSError as error:
            raise output_error(self.path, error) from error
        for part, given in rows.items():
            self.done[part] += len(given["of"])


class RowsWriter(_PartialFile):
    """Some rows of an attribution file, for :meth:`AttributionWriter.take`: those from `first` to `stop` of each part.

    `write` and `done` count rows as in the whole file. An interrupted one goes on where it stopped.
    """

    def __init__(
        self, path: Path, layout: StoreLayout, whole: str, first: Mapping[str, int], stop: Mapping[str, int]
    ) -> None:
        self._first, n_rows = dict(first), {part: stop[part] - first[part] for part in ("main", "null")}
        shapes = layout.datasets()
        nulls = _of_controls(shapes)
        self._shapes = {
            name: ((n_rows["null" if name in nulls else "main"], *shape[1:]), kind)
            for name, (shape, kind) in shapes.items()
        }
        super().__init__(
            check_writable(path), ".partial", rows_fingerprint(whole, first, stop), n_rows, resume=True,
            keep_bits=layout.keep_bits,
        )  # fmt: skip
        self.done = {part: self._first[part] + n for part, n in self.done.items()}

    def _fill(self, file: h5py.File) -> None:
        _allocate(file, self._shapes, self._slots)

    def _n_bytes(self) -> int:
        return n_bytes_of(self._shapes, self._keep_bits)

    def write(
        self, part: str, start: int, arrays: Mapping[str, NDArray[Any]], *, result: str | None = None,
        complete: bool = True,
    ) -> None:  # fmt: skip
        """Write rows; see the base."""
        super().write(part, start - self._first[part], arrays, result=result, complete=complete)
        if complete:
            self.done[part] += self._first[part]

    def finish(self, attrs: Mapping[str, Any]) -> Path:
        """Check that every row is there, note what the merged file should say of them, and give the file its name."""
        self.done = {part: n - self._first[part] for part, n in self.done.items()}
        self._check_complete()
        _write_attrs(self.file, attrs)
        self._put_in_place()
        self.close()
        return self.path


def _rounded(name: str, rows: NDArray[Any], keep_bits: int | None) -> NDArray[Any]:
    """Round what is written to a dataset, if it holds scores."""
    return rows if keep_bits is None or not is_score(name) else round_bits(rows, keep_bits)


def _put(dataset: h5py.Dataset, rows: NDArray[np.int64], values: NDArray[Any], slots: Slots) -> None:
    """Write ascending rows of a dataset, scores rounded."""
    if dataset.chunks and _has_slots(dataset.name, (dataset.shape, dataset.dtype), slots.keep_bits):
        slots.write(dataset, rows, values)
    elif len(rows):
        dataset[_as_slice(rows)] = _rounded(dataset.name, values, slots.keep_bits)


def _as_slice(rows: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """Ascending rows, as a slice where they are adjacent: HDF5 reads single rows slowly."""
    return slice(int(rows[0]), int(rows[-1]) + 1) if rows[-1] - rows[0] == len(rows) - 1 else rows


def rows_fingerprint(whole: str, first: Mapping[str, int], stop: Mapping[str, int]) -> str:
    """Digest what rows of an attribution file are: its own fingerprint, and which they are."""
    return hashlib.sha256(json.dumps([whole, sorted(first.items()), sorted(stop.items())]).encode()).hexdigest()


class ControlsWriter(_PartialFile):
    """Add the controls of some results to a finished attribution file, which stays whole and readable throughout.

    They go to a hidden file of their own, where an interrupted writer of the same file and number goes on, and
    :meth:`finish` copies the attribution file together with them and renames the copy. Controls of another
    number or kind are replaced.
    """

    def __init__(
        self, path: str | os.PathLike[str], names: Iterable[str], n_controls: int, *, null: str = "shuffle"
    ) -> None:
        where = check_writable(Path(path).resolve())
        with h5py.File(where, "r") as file:
            self._first = str(file.attrs.get("result", file.attrs.get("method", "")))
            self._source = str(file.attrs.get("fingerprint", ""))
            n_windows, length = file["track"].shape
            keep_bits = int(file.attrs["keep_bits"]) if "keep_bits" in file.attrs else None
        self._names, self._null = list(names), null
        self._shapes: Shapes = {
            "null/codes": ((n_controls, length), np.uint8),
            "null/source": ((n_controls,), np.int64),
        }
        for name in self._names:
            self._shapes[self._prefix(name) + "null/track"] = ((n_controls, length), np.float32)
            self._shapes[self._prefix(name) + "null/prediction"] = ((n_controls,), np.float32)
        work = [SCHEMA, self._source, self._names, n_controls, *([null] if null != "shuffle" else [])]
        digest = hashlib.sha256(json.dumps(work).encode()).hexdigest()
        n_rows = {"main": n_windows, "null": n_controls}
        super().__init__(where, CONTROLS, digest, n_rows, resume=True, keep_bits=keep_bits)
        self.done["main"] = n_windows

    def _prefix(self, result: str) -> str:
        return result_prefix(None if result == self._first else result)

    def _fill(self, file: h5py.File) -> None:
        _allocate(file, self._shapes, self._slots)

    def _dataset(self, part: str, result: str | None, name: str) -> str:
        prefix = "" if name in ("codes", "source") else self._prefix(self._names[0] if result is None else result)
        return f"{prefix}null/{name}"

    def _n_bytes(self) -> int:
        rows = n_bytes_of(self._shapes, self._keep_bits)
        return 2 * rows + self.path.stat().st_size  # and the copy with them

    def finish(self) -> Path:
        """Check that every row is there, and put them into the attribution file, unless that has become another one."""
        self._check_complete()
        copy = self.path.with_name(f".{self.path.stem}.{os.getpid()}.partial{self.path.suffix}")
        try:
            shutil.copyfile(self.path, copy)
            shutil.copymode(self.path, copy)
            self._add_to(copy)
            replace_file(copy, self.path)
        except OSError as error:
            raise output_error(self.path, error) from error
        finally:
            copy.unlink(missing_ok=True)
        self.discard()
        return self.path

    def _add_to(self, copy: Path) -> None:
        raw = CheckedFile(copy, is_new=False)
        try:
            with undisturbed(), h5py.File(raw, "r+") as file:
                if str(file.attrs.get("fingerprint", "")) != self._source:
                    raise StoreError(f"{self.path}: was written again while its controls were made; make them again")
                has_other = file.attrs.get("null", "shuffle") != self._null
                if has_other or ("null/source" in file and len(file["null/source"]) != self._n_rows["null"]):
                    _drop_controls(file)
                    _set_null(file, self._null)
                for name, shape in self._shapes.items():
                    if name in file:
                        del file[name]
                    _allocate(file, {name: shape}, self._slots, packed=True)
                    _copy_rows(self.file, file, name, shape, raw, self._slots)
            raw.check()
            raw.sync()
        except DAMAGE as error:
            raw.check()
            raise StoreError(
                f"{self.path}: nothing can be added to it ({error}): it is damaged; copy it or make it again"
            ) from error
        finally:
            raw.close()


class MemorySink:
    """Collects what an :class:`AttributionWriter` would put on disk, or its controls alone."""

    def __init__(self, layout: StoreLayout, *, controls_only: bool = False) -> None:
        self.layout = layout
        shapes = {name: shape for name, shape in layout.datasets().items() if not controls_only or "null/" in name}
        self.arrays = {name: np.empty(shape, dtype=kind) for name, (shape, kind) in shapes.items()}
        self.done = {"main": len(layout.regions) if controls_only else 0, "null": 0}

    def write(
        self,
        part: str,
        start: int,
        arrays: Mapping[str, NDArray[Any]],
        *,
        result: str | None = None,
        complete: bool = True,
    ) -> None:
        """Take rows from `start` on."""
        prefix = result_prefix(result) + ("null/" if part == "null" else "")
        for name, rows in arrays.items():
            self.arrays[prefix + name][start : start + len(rows)] = _rounded(name, rows, self.layout.keep_bits)

    def fields(self, result: str | None) -> dict[str, Any]:
        """Return the fields of :class:`Attributions` for one result, None for the first."""
        own = ("track", "prediction", "hypothetical", "completeness_error", "noise", *SPREADS)
        prefix = result_prefix(result)
        found: dict[str, Any] = {name: self.arrays[prefix + name] for name in own if prefix + name in self.arrays}
        shared = {"codes": self.arrays["codes"], "window_codes": self.arrays.get("window/codes")}
        return found | shared | {"controls": self.controls(result)}

    def controls(self, result: str | None) -> Controls | None:
        """Return the controls of one result, None for the first."""
        track = result_prefix(result) + "null/track"
        if track not in self.arrays:
            return None
        prediction = self.arrays[result_prefix(result) + "null/prediction"]
        shared = self.arrays["null/codes"], self.arrays["null/source"]
        return Controls(self.arrays[track], *shared, prediction, self.layout.null)


def fingerprint(layout: StoreLayout, attrs: Mapping[str, Any]) -> str:
    """Digest windows and settings: two files of one fingerprint differ in controls and in what is measured alone."""
    settings = [attrs, *(result.attrs for result in layout.results.values())]
    settings = [{key: value for key, value in given.items() if key not in NO_SETTINGS} for given in settings]
    digest = hashlib.sha256(json.dumps([SCHEMA, settings], sort_keys=True, default=str).encode())
    own = layout.datasets()
    digest.update(repr([(name, own[name][0]) for name in own if name not in _of_controls(own)]).encode())
    for column in ("start", "end"):
        digest.update(np.ascontiguousarray(layout.regions[column], dtype="<i8").data)
    for column in ("chrom", "strand", "name"):
        values = layout.regions[column]
        for start in range(0, max(len(values), 1), DIGESTED_ROWS):
            some = values.iloc[start : start + DIGESTED_ROWS].tolist()
            try:
                joined = "\n".join(some)
            except TypeError:  # names that are numbers
                joined = "\n".join(map(str, some))
            digest.update(("\n" * (start > 0) + joined).encode())
    return digest.hexdigest()


def is_already_written(path: str | os.PathLike[str], layout: StoreLayout, attrs: Mapping[str, Any]) -> bool:
    """Whether there is a finished attribution file of these windows and settings, whose model is known by checksum.

    Its controls may be others, or missing. The checksum of a factory is that of its weights: the code may have changed,
    so its files are never the same.
    """
    model = attrs.get("model", {})
    if "sha256" not in model or "factory" in model or not Path(path).is_file():
        return False
    try:
        with h5py.File(path, "r") as file:
            return "progress" not in file and file.attrs.get("fingerprint") == fingerprint(layout, attrs)
    except OSError:
        return False


def _of_controls(shapes: Shapes) -> Shapes:
    """Those datasets that are about controls."""
    return {name: shape for name, shape in shapes.items() if "null" in name.split("/")[:-1]}


def _drop_controls(file: h5py.File) -> None:
    """Unlink the controls of every result."""
    for group in (file, *file.get("results", {}).values()):
        if "null" in group:
            del group["null"]


def _set_null(file: h5py.File, null: str) -> None:
    """Say what the controls are, in the root attribute that shuffles do not need."""
    file.attrs.pop("null", None)
    if null != "shuffle":
        file.attrs["null"] = null


def _has_slots(name: str, shape: tuple[tuple[int, ...], Any], keep_bits: int | None) -> bool:
    """Whether a dataset is of bases or rounded scores, which are packed as they are written, but for long rows."""
    is_packed = shape[1] == np.uint8 or (is_score(name) and kept_bytes(keep_bits) < 4)
    return is_packed and n_bytes_of({"": shape}) >= PACKED_BYTES and shape[0][-1] < LONG


def _is_long(shape: tuple[tuple[int, ...], Any]) -> bool:
    """Whether a dataset has rows of long windows, which are packed when all are there."""
    return len(shape[0]) > 1 and shape[0][-1] >= LONG


def _allocate(file: h5py.File, shapes: Shapes, slots: Slots, *, packed: bool = False) -> None:
    """Make contiguous datasets whose place in the file is fixed at once; with `packed`, chunked ones of long rows."""
    links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    for name, (shape, kind) in shapes.items():
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_obj_track_times(False)  # the same content gives the same bytes
        has_slots = _has_slots(name, (shape, kind), slots.keep_bits)
        if has_slots or (packed and _is_long((shape, kind))):
            settings.set_chunk((slot_rows(shape), *shape[1:]) if has_slots else (1, *shape[1:-1], LONG))
            settings.set_shuffle()
            settings.set_deflate(1)
        else:
            settings.set_layout(h5py.h5d.CONTIGUOUS)
            settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        kind_id = h5py.h5t.py_create(np.dtype(kind), logical=True)
        h5py.h5d.create(file.id, name.encode(), kind_id, h5py.h5s.create_simple(shape), settings, links)
        if has_slots:
            slots.fill(file[name])


def _copy_rows(
    source: h5py.File, target: h5py.File, name: str, shape: tuple[tuple[int, ...], Any], raw: CheckedFile, slots: Slots
) -> None:
    """Copy a dataset into an allocated one, some rows at a time."""
    n_rows, *rest = shape[0]
    slots = Slots(slots.keep_bits)  # that hold nothing of another file
    step = max(CHUNK_BYTES // max(n_bytes_of({name: ((1, *rest), shape[1])}), 1), 1)
    for start in range(0, n_rows, step):
        some = source[name][start : start + step]
        _put(target[name], np.arange(start, start + len(some)), some, slots)
        raw.check()


def _write_attrs(group: h5py.Group, attrs: Mapping[str, Any]) -> None:
    for key, value in attrs.items():
        group.attrs[key] = json.dumps(value, sort_keys=True) if isinstance(value, (dict, list)) else value


def _encoded(texts: NDArray[np.object_]) -> NDArray[np.bytes_]:
    """Encode texts as UTF-8, to the length of the longest."""
    if len(set(texts[:DIGESTED_ROWS].tolist())) < len(texts) / 8:  # names of chromosomes, strands
        numbers, found = pd.factorize(texts)
        if len(found) < len(texts) / 8 and numbers.min() >= 0:
            return _encoded(found).take(numbers)
    try:
        return texts.astype(np.bytes_)  # quick, of ASCII
    except UnicodeEncodeError:
        return np.array([str(one).encode() for one in texts], dtype=np.bytes_)


def _write_table(group: h5py.Group, table: pd.DataFrame) -> None:
    for column in map(str, table.columns):
        kind = REGION_TYPES.get(column)
        if kind is None:
            kind = np.float64 if pd.api.types.is_numeric_dtype(table[column]) else str
        values = table[column].to_numpy(dtype=None if kind is str else kind)
        if kind is str:  # of a fixed length: a million names of their own lengths take longer and more room
            values = _encoded(values.astype(object))
            kind = h5py.string_dtype("utf-8", max(values.dtype.itemsize, 1))
        packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if len(values) >= PACKED_ROWS else {}
        group.create_dataset(column, data=values.astype(kind), **packed)
