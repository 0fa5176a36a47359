"""Random access to bgzip files through their .gzi index.

A bgzip (BGZF) file is a row of gzip members of at most 64 KiB of content each, whose headers carry the extra field
"BC", and ends with an empty member. The .gzi index lists, as little-endian uint64, the number of pairs that follow and
a pair (offset in the file, offset in the content) for each member but the first (SAM specification, section 4.1;
htslib's bgzf.c).
"""

from __future__ import annotations

import mmap
import zlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqsal.errors import FastaError

__all__ = ["EOF_BLOCK", "BgzfContent", "is_bgzf", "read_gzi"]

EOF_BLOCK = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
_N_KEPT = 256  # decompressed blocks held, 64 KiB each


def is_bgzf(head: bytes) -> bool:
    """Tell whether the first 18 bytes of a file are those of bgzip: gzip with the extra field BC."""
    return head[:4] == b"\x1f\x8b\x08\x04" and head[12:14] == b"BC"


def read_gzi(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Read a .gzi index: offsets of all blocks, the first included, in the file and in the content.

    Raises
    ------
    FastaError
        The index is cut short, or its offsets do not rise.
    """
    words = np.frombuffer(path.read_bytes()[: path.stat().st_size // 8 * 8], dtype="<u8").astype(np.int64)
    if not len(words) or len(words) != 1 + 2 * words[0] or (words < 0).any():
        raise FastaError(f"{path}: is not a complete .gzi index; delete it, and seqsal makes it again")
    pairs = np.concatenate([np.zeros((1, 2), np.int64), words[1:].reshape(-1, 2)])
    if (np.diff(pairs[:, 0]) <= 0).any() or (np.diff(pairs[:, 1]) < 0).any():
        raise FastaError(f"{path}: offsets of the .gzi index do not rise; delete it, and seqsal makes it again")
    return pairs[:, 0].copy(), pairs[:, 1].copy()


class BgzfContent:
    """The decompressed content of a bgzip file, block by block, the last blocks used kept.

    Parameters
    ----------
    path
        Named in errors.
    data
        The file, memory-mapped.
    gzi
        The path of its .gzi index.
    """

    def __init__(self, path: Path, data: mmap.mmap, gzi: Path) -> None:
        self._path, self._data, self._gzi = path, data, gzi
        self._file_offset, self._offset = read_gzi(gzi)
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        last = len(self._offset) - 1
        self.size = int(self._offset[last]) + len(self._inflate(last, None))
        """Length of the content in bytes."""

    def read(self, start: int, end: int) -> bytes:
        """Bytes [start, end) of the content; fewer where it ends before."""
        if start >= min(end, self.size):
            return b""
        data, shifted = self.gather(np.array([start]), np.array([min(end, self.size)]))
        return data[int(shifted[0]) : int(shifted[0]) + min(end, self.size) - start]

    def gather(self, start: NDArray[np.int64], end: NDArray[np.int64]) -> tuple[bytes, NDArray[np.int64]]:
        """Decompress the blocks under the spans [start, end), each block once.

        Parameters
        ----------
        start, end : ndarray of int64, shape (n,)
            Non-empty spans within the content.

        Returns
        -------
        data : bytes
            The blocks, one behind the other; a span's blocks are neighbours in it.
        start : ndarray of int64, shape (n,)
            Where each span begins in `data`.
        """
        first = np.searchsorted(self._offset, start, side="right") - 1
        last = np.searchsorted(self._offset, end - 1, side="right") - 1
        lowest = int(first.min())
        change = np.zeros(int(last.max()) - lowest + 2, dtype=np.int64)
        np.add.at(change, first - lowest, 1)
        np.add.at(change, last - lowest + 1, -1)
        needed = lowest + np.flatnonzero(np.cumsum(change))
        blocks = [self._block(block) for block in needed.tolist()]
        lengths = np.fromiter(map(len, blocks), dtype=np.int64, count=len(blocks))
        position = (np.cumsum(lengths) - lengths)[np.searchsorted(needed, first)]
        return b"".join(blocks), position + start - self._offset[first]

    def _block(self, block: int) -> bytes:
        content = self._kept.get(block)
        if content is None:
            end = int(self._offset[block + 1]) if block + 1 < len(self._offset) else self.size
            content = self._inflate(block, end - int(self._offset[block]))
            self._kept[block] = content
            if len(self._kept) > _N_KEPT:
                self._kept.popitem(last=False)
        return content

    def _inflate(self, block: int, expected: int | None) -> bytes:
        start = int(self._file_offset[block])
        try:
            inflater = zlib.decompressobj(wbits=31)  # gzip, its checksum tested
            content = inflater.decompress(self._data[start : start + (1 << 16)])
        except zlib.error as error:
            raise self._damaged(start, str(error)) from error
        if not inflater.eof or (expected is not None and len(content) != expected):
            raise self._damaged(start, "its length differs")
        return content

    def _damaged(self, start: int, what: str) -> FastaError:
        return FastaError(
            f"{self._path}: block at byte {start} cannot be read ({what}): the file is damaged, or edited after its "
            f"index {self._gzi} was made; check it with bgzip -t, then delete the index"
        )
