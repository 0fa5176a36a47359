"""A model is frozen where it is used, threads share the work, and all is given back as it was."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from operator import attrgetter

import numpy as np
import pytest
import torch
from torch import nn
from toys import Small, Windows, random_codes

import seqsal
from seqsal.attribution import AttributeOptions, attribute_windows, predict_windows
from seqsal.attribution.compute import batches_for, frozen_on_device
from seqsal.attribution.compute.process import cpu_workers
from seqsal.models.state import frozen, seeded

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


def test_a_model_that_is_frozen_already_stays_so_and_another_one_is_frozen_too() -> None:
    outer, inner = nn.Dropout(), nn.Sequential(nn.Linear(2, 1), nn.Dropout())
    with frozen_on_device(outer, CPU):
        with frozen_on_device(outer, CPU), frozen_on_device(inner, CPU):
            assert not outer.training and not inner[1].training and not inner[0].weight.requires_grad
        assert not outer.training and inner[1].training and inner[0].weight.requires_grad
    assert outer.training


def test_frozen_inside_and_as_before_outside() -> None:
    model = make_model()
    before = state(model)
    with frozen_on_device(model, CPU) as used:
        assert used is model and not any(module.training for module in model.modules())
        assert all(not p.requires_grad and p.grad is None for p in model.parameters())
    assert state(model) == before and before.count(True) == 3


def test_given_back_after_an_exception() -> None:
    model = make_model()
    before = state(model)
    with pytest.raises(ZeroDivisionError), frozen_on_device(model, CPU):
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
    with pytest.raises(torch.OutOfMemoryError), frozen_on_device(model, torch.device("meta")):
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


@pytest.mark.cuda
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


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_same_numbers_as_one_thread(rng: np.random.Generator) -> None:
    source, options = Windows(random_codes(rng, 50, 60)), AttributeOptions(batch_size=4, n_controls=20)
    parallel = attribute_windows(Small(), source, options, device=CPU)
    assert torch.get_num_threads() == 3
    torch.set_num_threads(1)
    serial = attribute_windows(Small(), source, options, device=CPU)
    for name in ("track", "prediction", "controls.track"):
        np.testing.assert_array_equal(*map(attrgetter(name), (parallel, serial)))


@pytest.mark.usefixtures("three_threads")
def test_predictions_are_the_same_too(rng: np.random.Generator) -> None:
    source = Windows(random_codes(rng, 50, 60))
    parallel = predict_windows(Small(), source, device=CPU, batch_size=4)
    torch.set_num_threads(1)
    np.testing.assert_array_equal(parallel, predict_windows(Small(), source, device=CPU, batch_size=4))


@pytest.mark.usefixtures("three_threads")
def test_workers_use_one_thread_each_and_the_caller_keeps_its_own() -> None:
    with cpu_workers(CPU) as (workers, n_workers):
        assert workers is not None and n_workers == 3
        assert torch.get_num_threads() == workers.submit(torch.get_num_threads).result() == 1
    assert torch.get_num_threads() == 3
    with cpu_workers(CPU) as again:
        assert again == (workers, 3)


@pytest.mark.usefixtures("three_threads")
def test_threads_are_given_back_after_an_error(rng: np.random.Generator) -> None:
    source = Windows(random_codes(rng, 10, 60))
    with pytest.raises(ValueError, match="stop"), batches_for(Small(), source, CPU, 10):
        assert torch.get_num_threads() == 1
        raise ValueError("stop")
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_no_workers_where_they_would_not_help() -> None:
    for device, wanted, n_threads in ((torch.device("cuda"), True, 3), (CPU, False, 3), (CPU, True, 1)):
        torch.set_num_threads(n_threads)
        with cpu_workers(device, wanted) as found:
            assert found == (None, 1) and torch.get_num_threads() == n_threads


@pytest.mark.usefixtures("three_threads")
def test_a_method_that_is_not_thread_safe_runs_in_the_callers_thread(rng: np.random.Generator) -> None:
    source, seen = Windows(random_codes(rng, 10, 60)), set()
    with batches_for(Small(), source, CPU, 10, batch_size=2, thread_safe=False) as batches:
        batches.run(lambda start, stop: seen.add(threading.get_ident()), 10)
    assert seen == {threading.get_ident()}
