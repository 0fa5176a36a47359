"""Both outputs of windows that differ in one base, against whole passes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from toys import random_codes

import seqsal
from seqsal.attribution.ism import pairs
from seqsal.attribution.ism.pairs import PairModel
from seqsal.attribution.targets import TargetView
from seqsal.models import CNN, CNNConfig
from seqsal.sequence.tensors import one_hot_tensor

LENGTH = 72
CPU = torch.device("cpu")


def pooled() -> nn.Module:
    stem = [nn.Conv1d(4, 8, 5, padding=2), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(3)]
    body = [nn.Conv1d(8, 6, 3, padding=1), nn.GELU(), nn.AvgPool1d(2), nn.Flatten()]
    return nn.Sequential(*stem, *body, nn.Linear(72, 12), nn.Tanh(), nn.Linear(12, 3))


NETS = {
    "pooled": pooled,
    **{pooling: lambda pooling=pooling: CNN(CNNConfig(input_length=LENGTH, n_filters=16, n_blocks=2, stem_kernel=7,
                                                      stem_pool=2, pooling=pooling, n_targets=3))
       for pooling in ("attention", "max", "mean", "flatten")},
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("targets", [[1], [2, 0]])
def test_pairs_are_whole_passes(monkeypatch: pytest.MonkeyPatch, name: str, targets: list[int]) -> None:
    monkeypatch.setattr(pairs, "is_worth_tracing", lambda model, X: True)
    torch.manual_seed(0)
    model = seqsal.wrap(NETS[name]().eval(), input_length=LENGTH)
    rng = np.random.default_rng(0)
    with model.frozen(), torch.no_grad():
        view = TargetView(model, targets, CPU)
        for n in (1, 5):
            X = one_hot_tensor(torch.from_numpy(random_codes(rng, n, LENGTH, 0.05)))
            local = PairModel(view, X[:1])
            assert local.is_fit
            for at in (0, 1, LENGTH // 2, LENGTH - 1):
                bases = torch.from_numpy(rng.integers(0, 5, n))
                changed = X.clone()
                changed[:, :, at] = torch.eye(5)[bases][:, :4]
                found, expected = local(X, at, bases), torch.stack([view(X), view(changed)]).double()
                torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", NETS)
def test_words_are_whole_passes(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(pairs, "is_worth_tracing", lambda model, X: True)
    torch.manual_seed(0)
    model = seqsal.wrap(NETS[name]().eval(), input_length=LENGTH)
    rng = np.random.default_rng(0)
    X = one_hot_tensor(torch.from_numpy(random_codes(rng, 1, LENGTH, 0.05)))
    words = one_hot_tensor(torch.from_numpy(random_codes(rng, 6, 9)))
    with model.frozen(), torch.no_grad():
        view = TargetView(model, [2, 0], CPU)
        local = PairModel(view, X)
        for at in (0, 30, LENGTH - 9):
            changed = X.repeat(6, 1, 1)
            changed[:, :, at : at + 9] = words
            torch.testing.assert_close(local.words(X, at, words), view(changed).double(), rtol=1e-5, atol=2e-6)


def test_a_model_that_changes_throughout_is_left_alone() -> None:
    class Everywhere(nn.Module):
        def forward(self, X: torch.Tensor) -> torch.Tensor:
            h = X.cumsum(-1)
            for _ in range(6):
                h = torch.sin(h.cumsum(-1))
            return h.repeat(1, 60, 1).sin().mean((1, 2))

    X = torch.eye(4)[torch.arange(400) % 4].T[None].contiguous()
    model = seqsal.wrap(Everywhere(), input_length=400)
    with model.frozen():
        assert not PairModel(TargetView(model, [0], CPU), X).is_fit
