"""Borrowing a model: frozen and in evaluation mode on a device while it is used, then given back as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

__all__ = ["borrowed"]


@contextlib.contextmanager
def borrowed(model: nn.Module, device: torch.device) -> Iterator[nn.Module]:
    """Yield `model` on `device`, every module in evaluation mode and no parameter asking for a gradient.

    Freezing the parameters spares the backward pass what attribution never uses. Device, training mode of each module,
    `requires_grad` and `.grad` of each parameter are given back afterwards, also after an exception.
    """
    modes = {module: module.training for module in model.modules()}
    flags = {parameter: parameter.requires_grad for parameter in model.parameters()}
    grads = {parameter: parameter.grad for parameter in model.parameters()}
    home = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), device)
    try:
        for parameter in flags:
            parameter.grad = None
            parameter.requires_grad_(False)
        model.to(device)
        model.eval()
        yield model
    finally:
        model.to(home)
        for module, training in modes.items():
            module.training = training
        for parameter, flag in flags.items():
            parameter.requires_grad_(flag)
            parameter.grad = grads[parameter]
