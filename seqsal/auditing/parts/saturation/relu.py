"""Which ReLU units of a model ever do anything, from its traced operations, however it is written.

A *unit* is one entry of a ReLU's result for one window, a channel at a position. A *channel* is the axis that the layer
before it computes anew: the second of a convolution's result, the last of a matrix product's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from seqsal.attribution.compute import frozen_on_device
from seqsal.attribution.graph import Graph, Op, trace
from seqsal.auditing.content import Codes, Ints, Values
from seqsal.auditing.context import one_hot_on
from seqsal.auditing.part import NotTested
from seqsal.errors import ModelError, SeqsalError
from seqsal.models import SequenceModel

__all__ = ["Activity", "relu_activity"]

PASS_BASES = 1 << 14
_PRODUCTS = {"addmm", "mm", "bmm", "baddbmm", "matmul", "linear"}
_CONVOLUTIONS = {"convolution", "conv1d", "conv2d", "_convolution"}


class Activity(NamedTuple):
    """What the R ReLUs of a model did for n windows: their modules, and units and channels, dead where always 0.

    `inactive`: (n,) share of all units that are 0 for each window.
    """

    layers: list[str]
    n_units: Ints
    n_dead_units: Ints
    n_channels: Ints
    n_dead_channels: Ints
    inactive: Values


def relu_activity(model: SequenceModel, codes: Codes, device: torch.device) -> Activity | NotTested:
    """Run windows (n, L) through a model and note which ReLU units are above 0.

    Not tested where there is none, where the structure cannot be read, or a ReLU merges windows with something else.
    """
    try:
        with frozen_on_device(model, device), torch.no_grad():
            return _watch(model, codes, device)
    except SeqsalError as error:
        return NotTested(f"Dead units were not tested: {error}")


def _watch(model: SequenceModel, codes: Codes, device: torch.device) -> Activity | NotTested:
    graph = trace(model, one_hot_on(codes[:1], device))
    relus = [op for op in graph.varying if _is_relu(op)]
    if not relus:
        return NotTested("Dead units were not tested: the model has no ReLU.")
    merged = next((op for op in relus if op.windows_on_axis != 1), None)
    if merged is not None:
        raise ModelError(
            f"model: {merged} mixes windows with something else on one axis, so its units cannot be told apart"
        )
    ever: dict[int, torch.Tensor] = {}
    n_active: list[Ints] = []
    step = max(1, PASS_BASES // codes.shape[1])
    for first in range(0, len(codes), step):
        n_active.append(_pass(graph, relus, one_hot_on(codes[first : first + step], device), ever))
    counts = []
    for op in relus:
        units = ever[op.idx].reshape(1) if ever[op.idx].ndim == 0 else ever[op.idx]
        axis = _channel_axis(op, graph)
        by_channel = units.movedim(axis, 0).reshape(units.shape[axis], -1).any(1)
        counts.append([units.numel(), int((~units).sum()), len(by_channel), int((~by_channel).sum())])
    n_units, dead_units, channels, dead_channels = np.array(counts, dtype=np.int64).T
    inactive = 1 - np.concatenate(n_active) / n_units.sum()
    return Activity([op.where for op in relus], n_units, dead_units, channels, dead_channels, inactive)


def _pass(graph: Graph, relus: list[Op], X: torch.Tensor, ever: dict[int, torch.Tensor]) -> Ints:
    """Add the units that a batch makes active to `ever`; return their number for each window."""
    watched = {op.idx for op in relus}
    n_active = torch.zeros(len(X), dtype=torch.int64, device=X.device)

    def note(op: Op, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = op.target(*args, **kwargs)
        if op.idx in watched:
            active = (result > 0).movedim(op.batch_axis or 0, 0)
            n_active.add_(active.reshape(len(X), -1).sum(1))
            some = active.any(0)
            ever[op.idx] = ever[op.idx] | some if op.idx in ever else some
        return result

    graph.run(X, note)
    return n_active.cpu().numpy()


def _channel_axis(op: Op, graph: Graph) -> int:
    """Axis of the channels of a ReLU's result without its batch axis."""
    ops = {other.idx: other for other in graph.ops}
    current = op
    while current.target is not None:
        if current.name in _PRODUCTS:
            return -1
        if current.name in _CONVOLUTIONS:
            return 0
        varying = [ops[idx] for idx in current.refs() if idx in ops and ops[idx].varies]
        if not varying:
            break
        current = varying[0]
    return 0


def _is_relu(op: Op) -> bool:
    """Whether an operation cuts off below 0: relu, or a clamp or threshold that amounts to it."""
    name, args = op.name, (*op.args, *op.kwargs.values())
    if op.shapes is None or op.batch_axis is None:
        return False
    if name == "relu":
        return True
    n_zeros = {"clamp_min": 1, "clamp": 1, "hardtanh": 1, "threshold": 2}.get(name, 0)
    bounds = args[1 : 1 + n_zeros]
    return 0 < len(bounds) == n_zeros and all(isinstance(one, (int, float)) and one == 0 for one in bounds)
