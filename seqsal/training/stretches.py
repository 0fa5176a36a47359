"""Windows as places in the bases that any of them covers, so that a million that overlap take no more than a genome.

Windows that overlap share their bases, a byte each for codes; a window is put together when a batch shows it. What is
laid out is read from the files in blocks, and beyond `MOST_IN_MEMORY` kept in an unnamed file of the temporary folder,
whose pages the system may drop.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

__all__ = ["Stretches", "blocks_of", "digest_of", "is_many", "joined", "rows_of", "turned_codes"]

MOST_IN_MEMORY = 1 << 28  # bytes
LEAN_BYTES = 1 << 27  # of windows one by one, from which on they are laid out together
_BLOCK_BP = 1 << 21
_COMPLEMENT = torch.tensor([3, 2, 1, 0, 4], dtype=torch.uint8)

Turn = Callable[[torch.Tensor], torch.Tensor]


def turned_codes(codes: torch.Tensor) -> torch.Tensor:
    """Return the reverse complement of codes (n, W)."""
    return _COMPLEMENT.to(codes.device)[codes.flip(-1).long()]


def is_many(n_windows: int, width: int, bytes_each: int = 1) -> bool:
    """Whether so many windows are to be laid out together."""
    return n_windows * width * bytes_each > LEAN_BYTES


@dataclass(frozen=True)
class Stretches:
    """N windows of one width, of which any rows can be taken, as from an array (N, W) or (N, T, W).

    `values` (n_bases,) or (T, n_bases) of all stretches, one after another; `at` (N,) where windows begin in them;
    `is_turned` (N,) which windows are seen from the other strand, as `turn` turns them.
    """

    values: torch.Tensor
    at: torch.Tensor
    width: int
    is_turned: torch.Tensor
    turn: Turn

    @classmethod
    def lay(
        cls, windows: pd.DataFrame, width: int, turn: Turn, *, n_tracks: int = 0, kind: Any = np.uint8
    ) -> Stretches:
        """Lay out the middle `width` bases of windows, without values yet."""
        starts = (windows["start"] + windows["end"] - width).to_numpy(np.int64) // 2
        chroms = pd.factorize(windows["chrom"])[0]
        order = np.lexsort((starts, chroms))
        step = np.diff(starts[order], prepend=starts[order[:1]])
        is_new = np.diff(chroms[order], prepend=chroms[order[:1]]) != 0
        at = np.empty(len(windows), np.int64)
        at[order] = np.cumsum(np.where(is_new | (step > width), width, step))
        shape = (*[n_tracks] * bool(n_tracks), int(at.max()) + width)
        n_bytes = int(np.prod(shape)) * np.dtype(kind).itemsize
        if n_bytes > MOST_IN_MEMORY:
            with tempfile.TemporaryFile() as file:
                values: NDArray[Any] = np.memmap(file, dtype=kind, mode="w+", shape=shape)
        else:
            values = np.zeros(shape, kind)
        is_turned = torch.from_numpy((windows["strand"] == "-").to_numpy(copy=True))
        return cls(torch.from_numpy(values), torch.from_numpy(at), width, is_turned, turn)

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array with the windows one by one."""
        return (len(self.at), *self.values.shape[:-1], self.width)

    @property
    def device(self) -> torch.device:
        """Where the values are."""
        return self.values.device

    @property
    def nbytes(self) -> int:
        """What the values take."""
        return self.values.nbytes

    def __len__(self) -> int:
        return len(self.at)

    def __getitem__(self, rows: Any) -> torch.Tensor:
        at = self.at[rows]
        found = self.values[..., at[:, None] + torch.arange(self.width, device=at.device)]  # ([T,] n, W)
        found = found if found.ndim == 2 else found.transpose(0, 1)
        is_turned = self.is_turned[rows]
        if not bool(is_turned.any()):
            return found
        return torch.where(is_turned.view(-1, *[1] * (found.ndim - 1)), self.turn(found), found)

    def put(self, rows: NDArray[np.int64], block: NDArray[Any]) -> None:
        """Set the values of some windows, given as they are seen, (n, W)."""
        values = torch.from_numpy(block)
        values = torch.where(self.is_turned[rows][:, None], self.turn(values), values)
        self.values[self.at[rows][:, None] + torch.arange(self.width)] = values

    def take(self, rows: Any) -> Stretches:
        """Return some of the windows, of the same values."""
        rows = torch.as_tensor(rows)
        return replace(self, at=self.at[rows], is_turned=self.is_turned[rows])

    def to(self, device: torch.device | str) -> Stretches:
        """Move to a device."""
        return replace(
            self, values=self.values.to(device), at=self.at.to(device), is_turned=self.is_turned.to(device)
        )  # fmt: skip


def rows_of(windows: Any, rows: NDArray[np.int64]) -> Any:
    """Return some windows of an array, or of stretches, which stay such."""
    return windows.take(rows) if isinstance(windows, Stretches) else windows[rows]


def joined(parts: Sequence[Any]) -> Any:
    """Put the windows of arrays or stretches one after another; stretches where all are."""
    if not all(isinstance(part, Stretches) for part in parts):
        return np.concatenate([np.asarray(part[:]) for part in parts])
    whole = parts[0]
    for part in parts[1:]:
        whole = replace(
            whole,
            values=torch.cat([whole.values, part.values], dim=-1),
            at=torch.cat([whole.at, part.at + whole.values.shape[-1]]),
            is_turned=torch.cat([whole.is_turned, part.is_turned]),
        )
    return whole


def blocks_of(windows: Any, step_bp: int = _BLOCK_BP) -> Iterator[tuple[slice, Any]]:
    """Yield windows, an array (N, …, W) or stretches, as arrays, some at a time, and which they are."""
    step = max(1, step_bp // int(np.prod(windows.shape[1:])))
    for begin in range(0, len(windows), step):
        rows = slice(begin, begin + step)
        yield rows, np.asarray(windows[rows])


def digest_of(windows: Any) -> bytes:
    """Return a SHA-256 of an array, or of stretches and their windows, without a copy."""
    digest = hashlib.sha256()
    if isinstance(windows, Stretches):
        parts = [windows.values.numpy(), windows.at.numpy(), windows.is_turned.numpy()]
    else:
        parts = [np.asarray(windows)]
    for part in parts:
        digest.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
    return digest.digest()
