"""Find a model's last sigmoid, softmax or exponential, and take the value before it.

Attributing a probability divides every attribution by the same saturating slope p(1 - p), so that the clearest
sequences look the least explained; attributing the logit does not. The search needs no knowledge of the model's layout:
one forward pass is watched by a `TorchFunctionMode`, which notes each call of a squashing function, and the graph that
autograd recorded is walked back from the output through operations that only move values (view, select, squeeze, …).
The calls found there are *terminal*. On later passes the same calls return their input unchanged, so shapes and the
indexing of targets stay those of the model.

Functions and modules alike are seen, at any depth, because `nn.Sigmoid` calls `torch.sigmoid`. TorchScript runs outside
Python: its compiled code says what it ends with, and the value before that is recomputed from the output by the inverse
function.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import Node
from torch.overrides import TorchFunctionMode

from seqsal.errors import ModelError

__all__ = ["OUTPUT_SPACES", "Bypass", "Terminal", "find_terminal", "invert", "resolve_space"]

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
    "aten::cat aten::clone aten::contiguous aten::expand aten::flatten aten::permute aten::reshape aten::select "
    "aten::slice aten::squeeze aten::stack aten::t aten::to aten::transpose aten::unsqueeze aten::view "
    "prim::ListConstruct".split()
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
    """The squashing function that a model ends with.

    Parameters
    ----------
    kind
        ``sigmoid``, ``softmax``, ``log_softmax`` or ``exp``.
    calls
        Which of the squashing calls of one forward pass are terminal, counted from 0; empty when they cannot be
        reached from Python (TorchScript).
    n_calls
        How many squashing calls one forward pass makes.
    """

    kind: str
    calls: frozenset[int] = frozenset()
    n_calls: int = 0

    @property
    def is_opaque(self) -> bool:
        """Whether the value before the function can only be had by inverting it."""
        return not self.calls


def _call_kind(function: Callable[..., Any]) -> str | None:
    name = getattr(function, "__name__", "").split(".")[0]  # an exported graph calls "sigmoid.default"
    return _FUNCTION_KINDS.get(name)


class _Recorder(TorchFunctionMode):
    """Note every squashing call: its kind and the node that autograd gave its result."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, Node | None]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        kind = _call_kind(func)
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

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if _call_kind(func) is None:
            return func(*args, **kwargs)
        call = self._n_seen
        self._n_seen += 1
        if call in self._terminal.calls:
            return args[0] if args else kwargs["input"]
        return func(*args, **kwargs)

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        super().__exit__(exc_type, exc_value, traceback)
        if exc_type is None and self._n_seen != self._terminal.n_calls:
            raise ModelError(
                f"model: calls sigmoid, softmax or exp {self._n_seen} times in this pass but {self._terminal.n_calls} "
                "times when probed, so the value before the last one is uncertain; ask for output_space='linear'"
            )


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


def _script_kind(module: torch.jit.ScriptModule, output: str | None) -> str | None:
    """Read from compiled code how it ends; autograd shows that only until the code is optimised."""
    graph = module.inlined_graph  # owns the nodes below
    pending, kinds = [_script_part(value, output) for value in graph.outputs()], set()
    while pending:
        node = pending.pop().node()
        if node.kind() in _SCRIPT_MOVES_VALUES:
            inputs = list(node.inputs())
            pending.extend(inputs if node.kind() == "prim::ListConstruct" else inputs[:1])
        else:
            kinds.add(_SCRIPT_KINDS.get(node.kind()))
    return kinds.pop() if len(kinds) == 1 else None


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
    run: Callable[[torch.Tensor], torch.Tensor],
    X: torch.Tensor,
    *,
    module: nn.Module | None = None,
    output: str | None = None,
) -> tuple[torch.Tensor, Terminal | None]:
    """Run a model once on `X`, shape (N, 4, L), and see how it ends.

    Parameters
    ----------
    run
        The model, or a function that calls it and picks one of its outputs; what it returns must carry a gradient graph
        for anything to be found.
    X
        Requires a gradient.
    module
        The model that `run` calls, where that is a function.
    output
        Which of the model's outputs `run` picks, as `seqsal.models.readout.Readout` names it.

    Returns
    -------
    values : Tensor
        What `run` gave.
    terminal : Terminal or None
        None when the values were computed by something else, or by different functions in different columns.
    """
    with _Recorder() as recorder:
        values = run(X)
    script = run if module is None else module
    if isinstance(script, torch.jit.ScriptModule):
        script_kind = _script_kind(script, output)
        return values, None if script_kind is None else Terminal(script_kind)
    leaves = _leaves(values) if isinstance(values, torch.Tensor) else []
    kinds = {_NODE_KINDS.get(_node_name(leaf)) for leaf in leaves}
    if len(kinds) != 1 or None in kinds:
        return values, None
    (kind,) = kinds
    assert kind is not None
    calls = [i for i, (_, node) in enumerate(recorder.calls) if any(node is leaf for leaf in leaves)]
    if len(calls) < len(leaves):  # some of them ran where Python does not see them
        return values, Terminal(kind)
    return values, Terminal(kind, frozenset(calls), len(recorder.calls))


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
    """Say in which space a model is read, given what was asked for and how it ends.

    Parameters
    ----------
    requested
        One of `OUTPUT_SPACES`. ``auto`` is the space before the terminal function. ``linear`` is the model's output
        as it is.
    terminal
        From `find_terminal`.
    raw_space
        What ``auto`` means without a terminal function.

    Returns
    -------
    str
        ``logit``, ``log``, ``probability``, ``count`` or ``linear``. Without a terminal function the caller's word
        is taken for what the output is.

    Raises
    ------
    ModelError
        Not one of the spaces, or one that the model's ending contradicts.
    """
    if requested not in OUTPUT_SPACES:
        raise ModelError(f"output_space: {requested!r} is unknown, expected one of {', '.join(OUTPUT_SPACES)}")
    if terminal is None:
        return raw_space if requested == "auto" else requested
    before, after = _SPACES[terminal.kind]
    if terminal.is_opaque and terminal.kind == "softmax":
        before = "log"
    if requested == "auto":
        return before
    if requested not in (before, after, "linear"):
        raise ModelError(
            f"output_space: {requested!r} was asked of a model that ends in {terminal.kind}; "
            f"choose {before!r} (before it), {after!r} (after it) or 'auto'"
        )
    return requested
