"""Channels last: the same values, on networks that gain by it, and on no others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from toys import random_codes

import seqsal
from seqsal.attribution.compute import convolutions, fast_predictions
from seqsal.sequence.codes import one_hot

L, C = 60, convolutions.PREDICTION_CHANNELS
Build = Callable[[], nn.Module]
pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="needs oneDNN")


class Residual(nn.Module):
    """Strided, dilated and 1 × 1 convolutions, a residual, a crop, gating, and a reshape before the head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(4, C, 7, padding=3)
        self.dilated = nn.Conv1d(C, C, 3, padding=4, dilation=4)
        self.strided = nn.Conv1d(C, C, (5,), stride=(2,), bias=False)
        self.mix = nn.Conv1d(C, 8, 1)
        self.head = nn.Linear(8 * 24, 3)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        h = F.gelu(self.stem(X))
        h = h + torch.relu(self.dilated(h))
        h = self.strided(h[:, :, 3:-3])
        h = torch.sigmoid(h) * torch.tanh(h)
        return self.head(self.mix(h)[..., :24].reshape(len(h), -1))


class Pooled(nn.Module):
    """A convolution after a layer, and a mean."""

    def __init__(self, between: nn.Module, n_channels: int = C) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(4, n_channels, 5), between, nn.Conv1d(n_channels, n_channels, 3))

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(X)).mean(-1).sum(-1, keepdim=True)


def flattened(h: torch.Tensor) -> torch.Tensor:
    return h.view(h.size(0), -1)


def windows(n: int = 6) -> torch.Tensor:
    return torch.from_numpy(one_hot(random_codes(np.random.default_rng(3), n, L)))


@pytest.fixture
def residual() -> nn.Module:
    torch.manual_seed(0)
    return Residual().eval().requires_grad_(False)


def test_values_are_the_same(residual: nn.Module) -> None:
    X = windows()
    view = fast_predictions(residual, X)
    assert view is not residual
    ours = view(X)
    torch.testing.assert_close(ours.double(), residual.double()(X.double()), rtol=1e-5, atol=1e-6)


def test_every_tensor_between_convolutions_keeps_the_layout(residual: nn.Module) -> None:
    seen: list[bool] = []

    def look(module: nn.Module, given: object, output: torch.Tensor) -> None:
        seen.append(output.stride(1) == 1)

    view = fast_predictions(residual, windows())
    for convolution in (residual.stem, residual.dilated, residual.strided):
        assert isinstance(convolution, nn.Module)
        convolution.register_forward_hook(look)
    with torch.no_grad():
        view(windows())
        assert seen == [True] * 3
        residual(windows())
        assert seen == [True] * 3 + [False] * 3


@pytest.mark.parametrize(
    "build",
    [
        lambda: Pooled(nn.BatchNorm1d(C)),
        lambda: Pooled(nn.MaxPool1d(2)),
        lambda: Pooled(nn.ReLU(), n_channels=C // 2),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(4 * L, 1)),
    ],
    ids=["batch norm", "max pool", "narrow", "no convolution"],
)
def test_other_networks_stay_as_they_are(build: Build) -> None:
    model = build().eval()
    assert fast_predictions(model, windows()) is model


def test_a_grouped_convolution_stays_as_it_is() -> None:
    model = Pooled(nn.Conv1d(C, C, 3, groups=C)).eval()
    assert fast_predictions(model, windows()) is model


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is:DeprecationWarning")
def test_a_scripted_function_that_wants_adjacent_positions_is_noticed() -> None:
    flat = torch.jit.script(flattened)

    class Scripted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv1d(4, C, 5), nn.ReLU(), nn.Conv1d(C, C, 3))
            self.head = nn.Linear(C * (L - 6), 1)

        def forward(self, X: torch.Tensor) -> torch.Tensor:
            return self.head(flat(self.body(X)))

    model = seqsal.wrap(Scripted().eval(), input_length=L)
    assert fast_predictions(model, windows()) is model
    assert len(seqsal.score(model, X=windows())) == len(windows())


def test_a_wrapped_model_gains_as_well(residual: nn.Module) -> None:
    model = seqsal.wrap(residual, input_length=L, target=1)
    assert fast_predictions(model, windows()) is not model


def test_a_model_that_fails_is_left_to_the_pass_that_counts() -> None:
    model = Pooled(nn.ReLU()).eval()
    assert fast_predictions(model, windows()[:, :3]) is model


def test_scores_agree_with_the_plain_layout(residual: nn.Module) -> None:
    X = windows(40)
    scores = seqsal.score(seqsal.wrap(residual, input_length=L), X=X)
    with torch.no_grad():
        np.testing.assert_allclose(scores["prediction"].to_numpy(), residual(X)[:, 0], rtol=1e-4, atol=1e-6)
