"""Find a model's last sigmoid, softmax or exponential, and take the value before it: one rule for all forms of a model.

Attributing a probability divides every attribution by the same saturating slope p(1 - p), so that the clearest
sequences look the least explained; attributing the logit does not. The search needs no knowledge of the model's layout:
the graph that autograd recorded in one forward pass is walked back from the output through operations that only move
values (view, select, squeeze, …). The squashing functions found there are *terminal*:

* a sigmoid is read before it (logit), an exponential too (log);
* a softmax or log-softmax whose classes are all given is read before it: the target's logit;
* of one whose classes the model gives some of, as in ``softmax(z, 1)[:, 0]``, the log-probability of those is read:
  which class it is was decided in the model, and its logit alone would leave the others out.

How the value before is had depends on the form, what it is does not. In Python a `TorchFunctionMode` notes each call of
a squashing function, and on later passes the terminal calls return their input unchanged; functions and modules alike
are seen, at any depth, because `nn.Sigmoid` calls `torch.sigmoid`, and so are exported programs. TorchScript (scripted,
traced, frozen) runs outside Python: its code is run once without being optimised, as autograd shows how it ends only
until then, and a copy of the code without the terminal function is what later passes run. Where a script is part of
another module, the value before is recomputed from the output by the inverse function.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import Node
from torch.overrides import TorchFunctionMode

from seqsal.errors import ModelError, shown

__all__ = ["OUTPUT_SPACES", "Bypass", "Terminal", "before_script", "find_terminal", "invert", "resolve_space"]

OUTPUT_SPACES = ("auto", "logit", "log", "probability", "count", "linear")

_FUNCTION_KINDS = {
    "sigmoid": "sigmoid",
    "sigmoid_": "sigmoid",
    "special_expit": "sigmoid",
    "softmax": "softmax",
    "_softmax": "softmax",
    "special_softmax": "softmax",
    "log_softmax": "log_softmax",
    "_log_softmax": "log_softmax",
    "special_log_softmax": "log_softmax",
    "exp": "exp",
    "exp_": "exp",
}
_NODE_KINDS = {"Sigmoid": "sigmoid", "Softmax": "softmax", "LogSoftmax": "log_softmax", "Exp": "exp"}
_MOVES_VALUES = frozenset(
    "Alias AsStrided Cat Clone Expand Gather Index IndexSelect Permute ReshapeAlias Select Slice Split SplitWithSizes "
    "Squeeze Stack T ToCopy Transpose Unbind UnsafeSplit UnsafeView Unsqueeze View".split()
)

_SCRIPT_KINDS = {f"aten::{name}": kind for name, kind in _FUNCTION_KINDS.items()}
_SCRIPT_MOVES_VALUES = frozenset(
    "aten::cat aten::chunk aten::clone aten::contiguous aten::double aten::expand aten::flatten aten::float "
    "aten::gather aten::index aten::index_select aten::movedim aten::narrow aten::permute aten::reshape aten::select "
    "aten::slice aten::split aten::squeeze aten::squeeze_ aten::stack aten::swapaxes aten::t aten::to aten::transpose "
    "aten::type_as aten::unbind aten::unflatten aten::unsqueeze aten::unsqueeze_ aten::view prim::ListConstruct "
    "prim::ListUnpack prim::unchecked_cast".split()
)

# The space of the value before a terminal function, and of the model's own output.
_SPACES = {
    "sigmoid": ("logit", "probability"),
    "softmax": ("logit", "probability"),
    "log_softmax": ("logit", "log"),
    "exp": ("log", "count"),
}


@dataclass(frozen=True)
class Terminal:
    """The squashing function that a model ends with: ``sigmoid``, ``softmax``, ``log_softmax`` or ``exp``.

    Attributes
    ----------
    calls, n_calls
        Which of the squashing calls of one forward pass are terminal, counted from 0, and how many it makes; none where
        they cannot be reached from Python (TorchScript).
    is_picked
        Whether the model gives some classes of a softmax only.
    is_scripted
        Whether the model is TorchScript whose code shows the function; see `before_script`.
    """

    kind: str
    calls: frozenset[int] = frozenset()
    n_calls: int = 0
    is_picked: bool = False
    is_scripted: bool = False

    @property
    def is_opaque(self) -> bool:
        """Whether the value before the function can only be had by inverting it."""
        return not (self.calls or self.is_scripted)

    @property
    def spaces(self) -> tuple[str, str]:
        """The space of the value that is read, and of the model's own output."""
        before, after = _SPACES[self.kind]
        return ("log" if self.is_picked or (self.kind == "softmax" and self.is_opaque) else before), after

    def __str__(self) -> str:
        return f"{'some classes of a ' * self.is_picked}{self.kind}"


