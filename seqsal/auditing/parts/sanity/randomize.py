"""Models with random weights: one layer, some layers or all of them, in a copy that leaves the caller's model alone.

A layer is a module that owns parameters. Layers are ordered by when they finish in a forward pass, the output first;
one without a matrix of weights (normalisation, scales, positions) is randomised together with the layer below it.

A layer is drawn anew by its own `reset_parameters`; what that does not change, or leaves constant, and layers without
one, have the values of each parameter permuted, which keeps their distribution and destroys what was learnt. Buffers
that are no normalisation statistics (fixed filters) stay.

Running statistics of batch normalisation are estimated anew, on the regions and their shuffles, in every such layer at
or after the first random one. With the statistics of the trained network a random one is often constant: activations
of another size and centre fall outside the range where a ReLU passes anything. Its map would be gone because of that,
and not because the map follows the weights. TorchScript and exported models keep theirs: Python does not reach them.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from seqsal.attribution.compute import frozen_on_device
from seqsal.auditing.content import Codes
from seqsal.auditing.context import one_hot_on
from seqsal.models import SequenceModel
from seqsal.models.state import seeded

__all__ = ["Randomizer"]

Layer = tuple[str, ...]
NORM_BP = 1 << 18  # bases in a batch that normalisation statistics are estimated on
RESET_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError)
COPY_ERRORS = (RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError)


class Randomizer:
    """Draws new random weights for a model.

    A model that cannot be deep-copied is itself lent with other weights, and gets its own back, to the bit, on leaving.

    The first of two or more `codes` (n, L) shows the order of the layers, all give the statistics of batch
    normalisation. `layers`, from the output down: names of the modules within `model.module` (empty for itself) that
    are randomised together, the one with weights last; empty for a model without parameters.
    """

    def __init__(
        self,
        model: SequenceModel,
        codes: Codes,
        rng: Callable[[str], np.random.Generator],
        device: torch.device,
    ) -> None:
        self._model, self._codes, self._rng, self._device = model, codes, rng, device
        self._order = _finishing_order(model, codes[:1])
        self.layers = _grouped(model.module, _layers(model.module, self._order))

    def label(self, layer: Layer) -> str:
        """Name a layer for readers: ``blocks.0.convolution.0 (Conv1d)``."""
        kind = _kind(_parts(self._model)[layer[-1]])
        return f"{layer[-1]} ({kind})" if layer[-1] else kind

    @contextlib.contextmanager
    def randomized(self, layers: Collection[Layer], draw: int = 0) -> Iterator[SequenceModel]:
        """Lend the model with random weights in some layers; what one gets does not depend on the others."""
        names = [name for layer in layers for name in layer]
        with _workbench(self._model) as model:
            parts = _parts(model)
            for name in names:
                seed = int(self._rng(f"random weights {draw} {name}").integers(2**63))
                _redraw(parts[name], seed)
            self._renew_statistics(model, names)
            yield model

    @property
    def can_change(self) -> bool:
        """Whether random weights are other weights: not where there are none, or each tensor has one value."""
        with self.randomized(self.layers) as model:
            new = [parameter.detach().clone() for parameter in model.module.parameters()]
        pairs = zip(new, self._model.module.parameters(), strict=True)
        return any(not torch.equal(a, b.detach()) for a, b in pairs)

    def _renew_statistics(self, model: SequenceModel, names: Collection[str]) -> None:
        first = min((self._order.get(name, -1) for name in names), default=len(self._order))
        norms = [
            module
            for name, module in model.module.named_modules()
            if isinstance(module, _BatchNorm)
            and module.running_mean is not None
            and self._order.get(name, len(self._order)) >= first
        ]
        if norms:
            with frozen_on_device(model, self._device), _collecting(norms), torch.no_grad():
                n_rows = max(NORM_BP // self._codes.shape[1], 2)  # a single one has no variance
                for codes in np.array_split(self._codes, max(len(self._codes) // n_rows, 1)):
                    model(one_hot_on(codes, self._device))


def _parts(model: SequenceModel) -> dict[str, nn.Module]:
    return dict(model.module.named_modules())  # TorchScript has no get_submodule


def _kind(module: nn.Module) -> str:
    return str(getattr(module, "original_name", type(module).__name__))  # of TorchScript: the class that was compiled


def _own(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters(recurse=False) if parameter.is_floating_point()]


def _finishing_order(model: SequenceModel, codes: Codes) -> dict[str, int]:
    """Return, for each module that Python sees run, when it last finishes in a forward pass."""
    count = itertools.count()
    order: dict[str, int] = {}
    hooks = []
    for name, module in model.module.named_modules():
        if not isinstance(module, torch.jit.ScriptModule):

            def note(*_: object, name: str = name) -> None:
                order[name] = next(count)

            hooks.append(module.register_forward_hook(note))
    try:
        with model.frozen(), torch.no_grad():
            model(one_hot_on(codes, model.device))
    finally:
        for hook in hooks:
            hook.remove()
    return order


def _layers(module: nn.Module, order: dict[str, int]) -> tuple[str, ...]:
    """Names of the modules with parameters, last first; one that was not seen goes where its nearest parent goes."""
    names = [name for name, part in module.named_modules() if _own(part)]

    def key(i: int) -> tuple[int, int]:
        name = names[i]
        while name not in order and name:
            name = name.rpartition(".")[0]
        return order.get(name, 0), i

    return tuple(names[i] for i in sorted(range(len(names)), key=key, reverse=True))


def _grouped(module: nn.Module, names: Sequence[str]) -> tuple[Layer, ...]:
    """Put layers without a matrix of weights with the next one that has one; what is left at the end joins the last."""
    parts = dict(module.named_modules())
    groups: list[Layer] = []
    waiting: Layer = ()
    for name in names:
        waiting = (*waiting, name)
        if any(parameter.ndim > 1 for parameter in _own(parts[name])):
            groups.append(waiting)
            waiting = ()
    if waiting and groups:
        *_, name = last = groups.pop()
        waiting = (*last[:-1], *waiting, name)
    return (*groups, waiting) if waiting else tuple(groups)


@contextlib.contextmanager
def _workbench(model: SequenceModel) -> Iterator[SequenceModel]:
    """Lend a copy of a model, or the model itself, whose parameters and buffers are put back on leaving."""
    try:
        with torch.no_grad():  # the copied parameters of TorchScript would otherwise be results of a clone
            bench = copy.deepcopy(model)
    except COPY_ERRORS:
        bench = model
    tensors = [*model.parameters(), *model.buffers()] if bench is model else []
    before = [tensor.detach().clone() for tensor in tensors]
    try:
        yield bench
    finally:
        with torch.no_grad():
            for tensor, value in zip(tensors, before, strict=True):
                tensor.copy_(value)


def _redraw(layer: nn.Module, seed: int) -> None:
    parameters = _own(layer)
    before = [parameter.detach().clone() for parameter in parameters]
    devices = {parameter.device for parameter in parameters if parameter.is_cuda}
    with seeded(seed, devices), torch.no_grad():
        reset = getattr(layer, "reset_parameters", None)
        if callable(reset) and not any(_own(child) for child in list(layer.modules())[1:]):  # which it would reset
            with contextlib.suppress(*RESET_ERRORS):  # someone else's code; what it leaves undone is permuted
                reset()
        for parameter, old in zip(parameters, before, strict=True):
            is_constant = parameter.ndim > 1 and bool((parameter == parameter.flatten()[0]).all())
            if is_constant or torch.equal(parameter, old):  # an initial 0 would pass no signal on
                order = torch.randperm(old.numel()).to(old.device)
                parameter.copy_(old.flatten()[order].view_as(old))


@contextlib.contextmanager
def _collecting(norms: list[_BatchNorm]) -> Iterator[None]:
    """Let normalisation layers average the statistics of the batches that they see."""
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum, norm.training = None, True
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum, norm.training = momentum, False
