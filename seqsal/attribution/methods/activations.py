"""Sites: the activations (N, C, L') at one place inside a model, seen and changed during a forward pass.

A site is a named module's output, or the n-th call of a kind of function (a convolution's output, an average's input),
which needs no name. Worker threads run the same model at once, so what a pass sees belongs to its thread: function
calls are watched through torch's function modes, which are a thread's own, and the one hook that a named module gets,
while any thread watches it, hands each thread its own activations.
"""

from __future__ import annotations

import contextlib
import difflib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from seqsal.attribution.methods.base import ScalarModel, check_prediction
from seqsal.errors import MethodError, kind_of

__all__ = [
    "AverageSite",
    "Change",
    "ConvolutionSite",
    "LayerSite",
    "Site",
    "is_centred",
    "last_average",
    "last_convolution",
    "new_leaf",
    "run_with_site",
]

Change = Callable[[torch.Tensor], torch.Tensor]
AVERAGES = ("mean", "adaptive_avg_pool1d", "avg_pool1d")
CENTRED = 1e-5  # mean of a gradient that is 0 up to rounding, as a share of its size
N_NAMED = 12  # layers that an error lists


class Site(ABC):
    """One place inside a model, which errors call `place`."""

    def __init__(self, place: str) -> None:
        self.place = place

    @abstractmethod
    def watch(self, change: Change) -> contextlib.AbstractContextManager[list[torch.Tensor]]:
        """While entered, let `change` replace the activations in passes of this thread; yields what it returned."""


class LayerSite(Site):
    """The output of a module by its dotted name, in a model or in what a wrapper has as `module`.

    Raises
    ------
    MethodError
        No module has the name.
    """

    def __init__(self, model: ScalarModel, name: str) -> None:
        super().__init__(f"layer {name}")
        self._layer = _named_layer(model, name)
        self._own = threading.local()
        self._lock = threading.Lock()
        self._n_watching = 0
        self._handle: RemovableHandle | None = None

    @contextlib.contextmanager
    def watch(self, change: Change) -> Iterator[list[torch.Tensor]]:
        """Watch the module; see :meth:`Site.watch`. The hook goes when the last thread leaves, also after an error."""
        self._own.change, self._own.seen = change, []
        with self._lock:
            if not self._n_watching:
                self._handle = self._layer.register_forward_hook(self._hook)
            self._n_watching += 1
        try:
            yield self._own.seen
        finally:
            with self._lock:
                self._n_watching -= 1
                if not self._n_watching and self._handle is not None:
                    self._handle.remove()
            del self._own.change, self._own.seen

    def _hook(self, module: nn.Module, inputs: Any, output: Any) -> torch.Tensor | None:
        if not hasattr(self._own, "change"):
            return None  # a pass of a thread that does not watch
        if not isinstance(output, torch.Tensor):
            raise MethodError(
                f"{self.place}: gives {kind_of(output)}, expected activations (N, channels, positions); "
                "name a layer that returns one tensor"
            )
        changed: torch.Tensor = self._own.change(output)
        self._own.seen.append(changed)
        return changed.clone()  # what follows may work in place


class _CallSite(Site):
    """The n-th of the calls that `matches` accepts in one forward pass."""

    def __init__(self, place: str, index: int) -> None:
        super().__init__(place)
        self.index = index

    def watch(self, change: Change) -> _CallWatch:
        """Watch the call; see :meth:`Site.watch`."""
        return _CallWatch(self, change)

    @staticmethod
    @abstractmethod
    def matches(func: Any, args: Any, kwargs: Any) -> bool:
        """Whether a call is of this site's kind."""

    @staticmethod
    @abstractmethod
    def call(func: Any, args: Any, kwargs: Any, swap: Change) -> Any:
        """Make the call with `swap` applied where the activations are."""


class ConvolutionSite(_CallSite):
    """The output of the n-th convolution."""

    @staticmethod
    def matches(func: Any, args: Any, kwargs: Any) -> bool:
        """Whether a call is a one-dimensional convolution."""
        return _function_name(func) == "conv1d"

    @staticmethod
    def call(func: Any, args: Any, kwargs: Any, swap: Change) -> Any:
        """Change the output."""
        return swap(func(*args, **kwargs)).clone()  # what follows may work in place


class AverageSite(_CallSite):
    """The input (N, C, L') of the n-th average that could be one over all positions."""

    @staticmethod
    def matches(func: Any, args: Any, kwargs: Any) -> bool:
        """Whether a call is an average of something of three axes."""
        if _function_name(func) not in AVERAGES:
            return False
        features = args[0] if args else kwargs.get("input")
        return isinstance(features, torch.Tensor) and features.ndim == 3

    @staticmethod
    def call(func: Any, args: Any, kwargs: Any, swap: Change) -> Any:
        """Change the input."""
        if args:
            return func(swap(args[0]), *args[1:], **kwargs)
        return func(**{**kwargs, "input": swap(kwargs["input"])})


class _CallWatch(TorchFunctionMode):
    """A forward pass in which one call is changed."""

    def __init__(self, site: _CallSite, change: Change) -> None:
        super().__init__()
        self._site, self._change = site, change
        self._n_calls = 0
        self.seen: list[torch.Tensor] = []

    def __enter__(self) -> list[torch.Tensor]:
        super().__enter__()
        return self.seen

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not self._site.matches(func, args, kwargs):
            return func(*args, **kwargs)
        self._n_calls += 1
        if self._n_calls - 1 != self._site.index:
            return func(*args, **kwargs)
        return self._site.call(func, args, kwargs, self._swap)

    def _swap(self, activations: torch.Tensor) -> torch.Tensor:
        self.seen.append(self._change(activations))
        return self.seen[-1]