def _call_kind(function: Callable[..., Any]) -> str | None:
    name = getattr(function, "__name__", "").split(".")[0]  # an exported graph calls "sigmoid.default"
    return _FUNCTION_KINDS.get(name)


class _Recorder(TorchFunctionMode):
    """Note every squashing call: its kind and the node that autograd gave its result."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, Node | None]] = []

    def replay(self) -> _Recorder:
        """Return one that does to a pass what this one does; see :mod:`seqsal.models.recompute`."""
        return _Recorder()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kind = _call_kind(func)
        if kind is not None and args and not _is_in_place(func) and not args[0].requires_grad:
            args = (args[0].detach().requires_grad_(), *args[1:])  # of a model without gradients the end is seen too
        result = func(*args, **(kwargs or {}))
        if kind is not None and isinstance(result, torch.Tensor):
            self.calls.append((kind, result.grad_fn))
        return result


class Bypass(TorchFunctionMode):
    """While active, the terminal calls of one forward pass return their input unchanged.

    Raises
    ------
    ModelError
        On leaving: the pass made another number of squashing calls than the pass that was probed.
    """

    def __init__(self, terminal: Terminal) -> None:
        super().__init__()
        self._terminal = terminal
        self._n_seen = 0
        self._is_replay = False

    def replay(self) -> Bypass:
        """Return one that goes on from here, for a part of the pass alone; see :mod:`seqsal.models.recompute`."""
        bypass = Bypass(self._terminal)
        bypass._n_seen, bypass._is_replay = self._n_seen, True
        return bypass

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if _call_kind(func) is None:
            return func(*args, **kwargs)
        call = self._n_seen
        self._n_seen += 1
        if call not in self._terminal.calls or (self._terminal.is_picked and self._terminal.kind == "log_softmax"):
            return func(*args, **kwargs)
        if self._terminal.is_picked:
            given = dict(zip(("input", "dim"), args, strict=False)) | kwargs
            return given["input"].log_softmax(given["dim"])
        return args[0] if args else kwargs["input"]

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        super().__exit__(exc_type, exc_value, traceback)
        if exc_type is None and not self._is_replay and self._n_seen != self._terminal.n_calls:
            raise ModelError(
                f"model: calls sigmoid, softmax or exp {self._n_seen} times in this pass but {self._terminal.n_calls} "
                "times when probed, so the value before the last one is uncertain; ask for output_space='linear'"
            )


def _is_in_place(function: Callable[..., Any]) -> bool:
    return getattr(function, "__name__", "").endswith("_")


def _leaves(output: torch.Tensor) -> list[Node]:
    """Return the nodes that computed the values of `output`, past everything that only moved them."""
    pending, leaves, seen = [output.grad_fn], [], set()
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if _node_name(node) in _MOVES_VALUES:
            pending.extend(parent for parent, _ in node.next_functions)
        else:
            leaves.append(node)
    return leaves


_BEFORE: weakref.WeakKeyDictionary[torch.jit.ScriptModule, dict[Any, Any]] = weakref.WeakKeyDictionary()


def before_script(module: torch.jit.ScriptModule, terminal: Terminal | None, output: str | None) -> Callable[..., Any]:
    """Return a script's own code without its terminal function, to be called as the module is.

    Without a terminal function it is the whole, of which nothing was optimised yet.
    """
    known = _BEFORE.setdefault(module, {})
    key = (None if terminal is None else (terminal.kind, terminal.is_picked), output)
    if terminal is None or key not in known:
        graph = module.inlined_graph.copy()
        if terminal is not None:
            for value in graph.outputs():
                _cut(graph, _script_part(value, output), terminal, set())
        known[key] = torch._C._create_function_from_graph("before", graph)
    code = known[key]
    return lambda *args: code(module._c, *args)


def _cut(graph: torch.Graph, value: torch.Value, terminal: Terminal, seen: set[str]) -> None:
    """Take the terminal function out wherever a value may come from it."""
    node = value.node()
    if value.debugName() in seen:
        return
    seen.add(value.debugName())
    if node.kind() == "prim::If":
        place = [out.debugName() for out in node.outputs()].index(value.debugName())
        for block in node.blocks():
            _cut(graph, list(block.outputs())[place], terminal, seen)
    elif node.kind() in _SCRIPT_MOVES_VALUES:
        inputs = list(node.inputs())
        for moved in inputs if node.kind() == "prim::ListConstruct" else inputs[:1]:
            _cut(graph, moved, terminal, seen)
    elif _SCRIPT_KINDS.get(node.kind()) == terminal.kind and terminal.is_picked and terminal.kind == "softmax":
        log = graph.create("aten::log_softmax", list(node.inputs()), 1)
        log.insertBefore(node)
        log.output().setType(value.type())
        value.replaceAllUsesWith(log.output())
    elif _SCRIPT_KINDS.get(node.kind()) == terminal.kind and not terminal.is_picked:
        value.replaceAllUsesWith(next(iter(node.inputs())))


def _script_part(value: torch.Value, output: str | None) -> torch.Value:
    """Follow the steps of `output` into tuples and dictionaries that the code builds, as far as it does."""
    for step in [] if output is None else output.split("."):
        node = value.node()
        inputs = list(node.inputs())
        if node.kind() == "prim::DictConstruct":
            found = [item for key, item in zip(inputs[::2], inputs[1::2], strict=True) if str(key.toIValue()) == step]
        else:
            is_sequence = node.kind() in ("prim::TupleConstruct", "prim::ListConstruct") and step.lstrip("-").isdigit()
            found = [inputs[int(step)]] if is_sequence and -len(inputs) <= int(step) < len(inputs) else []
        if not found:
            return value
        value = found[0]
    return value


def _node_name(node: Node) -> str:
    return re.sub(r"Backward\d*$", "", node.name().rpartition("::")[2])


def find_terminal(
    run: Callable[..., torch.Tensor],
    X: torch.Tensor,
    *,
    module: nn.Module | None = None,
    output: str | None = None,
) -> tuple[torch.Tensor, Terminal | None]:
    """Run a model once on X (N, 4, L), which requires a gradient, and see how it ends.

    `run` is the model, or a function that calls `module` and picks one of its outputs, which `output` names as in
    `seqsal.models.readout.Readout`; it takes what is called instead of a module in TorchScript as its second argument.
    None stands for values that something else computed, or different functions in different columns.
    """
    script = module if isinstance(module, torch.jit.ScriptModule) else None
    with _Recorder() as recorder, torch.jit.optimized_execution(False):
        values = run(X) if script is None else run(X, before_script(script, None, output))
    leaves = _leaves(values) if isinstance(values, torch.Tensor) else []
    kinds = {_NODE_KINDS.get(_node_name(leaf)) for leaf in leaves}
    kind = kinds.pop() if len(kinds) == 1 else None
    if kind is None:
        return values, None
    is_picked = kind in ("softmax", "log_softmax") and _is_picked(values.detach(), leaves, kind)
    if script is not None:
        terminal = Terminal(kind, is_picked=is_picked, is_scripted=True)
        with torch.no_grad(), torch.jit.optimized_execution(False):
            before = run(X, before_script(script, terminal, output))
        return values, terminal if _comes_before(before, values, terminal) else Terminal(kind, is_picked=is_picked)
    calls = [i for i, (_, node) in enumerate(recorder.calls) if any(node is leaf for leaf in leaves)]
    if len(calls) < len(leaves):  # some of them ran where Python does not see them
        return values, Terminal(kind, is_picked=is_picked)
    return values, Terminal(kind, frozenset(calls), len(recorder.calls), is_picked)


def _is_picked(values: torch.Tensor, leaves: list[Any], kind: str) -> bool:
    """Whether values hold fewer classes than the softmax gave, by number and by what they add up to."""
    given = [leaf._saved_result for leaf in leaves]
    axes = [leaf._saved_dim - (1 << 64) if leaf._saved_dim >> 63 else leaf._saved_dim for leaf in leaves]
    if values.numel() >= sum(result.numel() for result in given):
        return False
    n_wholes = values.numel() * sum(
        result.numel() / result.shape[axis] for result, axis in zip(given, axes, strict=True)
    )
    n_wholes /= sum(result.numel() for result in given)  # of softmaxes, as if only positions were left out
    total = float((values.exp() if kind == "log_softmax" else values).double().sum())
    return abs(total - n_wholes) > 1e-3 * n_wholes


def _comes_before(before: torch.Tensor, values: torch.Tensor, terminal: Terminal) -> bool:
    """Whether a script without its terminal function gives what the function is applied to."""
    before, values = before.detach(), values.detach()
    if before.shape != values.shape:
        return False
    if terminal.is_picked:
        again = [before if terminal.kind == "log_softmax" else before.exp()]
    elif terminal.kind in ("sigmoid", "exp"):
        again = [getattr(torch, terminal.kind)(before)]
    else:
        again = [getattr(before, terminal.kind)(axis) for axis in range(before.ndim)]
        again.append(values if not torch.allclose(before, values) else before.new_zeros(()))  # classes in parts
    return any(
        torch.allclose(one.to(values), values, rtol=1e-3, atol=1e-5) for one in again if one.shape == values.shape
    )


def invert(values: torch.Tensor, kind: str) -> torch.Tensor:
    """Recompute what a sigmoid or an exponential was given, from what it returned.

    Exact to float32 while the function is not saturated; a probability closer than 6e-8 to 0 or 1, or a count below
    1e-38, is taken as that far away. For a softmax, log p: the logit up to a term that all classes share.
    """
    eps = torch.finfo(torch.float32).eps / 2
    tiny = torch.finfo(torch.float32).tiny
    if kind == "sigmoid":
        return torch.logit(values.double(), eps=eps).to(values.dtype)
    return values if kind == "log_softmax" else values.clamp_min(tiny).log()


def resolve_space(requested: str, terminal: Terminal | None, *, raw_space: str = "linear") -> str:
    """Say in which of `OUTPUT_SPACES` a model is read, given what was asked for and how it ends.

    ``auto`` is the space before the terminal function, `raw_space` without one, where otherwise the caller's word is
    taken for what the output is; ``linear`` is the output as it is.

    Raises
    ------
    ModelError
        Not one of the spaces, or one that the model's ending contradicts.
    """
    if not isinstance(requested, str) or requested not in OUTPUT_SPACES:
        raise ModelError(f"output_space: {shown(requested)} is unknown, expected one of {', '.join(OUTPUT_SPACES)}")
    if terminal is None:
        return raw_space if requested == "auto" else requested
    before, after = terminal.spaces
    if requested == "auto":
        return before
    if requested not in (before, after, "linear"):
        raise ModelError(
            f"output_space: {requested!r} was asked of a model that ends in {terminal}; "
            f"choose {before!r} (before it), {after!r} (after it) or 'auto'"
        )
    return requested
