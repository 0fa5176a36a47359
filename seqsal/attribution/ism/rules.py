"""What each operation does to results that differ from a reference on a few positions: a rule for each.

A rule is called with the operation's arguments, at least one of them a state and all tensors among them constants, and
gives the result as a state or a whole tensor; None where it does not apply, and the operation then runs on whole
results. With r the reference and δ the difference: linear operations map δ, maxima and all that works on every position
by itself map the value r + δ.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch

from seqsal.attribution.graph import Op
from seqsal.attribution.ism import pointwise, reductions, views, windows
from seqsal.attribution.ism.step import Rule

__all__ = ["rule_for", "takes_any_order"]

_RULES: dict[str, Rule] = {
    "relu": pointwise.relu,
    "add": pointwise.add,
    "sub": pointwise.subtract,
    "mul": reductions.multiply,
    "div": pointwise.scale,
    "native_batch_norm": pointwise.batch_norm,
    "_native_batch_norm_legit_no_training": pointwise.batch_norm,
    "cudnn_batch_norm": pointwise.batch_norm,
    "native_layer_norm": pointwise.layer_norm,
    "softmax": reductions.softmax,
    "_log_softmax": pointwise.by_column(0),
    "convolution": windows.convolution,
    "max_pool2d_with_indices": windows.max_pool,
    "avg_pool2d": windows.avg_pool,
    "avg_pool1d": windows.avg_pool,
    "constant_pad_nd": windows.pad,
    "slice": windows.slice_,
    "flip": windows.flip,
    "unsqueeze": views.unsqueeze,
    "squeeze": views.squeeze,
    "select": views.select,
    "permute": views.permute,
    "transpose": views.transpose,
    "clone": views.same,
    "alias": views.same,
    "detach": views.same,
    "expand": views.expand,
    "split": views.parts,
    "split_with_sizes": views.parts,
    "unbind": views.parts,
    "cat": views.cat,
    "view": views.view,
    "_unsafe_view": views.view,
    "reshape": views.view,
    "mm": reductions.matmul,
    "addmm": reductions.addmm,
    "mean": reductions.reduce,
    "sum": reductions.reduce,
    "amax": reductions.column_reduce,
    "max": reductions.greatest,
    "adaptive_max_pool2d": reductions.adaptive_max_pool,
    "amin": reductions.column_reduce,
    "var": reductions.column_reduce,
    "logsumexp": reductions.column_reduce,
}
_FIRST_ONLY = frozenset(
    {
        "native_batch_norm",
        "_native_batch_norm_legit_no_training",
        "cudnn_batch_norm",
        "native_layer_norm",
        "max",
        "adaptive_max_pool2d",
        "max_pool2d_with_indices",
    }
)  # their other results are not followed
_OVERLOADS = {
    "max": ("dim",),
    "mean": ("dim",),
    "sum": ("dim_IntList",),
    "squeeze": ("dim", "dims"),
    "div": ("Tensor", "Scalar"),
    "var": ("correction",),
}  # that the rule is for, where others mean something else


def takes_any_order(op: Op) -> bool:
    """Whether an operation is known to work whatever the order of its arguments in memory."""
    return op.name in _RULES or torch.Tag.pointwise in getattr(op.target, "tags", ())


def rule_for(op: Op, consumers: Sequence[Op]) -> Rule | None:
    """Find the rule of an operation.

    Parameters
    ----------
    op
        The operation.
    consumers
        Operations that take its result.
    """
    if op.target is operator.getitem:
        return None
    overload = getattr(op.target, "_overloadname", "")
    if op.name in _RULES and overload in _OVERLOADS.get(op.name, (overload,)):
        takes_first = all(user.target is operator.getitem and user.args[1] == 0 for user in consumers)
        return _RULES[op.name] if op.name not in _FIRST_ONLY or takes_first else None
    return pointwise.pointwise if torch.Tag.pointwise in getattr(op.target, "tags", ()) and op.batch_axis == 0 else None
