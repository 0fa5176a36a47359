"""How many windows to push through a model at once.

On a CPU the answer is "few": once the activations that a batch keeps for its backward pass outgrow the last-level cache
(and the allocator starts giving pages back to the system between batches), the time per window doubles. On a GPU it is
"as many as comfortably fit". Both follow from one number, the bytes that autograd keeps per window, which one forward
pass tells exactly. The choice depends on the model and the machine alone, never on timing, so that a run can be
repeated to the last bit.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from seqsal.errors import DeviceError

__all__ = ["activation_bytes", "choose_batch_size", "halving_on_out_of_memory", "last_level_cache_bytes"]

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

MIN_CPU_BUDGET, MAX_CPU_BUDGET = 16 << 20, 64 << 20
GPU_SHARE = 0.4  # of the free memory; autograd's kept activations are about half of a backward pass's peak
MAX_GPU_BUDGET = 8 << 30
MAX_BATCH = 1024


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


def activation_bytes(model: nn.Module, X: torch.Tensor) -> int:
    """Bytes per window that autograd keeps between the forward and the backward pass.

    Parameters
    ----------
    model
        f: (N, 4, L) → (N,), with its parameters frozen.
    X
        A few windows, (N, 4, L).
    """
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = model(X.detach().requires_grad_())
    del output  # it kept every storage alive until here, so that no address was used twice
    return max(sum(kept.values()) // max(len(X), 1), X[0].numel() * X.element_size())


def choose_batch_size(bytes_per_window: int, device: torch.device) -> int:
    """Windows per batch from the bytes that one of them keeps.

    On the CPU a batch fills the last-level cache (within 16–64 MiB); on a GPU 40 % of the free memory, at most 8 GiB,
    beyond which nothing gets faster.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        budget = min(int(free * GPU_SHARE), MAX_GPU_BUDGET)
        least = 1
    else:
        budget = min(max(last_level_cache_bytes(), MIN_CPU_BUDGET), MAX_CPU_BUDGET)
        least = min(torch.get_num_threads(), os.cpu_count() or 1)
    return min(max(budget // max(bytes_per_window, 1), least), MAX_BATCH)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the device ran out of memory, which torch's CPU allocator says only in words."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


def halving_on_out_of_memory(compute: Callable[[int, int], None], n_windows: int, batch_size: int) -> int:
    """Call `compute(start, stop)` over all windows, halving the batch whenever memory runs out.

    Parameters
    ----------
    compute
        Works on windows start…stop of the caller's chunk; called again with a smaller range after a failure.
    n_windows
        Windows in the chunk.
    batch_size
        The batch to begin with.

    Returns
    -------
    int
        The batch size that worked, to begin the next chunk with.

    Raises
    ------
    DeviceError
        A single window does not fit.
    """
    start = 0
    while start < n_windows:
        try:
            compute(start, min(start + batch_size, n_windows))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if batch_size == 1:
                raise DeviceError(
                    "device: out of memory with a single window; use a device with more memory, a smaller model or a "
                    "shorter window"
                ) from error
            batch_size = max(batch_size // 2, 1)
            logger.warning("out of memory; going on with batches of %d windows", batch_size)
        else:
            start += batch_size
            continue
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return batch_size
