"""Where a model is and how it computes, and that both are left as they were found.

A model that is only looked at is given back unchanged; what was learnt about it is kept while it is unchanged.

*Arithmetic on CUDA.* Torch lets convolutions use shortened float32 (TF32) unless told otherwise, which is off by 1e-3,
and cuDNN may choose kernels whose sums come out differently from run to run. Both are switches of the process; they
are set while seqsal computes and given back. Torch has older and newer switches for the same thing (`allow_tf32`,
`fp32_precision`), whose getters raise where the two disagree. So the older ones are set first, as far as they can be
read, and the newer ones second. Afterwards all of them read as before; a value that a switch had from the one above it
(`torch.backends.fp32_precision`) is then its own.
"""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import sys
import types
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeGuard

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from seqsal.errors import DeviceError, shown

__all__ = [
    "as_written", "cuda_arithmetic", "device_of", "facts_of", "frozen", "intact", "plain_context", "resolve_device",
    "seeded", "settled", "tensors_of",
]  # fmt: skip


def resolve_device(name: str | torch.device = "auto") -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda`` or ``cuda:1`` into a device.

    Parameters
    ----------
    name
        ``auto`` is the current GPU where there is one, else the CPU.

    Raises
    ------
    DeviceError
        Another name, no GPU, or no GPU of that number.
    """
    text = str(name)
    if text == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, colon, number = text.partition(":")
    if kind not in ("cpu", "cuda") or (colon and not (kind == "cuda" and number.isdecimal())):
        raise DeviceError(f"device: {shown(name)} is unknown, expected auto, cpu, cuda or cuda:0, cuda:1, …")
    if kind == "cuda":
        n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if n_gpus == 0:
            raise DeviceError(
                f"device: {text!r} asked for, but torch sees no GPU here; use cpu, or a CUDA build of torch"
            )
        if colon and int(number) >= n_gpus:
            raise DeviceError(f"device: {text!r} asked for, but there are {n_gpus} GPUs (cuda:0 to cuda:{n_gpus - 1})")
    return torch.device(text)


@dataclass(frozen=True)
class _Switch:
    read: Callable[[], Any]
    write: Callable[[Any], None]
    fp32: Any
    tf32: Any


def _attribute(path: str, name: str, fp32: Any, tf32: Any) -> _Switch:
    """Switch that is an attribute of something in `torch.backends`, looked up when it is used."""

    def owner() -> Any:
        found: Any = torch.backends
        for part in path.split("."):
            found = getattr(found, part)
        return found

    return _Switch(lambda: getattr(owner(), name), lambda value: setattr(owner(), name, value), fp32, tf32)


_SWITCHES = (
    _Switch(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest", "high"),
    _attribute("cudnn", "allow_tf32", False, True),
    *(
        _attribute(path, "fp32_precision", "ieee", "tf32")  # from torch 2.9 on
        for path in ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul")  # the last: the first switch sets it
    ),
    _attribute("cudnn", "deterministic", True, True),
    _attribute("cudnn", "benchmark", False, False),  # chooses by timing
)


@contextlib.contextmanager
def cuda_arithmetic(precision: str, device: torch.device) -> Iterator[None]:
    """On CUDA, compute in TF32 if and only if `precision` is `tf32`, by kernels that give the same bytes each time.

    On other devices nothing is changed.
    """
    known = [(switch, value) for switch in _SWITCHES for value in _readable(switch)] if device.type == "cuda" else []
    try:
        for switch, _ in known:
            switch.write(switch.tf32 if precision == "tf32" else switch.fp32)
        yield
    finally:
        for switch, before in known:
            switch.write(before)


def _readable(switch: _Switch) -> list[Any]:
    """Return the value of a switch, or nothing where torch has no such switch or cannot tell its value."""
    try:
        return [switch.read()]
    except (AttributeError, RuntimeError):
        return []


def tensors_of(model: nn.Module) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Parameters and buffers of a model, each once, in a third of the time that its own two walks take."""
    parameters: dict[int, torch.Tensor] = {}
    buffers: dict[int, torch.Tensor] = {}
    for module in model.modules():
        for found, own in ((parameters, module._parameters), (buffers, module._buffers)):
            if own:
                for tensor in own.values():
                    if tensor is not None:
                        found[id(tensor)] = tensor
    return list(parameters.values()), list(buffers.values())


