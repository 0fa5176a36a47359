"""Slots of bases and of rounded scores: zlib unpacks them, they are of one length, and are written over in place."""

from __future__ import annotations

import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from seqsal.io import packing
from seqsal.io.packing import Slots, slot_rows
from seqsal.io.rounding import round_bits

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("n", [*range(1, 18), 1_000])
def test_slots_of_bases_are_zlib_streams_of_one_length(n: int) -> None:
    many = RNG.integers(0, 7, (4, n)).astype(np.uint8)
    assert all(packing._bases_slot(one, is_many=True) == packing._bases_slot(one) for one in many)
    streams = [packing._bases_slot(one) for one in many]
    assert [zlib.decompress(one) for one in streams] == [one.tobytes() for one in many]
    assert {len(one) for one in streams} == {len(packing._bases_slot(np.zeros(n, np.uint8)))}
    assert len(streams[0]) <= 3 * n / 8 + 155


@pytest.mark.parametrize("n_bytes", [2, 3])
@pytest.mark.parametrize("n", [*range(1, 5), *range(126, 134), *range(256, 262), 70_000])
def test_slots_of_scores_are_shuffled_zlib_streams_of_one_length(n: int, n_bytes: int) -> None:
    many = [round_bits(RNG.standard_normal(n), 8 * n_bytes - 9) for _ in range(3)]
    streams = [packing._scores_slot(one, n_bytes) for one in many]
    shuffled = [one.astype("<f4").view(np.uint8).reshape(n, 4).T.tobytes() for one in many]
    assert [zlib.decompress(one) for one in streams] == shuffled
    assert {len(one) for one in streams} == {len(packing._scores_slot(np.zeros(n, np.float32), n_bytes))}
    assert len(streams[0]) <= n * (n_bytes + (4 - n_bytes) * 0.0065) + 288  # 13 bits for 258 zeros, 8 each of the rest


def test_bytes_are_wrapped_as_they_are() -> None:
    for n in (1, 65_535, 65_536, 200_000):
        data = RNG.bytes(n)
        assert zlib.decompress(packing.stored(data)) == data
        assert len(packing.stored(data)) <= n + 11 + 5 * -(-n // 65_535)


def test_slots_are_about_as_full_as_each_other() -> None:
    for n_rows, expected in ((1, 1), (65, 65), (66, 33), (131, 44), (10_001, 65)):
        assert slot_rows((n_rows, 1000)) == expected
    assert slot_rows((5, 4, 40_000)) == 1


@pytest.mark.parametrize("keep_bits", [None, 7, 12])
@pytest.mark.parametrize("rest", [(9,), (4, 3)])
def test_slots_are_written_over_in_place(
    rest: tuple[int, ...], keep_bits: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "SLOT", 7 * int(np.prod(rest)))

    def draw(n: int) -> np.ndarray:
        if keep_bits is None:
            return RNG.integers(0, 5, (n, *rest)).astype(np.uint8)
        return round_bits(RNG.standard_normal((n, *rest)), keep_bits)

    whole = draw(21)
    assert slot_rows(whole.shape) == 7
    with h5py.File(tmp_path / "x.h5", "w") as file:
        values = file.create_dataset(
            "values", whole.shape, whole.dtype, chunks=(7, *rest), compression="gzip", shuffle=True
        )
        slots = Slots(keep_bits)
        slots.fill(values)
        file.flush()
        size = (tmp_path / "x.h5").stat().st_size
        for rows in (np.arange(5), np.arange(5, 18), np.array([18, 20]), np.array([19]), np.array([3, 19])):
            slots.write(values, rows, whole[rows])
        np.testing.assert_array_equal(values[...], whole)
        whole[:7] = draw(7)
        for rows in (np.array([3]), np.arange(7), np.array([5])):  # a slot, held, that is written over as a whole
            slots.write(values, rows, whole[rows])
        np.testing.assert_array_equal(values[...], whole)
        _, stream = values.id.read_direct_chunk((7, *[0] * len(rest)))
        values.id.write_direct_chunk((7, *[0] * len(rest)), stream[:-4] + b"torn")  # as the last of a killed process
        Slots(keep_bits).write(values, np.array([13]), whole[[13]])
        np.testing.assert_array_equal(values[...], whole)
    assert (tmp_path / "x.h5").stat().st_size == size
