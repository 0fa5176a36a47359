"""The precision that a model runs in, and how far a lower one is from the full one.

`fp32` is float32 throughout: on CUDA the tensor cores' shortened float32 (TF32), which torch allows in convolutions by
default, is off (:mod:`seqsal.models.arithmetic`). `tf32` allows it. `bf16` runs the model's forward pass under
`torch.autocast`, which gives convolutions and matrix products bfloat16 (8 bits of precision), and the backward pass the
same types; the model's output and all that a method does with it are float32. Parameters are never changed.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from seqsal.errors import DeviceError, UsageError

__all__ = ["PRECISIONS", "autocast_of", "check_precision", "in_precision", "pearson"]

PRECISIONS = ("fp32", "bf16", "tf32")


def check_precision(precision: str, device: torch.device | None = None) -> None:
    """Raise unless a precision is known and, where one is given, possible on a device.

    Raises
    ------
    UsageError
        It is none of :data:`PRECISIONS`.
    DeviceError
        `tf32` on a device without it.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision: got {precision!r}, expected one of {', '.join(PRECISIONS)}")
    if precision == "tf32" and device is not None and device.type != "cuda":
        raise DeviceError(f"precision: tf32 needs a CUDA device, got {device}; use fp32, or bf16 for speed")


def in_precision(model: nn.Module, precision: str, device: torch.device) -> nn.Module:
    """Return the model as it runs in a precision: itself, or for `bf16` a view whose output is float32 again.

    Parameters
    ----------
    model
        f: (N, 4, L) → (N,), and `columns` → (N, T) where it has that.
    precision
        Of :data:`PRECISIONS`.
    device
        Where it runs.
    """
    if precision != "bf16":
        return model
    view = copy.copy(model)
    setattr(view, "autocast_device", device.type)  # noqa: B010 (nn.Module types its attributes as modules)
    for name in ("forward", "columns"):
        if hasattr(model, name):
            setattr(view, name, _autocast(getattr(model, name), device.type))
    return view


def autocast_of(model: Any) -> AbstractContextManager[Any]:
    """Context that a model's forward pass runs in, for a method that calls the model's parts by itself."""
    device_type = getattr(model, "autocast_device", None)
    return contextlib.nullcontext() if device_type is None else torch.autocast(device_type, dtype=torch.bfloat16)


def _autocast(function: Callable[..., torch.Tensor], device_type: str) -> Callable[..., torch.Tensor]:
    """Run a function under autocast, which is a state of the thread, and give float32."""

    def run(*args: Any) -> torch.Tensor:
        with torch.autocast(device_type, dtype=torch.bfloat16):
            output = function(*args)
        return output.float() if isinstance(output, torch.Tensor) and output.is_floating_point() else output

    return run


def pearson(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Pearson correlation of all values of two arrays of one shape: 1 for equal ones, NaN where one is constant."""
    x, y = (np.asarray(values, dtype=np.float64).ravel() for values in (a, b))
    if np.array_equal(x, y):
        return 1.0
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt((x @ x) * (y @ y))
    return float(np.clip(x @ y / scale, -1, 1)) if scale > 0 else float("nan")
