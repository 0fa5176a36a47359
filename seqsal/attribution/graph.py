"""A model as a flat list of tensor operations, for methods that need to know what a model does.

:mod:`seqsal.attribution.tracing` writes such a list down. Operations are ATen's, below modules, functions and
operators: a `relu` is the same whether it was written `nn.ReLU()`, `F.relu(x)` or `x.relu_()`, and a module that is
called twice is two operations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

__all__ = ["Graph", "Op", "PerWindow", "Ref", "fill", "leaves"]

Apply = Callable[["Op", tuple[Any, ...], dict[str, Any]], Any]


@dataclass(frozen=True)
class Ref:
    """The result of an earlier operation, by its number."""

    idx: int


@dataclass(frozen=True)
class PerWindow:
    """A whole number that depends on how many windows go in: offset + slope · n."""

    offset: int
    slope: int

    def at(self, n_windows: int) -> int:
        """Return the number for so many windows."""
        return self.offset + self.slope * n_windows


@dataclass(frozen=True, eq=False)
class Op:
    """One operation.

    Attributes
    ----------
    idx
        Its number; results of earlier operations appear in `args` as :class:`Ref`.
    target
        The ATen operation, or `operator.getitem`; None for the input itself.
    args, kwargs
        What it is called with.
    varies
        Whether its result depends on the sequences.
    where
        The module that called it, such as ``blocks.3 (ResidualBlock)``; empty at the top.
    shapes
        Shapes of its result with two windows and with three; None where the result is not one tensor.
    """

    idx: int
    target: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    varies: bool
    where: str
    shapes: tuple[tuple[int, ...], tuple[int, ...]] | None

    @property
    def name(self) -> str:
        """Name of the operation, without its overload: ``relu``, ``max_pool2d_with_indices``."""
        packet = getattr(self.target, "overloadpacket", None)
        return str(packet).removeprefix("aten.") if packet is not None else getattr(self.target, "__name__", "input")

    @property
    def batch_axis(self) -> int | None:
        """The one axis whose length depends on the number of windows."""
        if self.shapes is None or len(self.shapes[0]) != len(self.shapes[1]):
            return None
        axes = [i for i, (two, three) in enumerate(zip(*self.shapes, strict=True)) if two != three]
        return axes[0] if len(axes) == 1 else None

    @property
    def windows_on_axis(self) -> int | None:
        """How many entries of the batch axis belong to one window (1, unless something was merged into that axis)."""
        axis = self.batch_axis
        if axis is None or self.shapes is None:
            return None
        two, three = self.shapes[0][axis], self.shapes[1][axis]
        return three - two if two == 2 * (three - two) else None

    def refs(self) -> list[int]:
        """Numbers of the operations whose results it takes, in order."""
        return [leaf.idx for leaf in leaves((self.args, tuple(self.kwargs.values()))) if isinstance(leaf, Ref)]

    def __str__(self) -> str:
        return f"{self.name} in {self.where}" if self.where else self.name


@dataclass(frozen=True)
class Graph:
    """A model's operations in the order in which they run.

    Attributes
    ----------
    ops
        All that the output depends on; the input is the first.
    output
        Number of the operation whose result is the output.
    constants
        Results that depend on neither the sequences nor their number.
    """

    ops: tuple[Op, ...]
    output: int
    constants: dict[int, Any]
    _last_use: dict[int, list[int]] = field(default_factory=dict, repr=False)

    def run(self, X: torch.Tensor, apply: Apply | None = None) -> Any:
        """Compute the model's output.

        Parameters
        ----------
        X
            Windows, (N, 4, L).
        apply
            Called as `apply(op, args, kwargs)` instead of each operation that varies; gives its result.
        """
        results: dict[int, Any] = dict(self.constants)
        for op in self.ops:
            results[op.idx] = X if op.target is None else self._call(op, results, len(X), apply)
            for idx in self._last_use.get(op.idx, ()):
                del results[idx]
        return results[self.output]

    def _call(self, op: Op, results: dict[int, Any], n_windows: int, apply: Apply | None) -> Any:
        # one level deep here, because this runs for every operation of every batch
        args = tuple([results[arg.idx] if type(arg) is Ref else fill(arg, results, n_windows) for arg in op.args])
        kwargs = {key: fill(value, results, n_windows) for key, value in op.kwargs.items()} if op.kwargs else {}
        return op.target(*args, **kwargs) if apply is None or not op.varies else apply(op, args, kwargs)

    @property
    def varying(self) -> tuple[Op, ...]:
        """Operations, without the input, whose results depend on the sequences."""
        return tuple(op for op in self.ops if op.varies and op.target is not None)


def leaves(value: Any) -> list[Any]:
    """Flatten nested arguments."""
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in leaves(item)]
    return [value]


def fill(value: Any, results: dict[int, Any], n_windows: int) -> Any:
    """Put tensors for `Ref`s and numbers for what depends on the number of windows."""
    if isinstance(value, Ref):
        return results[value.idx]
    if isinstance(value, PerWindow):
        return value.at(n_windows)
    if isinstance(value, (list, tuple)):
        return type(value)(fill(item, results, n_windows) for item in value)
    if isinstance(value, dict):
        return {key: fill(item, results, n_windows) for key, item in value.items()}
    return value
