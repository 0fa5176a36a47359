"""Borrowing a model: frozen and in evaluation mode on a device while it is used, then given back as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from seqsal.models.arithmetic import cuda_arithmetic
from seqsal.models.frozen import device_of, frozen

__all__ = ["borrowed"]


@contextlib.contextmanager
def borrowed(model: nn.Module, device: torch.device, precision: str = "fp32") -> Iterator[nn.Module]:
    """Yield `model` on `device`, every module in evaluation mode and no parameter asking for a gradient.

    Freezing the parameters spares the backward pass what attribution never uses. Device, training mode of each module,
    `requires_grad` and `.grad` of each parameter are given back afterwards, also after an exception. On CUDA float32 is
    float32 meanwhile, unless the precision is `tf32`: predictions and attributions then agree with each other and with
    those of a CPU.
    """
    with cuda_arithmetic(precision, device), _without_gradients(model), frozen(model, device), _moved(model, device):
        yield model


@contextlib.contextmanager
def _without_gradients(model: nn.Module) -> Iterator[None]:
    """Take the `.grad` of every parameter away, so that it does not move along; give it back on leaving."""
    grads = [(parameter, parameter.grad) for parameter in model.parameters()]
    try:
        for parameter, _ in grads:
            parameter.grad = None
        yield
    finally:
        for parameter, grad in grads:
            parameter.grad = grad


@contextlib.contextmanager
def _moved(model: nn.Module, device: torch.device) -> Iterator[None]:
    home = device_of(model, device)
    try:
        model.to(device)
        yield
    finally:
        model.to(home)
