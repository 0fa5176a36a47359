"""Writing down what a model does, as a :class:`seqsal.attribution.graph.Graph`.

A model is run twice, on two windows and on three. Where the two runs differ only in numbers that depend on how many
windows went in (the sizes in a `view`), the operation is kept as a function of that number, so that one trace serves
every batch size. Operations that no base can influence are computed once. In-place operations become ordinary ones.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode, make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel

from seqsal.attribution.graph import Graph, Op, PerWindow, Ref, fill, leaves
from seqsal.errors import ModelError

__all__ = ["trace"]

_SIZES = (2, 3)  # batches that are traced: with one window, its axis could not be told from others of length 1
_WRAPPER = "module."  # where `seqsal.wrap` keeps the caller's model
_TRACING = threading.Lock()  # tracing changes torch's dispatch for the whole process
_MAX_REPLAYS = 3
_SHAPE_ONLY = frozenset(
    f"aten.{name}" for name in "empty_like full_like new_empty new_full new_ones new_zeros ones_like zeros_like".split()
)


def trace(model: Callable[[torch.Tensor], torch.Tensor], X: torch.Tensor) -> Graph:
    """Write down what a model does.

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
    """
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
    places: list[tuple[int, str]] = []

    def run(windows: torch.Tensor) -> torch.Tensor:
        return model(windows)

    with _TRACING, torch.no_grad(), sdpa_kernel(SDPBackend.MATH), _noting_modules(model, places):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                module = make_fx(torch.func.functionalize(run, remove="mutations"))(X)
                for _ in range(_MAX_REPLAYS):
                    if not any(_is_mutation(node) for node in module.graph.nodes):
                        break
                    # operations made of in-place ones below the level at which these are replaced: RMSNorm, LSTM
                    replay = _Replay(module, _places_of(module, places))
                    places = replay.places
                    module = make_fx(torch.func.functionalize(replay.run, remove="mutations"))(X)
        except ModelError:
            raise
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ModelError(
                f"model: its structure cannot be read ({type(error).__name__}: {reason}); does its forward() decide by "
                "computed values? Use a method that does not need the structure, such as integrated_gradients"
            ) from error
    return _nodes(module, places)


@contextlib.contextmanager
def _noting_modules(model: Any, places: list[tuple[int, str]]) -> Iterator[None]:
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
            places.append((len(mode.tracer.graph.nodes), stack[-1] if stack else ""))

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
        self.places: list[tuple[int, str]] = []

    def run_node(self, n: fx.Node) -> Any:
        mode = get_proxy_mode()
        if mode is not None:
            self.places.append((len(mode.tracer.graph.nodes), self.where[n]))
        return super().run_node(n)


def _is_mutation(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _places_of(module: fx.GraphModule, places: Sequence[tuple[int, str]]) -> dict[fx.Node, str]:
    """Spread (first operation, module) over the operations that follow."""
    where, place = {}, 0
    for i, node in enumerate(module.graph.nodes):
        while place < len(places) and places[place][0] <= i:
            place += 1
        where[node] = places[place - 1][1] if place else ""
    return where


def _nodes(module: fx.GraphModule, places: Sequence[tuple[int, str]]) -> list[_Node]:
    numbers = {node: i for i, node in enumerate(module.graph.nodes)}
    nodes, everywhere = [], _places_of(module, places)
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
