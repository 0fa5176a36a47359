"""A model seen in another precision, or compiled: shallow copies that share the caller's parameters.

*Precision.* `fp32` is float32 throughout: on CUDA the tensor cores' shortened float32 (TF32), which torch allows in
convolutions by default, is off (:mod:`seqsal.models.state`). `tf32` allows it. `bf16` runs the model's forward
pass under `torch.autocast`, which gives convolutions and matrix products bfloat16 (8 bits of precision), and the
backward pass the same types; the model's output and all that a method does with it are float32. Parameters are never
changed.

*Compiling.* Elementwise operations between convolutions read and write every activation once each; `torch.compile`
writes one kernel for a run of them, in the backward pass as well. It takes tens of seconds, and again when the batch
size first changes. On two CPU cores a dilated CNN of 64 filters ran at 0.6 to 0.9 times the speed that it has without,
since torch's own kernels are fast there and each core has a batch of its own (which a run that compiles gives up for
all of its methods), so nothing is compiled unless somebody wants it. Methods that take a model as a function of its
input can use it; those that read its operations one by one (`ism`, `deeplift_shap`) or watch its layers (`cam`,
`grad_cam`) cannot.
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

from seqsal.errors import DeviceError, ModelError, UsageError

__all__ = [
    "PRECISIONS",
    "autocast_of",
    "check_precision",
    "compile_error",
    "is_compiled",
    "model_view",
    "pearson",
]

PRECISIONS = ("fp32", "bf16", "tf32")


def check_precision(precision: str, device: torch.device | None = None) -> None:
    """Raise unless a precision is known and, where one is given, possible on a device.

    Raises
    ------
    UsageError
        It is none of :data:`PRECISIONS`.
    DeviceError
        `tf32` on a device without it.

    Examples
    --------
    >>> check_precision("fp16")
    Traceback (most recent call last):
    seqsal.errors.UsageError: precision: got 'fp16', expected one of fp32, bf16, tf32
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision: got {precision!r}, expected one of {', '.join(PRECISIONS)}")
    if precision == "tf32" and device is not None and device.type != "cuda":
        raise DeviceError(f"precision: tf32 needs a CUDA device, got {device}; use fp32, or bf16 for speed")


def model_view(model: nn.Module, precision: str, device: torch.device, *, compile: bool = False) -> nn.Module:
    """Return the model as it runs in a precision, compiled or not: itself, or a view whose output is float32 again.

    Parameters
    ----------
    model
        f: (N, 4, L) → (N,), and `columns` → (N, T) where it has that.
    precision
        Of :data:`PRECISIONS`.
    device
        Where it runs.
    compile
        Whether `torch.compile` works on it when it is first called.

    Examples
    --------
    >>> model = torch.nn.Linear(2, 1)
    >>> model_view(model, "fp32", torch.device("cpu")) is model
    True
    >>> model_view(model, "bf16", torch.device("cpu"))(torch.ones(1, 2)).dtype
    torch.float32
    """
    if precision == "bf16":
        model = _view(model, lambda function: _autocast(function, device.type), autocast_device=device.type)
    return _view(model, torch.compile, is_compiled=True) if compile else model


def autocast_of(model: Any) -> AbstractContextManager[Any]:
    """Context that a model's forward pass runs in, for a method that calls the model's parts by itself.

    Examples
    --------
    >>> view = model_view(torch.nn.Linear(2, 1), "bf16", torch.device("cpu"))
    >>> with autocast_of(view):
    ...     torch.is_autocast_enabled("cpu")
    True
    """
    device_type = getattr(model, "autocast_device", None)
    return contextlib.nullcontext() if device_type is None else torch.autocast(device_type, dtype=torch.bfloat16)


def _autocast(function: Callable[..., torch.Tensor], device_type: str) -> Callable[..., torch.Tensor]:
    """Run a function under autocast, which is a state of the thread, and give float32."""

    def run(*args: Any) -> torch.Tensor:
        with torch.autocast(device_type, dtype=torch.bfloat16):
            output = function(*args)
        return output.float() if isinstance(output, torch.Tensor) and output.is_floating_point() else output

    return run


def is_compiled(model: object) -> bool:
    """Whether a model is a view that :func:`model_view` compiled.

    Examples
    --------
    >>> is_compiled(torch.nn.Linear(2, 1))
    False
    """
    return bool(getattr(model, "is_compiled", False))


def compile_error(error: Exception, device: torch.device) -> ModelError:
    """Say that a model could not be compiled, and why.

    Examples
    --------
    >>> print(compile_error(RuntimeError("no C++ compiler"), torch.device("cpu")))
    compile: torch cannot compile this model for cpu (no C++ compiler); leave --compile out
    """
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return ModelError(f"compile: torch cannot compile this model for {device} ({reason}); leave --compile out")


def _view(model: nn.Module, wrap: Callable[[Any], Any], **marks: Any) -> nn.Module:
    """Copy a model shallowly, its functions wrapped."""
    view = copy.copy(model)
    functions = {name: wrap(getattr(model, name)) for name in ("forward", "columns") if hasattr(model, name)}
    for name, value in {**functions, **marks}.items():
        setattr(view, name, value)
    return view


def pearson(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Pearson correlation of all values of two arrays of one shape: 1 for equal ones, NaN where one is constant.

    Examples
    --------
    >>> pearson(np.array([1, 2, 3]), np.array([6, 4, 2]))
    -1.0
    """
    x, y = (np.asarray(values, dtype=np.float64).ravel() for values in (a, b))
    if np.array_equal(x, y):
        return 1.0
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt((x @ x) * (y @ y))
    return float(np.clip(x @ y / scale, -1, 1)) if scale > 0 else float("nan")
