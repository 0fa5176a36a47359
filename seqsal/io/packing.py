"""Bases and rounded scores in the chunks of an HDF5 file, written over where they lie, for every reader of HDF5.

Chunks are packed by HDF5's own `deflate` filter (zlib, RFC 1950 and 1951), which h5py, R and Java read, with no search
for repeats. Bases take 3 bits each: a block in which the bytes 0 to 6 and its end have codes of 3 bits is as long
whatever the bases are. Of rounded scores (:mod:`seqsal.io.rounding`) the `shuffle` filter puts the bytes that are all 0
first, which are one long repeat, and the others lie there as they are. So each chunk is a *slot*, and a file of slots
stays as sound as one of unpacked rows when its writer is killed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from seqsal.io.rounding import kept_bytes, round_bits
from seqsal.sequence.kernels import MANY, compiled

__all__ = ["Slots", "slot_rows", "stored"]

SLOT = 1 << 16  # values of a slot
STORED = 0xFFFF  # bytes of a block that lie there as they are
N_SYMBOLS = 257  # bytes, and the end of a block
LAST = b"\0\0\xff\xff"  # an empty block


def slot_rows(shape: tuple[int, ...]) -> int:
    """How many rows of a dataset of this shape make a slot, so that the last one is about as full as the others."""
    n_slots = -(-shape[0] // max(1, SLOT // int(np.prod(shape[1:]))))
    return -(-shape[0] // n_slots)


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
LOW, MIDDLE = np.uint64(0x0101010101010101), np.uint64(0x0202020202020202)  # bits of eight codes


def _bases_slot(bases: NDArray[np.uint8], *, is_many: bool = False) -> bytes:
    """Make the stream of bytes of 0 to 6, whose length hangs on their number alone."""
    n = bases.size
    eight = np.zeros(-(-n // 8) + 1, "<u8")
    eight.view(np.uint8)[:n] = bases.reshape(-1)
    coded = np.empty((len(eight), 3), np.uint8)
    (compiled(_code) if is_many else _code_by_columns)(eight, coded)
    at = 3 * n // 8
    data = coded.reshape(-1).data
    last = int.from_bytes(data[at : at + 3], "little") | 0b011_111 << 3 * n % 8  # end, and an empty last block
    tail = last.to_bytes(3, "little")[: -(-(3 * n + 13) // 8) - at]
    check = zlib.adler32(np.ascontiguousarray(bases).data).to_bytes(4, "big")
    return b"".join([SLOT_HEAD, data[:at], tail, check])


def _code_by_columns(eight: NDArray[np.uint64], coded: NDArray[np.uint8]) -> None:
    """Code eight bases (n,) as three bytes (n, 3)."""
    first, last = eight & LOW, eight >> np.uint64(2)
    first <<= np.uint64(2)
    last &= LOW
    eight &= MIDDLE
    eight |= first
    eight |= last  # the first bit of a code comes first
    for shift, mask in ((5, 0x003F003F003F003F), (10, 0x00000FFF00000FFF), (20, 0xFFFFFF)):
        np.right_shift(eight, np.uint64(shift), out=first)
        eight |= first
        eight &= np.uint64(mask)
    for i in range(3):
        coded[:, i] = eight.view(np.uint8)[i::8]


def _code(eight: NDArray[np.uint64], coded: NDArray[np.uint8]) -> None:
    """Do the same in one loop, to be compiled."""
    low, mid = LOW, MIDDLE
    two, five, ten, twenty = np.uint64(2), np.uint64(5), np.uint64(10), np.uint64(20)
    for i in range(len(eight)):
        x = eight[i]
        x = (x & low) << two | x & mid | x >> two & low
        x = (x | x >> five) & np.uint64(0x003F003F003F003F)
        x = (x | x >> ten) & np.uint64(0x00000FFF00000FFF)
        x |= x >> twenty
        coded[i, 0], coded[i, 1], coded[i, 2] = x, x >> np.uint64(8), x >> np.uint64(16)


@lru_cache(maxsize=8)
def _zeros(n: int) -> bytes:
    """Begin a stream with `n` zeros, in the codes that need not be told, and then a block of bytes as they are."""
    repeats, single = divmod(n - 1, 258)
    zero, again, end, next_block = "00110000", "1100010100000", "0000000", "000"  # again: 258 times what was 1 before
    bits = "010" + zero + again * repeats + zero * single + end + next_block
    return b"\x78\x01" + int(bits[::-1], 2).to_bytes(-(-len(bits) // 8), "little")


def _scores_slot(scores: NDArray[np.float32], n_bytes: int) -> bytes:
    """Make the shuffled stream of rounded float32, of which the `n_bytes` highest bytes may be other than 0."""
    values, n_zeros = np.ascontiguousarray(scores, "<f4").reshape(-1), (4 - n_bytes) * scores.size
    kept = np.empty((n_bytes, values.size), np.uint8)
    high = values.view("<u4") >> np.uint32(32 - 8 * n_bytes)
    for i in range(n_bytes):
        kept[i] = high >> np.uint32(8 * i)
    data = kept.reshape(-1).data
    check = zlib.adler32(data, (n_zeros % 65521) << 16 | 1)
    return b"".join([_zeros(n_zeros), *_blocks(data), check.to_bytes(4, "big")])


def stored(*parts: bytes | memoryview) -> bytes:
    """Wrap bytes as they are in a zlib stream, without the tables that `zlib.compress(data, 0)` makes each time."""
    n, check = sum(map(len, parts)), 1
    for part in parts:
        check = zlib.adler32(part, check)
    head, tail = b"\x78\x01\0", check.to_bytes(4, "big")
    if n > STORED:
        return b"".join([head, *_blocks(memoryview(b"".join(parts))), tail])
    return b"".join([head, _length(n), *parts, b"\1", LAST, tail])


def _blocks(data: memoryview) -> Iterator[bytes | memoryview]:
    """Yield blocks of bytes as they are, the first of which has begun, and an empty last one."""
    for start in range(0, len(data), STORED):
        block = data[start : start + STORED]
        yield _length(len(block))
        yield block
        yield b"\0" if start + STORED < len(data) else b"\1"
    yield LAST


def _length(n: int) -> bytes:
    return n.to_bytes(2, "little") + (n ^ STORED).to_bytes(2, "little")


class Slots:
    """Writes rows of datasets that lie in slots, of which scores are rounded to `keep_bits`.

    It holds each dataset's last slot, so that writing on from it reads nothing back. Threads would not help: a slot is
    packed in less time than it takes to hand it over.
    """

    def __init__(self, keep_bits: int | None = None) -> None:
        self.keep_bits = keep_bits
        self._held: dict[str, tuple[int, NDArray[Any]]] = {}

    def _slot(self, values: NDArray[Any], is_many: bool = False) -> bytes:
        if values.dtype == np.uint8:
            return _bases_slot(values, is_many=is_many)
        rounded = values if self.keep_bits is None else round_bits(values, self.keep_bits)
        return _scores_slot(rounded, kept_bytes(self.keep_bits))

    def fill(self, target: h5py.Dataset) -> None:
        """Give all chunks of a new dataset their places."""
        empty, none = self._slot(np.zeros(target.chunks, target.dtype)), (0,) * (target.ndim - 1)
        for first in range(0, target.shape[0], target.chunks[0]):
            target.id.write_direct_chunk((first, *none), empty)

    def write(self, target: h5py.Dataset, rows: NDArray[np.int64], values: NDArray[Any]) -> None:
        """Write ascending rows into slots; one that a killed process left torn keeps its other rows."""
        (n_rows, *_), none, name = target.chunks, (0,) * (target.ndim - 1), target.name
        numbers, is_many = rows // n_rows, target.size >= MANY
        for number in np.unique(numbers).tolist():
            low, high = np.searchsorted(numbers, [number, number + 1]).tolist()
            first = number * n_rows
            slot = values[low:high]
            if high - low < n_rows:
                last, slot = self._held.get(name, (-1, slot))
                if last != number:
                    slot = np.zeros(target.chunks, target.dtype)
                    if high - low < min(n_rows, target.shape[0] - first):
                        _, stream = target.id.read_direct_chunk((first, *none))
                        slot = _unpacked(stream, slot)
                    self._held[name] = number, slot
                slot[rows[low:high] - first] = values[low:high]
            elif name in self._held and self._held[name][0] == number:
                del self._held[name]  # what it holds is written over
            target.id.write_direct_chunk((first, *none), self._slot(slot, is_many))


def _unpacked(stream: bytes, empty: NDArray[Any]) -> NDArray[Any]:
    """Return the values of a slot, which may be torn, and its check with it."""
    left = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream[2:])
    shuffled = np.zeros((empty.itemsize, empty.size), np.uint8)
    shuffled.reshape(-1)[: len(left)] = np.frombuffer(left, np.uint8)
    return np.ascontiguousarray(shuffled.T).view(empty.dtype).reshape(empty.shape)
