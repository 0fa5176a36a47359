"""A model as a flat list of tensor operations, for methods that need to know what a model does.

Operations are ATen's, below modules, functions and operators: a `relu` is the same whether it was written `nn.ReLU()`,
`F.relu(x)` or `x.relu_()`, and a module that is called twice is two operations.

To write the list down (:func:`trace`) a model is run twice, on two windows and on three. Where the two runs differ only
in numbers that depend on how many windows went in (the sizes in a `view`), the operation is kept as a function of that
number, so that one trace serves every batch size. Operations that no base can influence are computed once. In-place
operations become ordinary ones.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode, make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel

from seqsal.errors import ModelError
from seqsal.models.sequence_model import facts_about

__all__ = ["Graph", "Op", "Ref", "leaves", "trace"]

_SIZES = (2, 3)  # batches that are traced: with one window, its axis could not be told from others of length 1
_WRAPPER = "module."  # where `seqsal.wrap` keeps the caller's model
_TRACING = threading.Lock()  # tracing changes torch's dispatch for the whole process
_MAX_REPLAYS = 3
_SHAPE_ONLY = frozenset(
    f"aten.{name}" for name in "empty_like full_like new_empty new_full new_ones new_zeros ones_like zeros_like".split()
)

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


def trace(model: Callable[[torch.Tensor], torch.Tensor], X: torch.Tensor) -> Graph:
    """Write down what a model does; once, as long as nothing in it changes.

    Parameters
    ----------
    model
        f: (N, 4, L) → (N,) or (N, T), frozen and in evaluation mode.
    X
        One window or more, (N, 4, L), on the model's device.

    Raises
    ------
    ModelError
        The model does other things for other numbers of windows, or decides by the values that it computes.

    Examples
    --------
    >>> graph = trace(lambda X: torch.relu(X - 0.5).sum((1, 2)), torch.eye(4)[None])
    >>> print(*graph.varying)
    sub relu sum
    >>> graph.run(torch.eye(4)[None])
    tensor([2.])
    """
    known, key = _facts_about(model), ("graph", type(model), tuple(X.shape[1:]), X.dtype, str(X.device))
    if key not in known:
        known[key] = _trace(model, X)
    graph: Graph = known[key]
    return graph


def _facts_about(model: Any) -> dict[Any, Any]:
    """Return what is known of a model of one or several targets."""
    singles = getattr(model, "single", (model,))
    if not all(isinstance(single, nn.Module) for single in singles):
        return {}
    facts: dict[Any, Any] = facts_about(singles[0])
    return facts.setdefault(tuple(getattr(model, "targets", ())), {})


def _trace(model: Callable[[torch.Tensor], torch.Tensor], X: torch.Tensor) -> Graph:
    first, second = (_record(model, X[:1].detach().expand(n, -1, -1).clone()) for n in _SIZES)
    if len(first) != len(second) or any(a.target != b.target for a, b in zip(first, second, strict=True)):
        raise ModelError(
            "model: runs other operations for two windows than for three, so that its structure cannot be read; "
            "use a method that does not need it, such as integrated_gradients"
        )
    return _assemble(first, second)


@dataclass(frozen=True)
class _Node:
    """One traced operation: `args` hold `Ref`s and plain values; constants carry their tensor."""

    target: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    where: str
    shape: tuple[int, ...] | None
    constant: torch.Tensor | None = None
    is_input: bool = False
    is_output: bool = False


def _record(model: Callable[[torch.Tensor], torch.Tensor], X: torch.Tensor) -> list[_Node]:
    marks: list[tuple[int, str]] = []

    def run(windows: torch.Tensor) -> torch.Tensor:
        return model(windows)

    with _TRACING, torch.no_grad(), sdpa_kernel(SDPBackend.MATH), _noting_modules(model, marks):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                module = make_fx(torch.func.functionalize(run, remove="mutations"))(X)
                for _ in range(_MAX_REPLAYS):
                    if not any(_is_mutation(node) for node in module.graph.nodes):
                        break
                    # operations made of in-place ones below the level at which these are replaced: RMSNorm, LSTM
                    replay = _Replay(module, _module_of_each(module, marks))
                    marks = replay.marks
                    module = make_fx(torch.func.functionalize(replay.run, remove="mutations"))(X)
        except ModelError:
            raise
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ModelError(
                f"model: its structure cannot be read ({type(error).__name__}: {reason}); does its forward() decide by "
                "computed values? Use a method that does not need the structure, such as integrated_gradients"
            ) from error
    return _nodes(module, marks)


@contextlib.contextmanager
def _noting_modules(model: Any, marks: list[tuple[int, str]]) -> Iterator[None]:
    """Append (number of operations so far, module) whenever a module begins or ends."""
    model = getattr(model, "single", (model,))[0]  # several targets of one model
    if not isinstance(model, nn.Module):
        yield
        return
    names = {
        module: f"{name.removeprefix(_WRAPPER)} ({type(module).__name__})"
        for name, module in model.named_modules()
        if name
    }
    stack: list[str] = []

    def note() -> None:
        mode = get_proxy_mode()
        if mode is not None:
            marks.append((len(mode.tracer.graph.nodes), stack[-1] if stack else ""))

    def begin(module: nn.Module, _: Any) -> None:
        stack.append(names.get(module, stack[-1] if stack else ""))
        note()

    def end(module: nn.Module, _: Any, __: Any) -> None:
        stack.pop()
        note()

    handles = [
        handle
        for module in model.modules()
        if not isinstance(module, torch.jit.ScriptModule)
        for handle in (module.register_forward_pre_hook(begin), module.register_forward_hook(end))
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Replay(fx.Interpreter):
    """Run a traced module again, noting which module of the model each new operation belongs to."""

    def __init__(self, module: fx.GraphModule, where: dict[fx.Node, str]) -> None:
        super().__init__(module)
        self.where = where
        self.marks: list[tuple[int, str]] = []

    def run_node(self, n: fx.Node) -> Any:
        mode = get_proxy_mode()
        if mode is not None:
            self.marks.append((len(mode.tracer.graph.nodes), self.where[n]))
        return super().run_node(n)


def _is_mutation(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _module_of_each(module: fx.GraphModule, marks: Sequence[tuple[int, str]]) -> dict[fx.Node, str]:
    """Spread (first operation, module) over the operations that follow."""
    where, n_passed = {}, 0
    for i, node in enumerate(module.graph.nodes):
        while n_passed < len(marks) and marks[n_passed][0] <= i:
            n_passed += 1
        where[node] = marks[n_passed - 1][1] if n_passed else ""
    return where


def _nodes(module: fx.GraphModule, marks: Sequence[tuple[int, str]]) -> list[_Node]:
    numbers = {node: i for i, node in enumerate(module.graph.nodes)}
    nodes, everywhere = [], _module_of_each(module, marks)
    for node in module.graph.nodes:
        where = everywhere[node]
        value = node.meta.get("val")
        shape = tuple(value.shape) if isinstance(value, torch.Tensor) else None
        if node.op == "get_attr":
            constant = _attribute(module, str(node.target))
            nodes.append(_Node(None, (), {}, where, shape, constant=constant))
        elif node.op == "output":
            nodes.append(_Node(None, (_refer(node.args[0], numbers),), {}, "", None, is_output=True))
        else:
            args, kwargs = _refer(node.args, numbers), {key: _refer(v, numbers) for key, v in node.kwargs.items()}
            is_input = node.op == "placeholder"
            nodes.append(_Node(None if is_input else node.target, args, kwargs, where, shape, is_input=is_input))
    return nodes


def _attribute(module: fx.GraphModule, name: str) -> Any:
    value: Any = module
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _refer(value: Any, numbers: dict[fx.Node, int]) -> Any:
    if isinstance(value, fx.Node):
        return Ref(numbers[value])
    if isinstance(value, (list, tuple)):
        return type(value)(_refer(item, numbers) for item in value)
    return value


def _assemble(first: Sequence[_Node], second: Sequence[_Node]) -> Graph:
    """Merge two traces into one graph, compute its constants, and drop what the output does not need."""
    ops: dict[int, Op] = {}
    constants: dict[int, Any] = {}
    output = 0
    for i, (a, b) in enumerate(zip(first, second, strict=True)):
        if a.is_output:
            output = _only_tensor(a.args[0]).idx
            continue
        if a.constant is not None:
            constants[i] = a.constant
            continue
        args = _merge(a.args, b.args)
        kwargs = {key: _merge(value, b.kwargs[key]) for key, value in a.kwargs.items()}
        parts = leaves((args, tuple(kwargs.values())))
        refs = [leaf.idx for leaf in parts if isinstance(leaf, Ref)]
        varies = a.is_input or (_reads_values(a.target) and any(ops[idx].varies for idx in refs if idx in ops))
        if not varies and all(idx in constants for idx in refs) and not any(isinstance(x, PerWindow) for x in parts):
            with torch.no_grad():
                constants[i] = a.target(*fill(args, constants, 0), **fill(kwargs, constants, 0))
            continue
        shapes = None if a.shape is None or b.shape is None else (a.shape, b.shape)
        ops[i] = Op(i, a.target, args, kwargs, varies, a.where, shapes)
    return _pruned(ops, output, constants)


def _reads_values(target: Any) -> bool:
    """Whether an operation looks at more of its arguments than their shape and type."""
    return str(getattr(target, "overloadpacket", "")) not in _SHAPE_ONLY


def _only_tensor(value: Any) -> Ref:
    assert isinstance(value, Ref), "a scalar model returns one tensor"
    return value


def _pruned(ops: dict[int, Op], output: int, constants: dict[int, Any]) -> Graph:
    needed, pending = set(), [output]
    while pending:
        idx = pending.pop()
        if idx not in needed:
            needed.add(idx)
            pending.extend(ops[idx].refs() if idx in ops else ())
    kept = tuple(op for op in ops.values() if op.idx in needed or op.target is None)
    last = {idx: op.idx for op in kept for idx in op.refs() if idx in ops and idx != output}
    last_use: dict[int, list[int]] = {}
    for idx, user in last.items():
        last_use.setdefault(user, []).append(idx)
    return Graph(kept, output, {idx: value for idx, value in constants.items() if idx in needed}, last_use)


def _merge(two: Any, three: Any) -> Any:
    """Combine an argument of two traces, whole numbers that differ becoming functions of the number of windows."""
    if isinstance(two, (list, tuple)):
        return type(two)(_merge(a, b) for a, b in zip(two, three, strict=True))
    if isinstance(two, int) and not isinstance(two, bool) and two != three:
        slope = three - two
        return PerWindow(two - _SIZES[0] * slope, slope)
    return two
