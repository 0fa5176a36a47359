"""How many windows to push through a model at once, and what happens when they do not fit.

On a CPU the answer is "few": once the activations that a batch keeps for its backward pass outgrow the last-level cache
(and the allocator starts giving pages back to the system between batches), the time per window doubles. On a GPU it is
"as many as comfortably fit". Both follow from one number, the bytes that autograd keeps per window, which one forward
pass tells exactly. The choice depends on the model and the machine alone, never on timing, so that a run can be
repeated to the last bit.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from seqsal.attribution.compute.process import cpu_workers, frozen_on_device
from seqsal.errors import DeviceError
from seqsal.models.recompute import LONG, ROOM, free_bytes, is_full, thrifty
from seqsal.models.sequence_model import SequenceModel, facts_about
from seqsal.sequence.tensors import one_hot_tensor

__all__ = ["Batches", "NoRoomError", "batches_for", "choose_batch_size", "is_out_of_memory"]

logger = logging.getLogger(__name__)

CPU_CACHES = 3  # last-level caches that the batches of all workers may keep, and one worker half of it
MIN_CPU_BUDGET, MAX_CPU_BUDGET = 48 << 20, 192 << 20
GPU_SHARE = 0.4  # of the free memory; autograd's kept activations are about half of a backward pass's peak
MAX_GPU_BUDGET = 8 << 30
MAX_BATCH = 1024


class NoRoomError(DeviceError):
    """The device has no room for a single window (or reference), where another batch around it may still be split.

    Parameters
    ----------
    reason
        What the device said, in a line.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"device: out of memory with a single window ({reason}); use a device with more memory, a smaller model or "
            "a shorter window"
        )
        self.reason = reason


