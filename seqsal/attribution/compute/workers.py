"""How a chunk of windows gets through a model: in batches that fit the device, one batch to each CPU core.

Sharing every single operation between the cores makes them wait for each other at each layer. With a batch to each core
they wait once a chunk: on two cores a dilated CNN ran 10 % faster than the best batch size of an ordinary loop, and a
small one as well. Nothing random happens in a worker, and every batch is computed by one thread, so the numbers depend
on neither the number of workers nor their order.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import nn

from seqsal.attribution.compute.batch import activation_bytes, choose_batch_size, fitting, in_batches
from seqsal.attribution.compute.borrow import borrowed
from seqsal.attribution.compute.memory import freed_memory_kept
from seqsal.sequence.tensors import one_hot_tensor

__all__ = ["Batches", "batches_for", "cpu_workers"]


class Batches:
    """Cuts chunks into batches, and remembers the batch size that fitted.

    Parameters
    ----------
    batch_size
        Windows at a time.
    workers
        Threads that share the batches, or None.
    """

    def __init__(self, batch_size: int, workers: Executor | None) -> None:
        self.batch_size = batch_size
        self._workers = workers

    def cut(self, n_windows: int) -> Batches:
        """Make other batches for the same workers, of `n_windows` windows, at least one."""
        return Batches(max(n_windows, 1), self._workers)

    def fit(self, compute: Callable[[int], None]) -> None:
        """Call `compute(batch_size)` with a batch size that fits; see :func:`fitting`."""
        self.batch_size = fitting(compute, self.batch_size)

    def run(self, compute: Callable[[int, int], None], n_windows: int) -> None:
        """Call `compute(start, stop)` until windows 0…`n_windows` are done; see :func:`in_batches`."""
        self.batch_size = in_batches(compute, n_windows, self.batch_size, self._workers)


@contextlib.contextmanager
def batches_for(
    model: nn.Module,
    source: Any,
    device: torch.device,
    *,
    batch_size: int | None = None,
    thread_safe: bool = True,
    precision: str = "fp32",
) -> Iterator[Batches]:
    """Borrow a model for a device and say how to cut chunks for it.

    Parameters
    ----------
    model
        f: (N, 4, L) → (N,); given back as it was.
    source
        The windows; one of them tells how much memory a window takes.
    device
        Where to compute.
    batch_size
        Windows at a time; None lets the device decide.
    thread_safe
        Whether the model may be called by several threads at once.
    precision
        `tf32` where that is allowed on CUDA.
    """
    with borrowed(model, device, precision), freed_memory_kept(device):
        workers, n_workers = cpu_workers(device) if thread_safe else (None, 1)
        if batch_size is None:
            bytes_per_window = _bytes_per_window(model, source, device)
            batch_size = choose_batch_size(bytes_per_window, device, n_workers)
        with _one_thread_an_operation(n_workers):
            yield Batches(batch_size, workers)


@contextlib.contextmanager
def _one_thread_an_operation(n_workers: int) -> Iterator[None]:
    """Keep torch from waking more threads than the workers, in the whole process, while the context lasts."""
    if n_workers > 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if n_workers > 1:
            torch.set_num_threads(n_workers)


def _bytes_per_window(model: nn.Module, source: Any, device: torch.device) -> int:
    """Ask one window, once for each model, kind of device and length: devices keep different things for a gradient."""
    known, key = _KNOWN_BYTES.setdefault(model, {}), (device.type, source.length)
    if key not in known:
        codes = source.read(np.zeros(1, dtype=np.int64))
        known[key] = activation_bytes(model, one_hot_tensor(torch.from_numpy(codes).to(device)))
    return known[key]


_KNOWN_BYTES: weakref.WeakKeyDictionary[nn.Module, dict[tuple[str, int], int]] = weakref.WeakKeyDictionary()


def cpu_workers(device: torch.device) -> tuple[Executor | None, int]:
    """Return a pool of as many threads as torch uses, and their number; None and 1 where that does not help.

    Each thread of the pool computes operations by itself. A GPU has its own parallelism and gets no pool.
    """
    n_workers = torch.get_num_threads()
    if device.type != "cpu" or n_workers == 1:
        return None, 1
    return _pool(n_workers, os.getpid()), n_workers


@functools.lru_cache(maxsize=4)
def _pool(n_workers: int, pid: int) -> Executor:
    """Make the pool that every run of this process shares: new threads would have to warm up new memory each time."""
    pool = ThreadPoolExecutor(n_workers, "seqsal-worker")
    barrier = threading.Barrier(n_workers)

    def settle(_: int) -> None:
        torch.set_num_threads(1)  # of this thread; and the number that torch tells, which is put right below
        barrier.wait()  # so that every thread gets one of these calls

    list(pool.map(settle, range(n_workers)))
    torch.set_num_threads(n_workers)
    return pool
