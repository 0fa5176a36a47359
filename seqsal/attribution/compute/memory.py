"""Keeping freed memory between batches, instead of giving it back to the system and asking for it again.

glibc returns the free end of its heaps to the system: with the default thresholds, most of what a batch's activations
took. The next batch faults every page in again, and the system fills it with zeros first. Which allocations meet this
hangs on their sizes, and the same convolution ran at 35 or at 90 GFLOP/s for it. So while a run lasts the heaps keep
what they have (mallopt(3)): attributing 64 windows of 2,114 bp took 4 page faults instead of 1,060, and 0.87 to 0.9 of
the processor time (`benchmarks/attribution.py`). The process holds what its heaps grew to, also after the run, until it
frees a larger stretch at their end.

Afterwards the thresholds are those that glibc's own adjustment arrives at once a large block was freed. Nothing is
touched where there is no glibc, or where the environment sets its thresholds.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import threading
from collections.abc import Callable, Iterator

import torch

__all__ = ["freed_memory_kept"]

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # parameters of mallopt, <malloc.h>
LARGEST_MMAP_THRESHOLD = 32 << 20  # DEFAULT_MMAP_THRESHOLD_MAX on 64 bits: mallopt takes no more
HEAP_BYTES = 64 << 20  # HEAP_MAX_SIZE, of the heaps that threads have: padding by as much leaves none to be unmapped
KEEP = {MMAP_THRESHOLD: LARGEST_MMAP_THRESHOLD, TRIM_THRESHOLD: (1 << 31) - 1, TOP_PAD: HEAP_BYTES}
USUAL = {MMAP_THRESHOLD: LARGEST_MMAP_THRESHOLD, TRIM_THRESHOLD: 2 * LARGEST_MMAP_THRESHOLD, TOP_PAD: 128 << 10}
SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


@contextlib.contextmanager
def freed_memory_kept(device: torch.device) -> Iterator[None]:
    """Keep freed memory for the next batch while the context lasts, on the CPU and with glibc; may be nested."""
    global _n_users
    mallopt = _mallopt() if device.type == "cpu" else None
    if mallopt is None:
        yield
        return
    with _LOCK:
        _n_users += 1
        if _n_users == 1:
            _set(mallopt, KEEP)
    try:
        yield
    finally:
        with _LOCK:
            _n_users -= 1
            if not _n_users:
                _set(mallopt, USUAL)


_LOCK = threading.Lock()
_n_users = 0


def _set(mallopt: Callable[[int, int], int], values: dict[int, int]) -> None:
    for parameter, value in values.items():
        mallopt(parameter, value)


@functools.cache
def _mallopt() -> Callable[[int, int], int] | None:
    """Return the C library's function, or None where it is not glibc or the environment has set its thresholds."""
    if any(name in os.environ for name in SETTINGS):
        return None
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - a symbol that only glibc has
        return library.mallopt
    except (AttributeError, OSError, TypeError):
        return None
