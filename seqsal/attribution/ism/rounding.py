"""How much of a substitution's effect float32 rounds off, and how less of it is.

A substitution changes a mean over 32 kb by 1e-4 of it, of which float32 keeps three digits. So sums over many positions
are accumulated, and small results of them carried on, in float64: by :class:`LongSums` in whole passes, with rules of
its own in :mod:`seqsal.attribution.ism.mutants`. What is rounded off elsewhere is measured by :func:`rounding_error`.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable
from typing import Any

import torch

from seqsal.attribution.graph import Watch
from seqsal.models.state import frozen

__all__ = ["MOST_PRECISE", "LongSums", "in_type", "is_long_sum", "rounding_error"]

Tensor = torch.Tensor
MOST_PRECISE = 1 << 14  # entries of a window's result, up to which sums over the length are carried on in float64
LONG = 256  # terms of a sum whose rounding matters
MOST_PARAMETERS = 1 << 28  # of a model that is copied
N_COMPARED = 3  # positions, those with the largest effects, that are compared with float64


def in_type(value: Any, dtype: torch.dtype) -> Any:
    """Put all float32 and float64 tensors in arguments into one of the two types."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.dtype in (torch.float32, torch.float64) else value
    if isinstance(value, (list, tuple)):
        return type(value)(in_type(item, dtype) for item in value)
    if isinstance(value, dict):
        return {key: in_type(item, dtype) for key, item in value.items()}
    return value


class LongSums(Watch):
    """While entered, sums of many terms of float32 into few are computed, and carried on, in float64.

    Attributes
    ----------
    n_seen, n_operations
        How many such sums there were, and operations of any kind.
    """

    def __init__(self) -> None:
        super().__init__()
        self.n_seen = self.n_operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.n_operations += 1
        if kwargs.get("dtype") is None and is_long_sum(func, args):
            self.n_seen += 1
            return func(*in_type(args, torch.float64), **kwargs)
        given = [arg for arg in args if isinstance(arg, Tensor)] if self.n_seen else ()
        if {torch.float32, torch.float64} <= {arg.dtype for arg in given} and not func._schema.is_mutable:
            is_large = torch.Tag.pointwise in func.tags and any(a.numel() > MOST_PRECISE * len(a) for a in given)
            args = in_type(args, torch.float32 if is_large else torch.float64)
        return func(*args, **kwargs)


def is_long_sum(target: Any, args: Any) -> bool:
    """Whether an operation adds up many numbers of float32 for each of few results."""
    count = _TERMS.get(getattr(target, "overloadpacket", None))
    if count is None or args[0].dtype != torch.float32:
        return False
    n_terms = count(*args)
    return n_terms >= LONG and args[0].numel() <= MOST_PRECISE * len(args[0]) * n_terms


def _reduced(tensor: Tensor, dims: Any = None, *_: Any) -> int:
    dims = dims if isinstance(dims, (list, tuple)) and dims else range(tensor.ndim)
    return math.prod(tensor.shape[dim] for dim in dims) if tensor.ndim else 1


def _pooled(tensor: Tensor, size: Any, *_: Any) -> int:
    return math.prod(size)


def _product(a: Tensor, b: Tensor) -> int:
    """Count the terms of a pooling by weights, which gives vectors; of attention among positions none."""
    return a.shape[-1] if min(a.shape[1], b.shape[2]) == 1 else 0


_TERMS: dict[Any, Callable[..., int]] = {
    torch.ops.aten.mean: _reduced,
    torch.ops.aten.sum: _reduced,
    torch.ops.aten.avg_pool2d: _pooled,
    torch.ops.aten.avg_pool1d: _pooled,
    torch.ops.aten.bmm: _product,
}


def rounding_error(
    model: Any, X: Tensor, outputs: Tensor, score: Callable[[Any, Tensor, list[int]], Tensor]
) -> float | None:
    """Compare the largest effects of a window X (1, 4, L) with those of a copy of f: (N, 4, L) → (N, T) in float64.

    `outputs` (T, 4, L) are the scores of each base at each position; `score(model, X, positions)` gives those of any
    model, right at some positions. The largest error is a share of the largest effect; None for a model that has no
    such copy, and where no base has an effect.
    """
    effects = (outputs - outputs.mean(1, keepdim=True)).double()
    largest = effects.abs().amax()
    positions = sorted(effects.abs().amax((0, 1)).topk(min(N_COMPARED, X.shape[2])).indices.tolist())
    if sum(p.numel() for single in model.single for p in getattr(single, "parameters", list)()) > MOST_PARAMETERS:
        return None
    try:
        precise = copy.deepcopy(model)
        with contextlib.ExitStack() as stack:
            for single in precise.single:
                stack.enter_context(frozen(single.double()))  # nothing is compiled for it
            stack.enter_context(torch.no_grad())
            exact = score(precise, X.double(), positions)[..., positions]
    except Exception:  # a model of any kind, which need not be copied, nor run in another type
        return None
    exact = exact - exact.mean(1, keepdim=True)
    error = float((effects[..., positions] - exact).abs().amax() / largest.clamp_min(1e-300))
    return error if largest > 0 and math.isfinite(error) else None
