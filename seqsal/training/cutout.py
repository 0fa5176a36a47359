"""Saliency-guided CutOut: windows are shown without the stretch that the network looks at most, or without any stretch.

Of each window of a batch a coin of `cutout_probability` says whether a stretch of `cutout_width` bases is replaced by
the same bases in another order. `salient` takes the stretch with the largest Σ|gradient × input| of the network as it
is at that step (the window as it predicts: running statistics, no dropout), so that it has to find what else tells the
classes apart; `random` takes any (DeVries and Taylor 2017, arXiv:1708.04552), which is what the first is to be compared
with. Labels stay as they are: a window whose only site is cut is still called a positive, so that much of either costs
accuracy (`benchmarks/priors.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from seqsal.attribution.methods import gradient_x_input
from seqsal.models.cnn import scalar
from seqsal.training.relevance import predicting

if TYPE_CHECKING:
    from seqsal.training.settings import TrainConfig

__all__ = ["cut_out", "salient_starts", "shuffle_stretches"]


def cut_out(model: torch.nn.Module, X: torch.Tensor, training: TrainConfig, generator: torch.Generator) -> torch.Tensor:
    """Return one-hot windows (n, 4, L) of which some have a stretch in another order."""
    n, width = len(X), training.cutout_width
    is_cut = (torch.rand(n, generator=generator) < training.cutout_probability).to(X.device)
    start = torch.randint(X.shape[2] - width + 1, (n,), generator=generator).to(X.device)
    order = torch.rand((n, width), generator=generator).argsort(dim=1).to(X.device)
    if training.cutout == "salient" and is_cut.any():
        start[is_cut] = salient_starts(model, X[is_cut], width)
    return torch.where(is_cut[:, None, None], shuffle_stretches(X, start, order), X)


def salient_starts(model: torch.nn.Module, X: torch.Tensor, width: int) -> torch.Tensor:
    """Return where the stretch of `width` bases with the most attribution starts in each window (n, 4, L)."""
    with predicting(model):
        mass = gradient_x_input(lambda X: scalar(model, X), X).track(X).detach().abs()
    sums = torch.nn.functional.avg_pool1d(mass[:, None], width, stride=1)[:, 0]
    return sums.argmax(dim=1)


def shuffle_stretches(X: torch.Tensor, start: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Put the bases of a stretch of each window (n, 4, L) into another order (n, width)."""
    at = start[:, None] + torch.arange(order.shape[1], device=X.device)  # (n, width)
    taken = X.gather(2, (start[:, None] + order)[:, None].expand(-1, 4, -1))
    return X.scatter(2, at[:, None].expand(-1, 4, -1), taken)
