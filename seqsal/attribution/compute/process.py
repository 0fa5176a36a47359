"""What is switched while a model is used, and given back: its device and modes, torch's threads, CUDA's arithmetic.

Sharing every single operation between the cores makes them wait for each other at each layer. With a batch to each core
they wait once a chunk: on two cores a dilated CNN ran 10 % faster than the best batch size of an ordinary loop, and a
small one as well. Nothing random happens in a worker, and every batch is computed by one thread, so the numbers depend
on neither the number of workers nor their order.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import torch
from torch import nn

from seqsal.models.state import cuda_arithmetic, frozen, tensors_of

__all__ = ["cpu_workers", "frozen_on_device"]

_IN_USE: contextvars.ContextVar[tuple[Any, ...]] = contextvars.ContextVar("in_use", default=())  # by this thread


@contextlib.contextmanager
def frozen_on_device(model: nn.Module, device: torch.device, precision: str = "fp32") -> Iterator[nn.Module]:
    """Yield `model` on `device`, every module in evaluation mode and no parameter asking for a gradient.

    Freezing the parameters spares the backward pass what attribution never uses. Device, training mode of each module,
    `requires_grad` and `.grad` of each parameter are given back afterwards, also after an exception. On CUDA float32 is
    float32 meanwhile, unless the precision is `tf32`: predictions and attributions then agree with each other and with
    those of a CPU.

    Parameters
    ----------
    model
        Any module.
    device
        Where to use it.
    precision
        `tf32` where shortened float32 is allowed on CUDA.

    Examples
    --------
    >>> model = torch.nn.Dropout().train()
    >>> with frozen_on_device(model, torch.device("cpu")) as used:
    ...     used.training
    False
    >>> model.training
    True
    """
    in_use, key = _IN_USE.get(), (model, device, precision)
    if key in in_use:
        yield model
        return
    token = _IN_USE.set((*in_use, key))
    try:
        parameters, buffers = tensors_of(model)
        with (
            cuda_arithmetic(precision, device),
            frozen(model, device, parameters=parameters),
            _moved(model, device, parameters, buffers),
        ):
            yield model
    finally:
        with contextlib.suppress(ValueError):  # collected by another thread, which has no part in it
            _IN_USE.reset(token)


@contextlib.contextmanager
def _moved(
    model: nn.Module, device: torch.device, parameters: list[torch.Tensor], buffers: list[torch.Tensor]
) -> Iterator[None]:
    """Have a model on a device; the `.grad` of its parameters stays where it is, and is given back on leaving."""
    tensors = parameters + buffers
    home = tensors[0].device if tensors else device
    grads = [(parameter, parameter.grad) for parameter in parameters]
    is_there = device.type == "cpu" and all(tensor.is_cpu for tensor in tensors)
    try:
        for parameter, grad in grads:
            if grad is not None:
                parameter.grad = None
        if not is_there:  # which takes longer than to see that
            model.to(device)
        yield
    finally:
        if not is_there:
            model.to(home)
        for parameter, grad in grads:
            if parameter.grad is not grad:
                parameter.grad = grad


@contextlib.contextmanager
def cpu_workers(device: torch.device, wanted: bool = True) -> Iterator[tuple[Executor | None, int]]:
    """Yield a pool of as many threads as torch uses, and their number; None and 1 where that does not help.

    Each thread of the pool computes operations by itself, and so does the caller while the context lasts. A GPU has
    its own parallelism and gets no pool.
    """
    n_workers = torch.get_num_threads()
    if device.type != "cpu" or n_workers == 1 or not wanted:
        yield None, 1
        return
    pool = _pool(n_workers, os.getpid())
    torch.set_num_threads(1)
    try:
        yield pool, n_workers
    finally:
        torch.set_num_threads(n_workers)


@functools.lru_cache(maxsize=4)
def _pool(n_workers: int, pid: int) -> Executor:
    """Make the pool that every run of this process shares: new threads would have to warm up new memory each time."""
    pool = ThreadPoolExecutor(n_workers, "seqsal-worker")
    barrier = threading.Barrier(n_workers)

    def settle(_: int) -> None:
        torch.set_num_threads(1)  # of this thread; and the number that torch tells, which the caller puts right
        barrier.wait()  # so that every thread gets one of these calls

    list(pool.map(settle, range(n_workers)))
    torch.set_num_threads(n_workers)
    return pool