def device_of(model: nn.Module, default: torch.device) -> torch.device:
    """Device of a model's first parameter or buffer, or a default where it has neither."""
    return next((tensor.device for tensor in (*model.parameters(), *model.buffers())), default)


@contextlib.contextmanager
def seeded(seed: int, devices: Iterable[torch.device] = ()) -> Iterator[None]:
    """Seed torch's generators of the CPU and of some CUDA devices; put them, and leave all others, as they were."""
    cuda = list(devices)
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every GPU
        for device in cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


@contextlib.contextmanager
def frozen(
    model: nn.Module, device: torch.device | None = None, *, parameters: list[torch.Tensor] | None = None
) -> Iterator[None]:
    """Put a model into evaluation mode without gradients to parameters; give modes and flags back on leaving.

    Contexts of the caller (torch.autocast, torch.inference_mode, torch.no_grad) do not reach in. Compiled parts run as
    they were written: their structure can be seen, and nothing is compiled anew for each batch size. (`compile=True`
    compiles the whole.) On CUDA, where `device` or the model is, torch's own recurrent layers stay in training mode,
    without dropout, which computes the same: cuDNN has no gradient of them in evaluation mode. `parameters` are the
    model's, for a caller that has the list.
    """
    modules = list(model.modules())
    modes = [(module, module.training) for module in modules if hasattr(module, "training")]
    compiled = [(module, dict(vars(module))) for module in modules if _is_compiled(module)]
    flags = [(parameter, parameter.requires_grad) for parameter in parameters or tensors_of(model)[0]]
    where = device_of(model, torch.device("cpu")) if device is None else device
    layers = filter(_is_plain_recurrent, modules) if where.type == "cuda" else ()
    recurrent = [(layer, layer.dropout) for layer in layers]
    try:
        for module, training in modes:
            if training:  # which is read faster than written
                module.training = False  # not eval(): exported modules refuse it, and some override it
        for module, _ in compiled:
            vars(module).update(_compiled_call_impl=None)
            if "_orig_mod" in vars(module)["_modules"]:
                vars(module).update(forward=vars(module)["_modules"]["_orig_mod"].forward)
        for layer, _ in recurrent:
            layer.training, layer.dropout = True, 0.0
        for parameter, requires_grad in flags:
            if requires_grad:
                parameter.requires_grad_(False)
        with plain_context():
            yield
    finally:
        for module, training in modes:
            if module.training != training:
                module.training = training
        for module, attributes in compiled:
            for name in ("_compiled_call_impl", "forward"):
                vars(module).pop(name, None)
            vars(module).update({k: attributes[k] for k in ("_compiled_call_impl", "forward") if k in attributes})
        for layer, dropout in recurrent:
            layer.dropout = dropout
        for parameter, requires_grad in flags:
            if parameter.requires_grad != requires_grad:
                parameter.requires_grad_(requires_grad)


@contextlib.contextmanager
def plain_context() -> Iterator[None]:
    """Compute in this thread as outside of every torch.autocast, torch.inference_mode and torch.no_grad."""
    with contextlib.ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        stack.enter_context(torch.enable_grad())
        yield


def _is_compiled(module: nn.Module) -> bool:
    """Whether a part was compiled, by `part.compile()` or `torch.compile(part)`."""
    return vars(module).get("_compiled_call_impl") is not None or type(module).__name__ == "OptimizedModule"


@contextlib.contextmanager
def as_written() -> Iterator[None]:
    """Run functions that torch.compile has compiled as they were written, in the whole process."""
    if "torch._dynamo" not in sys.modules:  # nothing was compiled; its import takes seconds
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def _is_plain_recurrent(module: nn.Module) -> TypeGuard[nn.RNNBase]:
    """Whether a module is one of torch's recurrent layers, which does nothing else in training mode than drop out."""
    return (
        isinstance(module, nn.RNNBase)
        and type(module).forward in (nn.LSTM.forward, nn.GRU.forward, nn.RNN.forward)
        and isinstance(getattr(module, "dropout", None), (int, float))
        and not module._forward_pre_hooks
        and not module._forward_hooks
    )


