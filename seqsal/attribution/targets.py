"""One model, seen at one output, at several, or at lower precision.

Views share the caller's parameters: a view is a shallow copy that differs in which output it reads or in the precision
that it runs in. Make them while the model is on its device and in evaluation mode
(:func:`seqsal.attribution.compute.frozen_on_device`).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from seqsal.attribution.compute import model_view
from seqsal.attribution.methods.base import OneTarget
from seqsal.errors import ModelError, counted
from seqsal.models.contrast import Contrast, Target

__all__ = ["TargetView", "n_targets_of", "with_target"]


class TargetView:
    """Some outputs of a model f, (N, T), in one of :data:`seqsal.attribution.compute.PRECISIONS`, compiled or not.

    The model has `target` and `columns(X, targets) -> (N, T)`, as `seqsal.wrap` makes it; for a single target any model
    will do whose output that is. `targets` of None is the model as it is.

    Raises
    ------
    ModelError
        The model has no such output.
    """

    def __init__(
        self,
        model: nn.Module,
        targets: Sequence[Target | None],
        device: torch.device,
        precision: str = "fp32",
        *,
        compile: bool = False,
    ) -> None:
        self.single = tuple(
            model_view(with_target(model, target), precision, device, compile=compile) for target in targets
        )
        self.targets: list[Target] = [0 if target is None else target for target in targets]

    def __call__(self, X: torch.Tensor) -> torch.Tensor:
        """Return all outputs, shape (N, T), in one forward pass."""
        if len(self.single) == 1:
            return OneTarget(self.single[0])(X)
        columns: torch.Tensor = self.single[0].columns(X, self.targets)  # type: ignore[operator]
        return columns


def n_targets_of(model: nn.Module) -> int | None:
    """How many outputs a model has, None where it has not been tried yet; a module that is not wrapped has one."""
    return getattr(model, "n_targets", None) if hasattr(model, "columns") else 1


def with_target(model: nn.Module, target: Target | None) -> nn.Module:
    """Return the model as it reads another target: itself where it does already, else a view.

    Raises
    ------
    ModelError
        The model has no such output.
    """
    if target is None or target == getattr(model, "target", 0):
        return model
    n_targets = n_targets_of(model)
    if isinstance(target, Contrast):
        if n_targets is not None:
            target.check(n_targets)
    elif n_targets is not None and not 0 <= target < n_targets:
        raise ModelError(
            f"target: {target} is out of range, the model has {counted(n_targets, 'output')} "
            f"(0 to {n_targets - 1}); a module with several outputs has to be wrapped with seqsal.wrap(module)"
        )
    view = copy.copy(model)
    setattr(view, "target", target)  # noqa: B010 (nn.Module types its attributes as modules)
    return view
