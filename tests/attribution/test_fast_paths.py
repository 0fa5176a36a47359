"""Fast paths are taken where they should be: what falls back gives the same numbers, so nothing else would tell."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from models import Basset, DilatedCNN
from nets import random_X
from torch import nn

import seqsal
from seqsal.attribution.compute import convolutions, fast_predictions
from seqsal.attribution.deeplift import rules
from seqsal.attribution.methods.contributions import DeepLiftShap
from seqsal.attribution.methods.gradients import input_gradient
from seqsal.attribution.methods.mutagenesis import InSilicoMutagenesis
from seqsal.models import CNN, CNNConfig, SequenceModel

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="needs oneDNN")


class Fast(NamedTuple):
    """What runs fast in a network: predictions, gradients of layers with so much padding, relus, mutants."""

    build: Callable[[], nn.Module]
    length: int
    has_fast_predictions: bool
    padding: list[int]
    n_relus: int
    whole_in_ism: set[str]


NETWORKS = {
    "dilated": Fast(DilatedCNN, 400, True, [8, 16, 32, 64, 128, 256], 9, set()),
    "Basset": Fast(Basset, 600, False, [], 5, {"addmm"}),
    "built-in": Fast(lambda: CNN(CNNConfig(input_length=500)), 500, False, [8], 5, set()),
    "built-in, maxima": Fast(lambda: CNN(CNNConfig(input_length=500, pooling="max")), 500, False, [8], 5, set()),
    "built-in, flat": Fast(lambda: CNN(CNNConfig(input_length=500, pooling="flatten")), 500, False, [8], 5, set()),
}


@pytest.fixture(params=list(NETWORKS))
def fast(request: pytest.FixtureRequest) -> Fast:
    return NETWORKS[request.param]


@pytest.fixture
def model(fast: Fast) -> SequenceModel:
    torch.manual_seed(0)
    return seqsal.wrap(fast.build().eval().requires_grad_(False), input_length=fast.length)


def spied(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[Any]:
    """Results of a function from now on."""
    results: list[Any] = []
    function = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *args: (results.append(function(*args)), results[-1])[1])
    return results


def test_predictions(fast: Fast, model: SequenceModel) -> None:
    assert (fast_predictions(model, random_X(1, fast.length)) is not model) == fast.has_fast_predictions


def test_gradients(fast: Fast, model: SequenceModel, monkeypatch: pytest.MonkeyPatch) -> None:
    padding: list[int] = []
    apply = convolutions._DirectGradient.apply
    monkeypatch.setattr(
        convolutions._DirectGradient, "apply", lambda *args: (padding.append(args[-1]), apply(*args))[1]
    )
    input_gradient(model, random_X(2, fast.length))
    assert padding == fast.padding


@pytest.mark.parametrize("n_windows", [1, 4])
def test_deeplift(fast: Fast, model: SequenceModel, n_windows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One pass of a sequence serves its references, and the rule of relu takes one pass over memory."""
    method, X = DeepLiftShap(n_references=2), random_X(n_windows, fast.length)
    method.prepare(model, X[:1], 8)
    assert method._plan is not None and method._plan.shares
    forward, multiplied = (
        spied(monkeypatch, type(method._plan), "forward"),
        spied(monkeypatch, rules, "relu_multipliers"),
    )
    convolved = spied(monkeypatch, convolutions._ImageConvolution, "apply")
    method.attribute(model, X)
    n_batches = -(-n_windows // 2)
    assert len(forward) == n_batches and len(convolved) > 0
    assert len(multiplied) == n_batches * fast.n_relus and all(result is not None for result in multiplied)


def test_ism(fast: Fast, model: SequenceModel, caplog: pytest.LogCaptureFixture) -> None:
    """The mutants' changes are followed, and a trial confirmed that."""
    method = InSilicoMutagenesis()
    with caplog.at_level(logging.DEBUG, "seqsal"):
        method.prepare(model, random_X(1, fast.length), 64)
    mutator = method._mutator
    assert mutator is not None and mutator.saving > 2 and "whole forward passes" not in caplog.text
    assert {op.name for op in mutator.whole.values()} == fast.whole_in_ism
    assert f"of which {len(fast.whole_in_ism)} on whole results" in caplog.text