@contextlib.contextmanager
def intact(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Put torch's random state and the model's buffers back on leaving."""
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers() if not is_lazy(buffer)]
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        with torch.no_grad():
            for buffer, before in buffers:
                if not torch.equal(buffer, before):
                    buffer.copy_(before)


@dataclass
class _Facts:
    """What is known of a module whose state is described by `signature`.

    The tensors share the module's memory: as long as they live, no other tensor comes to lie at the same address.
    """

    signature: tuple[Any, ...]
    tensors: list[torch.Tensor]
    known: dict[Any, Any] = field(default_factory=dict)


_FACTS: weakref.WeakKeyDictionary[nn.Module, _Facts] = weakref.WeakKeyDictionary()
_SETTLED: contextvars.ContextVar[dict[nn.Module, dict[Any, Any]] | None] = contextvars.ContextVar(
    "settled", default=None
)


@contextlib.contextmanager
def settled() -> Iterator[None]:
    """While entered, this thread changes no model, so that each is looked over once for what is known of it."""
    around = _SETTLED.get()
    token = _SETTLED.set({} if around is None else around)
    try:
        yield
    finally:
        _SETTLED.reset(token)


def facts_of(module: nn.Module) -> dict[Any, Any]:
    """Return what was learnt about a module, to be read and added to.

    It is kept as long as the module lives and nothing in it changes: its layers, their settings and hooks, and the
    values of its parameters and buffers. Of a module with attributes of which that cannot be told nothing is kept.
    What is added must not refer to the module, which would then never be freed.

    Examples
    --------
    >>> module = nn.Linear(2, 1)
    >>> facts_of(module)["seen"] = True
    >>> facts_of(module)
    {'seen': True}
    >>> with torch.no_grad():
    ...     _ = module.bias.zero_()
    >>> facts_of(module)
    {}
    """
    known_now = _SETTLED.get()
    if known_now is not None and module in known_now:
        return known_now[module]
    tensors = list(itertools.chain(*tensors_of(module)))
    try:
        layers = tuple((name, type(layer), *_settings(layer)) for name, layer in module.named_modules())
        values = tuple((tensor.data_ptr(), tensor._version, tensor.shape, tensor.dtype) for tensor in tensors)
    except (_Unknown, RuntimeError, ValueError):  # the latter of inference tensors and layers without sizes
        _FACTS.pop(module, None)
        return {}
    facts = _FACTS.get(module)
    if facts is None or facts.signature != (layers, values):
        facts = _FACTS[module] = _Facts((layers, values), [tensor.detach() for tensor in tensors])
    if known_now is not None:
        known_now[module] = facts.known
    return facts.known


class _Unknown(Exception):
    """An attribute of which it cannot be told whether it changed."""


_PLAIN = frozenset({type(None), bool, int, float, str, bytes, type, torch.dtype, torch.device})
_FLAT = {"_flat_weights", "_flat_weight_refs"}  # of recurrent layers: their parameters again
_STATE = frozenset({"training", "_parameters", "_buffers", "_modules"} | _FLAT)  # compared by value, or given back
_HOOKS = frozenset(
    name for name, value in vars(nn.Module()).items() if isinstance(value, (dict, set))
)  # most are empty


def _settings(layer: nn.Module) -> list[Any]:
    if isinstance(layer, torch.jit.ScriptModule):
        return [getattr(layer, "code", "")]
    settings: list[Any] = []
    notes = getattr(type(layer), "NOTES", ())  # names of attributes that its results do not depend on
    for name, value in vars(layer).items():
        if name in notes:
            continue
        if type(value) in _PLAIN:
            if name != "training":
                settings.append((name, value))
        elif name == "forward" and hasattr(value, "recomputes"):  # the same, for as long as it is in use
            continue
        elif name not in _STATE and (name not in _HOOKS or value):
            settings.append((name, _described(value)))
    return settings


def _described(value: Any) -> Any:
    """Put something in an attribute's place that is equal as long as that is, and refers to nothing else."""
    if type(value) in _PLAIN or isinstance(value, (int, float, str, bytes, type)):
        return value
    if isinstance(value, (tuple, list, set, frozenset)):
        is_plain = _PLAIN.issuperset(map(type, value))
        return type(value).__name__, list(value) if is_plain else [_described(item) for item in value]
    if isinstance(value, dict):
        return [(_described(key), _described(item)) for key, item in value.items()]
    if is_dataclass(value) and not isinstance(value, type):
        return type(value), [(one.name, _described(getattr(value, one.name))) for one in fields(value)]
    if isinstance(value, types.BuiltinFunctionType) or (
        isinstance(value, types.FunctionType) and not value.__closure__
    ):
        return value
    raise _Unknown
