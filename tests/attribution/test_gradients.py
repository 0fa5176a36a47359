"""Gradient methods against closed forms, finite differences, captum and tangermeme."""

from __future__ import annotations

import captum.attr
import numpy as np
import pytest
import torch
from tangermeme.saliency import saliency as tangermeme_saliency
from torch import nn
from toys import Linear, Small, random_codes

from seqsal.attribution.methods.base import project
from seqsal.attribution.methods.gradients import input_gradient
from seqsal.attribution.methods.registry import METHODS, make_method
from seqsal.errors import MethodError, ModelError
from seqsal.sequence.tensors import one_hot_tensor, reverse_complement_tensor

N_WINDOWS = 6


def windows(rng: np.random.Generator, length: int = 40, share_unknown: float = 0.05) -> torch.Tensor:
    return one_hot_tensor(torch.from_numpy(random_codes(rng, N_WINDOWS, length, share_unknown)))


def test_linear_model_gives_its_weights(rng: np.random.Generator) -> None:
    weight = torch.from_numpy(rng.normal(size=(4, 40)).astype(np.float32))
    X = windows(rng)
    plain = make_method("gradient_x_input", gradient_correction=False).attribute(Linear(weight), X)
    corrected = make_method("gradient_x_input").attribute(Linear(weight), X)
    torch.testing.assert_close(project(plain.hypothetical, X), (weight * X).sum(1))
    torch.testing.assert_close(project(corrected.hypothetical, X), ((weight - weight.mean(0)) * X).sum(1))
    torch.testing.assert_close(plain.prediction, (weight * X).sum((1, 2)) + 0.5)


def test_plain_product_of_a_linear_model_sums_to_the_output(rng: np.random.Generator) -> None:
    weight = torch.from_numpy(rng.normal(size=(4, 40)).astype(np.float32))
    X = windows(rng)
    scores = make_method("gradient_x_input", gradient_correction=False).attribute(Linear(weight), X)
    torch.testing.assert_close(project(scores.hypothetical, X).sum(1) + 0.5, scores.prediction)


def test_gradient_equals_central_differences(rng: np.random.Generator) -> None:
    model, X = Small().eval().double(), windows(rng, length=12).double()
    _, gradient = input_gradient(model, X)
    step = 1e-6
    slow = torch.zeros_like(X)
    for base in range(4):
        for position in range(X.shape[2]):
            up, down = X.clone(), X.clone()
            up[:, base, position] += step
            down[:, base, position] -= step
            slow[:, base, position] = (model(up) - model(down)).detach() / (2 * step)
    torch.testing.assert_close(gradient, slow, rtol=1e-5, atol=1e-8)


def test_unknown_bases_get_zero(rng: np.random.Generator) -> None:
    X = windows(rng, share_unknown=0.3)
    track = project(make_method("gradient_x_input").attribute(Small().eval(), X).hypothetical, X)
    unknown = X.sum(1) == 0
    assert unknown.any()
    assert (track[unknown] == 0).all()
    assert (track[~unknown] != 0).all()


def test_correction_makes_the_four_bases_sum_to_zero(rng: np.random.Generator) -> None:
    scores = make_method("gradient_x_input").attribute(Small().eval(), windows(rng))
    assert scores.hypothetical.sum(1).abs().max() < 1e-6


def test_saliency_is_the_magnitude_of_the_gradient(rng: np.random.Generator) -> None:
    X, model = windows(rng), Small().eval()
    _, gradient = input_gradient(model, X)
    scores = make_method("saliency", gradient_correction=False).attribute(model, X)
    torch.testing.assert_close(scores.hypothetical, gradient.abs())
    assert not METHODS["saliency"].signed


def test_equal_to_captum(rng: np.random.Generator, device: torch.device) -> None:
    X, model = windows(rng, length=200).to(device), Small().eval().to(device)
    ours = make_method("gradient_x_input", gradient_correction=False).attribute(model, X)
    theirs = captum.attr.InputXGradient(model).attribute(X.clone().requires_grad_())
    torch.testing.assert_close(ours.hypothetical * X, theirs.detach(), rtol=1e-5, atol=1e-9)
    ours = make_method("saliency", gradient_correction=False).attribute(model, X)
    theirs = captum.attr.Saliency(model).attribute(X.clone().requires_grad_())
    torch.testing.assert_close(ours.hypothetical, theirs.detach(), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("correction", [True, False])
def test_equal_to_tangermeme(rng: np.random.Generator, device: torch.device, correction: bool) -> None:
    X, model = windows(rng, length=200), nn.Sequential(Small(), nn.Unflatten(0, (-1, 1))).eval()
    theirs = tangermeme_saliency(model, X, gradient_correction=correction, device=str(device))
    model.to(device)
    ours = make_method("gradient_x_input", gradient_correction=correction).attribute(model[0], X.to(device))
    torch.testing.assert_close((ours.hypothetical * X.to(device)).cpu(), theirs, rtol=1e-5, atol=1e-9)


def test_strand_average_is_equivariant(rng: np.random.Generator) -> None:
    X, model = windows(rng), Small().eval()
    method = make_method("gradient_x_input", rc_average=True)
    forward, reverse = method.attribute(model, X), method.attribute(model, reverse_complement_tensor(X))
    torch.testing.assert_close(forward.hypothetical, reverse_complement_tensor(reverse.hypothetical))
    torch.testing.assert_close(forward.prediction, reverse.prediction)
    plain = make_method("gradient_x_input").attribute(model, X)
    assert not torch.allclose(forward.hypothetical, plain.hypothetical)
    assert method.options == {"gradient_correction": True, "rc_average": True}


def test_models_that_cannot_be_differentiated_are_named(rng: np.random.Generator) -> None:
    X = windows(rng)
    with pytest.raises(ModelError, match="cut off from the input's gradient"):
        input_gradient(lambda X: X.detach().sum((1, 2)), X)
    with pytest.raises(ModelError, match=r"output of shape \(6, 4\) for 6 windows.*seqsal\.wrap"):
        make_method("saliency").attribute(lambda X: X.sum(2), X)
    with pytest.raises(ModelError, match=r"output of shape \(6, 4, 1\) for 6 windows"):
        input_gradient(lambda X: X.sum(2, keepdim=True), X)
    parameter = torch.ones((), requires_grad=True)
    with pytest.raises(ModelError, match="does not depend on the sequence"):
        input_gradient(lambda X: parameter.expand(len(X)), X)


def test_unknown_method_and_option() -> None:
    with pytest.raises(MethodError, match=r"got 'gradcam2', expected one of .*gradient_x_input, .*saliency"):
        make_method("gradcam2")
    with pytest.raises(MethodError, match=r"unknown option steps; its options are: gradient_correction"):
        make_method("saliency", steps=3)
