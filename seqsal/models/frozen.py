"""A model that is only looked at is left as it was found, also after an exception."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import TypeGuard

import torch
from torch import nn
from torch.nn.parameter import is_lazy

__all__ = ["device_of", "frozen", "intact", "seeded"]


def device_of(model: nn.Module, default: torch.device) -> torch.device:
    """Device of a model's first parameter or buffer, or a default where it has neither."""
    return next((tensor.device for tensor in (*model.parameters(), *model.buffers())), default)


@contextlib.contextmanager
def seeded(seed: int, devices: Iterable[torch.device] = ()) -> Iterator[None]:
    """Seed torch's generators of the CPU and of some CUDA devices; put them, and leave all others, as they were."""
    cuda = list(devices)
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every GPU
        for device in cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


@contextlib.contextmanager
def frozen(model: nn.Module, device: torch.device | None = None) -> Iterator[None]:
    """Put a model into evaluation mode without gradients to parameters; give modes and flags back on leaving.

    Parameters
    ----------
    model
        Any module.
    device
        Where it is going to run; None for where it is. On CUDA torch's own recurrent layers stay in training mode,
        without dropout, which computes the same: cuDNN has no gradient of them in evaluation mode.
    """
    modes = [(module, module.training) for module in model.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    where = device_of(model, torch.device("cpu")) if device is None else device
    layers = filter(_is_plain_recurrent, model.modules()) if where.type == "cuda" else ()
    recurrent = [(layer, layer.dropout) for layer in layers]
    try:
        for module, _ in modes:
            module.training = False  # not eval(): exported modules refuse it, and some override it
        for layer, _ in recurrent:
            layer.training, layer.dropout = True, 0.0
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, training in modes:
            module.training = training
        for layer, dropout in recurrent:
            layer.dropout = dropout
        for parameter, requires_grad in flags:
            parameter.requires_grad_(requires_grad)


def _is_plain_recurrent(module: nn.Module) -> TypeGuard[nn.RNNBase]:
    """Whether a module is one of torch's recurrent layers, which does nothing else in training mode than drop out."""
    return (
        isinstance(module, nn.RNNBase)
        and type(module).forward in (nn.LSTM.forward, nn.GRU.forward, nn.RNN.forward)
        and isinstance(getattr(module, "dropout", None), (int, float))
        and not module._forward_pre_hooks
        and not module._forward_hooks
    )


@contextlib.contextmanager
def intact(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Put torch's random state and the model's buffers back on leaving."""
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers() if not is_lazy(buffer)]
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        with torch.no_grad():
            for buffer, before in buffers:
                if not torch.equal(buffer, before):
                    buffer.copy_(before)
