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
import functools
import importlib
import logging
import operator
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch._dispatch.python import enable_python_dispatcher
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from seqsal.errors import ModelError, first_line, kind_of
from seqsal.models.sequence_model import facts_about
from seqsal.models.state import as_written

__all__ = ["Graph", "Op", "Ref", "Watch", "facts_about_targets", "leaves", "trace"]

_SIZES = (2, 3)  # batches that are traced: with one window, its axis could not be told from others of length 1
_WRAPPER = "module."  # where `seqsal.wrap` keeps the caller's model
_TRACING = threading.Lock()  # tracing changes torch's dispatch for the whole process
_MAX_REPLAYS = 3
_LONG = 200  # steps of a recurrent layer
logger = logging.getLogger(__name__)
_ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-3}  # of the largest output, from one order of sums to another
_INSTEAD = "use a method that does not need it: ism, or integrated_gradients where gradients run through all of it"
_LOOKS = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default)
_FUSED = (torch.ops.aten.mkldnn_rnn_layer, torch.ops.aten._cudnn_rnn, torch.ops.aten._thnn_fused_lstm_cell,
          torch.ops.aten._thnn_fused_gru_cell, torch.ops.aten._native_multi_head_attention,
          torch.ops.aten._transformer_encoder_layer_fwd)  # fmt: skip
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
        """Compute the output for windows X (N, 4, L); `apply(op, args, kwargs)` runs each operation that varies."""
        results: dict[int, Any] = dict(self.constants)
        for op in self.ops:
            results[op.idx] = X if op.target is None else self._call(op, results, len(X), apply)
            for idx in self._last_use.get(op.idx, ()):
                del results[idx]
        return results[self.output]

    def filled(self, op: Op, results: Mapping[int, Any], n_windows: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Put results in the arguments of an operation."""
        # one level deep here, because this runs for every operation of every batch
        args = tuple([results[arg.idx] if type(arg) is Ref else fill(arg, results, n_windows) for arg in op.args])
        return args, {key: fill(value, results, n_windows) for key, value in op.kwargs.items()} if op.kwargs else {}

    def done_after(self, op: Op) -> Sequence[int]:
        """Numbers of the results that nothing takes after an operation."""
        return self._last_use.get(op.idx, ())

    def _call(self, op: Op, results: dict[int, Any], n_windows: int, apply: Apply | None) -> Any:
        args, kwargs = self.filled(op, results, n_windows)
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


def fill(value: Any, results: Mapping[int, Any], n_windows: int) -> Any:
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


def trace(model: Callable[[torch.Tensor], torch.Tensor], X: torch.Tensor, *, check: bool = True) -> Graph:
    """Write down, once, what a model f: (N, 4, L) → (N,) or (N, T) does that is frozen and in evaluation mode.

    It is compared with the model on other sequences, unless the caller does so.

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
    known, key = facts_about_targets(model), ("graph", type(model), tuple(X.shape[1:]), X.dtype, str(X.device))
    if key not in known:
        known[key] = _trace(model, X)
    graph: Graph = known[key]
    if check and ("same", *key) not in known:
        _check_same(graph, model, X[:1].detach())
        known["same", *key] = True
    return graph


def facts_about_targets(model: Any) -> dict[Any, Any]:
    """Return what is known of a model of one or several targets; see :func:`seqsal.models.state.facts_of`."""
    singles = getattr(model, "single", (model,))
    if not all(isinstance(single, nn.Module) for single in singles):
        return {}
    facts: dict[Any, Any] = facts_about(singles[0])
    return facts.setdefault(tuple(getattr(model, "targets", ())), {})


def _trace(model: Callable[[torch.Tensor], torch.Tensor], X: torch.Tensor) -> Graph:
    first, second = (_record(model, X[:1].detach().expand(n, -1, -1).clone()) for n in _SIZES)
    if len(first) != len(second) or any(a.target != b.target for a, b in zip(first, second, strict=True)):
        raise ModelError(
            "model: runs different operations for two windows than for three, so its structure cannot be read; "
            + _INSTEAD
        )
    return _assemble(first, second)


def _check_same(graph: Graph, model: Callable[[torch.Tensor], torch.Tensor], X: torch.Tensor) -> None:
    """Raise unless the list of operations gives for other sequences what the model gives for them."""
    others = torch.cat([X.flip(1), X.roll(X.shape[2] // 2 + 1, 2), X.roll(1, 1)])
    with torch.no_grad():
        theirs = model(others)
        try:
            ours = graph.run(others)
        except (RuntimeError, IndexError):  # shapes that do not fit, as a constant has those of the first windows
            ours = theirs[:0]
    allowed = _ROUNDING.get(theirs.dtype, 2e-2) if theirs.device.type == "cpu" and not _is_low(graph) else 2e-2
    is_same = ours.shape == theirs.shape and ((ours - theirs).abs() <= allowed * theirs.abs().max() + 1e-30).all()
    if not is_same and theirs.isfinite().all():
        raise ModelError(
            "model: its structure cannot be read, since part of it is computed outside torch's operations (by numpy, "
            f"or a kernel of its own); {_INSTEAD}"
        )


def _is_low(graph: Graph) -> bool:
    low = (torch.bfloat16, torch.float16)
    given = [leaf for op in graph.ops for leaf in leaves((op.args, tuple(op.kwargs.values())))]
    return any(leaf in low for leaf in given if isinstance(leaf, torch.dtype)) or any(
        value.dtype in low for value in graph.constants.values() if isinstance(value, torch.Tensor)
    )


@dataclass(frozen=True)
class _Node:
    """One operation of a recording: `args` hold `Ref`s and plain values; constants carry their tensor."""

    target: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    where: str
    shape: tuple[int, ...] | None
    constant: torch.Tensor | None = None
    is_input: bool = False
    is_output: bool = False


class Watch(TorchDispatchMode):
    """Sees every operation below modules, functions of autograd and TorchScript."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # for which torch would load its compiler, which takes seconds


class _Recorder(Watch):
    """Notes every ATen operation that runs."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes: list[_Node] = []
        self.where = [""]  # names of the modules that are running
        self._known = WeakTensorKeyDictionary()  # numbers of tensors, as long as these live
        self._varying: set[int] = set()

    def note(self, value: Any, node: _Node) -> int:
        """Append a node, whose result is `value`; return its number."""
        number = len(self.nodes)
        self.nodes.append(node)
        refs = [leaf.idx for leaf in leaves((node.args, tuple(node.kwargs.values()))) if isinstance(leaf, Ref)]
        if node.is_input or (_reads_values(node.target) and any(idx in self._varying for idx in refs)):
            self._varying.add(number)
        if isinstance(value, torch.Tensor):
            self._known[value] = number
        return number

    def refer(self, value: Any) -> Any:
        """Put `Ref`s for tensors, which are constants where nothing that was noted made them."""
        if isinstance(value, torch.Tensor):
            if value not in self._known:
                self.note(value, _Node(None, (), {}, "", tuple(value.shape), constant=value))
            return Ref(self._known[value])
        if isinstance(value, (list, tuple)):
            return [self.refer(item) for item in value] if type(value) is list else tuple(map(self.refer, value))
        return value

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _LOOKS:
            if self.refer(args[0]).idx not in self._varying:
                return func(*args, **kwargs)
            raise ModelError(
                "model: its structure cannot be read, since its forward() looks at computed values, and may branch "
                f"on them; {_INSTEAD}"
            )
        if func is torch.ops.aten._convolution.default:  # as torch.jit.trace writes it down
            func, args = torch.ops.aten.convolution.default, args[:9]
        node = _Node(func, self.refer(tuple(args)), {k: self.refer(v) for k, v in kwargs.items()}, self.where[-1], None)
        result = func(*args, **kwargs)
        if isinstance(result, torch.Tensor):
            self.note(result, replace(node, shape=tuple(result.shape)))
        else:
            whole = Ref(self.note(None, node))
            for i, item in enumerate(result if isinstance(result, (list, tuple)) else ()):
                if isinstance(item, torch.Tensor):
                    self.note(item, _Node(operator.getitem, (whole, i), {}, node.where, tuple(item.shape)))
        return result


def _record(model: Callable[[torch.Tensor], torch.Tensor], X: torch.Tensor) -> list[_Node]:
    """Write down the operations of one pass, those in place made ordinary, and fused layers as their steps.

    Attention layers, scripted ones too, are only fused where no gradient is asked for.
    """
    with (
        _TRACING, torch.inference_mode(False), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), as_written(),
        _plain_attention(), torch.jit.optimized_execution(False),
    ):  # fmt: skip
        try:
            nodes = _recorded(model, X, model)
            if any(getattr(node.target, "overloadpacket", None) in _FUSED for node in nodes):
                importlib.import_module("torch._decomp")  # which says what recurrent layers are made of
                if X.shape[2] >= _LONG:
                    logger.warning("model: its recurrent layers are read step by step, which takes seconds, once")
                with _plain_kernels(), enable_python_dispatcher(), torch.enable_grad():
                    nodes = _recorded(model, X.clone().requires_grad_(), model)
            for _ in range(_MAX_REPLAYS):
                if not any(node.target is not operator.getitem and _is_mutation(node) for node in nodes):
                    break
                nodes = _recorded(functools.partial(_replay, nodes), X)
        except (ModelError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            why = f"{type(error).__name__}: {first_line(error)}"
            raise ModelError(f"model: its structure cannot be read ({why}); {_INSTEAD}") from error
    return nodes


@contextlib.contextmanager
def _plain_attention() -> Iterator[None]:
    """Let torch's attention layers run the operations that they are made of."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextlib.contextmanager
def _plain_kernels() -> Iterator[None]:
    """Switch the libraries off that have recurrent layers as one operation."""
    libraries: tuple[Any, ...] = (torch.backends.mkldnn, torch.backends.cudnn)
    before = [(library, library.enabled) for library in libraries]
    try:
        for library, _ in before:
            library.enabled = False
        yield
    finally:
        for library, enabled in before:
            library.enabled = enabled


def _recorded(run: Callable[..., torch.Tensor], X: torch.Tensor, model: Any = None) -> list[_Node]:
    recorder = _Recorder()
    if model is None:  # a replay, in which operations in place become ordinary ones
        run = torch.func.functionalize(functools.partial(run, recorder), remove="mutations")
    recorder.note(X, _Node(None, (), {}, "", tuple(X.shape), is_input=True))
    with _noting_modules(model, recorder.where), recorder:
        output = run(X)
    if not isinstance(output, torch.Tensor):
        raise ModelError(f"model: gives {kind_of(output)}, expected one tensor; wrap it with seqsal.wrap")
    recorder.note(None, _Node(None, (recorder.refer(output),), {}, "", None, is_output=True))
    return recorder.nodes


def _replay(nodes: Sequence[_Node], recorder: _Recorder, X: torch.Tensor) -> torch.Tensor:
    """Run recorded operations again, each in the name of the module that it belongs to."""
    results: dict[int, Any] = {}
    for i, node in enumerate(nodes):
        recorder.where[-1] = node.where
        args = fill(node.args, results, 0)
        if node.is_output:
            break
        if node.constant is not None or node.is_input:
            results[i] = X if node.is_input else node.constant
        else:
            results[i] = node.target(*args, **fill(node.kwargs, results, 0))
    result: torch.Tensor = args[0]
    return result


def _is_mutation(node: _Node) -> bool:
    return node.target is not None and bool(node.target._schema.is_mutable)


@contextlib.contextmanager
def _noting_modules(model: Any, stack: list[str]) -> Iterator[None]:
    """Keep the name of the module that is running on top of a stack."""
    model = getattr(model, "single", (model,))[0]  # several targets of one model
    modules = list(model.named_modules()) if isinstance(model, nn.Module) else []
    names = {module: f"{name.removeprefix(_WRAPPER)} ({type(module).__name__})" for name, module in modules if name}

    def begin(module: nn.Module, _: Any) -> None:
        stack.append(names.get(module, stack[-1]))

    def end(module: nn.Module, _: Any, __: Any) -> None:
        stack.pop()

    handles = [
        handle
        for _, module in modules
        if not isinstance(module, torch.jit.ScriptModule)
        for handle in (module.register_forward_pre_hook(begin), module.register_forward_hook(end))
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _assemble(first: Sequence[_Node], second: Sequence[_Node]) -> Graph:
    """Merge two traces into one graph, compute its constants, and drop what the output does not need."""
    ops: dict[int, Op] = {}
    constants: dict[int, Any] = {}
    output = 0
    for i, (a, b) in enumerate(zip(first, second, strict=True)):
        if a.is_output:
            output = a.args[0].idx
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
