"""Gradients through convolutions by the fast kernel: the same as torch's own, where they gain, and nowhere else."""

from __future__ import annotations

import copy
import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from toys import random_codes

from seqsal.attribution.compute import convolutions, fast_backward
from seqsal.attribution.methods.gradients import input_gradient
from seqsal.sequence.codes import one_hot

C, L = 48, 90
CPU = torch.device("cpu")
OURS = "_DirectGradientBackward"
pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="needs oneDNN")


def conv(**settings: Any) -> nn.Conv1d:
    torch.manual_seed(0)
    n_channels = settings.pop("n_channels", C)
    return nn.Conv1d(n_channels, n_channels, **{"kernel_size": 3, **settings}).requires_grad_(False)


def source(layer: nn.Conv1d) -> torch.Tensor:
    return torch.randn(3, layer.in_channels, L, generator=torch.Generator().manual_seed(1)).requires_grad_()


def gradient_of(output: torch.Tensor, X: torch.Tensor) -> torch.Tensor:
    """Of a sum with weights, so that no position stands for another."""
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(2)).to(output)
    return torch.autograd.grad((output * weights).sum(), X)[0]


GAINING = [
    {"padding": 8, "dilation": 8},
    {"padding": 64, "dilation": 64, "bias": False},  # more than half a window
    {"padding": "same", "dilation": 9},
    {"padding": "valid", "dilation": 30},
    {"padding": 3, "dilation": 20},
    {"padding": 0, "dilation": 5, "kernel_size": 4},
    {"padding": 9, "kernel_size": 19},
    {"padding": 10, "dilation": 9},  # more than the kernel needs
    {"padding": 32, "dilation": 32, "n_channels": 16},
]


@pytest.mark.parametrize("settings", GAINING)
def test_gradient_and_output_are_those_of_torch(settings: dict[str, Any]) -> None:
    layer = conv(**settings)
    X = source(layer)
    plain = layer(X)
    with fast_backward(CPU):
        ours = layer(X)
    assert ours.grad_fn.name() == OURS
    assert torch.equal(ours, plain)
    exact = X.detach().double().requires_grad_()
    expected = gradient_of(copy.deepcopy(layer).double()(exact), exact)
    allowed = 4e-6 * float(expected.abs().max())  # 19 · 48 products are added up in the longest
    assert torch.allclose(gradient_of(ours, X).double(), expected, rtol=0, atol=allowed)


OTHERS = [
    {"padding": 2, "dilation": 2},
    {"padding": 16, "dilation": 8},  # all that the backward pass would pad is there already
    {"padding": 8, "dilation": 8, "stride": 2},
    {"padding": 8, "dilation": 8, "groups": 2},
    {"padding": 8, "dilation": 8, "n_channels": 16},
    {"padding": 64, "dilation": 64, "n_channels": 12},
    {"padding": 64, "dilation": 64, "n_channels": 50},
    {"padding": "same", "dilation": 15, "kernel_size": 2},  # one zero more on one side
]


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
@pytest.mark.parametrize("settings", OTHERS)
def test_the_rest_is_left_to_torch(settings: dict[str, Any]) -> None:
    layer = conv(**settings)
    X = source(layer)
    with fast_backward(CPU):
        ours = layer(X)
    assert ours.grad_fn.name() != OURS
    assert torch.equal(gradient_of(ours, X), gradient_of(layer(X), X))


def test_gradients_of_weights_and_other_precisions_are_left_to_torch() -> None:
    layer = conv(padding=8, dilation=8)
    X = source(layer)
    with fast_backward(CPU):
        assert layer(X.detach()).grad_fn is None
        with torch.no_grad():
            assert layer(X).grad_fn is None
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(X).grad_fn.name() != OURS
        layer.bias.requires_grad_()
        assert layer(X).grad_fn.name() != OURS
        layer.double()
        assert layer(X.double()).grad_fn.name() != OURS