class Batches:
    """Splits chunks into batches, halves them whenever memory runs out, and remembers the batch size that fitted.

    Parameters
    ----------
    batch_size
        Windows at a time, to begin with.
    workers
        Threads that share the batches; None computes them one after the other.
    n_workers
        How many threads that are, where a chunk of few windows is to be shared evenly.

    Examples
    --------
    >>> Batches(4).run(lambda start, stop: print(start, stop), 10)
    0 4
    4 8
    8 10
    """

    def __init__(self, batch_size: int, workers: Executor | None = None, n_workers: int = 1) -> None:
        self.batch_size = batch_size
        self._workers, self._n_workers = workers, n_workers

    def resized(self, n_windows: int) -> Batches:
        """Make other batches for the same workers, of `n_windows` windows, at least one."""
        return Batches(max(n_windows, 1), self._workers, self._n_workers)

    def fit(self, compute: Callable[[int], None]) -> None:
        """Call `compute(batch_size)`, with half the batch whenever memory runs out.

        Raises
        ------
        DeviceError
            A single window does not fit.
        """
        while reason := _shortage(partial(compute, self.batch_size)):
            self._halve(reason)

    def run(self, compute: Callable[[int, int], None], n_windows: int) -> None:
        """Call `compute(start, stop)` until windows 0…`n_windows` are done.

        Parameters
        ----------
        compute
            Works on windows start…stop of the caller's chunk; called again with smaller ranges after a failure.
        n_windows
            Windows in the chunk.

        Raises
        ------
        DeviceError
            A single window does not fit.
        """
        batches = self._split(n_windows)
        while batches:
            reasons = self._until_short(compute, batches)
            ranges = [batch for batch, reason in zip(batches, reasons, strict=True) if reason]
            if ranges:
                self._halve(next(filter(None, reasons)))
            size = self.batch_size
            batches = [(i, min(i + size, stop)) for start, stop in ranges for i in range(start, stop, size)]

    def _split(self, n_windows: int) -> list[tuple[int, int]]:
        """Batches (start, stop); where several workers share them, as many for each, of about the size that suits."""
        if self._n_workers == 1:
            return [(i, min(i + self.batch_size, n_windows)) for i in range(0, n_windows, self.batch_size)]
        n_rounds = max(round(n_windows / self._n_workers / self.batch_size), 1)
        n_batches = min(n_rounds * self._n_workers, n_windows)
        bounds = [i * n_windows // n_batches for i in range(n_batches + 1)]
        return list(itertools.pairwise(bounds))

    def _until_short(self, compute: Callable[[int, int], None], batches: list[tuple[int, int]]) -> list[str]:
        """Compute batches, but start none after one that did not fit; for each say why it is left, or nothing."""
        short: list[str] = []

        def attempt(batch: tuple[int, int]) -> str:
            reason = short[0] if short else _shortage(partial(compute, *batch))
            if reason:
                short.append(reason)
            return reason

        return list((map if self._workers is None else self._workers.map)(attempt, batches))

    def _halve(self, reason: str) -> None:
        """Go on with half the batch after one that did not fit, and give what torch holds back to the device."""
        if self.batch_size == 1:
            raise NoRoomError(reason)
        self.batch_size //= 2
        logger.warning("out of memory; going on with batches of %d windows", self.batch_size)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _shortage(compute: Callable[[], None]) -> str:
    """Compute, and say in a line how memory ran out, or nothing; the error, which holds on to tensors, is not kept."""
    try:
        compute()
    except (RuntimeError, MemoryError, NoRoomError) as error:
        if not is_out_of_memory(error):
            raise
        if isinstance(error, NoRoomError):
            return error.reason
        return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return ""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the device ran out of memory, which not all libraries say by the type.

    Examples
    --------
    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory")), is_out_of_memory(KeyError())
    (True, False)
    """
    return isinstance(error, NoRoomError) or is_full(error)


@contextlib.contextmanager
def batches_for(
    model: nn.Module,
    source: Any,
    device: torch.device,
    n_windows: int,
    *,
    batch_size: int | None = None,
    thread_safe: bool = True,
    precision: str = "fp32",
) -> Iterator[Batches]:
    """Freeze a model on a device and say how to split chunks for it.

    Parameters
    ----------
    model
        f: (N, 4, L) → (N,); given back as it was.
    source
        The windows; one of them tells how much memory a window takes.
    device
        Where to compute.
    n_windows
        How many there are. Where they are fewer than the cores, all cores work on each.
    batch_size
        Windows at a time; None lets the device decide.
    thread_safe
        Whether the model may be called by several threads at once.
    precision
        `tf32` where that is allowed on CUDA.

    Examples
    --------
    >>> with batches_for(torch.nn.Flatten(), None, torch.device("cpu"), 100, batch_size=8) as batches:
    ...     batches.batch_size
    8
    """
    share = thread_safe and n_windows >= torch.get_num_threads()
    with frozen_on_device(model, device, precision), contextlib.ExitStack() as stack:
        n_bytes = 0
        if batch_size is None or (source is not None and source.length >= LONG):
            codes = source.read(np.zeros(1, dtype=np.int64))
            X = one_hot_tensor(torch.from_numpy(codes).to(device))
            if isinstance(model, SequenceModel):
                model.look_at(X)  # here, since looking takes gradients of its own
            known = facts_about(model)
            if facts_about(model) is not known:  # nothing is remembered of it: how much it keeps hardly changes
                known = vars(model).setdefault("_kept", {})
            n_bytes = stack.enter_context(thrifty(model, model, X, known, batch_size or 1))
            share &= ROOM * n_bytes * torch.get_num_threads() <= free_bytes(device)  # else one window has all cores
        workers, n_workers = stack.enter_context(cpu_workers(device, share))
        if batch_size is not None:
            yield Batches(batch_size, workers)
        else:
            yield Batches(choose_batch_size(n_bytes, device, n_workers), workers, n_workers)


def choose_batch_size(bytes_per_window: int, device: torch.device, n_workers: int = 1) -> int:
    """Windows per batch from the bytes that one of them keeps.

    On the CPU the batches of all workers together keep at most three times the last-level cache (within 48–192 MiB):
    a layer's own input and output then fit, and much smaller batches spend their time between the layers. One worker
    keeps half of that: eight windows of a dilated network, 70 MB, took it 1.15 times as long a window as four. On a
    GPU it is 40 % of the free memory, at most 8 GiB. A power of two, which threads share evenly: with two threads in
    each operation seven windows at a time ran 13 % slower than eight.
    """
    if device.type == "cuda":
        budget = min(int(free_bytes(device) * GPU_SHARE), MAX_GPU_BUDGET)
    else:
        budget = min(max(CPU_CACHES * last_level_cache_bytes(), MIN_CPU_BUDGET), MAX_CPU_BUDGET)
        n_workers = max(n_workers, 2)
    most = min(max(budget // max(bytes_per_window * n_workers, 1), 1), MAX_BATCH)
    return 1 << (most.bit_length() - 1)


@functools.cache
def last_level_cache_bytes(default: int = 32 << 20) -> int:
    """Size of the CPU's largest cache in bytes, as Linux tells it; `default` where it does not."""
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text().strip()
        scale = {"K": 1 << 10, "M": 1 << 20}.get(text[-1:], 1)
        digits = text.rstrip("KM")
        if digits.isdigit():
            sizes.append(int(digits) * scale)
    return max(sizes, default=default)
