"""Bases in the chunks of an HDF5 file: 3 bits each, written over where they lie, for every reader of HDF5.

Chunks are packed by HDF5's own `deflate` filter (zlib, RFC 1950 and 1951), which h5py, R and Java read, with no search
for repeats: a block in which the bytes 0 to 6 and its end have codes of 3 bits is as long whatever the bases are. So
each chunk is a *slot*, and a file of slots stays as sound as one of unpacked rows when its writer is killed.
"""

from __future__ import annotations

import zlib
from typing import TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray

__all__ = ["Held", "fill_slots", "slot_rows", "write_slots"]

SLOT = 1 << 16  # bases of a slot
N_SYMBOLS = 257  # bytes, and the end of a block

Held: TypeAlias = dict[str, tuple[int, NDArray[np.uint8]]]


def slot_rows(n_rows: int, length: int) -> int:
    """How many of `n_rows` rows of `length` bases make a slot."""
    return max(1, min(n_rows, SLOT // length))


def _slot_head() -> bytes:
    """Begin a stream: three empty blocks, so that whole bytes follow, and a block's head, all lengths of 4 bits."""
    number = n = 0
    lengths = [3 * (symbol < 7 or symbol == 256) for symbol in range(N_SYMBOLS)] + [1]
    reverse = [int(f"{length:04b}"[::-1], 2) for length in lengths]
    parts = [*[(0b010, 10)] * 3, (0b100 | 15 << 13, 17), *[(4 * (i > 2), 3) for i in range(19)]]
    for value, width in [*parts, *((value, 4) for value in reverse)]:
        number, n = number | value << n, n + width
    return b"\x78\x01" + number.to_bytes(n // 8, "little")


SLOT_HEAD = _slot_head()
MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _slot(bases: NDArray[np.uint8]) -> bytes:
    """Make the stream of bytes of 0 to 6, whose length hangs on their number alone."""
    n = bases.size
    eight = np.zeros(-(-n // 8) + 1, "<u8")
    eight.view(np.uint8)[:n] = bases.reshape(-1)
    for width, mask in ((3, 0x003F003F003F003F), (6, 0x00000FFF00000FFF), (12, 0xFFFFFF)):  # the first is the highest
        eight *= np.uint64((1 << 11 * width // 3) + 1)
        eight >>= np.uint64(8 * width // 3)
        eight &= np.uint64(mask)
    three = np.empty((len(eight), 3), np.uint8)
    for i in range(3):
        three[:, i] = eight.view(np.uint8)[2 - i :: 8]
    coded = three.tobytes().translate(MIRRORED)  # the first bit of a code comes first
    at = 3 * n // 8
    last = int.from_bytes(coded[at : at + 3], "little") | 0b011_111 << 3 * n % 8  # end, and an empty last block
    tail = last.to_bytes(3, "little")[: -(-(3 * n + 13) // 8) - at]
    check = zlib.adler32(np.ascontiguousarray(bases).data).to_bytes(4, "big")
    return b"".join([SLOT_HEAD, memoryview(coded)[:at], tail, check])


def fill_slots(target: h5py.Dataset) -> None:
    """Give all chunks of a new dataset of bases their places."""
    empty = _slot(np.zeros(target.chunks, np.uint8))
    for first in range(0, target.shape[0], target.chunks[0]):
        target.id.write_direct_chunk((first, 0), empty)


def write_slots(target: h5py.Dataset, rows: NDArray[np.int64], bases: NDArray[np.uint8], held: Held) -> None:
    """Write bases of ascending rows into slots; one that a killed process left torn keeps its other rows.

    `held` has each dataset's last slot, so that writing on from it reads nothing back.
    """
    n_rows, width = target.chunks
    numbers = rows // n_rows
    for number in np.unique(numbers).tolist():
        low, high = np.searchsorted(numbers, [number, number + 1]).tolist()
        first = number * n_rows
        slot = bases[low:high]
        if high - low < n_rows:
            last, slot = held.get(target.name, (-1, slot))
            if last != number:
                slot = np.zeros((n_rows, width), np.uint8)
                if high - low < min(n_rows, target.shape[0] - first):
                    _, stream = target.id.read_direct_chunk((first, 0))
                    left = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream[2:])  # its check may be torn
                    slot.reshape(-1)[: len(left)] = np.frombuffer(left, np.uint8)
                held[target.name] = number, slot
            slot[rows[low:high] - first] = bases[low:high]
        elif target.name in held and held[target.name][0] == number:
            del held[target.name]  # what it holds is written over
        target.id.write_direct_chunk((first, 0), _slot(slot))
