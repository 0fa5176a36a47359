"""How a chunk of windows gets through a model: in batches that fit the device, one batch to each CPU core.

Sharing every single operation between the cores makes them wait for each other at each layer. With a batch to each core
they wait once a chunk: on two cores a dilated CNN ran 10 % faster than the best batch size of an ordinary loop, and a
small one as well. Nothing random happens in a worker, and every batch is computed by one thread, so the numbers depend
on neither the number of workers nor their order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import nn

from seqsal.attribution.batch import activation_bytes, choose_batch_size, in_batches
from seqsal.attribution.borrow import borrowed
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

    def run(self, compute: Callable[[int, int], None], n_windows: int) -> None:
        """Call `compute(start, stop)` until windows 0…`n_windows` are done; see :func:`in_batches`."""
        self.batch_size = in_batches(compute, n_windows, self.batch_size, self._workers)


@contextlib.contextmanager
def batches_for(
    model: nn.Module, source: Any, device: torch.device, *, batch_size: int | None = None, thread_safe: bool = True
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
    """
    with borrowed(model, device), cpu_workers(device, thread_safe=thread_safe) as (workers, n_workers):
        if batch_size is None:
            codes = source.read(np.zeros(1, dtype=np.int64))
            X = one_hot_tensor(torch.from_numpy(codes).to(device))
            batch_size = choose_batch_size(activation_bytes(model, X), device, n_workers)
        yield Batches(batch_size, workers)


@contextlib.contextmanager
def cpu_workers(device: torch.device, *, thread_safe: bool = True) -> Iterator[tuple[Executor | None, int]]:
    """Yield a pool of as many threads as torch uses, and their number; None and 1 where that does not help.

    While the context lasts torch uses one thread for each operation, in the whole process; then as many as before. A
    GPU has its own parallelism and gets no pool.
    """
    n_workers = torch.get_num_threads()
    if device.type != "cpu" or n_workers == 1 or not thread_safe:
        yield None, 1
        return
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(n_workers, "seqsal-worker", initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool, n_workers
    finally:
        torch.set_num_threads(n_workers)