class _Calls(TorchFunctionMode):
    """Notes something about every call of a kind."""

    def __init__(self, kind: type[_CallSite], note: Callable[[Any, Any, Any], bool]) -> None:
        super().__init__()
        self._kind, self._note = kind, note
        self.notes: list[bool] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if self._kind.matches(func, args, kwargs):
            self.notes.append(self._note(args, kwargs, result))
        return result


def last_convolution(model: ScalarModel, X: torch.Tensor) -> ConvolutionSite | None:
    """Find the last convolution that the output depends on, wider than one position if there is such a one.

    A convolution of width one mixes channels where they are (a gate, an attention score, a head), so that a wider one
    before it is the last to look at the sequence. One that serves another output (a profile head, where the counts are
    read) has no gradient; one whose result is centred over positions (the same head, where the profile is read) has a
    gradient that averages to 0, which says nothing.
    """
    results: list[torch.Tensor] = []

    def note(args: Any, kwargs: Any, result: torch.Tensor) -> bool:
        results.append(result)
        return _is_wide(args, kwargs, result)

    with torch.enable_grad(), _Calls(ConvolutionSite, note) as calls:
        total = model(X.detach().requires_grad_()).sum()
    if not results:
        return None
    used = [i for i, result in enumerate(results) if result.requires_grad and total.requires_grad]
    found = torch.autograd.grad(total, [results[i] for i in used], allow_unused=True) if used else ()
    gradients = {i: gradient for i, gradient in zip(used, found, strict=True) if gradient is not None}
    used = [i for i, gradient in gradients.items() if not is_centred(gradient)] or list(gradients)
    used = [i for i in used if results[i].shape[-1] > 1] or used or [len(results) - 1]  # the last: errors name it
    wide = [i for i in used if calls.notes[i]]
    return ConvolutionSite("the last convolution", (wide or used)[-1])


def is_centred(gradient: torch.Tensor) -> bool:
    """Whether a gradient (N, C, L') is there and yet averages to 0 over positions, or over channels and positions."""
    size, means = gradient.abs().amax(), gradient.mean(2)
    least = torch.minimum(means.abs().amax(), means.mean(1).abs().amax())
    return bool(size > 0 and gradient.shape[2] > 1 and least <= CENTRED * size)


def last_average(model: ScalarModel, X: torch.Tensor) -> AverageSite | None:
    """Find the last average over all positions, (N, C, L') → (N, C) or (N, C, 1), that a forward pass makes."""
    with torch.no_grad(), _Calls(AverageSite, _is_global) as calls:
        model(X)
    found = [i for i, is_global in enumerate(calls.notes) if is_global]
    return AverageSite("the input of the global average", found[-1]) if found else None


def run_with_site(model: ScalarModel, X: torch.Tensor, site: Site, change: Change) -> tuple[torch.Tensor, torch.Tensor]:
    """Return f(X), (N,), and the activations (N, C, L') after `change`, with the graph between them.

    Raises
    ------
    MethodError
        The place is reached never or more than once, or what is there has another shape.
    """
    with torch.enable_grad(), site.watch(change) as seen:
        prediction = model(X)
        check_prediction(prediction, len(X))
    if len(seen) != 1:
        reason = (
            f"is called {len(seen)} times in a forward pass, so it has no single activation; name a layer used once"
            if seen
            else "is not called in any forward pass that Python can see; name a layer that is, or use gradient_x_input"
        )
        raise MethodError(f"{site.place}: {reason}")
    shape = tuple(seen[0].shape)
    if len(shape) != 3 or shape[0] != len(X) or shape[2] < 2:
        raise MethodError(
            f"{site.place}: its activations have shape {shape} for {len(X)} windows, expected ({len(X)}, channels, "
            "positions) with two positions or more; name a layer before the positions are pooled"
        )
    return prediction, seen[0]


def new_leaf(activations: torch.Tensor) -> torch.Tensor:
    """Begin the graph at the activations: no backward pass goes further than it must."""
    return activations.detach().requires_grad_()


def _named_layer(model: ScalarModel, name: str) -> nn.Module:
    own = getattr(model, "module", model)
    layers = dict(own.named_modules()) if isinstance(own, nn.Module) else {}
    layers.pop("", None)
    if name in layers:
        return layers[name]
    near = difflib.get_close_matches(name, layers, n=3)
    listed = ", ".join(near or list(layers)[:N_NAMED]) or "none"
    more = "" if near or len(layers) <= N_NAMED else f", … ({len(layers)} in all)"
    raise MethodError(f"layer: the model has none named {name!r}; {'near it' if near else 'it has'}: {listed}{more}")


def _function_name(func: Any) -> str:
    return getattr(func, "__name__", "").split(".")[0]  # an exported graph calls "conv1d.default"


def _is_wide(args: Any, kwargs: Any, result: Any) -> bool:
    weight = args[1] if len(args) > 1 else kwargs["weight"]
    return bool(weight.shape[-1] > 1)


def _is_global(args: Any, kwargs: Any, result: torch.Tensor) -> bool:
    features = args[0] if args else kwargs["input"]
    n, n_channels, n_positions = features.shape
    return n_positions > 1 and tuple(result.shape) in ((n, n_channels), (n, n_channels, 1))