def test_functional_calls_count_as_modules_do() -> None:
    layer = conv(padding=8, dilation=8)
    X = source(layer)
    with fast_backward(CPU):
        by_name = F.conv1d(X, weight=layer.weight, bias=None, dilation=(8,), padding=(8,))
        in_place = F.relu_(layer(X))
    assert by_name.grad_fn.name() == OURS
    expected = gradient_of(F.relu(layer(X)), X)
    assert torch.allclose(gradient_of(in_place, X), expected, rtol=0, atol=1e-6 * float(expected.abs().max()))


def test_a_gradient_can_be_differentiated_again() -> None:
    layer = conv(padding=8, dilation=8)
    X = source(layer)

    def curvature(output: torch.Tensor) -> torch.Tensor:
        (slope,) = torch.autograd.grad((output**2).sum(), X, create_graph=True)
        return torch.autograd.grad(slope.pow(2).sum(), X)[0]

    with fast_backward(CPU):
        ours = layer(X)
    expected = curvature(layer(X))
    assert torch.allclose(curvature(ours), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_other_threads_are_not_touched() -> None:
    layer = conv(padding=8, dilation=8)
    X, names = source(layer), []
    with fast_backward(CPU):
        thread = threading.Thread(target=lambda: names.append(layer(X).grad_fn.name()))
        thread.start()
        thread.join()
    assert names == ["ConvolutionBackward0"]
    assert layer(X).grad_fn.name() == "ConvolutionBackward0"


class Dilated(nn.Module):
    """A stem, two dilated residual blocks that use their activations twice, and a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(4, C, 7, padding=3)
        self.blocks = nn.ModuleList(nn.Conv1d(C, C, 3, padding=d, dilation=d) for d in (4, 16))

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.stem(X))
        for block in self.blocks:
            y = block(h)
            h = h + torch.relu(y) + torch.sigmoid(y)
        return h.mean((1, 2))


def plain_gradient(model: nn.Module, X: torch.Tensor) -> torch.Tensor:
    X = X.clone().requires_grad_()
    return torch.autograd.grad(model(X).sum(), X)[0]


def test_input_gradients_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = []
    convolve = convolutions._DirectGradient.apply
    monkeypatch.setattr(convolutions._DirectGradient, "apply", lambda *args: zeros.append(args[-1]) or convolve(*args))
    torch.manual_seed(0)
    model = Dilated().eval().requires_grad_(False)
    X = torch.from_numpy(one_hot(random_codes(np.random.default_rng(3), 5, L)))
    prediction, gradient = input_gradient(model, X)
    expected = plain_gradient(model, X)
    assert torch.equal(prediction, model(X))
    assert zeros == [16]  # one block of two gains
    assert torch.allclose(gradient, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))


class Checkpointed(Dilated):
    """The same, but that its blocks run forward again in the backward pass."""

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.stem(X))
        for block in self.blocks:
            h = checkpoint(lambda x, block=block: x + torch.relu(block(x)), h, use_reentrant=False)
        return h.mean((1, 2))


def test_models_with_checkpoints_have_gradients() -> None:
    torch.manual_seed(0)
    model = Checkpointed().eval().requires_grad_(False)
    X = torch.from_numpy(one_hot(random_codes(np.random.default_rng(3), 2, L)))
    _, gradient = input_gradient(model, X)
    expected = plain_gradient(model, X)
    assert torch.allclose(gradient, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))


class Mapped(Dilated):
    """The same, but that each window goes through a transform of torch.func."""

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return torch.vmap(lambda x: super(Mapped, self).forward(x[None])[0])(X)


def test_models_that_transform_functions_have_gradients() -> None:
    torch.manual_seed(0)
    model = Mapped().eval().requires_grad_(False)
    X = torch.from_numpy(one_hot(random_codes(np.random.default_rng(3), 2, L)))
    _, gradient = input_gradient(model, X)
    expected = plain_gradient(model, X)
    assert torch.allclose(gradient, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch about itself
def test_a_model_that_the_caller_compiled_is_left_in_one_piece() -> None:
    torch.manual_seed(0)
    model = Dilated().eval().requires_grad_(False)
    X = torch.from_numpy(one_hot(random_codes(np.random.default_rng(3), 2, L)))
    _, expected = input_gradient(model, X)
    _, gradient = input_gradient(torch.compile(model, backend="aot_eager", fullgraph=True), X)
    assert torch.allclose(gradient, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))
