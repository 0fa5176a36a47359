"""What is learnt about a model is kept while nothing in it changes, and no longer."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch
from nets import random_X
from torch import nn

import seqsal
from seqsal.models import CNN, CNNConfig, wrap
from seqsal.models.state import facts_of


def make_module() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(4, 3, 5), nn.BatchNorm1d(3), nn.Softplus(), nn.Flatten(), nn.Linear(26 * 3, 1))


def set_weight(module: nn.Sequential) -> None:
    module[0].weight = nn.Parameter(module[0].weight.detach().clone())


def set_data(module: nn.Sequential) -> None:
    module[0].weight.data = module[0].weight.data.clone()


def train(module: nn.Sequential) -> None:
    module.train()(random_X(3)).sum().backward()
    torch.optim.SGD(module.parameters(), lr=0.1).step()


CHANGES: dict[str, Callable[[nn.Sequential], object]] = {
    "a training step": train,
    "another parameter": set_weight,
    "other data": set_data,
    "other weights": lambda module: module.load_state_dict(make_module().state_dict()),
    "a buffer": lambda module: module[1].running_mean.add_(1),
    "a setting": lambda module: setattr(module[2], "beta", 2.0),
    "another layer": lambda module: module.__setitem__(2, nn.ReLU()),
    "one layer more": lambda module: module.append(nn.Sigmoid()),
    "a hook": lambda module: module[2].register_forward_hook(lambda layer, given, output: 2 * output),
    "what cannot be told": lambda module: setattr(module, "anything", object()),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_noticed(name: str) -> None:
    module = make_module()
    facts_of(module)["seen"] = True
    CHANGES[name](module)
    assert "seen" not in facts_of(module)


def test_use_is_no_change() -> None:
    module = make_module()
    facts_of(module)["seen"] = True
    for method in ("gradient_x_input", "ism", "deeplift_shap"):
        seqsal.attribute(module, X=random_X(2).numpy(), method=method, n_controls=0, device="cpu")
    module.eval().requires_grad_(False)
    assert facts_of(module)["seen"]


def test_built_in_networks_are_known_again() -> None:
    """Their configuration is an object; the notes on their training are long, and change nothing."""
    for config in (CNNConfig(input_length=60), CNNConfig(input_length=60, loss="regression", pooling="max")):
        module = CNN(config)
        facts_of(module)["seen"] = True
        module.metadata = {"history": list(range(1000))}
        assert facts_of(module)["seen"]
        module.config = dataclasses.replace(config, dropout=0.5)
        assert "seen" not in facts_of(module)


def test_facts_die_with_their_module() -> None:
    module = make_module()
    seqsal.attribute(module, X=random_X(2).numpy(), method="ism", n_controls=0, device="cpu")
    assert facts_of(module)
    gone = weakref.ref(module)
    del module
    gc.collect()
    assert gone() is None


def test_a_module_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And every result is what it is the first time."""
    module, X, n_passes = make_module(), random_X(1).numpy(), []
    forward = nn.Sequential.forward
    monkeypatch.setattr(nn.Sequential, "forward", lambda self, X: (n_passes.append(len(X)), forward(self, X))[1])
    for method in ("gradient_x_input", "deeplift_shap", "ism"):
        first = seqsal.attribute(module, X=X, method=method, n_controls=0, device="cpu")
        n_passes.clear()
        again = seqsal.attribute(module, X=X, method=method, n_controls=0, device="cpu")
        np.testing.assert_array_equal(again.track, first.track)
        if method == "gradient_x_input":
            assert n_passes == [1]


def test_each_way_of_reading_is_known_for_itself() -> None:
    module = make_module().append(nn.Sigmoid())
    X = random_X(2)
    logits, probabilities = wrap(module, input_length=30), wrap(module, input_length=30, output_space="probability")
    assert (logits.output_space, probabilities.output_space) == ("logit", "probability")
    again = wrap(module, input_length=30)
    assert again.output_space == "logit" and again.terminal == logits.terminal
    torch.testing.assert_close(again.eval()(X), logits.eval()(X))
