"""Models whose passes `torch.compile` has fused into fewer kernels.

Elementwise operations between convolutions read and write every activation once each; a compiler writes one kernel for
a run of them, in the backward pass as well. It takes tens of seconds, and again when the batch size first changes. On
two CPU cores a dilated CNN of 64 filters ran at 0.6 to 0.9 times the speed that it has without, since torch's own
kernels are fast there and each core has a batch of its own (which a run with a compiled method gives up for all of its
methods), so nothing is compiled unless asked for.

Methods that take a model as a function of its input can use it; those that read its operations one by one (`ism`,
`deeplift_shap`) or watch its layers (`cam`, `grad_cam`) cannot.
"""

from __future__ import annotations

import copy
import logging

import torch
from torch import nn

from seqsal.errors import ModelError

__all__ = ["cannot_fuse", "in_fused_form", "is_fused"]

logger = logging.getLogger(__name__)


def in_fused_form(model: nn.Module) -> nn.Module:
    """Return a view of a model that is compiled when it is first called.

    Parameters
    ----------
    model
        f: (N, 4, L) → (N,), and `columns` → (N, T) where it has that.
    """
    view = copy.copy(model)
    for name in ("forward", "columns"):
        if hasattr(model, name):
            setattr(view, name, torch.compile(getattr(model, name)))
    setattr(view, "is_fused", True)  # noqa: B010 (nn.Module types its attributes as modules)
    return view


def is_fused(model: object) -> bool:
    """Whether a model came from :func:`in_fused_form`."""
    return bool(getattr(model, "is_fused", False))


def cannot_fuse(error: Exception, device: torch.device) -> ModelError:
    """Say that a model could not be compiled, and why."""
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return ModelError(f"compile: torch cannot compile this model for {device} ({reason}); leave --compile out")
