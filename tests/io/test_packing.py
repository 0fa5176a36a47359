"""Slots of bases: zlib unpacks them, they are of one length, and are written over where they lie."""

from __future__ import annotations

import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from seqsal.io import packing
from seqsal.io.packing import Held, fill_slots, slot_rows, write_slots

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("n", [*range(1, 18), 1_000])
def test_slots_are_zlib_streams_of_one_length(n: int) -> None:
    many = RNG.integers(0, 7, (4, n)).astype(np.uint8)
    streams = [packing._slot(one) for one in many]
    assert [zlib.decompress(one) for one in streams] == [one.tobytes() for one in many]
    assert {len(one) for one in streams} == {len(packing._slot(np.zeros(n, np.uint8)))}
    assert len(streams[0]) <= 3 * n / 8 + 155


def test_slots_are_written_over_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "SLOT", 64)
    whole = RNG.integers(0, 5, (21, 9)).astype(np.uint8)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        codes = file.create_dataset(
            "codes", (21, 9), "u1", chunks=(slot_rows(21, 9), 9), compression="gzip", shuffle=True
        )
        fill_slots(codes)
        file.flush()
        size = (tmp_path / "x.h5").stat().st_size
        held: Held = {}
        for rows in (np.arange(5), np.arange(5, 18), np.array([18, 20]), np.array([19]), np.array([3, 19])):
            write_slots(codes, rows, whole[rows], held)
        np.testing.assert_array_equal(codes[...], whole)
        whole[:7] = RNG.integers(0, 5, (7, 9))
        for rows in (np.array([3]), np.arange(7), np.array([5])):  # a slot, held, that is written over as a whole
            write_slots(codes, rows, whole[rows], held)
        np.testing.assert_array_equal(codes[...], whole)
        _, stream = codes.id.read_direct_chunk((7, 0))
        codes.id.write_direct_chunk((7, 0), stream[:-4] + b"torn")  # as the last rows of a killed process
        write_slots(codes, np.array([13]), whole[[13]], {})
        np.testing.assert_array_equal(codes[...], whole)
    assert (tmp_path / "x.h5").stat().st_size == size
