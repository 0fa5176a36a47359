"""Large numpy arrays on disk, written and read a few rows at a time.

An `.npz` file is a zip archive of `.npy` members, and a `.npy` is a short header followed by the values in C order
(https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html). So rows can be appended to a member while it
is written and taken from it while it is decompressed, and an array that does not fit into memory never has to.
Pickled objects, which the format allows, are refused.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from seqsal.errors import StoreError
from seqsal.io.hdf5 import DAMAGE

__all__ = ["RowArray", "npz_rows", "open_array", "open_dataset", "rows_of"]

MEMBER = "arr_0"  # what numpy calls the first array that it was given without a name
_UNDATED = (1980, 1, 1, 0, 0, 0)  # the same values give the same bytes
_KINDS = "fiub"


@dataclass(frozen=True)
class RowArray:
    """An array of `shape` (n, …) that is read from its first row to its last, as often as wanted.

    `name` is what messages call it; `read` takes a number of rows and yields consecutive pieces of so many.
    """

    name: str
    shape: tuple[int, ...]
    read: Callable[[int], Iterator[NDArray[Any]]]

    def __len__(self) -> int:
        return self.shape[0]


def rows_of(array: NDArray[Any], name: str) -> RowArray:
    """Take an array in memory, or one that is mapped into it, by rows; StoreError if it does not hold numbers."""
    _check_kind(array.dtype, name)

    def read(step: int) -> Iterator[NDArray[Any]]:
        return (np.asarray(array[start : start + step]) for start in range(0, len(array), step))

    return RowArray(name, tuple(array.shape), read)


def open_dataset(path: Path, dataset: str) -> RowArray:
    """Open a dataset of an HDF5 file by rows.

    StoreError: it does not hold numbers; while it is read: it is damaged, or compressed in a way unknown here.
    """
    name = f"{path}:{dataset}"
    with h5py.File(path, "r") as file:
        try:
            shape, dtype = file[dataset].shape, file[dataset].dtype
        except DAMAGE as error:
            raise StoreError(f"{name}: cannot be read ({error}); copy it again") from error
    _check_kind(dtype, name)

    def read(step: int) -> Iterator[NDArray[Any]]:
        with h5py.File(path, "r") as file:
            for start in range(0, shape[0], step):
                try:
                    yield file[dataset][start : start + step]
                except DAMAGE as error:
                    raise StoreError(f"{name}: cannot be read from row {start} on ({error}); copy it again") from error

    return RowArray(name, tuple(shape), read)


def open_array(path: Path) -> RowArray:
    """Open the array of an `.npy` file, or of an `.npz` file the one that is called `arr_0` or is alone.

    StoreError: the file is missing, damaged or of another kind; it holds several arrays, or no numbers.
    """
    if not path.is_file():
        raise StoreError(f"{path}: no such file; check the path of the numpy array")
    try:
        if path.suffix == ".npz":
            return _open_member(path)
        return rows_of(np.load(path, mmap_mode="r", allow_pickle=False), str(path))
    except StoreError:
        raise
    except Exception as error:  # numpy evaluates the header, in which damage may raise nearly anything
        reason = str(error) or type(error).__name__
        raise StoreError(
            f"{path}: cannot be read as a numpy array ({reason}); expected .npy or .npz without pickled objects, as "
            "np.save and np.savez write them"
        ) from error


@contextmanager
def npz_rows(
    path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], *, compress: bool
) -> Iterator[Callable[[NDArray[Any]], None]]:
    """Yield a function that appends rows to the one array, `arr_0`, of an `.npz` file, deflated with `compress`.

    `shape` and `dtype` are those of the whole array; as many rows must be appended.
    """
    member = zipfile.ZipInfo(f"{MEMBER}.npy", date_time=_UNDATED)
    member.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with zipfile.ZipFile(path, "w") as archive, archive.open(member, "w", force_zip64=True) as file:
        np.lib.format.write_array_header_1_0(file, header)

        def append(rows: NDArray[Any]) -> None:
            file.write(np.ascontiguousarray(rows, dtype=dtype).data)

        yield append


def _open_member(path: Path) -> RowArray:
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if MEMBER not in names and len(names) != 1:
            raise StoreError(
                f"{path}: holds the arrays {', '.join(names) or '(none)'}, expected {MEMBER} or a single one; save "
                "the one that is meant with np.savez(path, array)"
            )
        member = f"{MEMBER if MEMBER in names else names[0]}.npy"
        with archive.open(member) as file:
            shape, is_fortran, dtype = _read_header(file)
            n_bytes = archive.getinfo(member).file_size - file.tell()
    if math.prod(shape) * dtype.itemsize != n_bytes or any(size < 0 for size in shape):
        raise ValueError(f"{n_bytes:,} bytes for the shape {shape}")
    _check_kind(dtype, str(path))
    if is_fortran:  # columns first: its rows are nowhere together
        with np.load(path, allow_pickle=False) as arrays:
            return rows_of(arrays[member.removesuffix(".npy")], str(path))
    return RowArray(str(path), shape, lambda step: _stream_member(path, member, step))


def _stream_member(path: Path, member: str, step: int) -> Iterator[NDArray[Any]]:
    with zipfile.ZipFile(path) as archive, archive.open(member) as file:
        shape, _, dtype = _read_header(file)
        row_bytes = int(np.prod(shape[1:])) * dtype.itemsize
        for start in range(0, shape[0], step):
            n_rows = min(step, shape[0] - start)
            try:
                rows = np.frombuffer(file.read(n_rows * row_bytes), dtype=dtype).reshape(n_rows, *shape[1:])
            except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError) as error:
                raise StoreError(f"{path}: damaged from row {start} on ({error}); copy the file again") from error
            yield rows


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the npy format")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(file)
    return shape, is_fortran, dtype


def _check_kind(dtype: np.dtype[Any], name: str) -> None:
    if dtype.kind not in _KINDS:
        raise StoreError(f"{name}: holds values of type {dtype}, expected numbers; save the array as float32")
