"""A borrowed model is frozen where it is used, and given back as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import seqsal
from seqsal.attribution.compute.borrow import borrowed
from seqsal.models.frozen import frozen, seeded

CPU = torch.device("cpu")


class Stubborn(nn.Sequential):
    """Refuses `train` and `eval`, as what `torch.export` gives does."""

    def train(self, mode: bool = True) -> Stubborn:
        raise NotImplementedError


def make_model() -> Stubborn:
    model = Stubborn(nn.Linear(2, 2), nn.Dropout(), nn.Linear(2, 1))
    model[1].training = False
    model[0].bias.requires_grad_(False)
    model[2].weight.grad = torch.ones(1, 2)
    return model


def state(model: nn.Module) -> list[object]:
    parameters = list(model.parameters())
    modes: list[object] = [module.training for module in model.modules()]
    return modes + [(p.requires_grad, None if p.grad is None else p.grad.tolist(), p.device) for p in parameters]


def test_frozen_inside_and_as_before_outside() -> None:
    model = make_model()
    before = state(model)
    with borrowed(model, CPU) as used:
        assert used is model and not any(module.training for module in model.modules())
        assert all(not p.requires_grad and p.grad is None for p in model.parameters())
    assert state(model) == before and before.count(True) == 3


def test_given_back_after_an_exception() -> None:
    model = make_model()
    before = state(model)
    with pytest.raises(ZeroDivisionError), borrowed(model, CPU):
        raise ZeroDivisionError
    assert state(model) == before


def test_given_back_when_the_device_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model()
    before = state(model)
    home, moves = model.to, []

    def move(device: torch.device) -> nn.Module:
        moves.append(device)
        if device.type == "meta":
            raise torch.OutOfMemoryError
        return home(device)

    monkeypatch.setattr(model, "to", move)
    with pytest.raises(torch.OutOfMemoryError), borrowed(model, torch.device("meta")):
        raise AssertionError("the body must not be entered")
    assert state(model) == before and moves == [torch.device("meta"), CPU]


CUDA = torch.device("cuda")


class Dropping(nn.LSTM):
    """A recurrent layer of somebody's, with dropout of its own."""

    def forward(self, X: torch.Tensor, state: object = None) -> object:
        return super().forward(nn.functional.dropout(X, 0.5, self.training))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_keep_their_gradient_on_a_gpu_and_their_values(kind: type[nn.RNNBase]) -> None:
    torch.manual_seed(0)
    layer = kind(4, 3, num_layers=2, dropout=0.5, bidirectional=True)
    X = torch.randn(7, 2, 4)
    expected = layer.eval()(X)[0]
    model = nn.ModuleList([layer.train(), nn.Dropout()])
    with frozen(model, CUDA):
        assert layer.training and not model[1].training  # cuDNN has no gradient of a layer in evaluation mode
        torch.testing.assert_close(layer(X)[0], expected)
    assert layer.dropout == 0.5 and layer.training and model[1].training
    layer.eval()
    with pytest.raises(ZeroDivisionError), frozen(model, CUDA):
        raise ZeroDivisionError
    assert layer.dropout == 0.5 and not layer.training
    with frozen(model):  # where it is, which is no GPU
        assert not layer.training and layer.dropout == 0.5


def test_recurrent_layers_that_do_more_in_training_are_evaluated() -> None:
    own_dropout, normed = nn.LSTM(4, 3), nn.utils.spectral_norm(nn.LSTM(4, 3), "weight_hh_l0")
    own_dropout.__dict__.pop("dropout")
    own_dropout.dropout = nn.Dropout()
    layers = nn.ModuleList([Dropping(4, 3), own_dropout, normed]).train()
    with frozen(layers, CUDA):
        assert not any(module.training for module in layers.modules())
    assert all(module.training for module in layers.modules())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_recurrent_model_is_explained_on_a_gpu() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = nn.LSTM(4, 8, batch_first=True, bidirectional=True), nn.Linear(16, 1)

        def forward(self, X: torch.Tensor) -> torch.Tensor:
            return self.head(self.layer(X.transpose(1, 2))[0].mean(1)).squeeze(1)

    torch.manual_seed(0)
    model, X = Recurrent(), torch.eye(4)[torch.randint(4, (6, 30))].transpose(1, 2).numpy()
    cpu, cuda = (seqsal.attribute(model, X=X, device=name, n_controls=0).track for name in ("cpu", "cuda"))
    np.testing.assert_allclose(cuda, cpu, rtol=1e-4, atol=1e-6)


def test_a_seed_is_of_some_generators_and_all_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("every GPU was seeded"))
    torch.default_generator.manual_seed(1)
    expected = torch.rand(2)
    torch.default_generator.manual_seed(1)
    for _ in range(2):
        with seeded(5):
            inside = torch.rand(3)
        assert torch.equal(inside, torch.rand(3, generator=torch.Generator().manual_seed(5)))
    assert torch.equal(torch.rand(2), expected)
