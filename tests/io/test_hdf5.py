"""HDF5 on a disk that fills up: an error, and not the end of the process."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import h5py
import numpy as np
import pytest

from seqsal.io.hdf5 import CheckedFile, create_hdf5, undisturbed


def test_what_is_written_is_an_ordinary_file(tmp_path: Path) -> None:
    values = np.arange(30_000, dtype=np.float32).reshape(300, 100)
    with create_hdf5(tmp_path / "a.h5") as (file, raw):
        file.create_dataset("x", data=values, chunks=(10, 100), compression="gzip")
        raw.check()
    with h5py.File(tmp_path / "a.h5", "r") as file:
        np.testing.assert_array_equal(file["x"][...], values)
    raw = CheckedFile(tmp_path / "a.h5", is_new=False)
    with h5py.File(raw, "r+") as file:
        file["x"][5] = 7
    raw.close()
    with h5py.File(tmp_path / "a.h5", "r") as file:
        assert (file["x"][5] == 7).all() and (file["x"][6] == values[6]).all()


@pytest.mark.parametrize("n_written", [0, 1, 2, 5, 9])
def test_a_disk_that_is_full_at_any_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_written: int) -> None:
    real, left = os.pwrite, [n_written]

    def full(descriptor: int, data: memoryview, at: int) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data, at)

    monkeypatch.setattr(os, "pwrite", full)
    values = np.random.default_rng(0).normal(size=(300, 100))
    with pytest.raises(OSError, match="No space left"), create_hdf5(tmp_path / "a.h5") as (file, raw):
        dataset = file.create_dataset("x", values.shape, "f8", chunks=(10, 100), compression="gzip")
        for start in range(0, 300, 10):
            dataset[start : start + 10] = values[start : start + 10]
        file.flush()
        np.testing.assert_array_equal(dataset[...], values)  # what could not be written is in memory
        assert raw.error is not None


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="a call of Linux and FreeBSD")
def test_the_disk_begins_with_large_writes_and_need_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def advise(descriptor: int, start: int, n: int, advice: int) -> None:
        begun.append((start, n))
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "posix_fadvise", advise)
    values = np.arange(1 << 17, dtype=np.float32)
    with create_hdf5(tmp_path / "a.h5") as (file, _):
        file["small"] = values[:9]
        file["large"] = values
        places = [(file["large"].id.get_offset(), values.nbytes)]
    assert begun == places
    with h5py.File(tmp_path / "a.h5", "r") as file:
        np.testing.assert_array_equal(file["large"][...], values)


def test_a_write_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, at: real(descriptor, data[:7], at))
    with create_hdf5(tmp_path / "a.h5") as (file, _):
        file["x"] = np.arange(100)
    with h5py.File(tmp_path / "a.h5", "r") as file:
        assert file["x"][...].tolist() == list(range(100))


def test_a_signal_waits_until_hdf5_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    real = os.pwrite

    def interrupted(descriptor: int, data: memoryview, at: int) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return real(descriptor, data, at)

    monkeypatch.setattr(os, "pwrite", interrupted)
    before = signal.default_int_handler  # which a process in the background of a script lacks
    found = signal.signal(signal.SIGINT, before)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, found))
    with pytest.raises(KeyboardInterrupt), create_hdf5(tmp_path / "a.h5") as (file, _):
        with pytest.raises(KeyboardInterrupt), undisturbed():
            file["x"] = np.arange(10)
            file.flush()
        assert file["x"][...].tolist() == list(range(10)) and signal.getsignal(signal.SIGINT) is before
    with h5py.File(tmp_path / "a.h5", "r") as file:  # closed in order, though that was interrupted too
        assert file["x"][...].tolist() == list(range(10))
