"""Rows of numpy files: the same as numpy reads, and every way of being wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqsal.errors import StoreError
from seqsal.io.arrays import npz_rows, open_array, open_dataset, rows_of


def joined(path: Path, step: int) -> np.ndarray:
    return np.concatenate(list(open_array(path).read(step)))


@given(n=st.integers(1, 9), step=st.integers(1, 10), compress=st.booleans(), kind=st.sampled_from(["f4", "i1", "f8"]))
def test_round_trip_in_pieces(
    tmp_path_factory: pytest.TempPathFactory, n: int, step: int, compress: bool, kind: str
) -> None:
    path = tmp_path_factory.mktemp("arrays") / "x.npz"
    values = np.arange(n * 12).reshape(n, 4, 3).astype(kind)
    with npz_rows(path, values.shape, values.dtype, compress=compress) as append:
        for start in range(0, n, step):
            append(values[start : start + step])
    np.testing.assert_array_equal(np.load(path)["arr_0"], values)
    assert open_array(path).shape == values.shape
    np.testing.assert_array_equal(joined(path, step), values)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_wrote(tmp_path: Path, save: object) -> None:
    values = np.random.default_rng(0).normal(size=(7, 4, 5))
    save(tmp_path / "one.npz", anything=values)  # type: ignore[operator]
    save(tmp_path / "columns.npz", np.asfortranarray(values))  # type: ignore[operator]
    np.save(tmp_path / "x.npy", values)
    for name in ("one.npz", "columns.npz", "x.npy"):
        np.testing.assert_array_equal(joined(tmp_path / name, 3), values)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"x\.npz: no such file"):
        open_array(tmp_path / "x.npz")
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "text.npy").write_text("hello")
    for name in ("text.npz", "text.npy"):
        with pytest.raises(StoreError, match="cannot be read as a numpy array"):
            open_array(tmp_path / name)
    np.savez(tmp_path / "two.npz", a=np.zeros(3), b=np.zeros(3))
    with pytest.raises(StoreError, match="holds the arrays a, b, expected arr_0 or a single one"):
        open_array(tmp_path / "two.npz")
    np.save(tmp_path / "words.npy", np.array(["ACGT"]))
    with pytest.raises(StoreError, match="values of type <U4, expected numbers"):
        open_array(tmp_path / "words.npy")


def test_pickles_are_refused(tmp_path: Path) -> None:
    objects = np.array([{"a": 1}], dtype=object)
    np.save(tmp_path / "x.npy", objects)
    np.savez(tmp_path / "x.npz", objects)
    for name in ("x.npy", "x.npz"):
        with pytest.raises(StoreError, match=r"pickled objects|type object"):
            open_array(tmp_path / name)


def test_truncated_members(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with npz_rows(path, (10, 4, 5), np.dtype(np.float32), compress=False) as append:
        append(np.zeros((6, 4, 5)))
    with pytest.raises(StoreError, match=r"480 bytes for the shape \(10, 4, 5\)"):
        list(open_array(path).read(4))


def test_damaged_members(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with npz_rows(path, (10, 4, 5000), np.dtype(np.float32), compress=False) as append:
        append(np.zeros((10, 4, 5000)))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"damaged from row \d on"):
        list(open_array(path).read(4))


def test_unknown_compression(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=np.arange(1000), chunks=(100,), compression="gzip")
        offset = file["x"].id.get_chunk_info(4).byte_offset
    data = bytearray((tmp_path / "x.h5").read_bytes())
    data[offset : offset + 20] = bytes(20)
    (tmp_path / "x.h5").write_bytes(data)
    with pytest.raises(StoreError, match=r"x\.h5:x: cannot be read from row 400 on"):
        list(open_dataset(tmp_path / "x.h5", "x").read(200))


def test_array_in_memory() -> None:
    assert [len(piece) for piece in rows_of(np.zeros((5, 2)), "x").read(2)] == [2, 2, 1]
