"""The methods' formulas as pure functions: equal to their classes, differentiable, and used to train a network."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from toys import Small, Windows, random_codes

import seqsal
from seqsal.attribution import AttributeOptions, attribute_windows, methods
from seqsal.attribution.methods import paths
from seqsal.attribution.methods.base import (
    MAX_COMPLETENESS_ERROR,
    Method,
    OneTarget,
    ReverseComplementAverage,
    Scores,
    check_option,
    completeness_error,
)
from seqsal.attribution.methods.paths import _lines
from seqsal.attribution.methods.registry import METHODS, make_method
from seqsal.errors import MethodError
from seqsal.pipeline import info
from seqsal.sequence.tensors import one_hot_tensor, reverse_complement_tensor

LENGTH = 12
OPTIONS: dict[str, dict[str, Any]] = {
    "smoothgrad": {"n_samples": 3},
    "integrated_gradients": {"n_steps": 5, "baseline": "shuffle"},
    "expected_gradients": {"n_references": 3},
    "deeplift_shap": {"n_references": 3},
    "tiles": {"tile": 5, "n_shuffles": 2},
}
GRADIENTS = ["saliency", "gradient_x_input", "smoothgrad", "integrated_gradients", "expected_gradients"]
DIFFERENTIABLE = [*GRADIENTS, "cam", "grad_cam", "ism", "tiles"]


class Smooth(nn.Module):
    """A network with smooth activations and a global average, in float64."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv1d(4, 5, 5, padding=2)
        self.block = nn.Conv1d(5, 5, 3, padding=1)
        self.head = nn.Linear(5, 1)
        self.double().eval()

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(self.stem(X))
        return self.head(nn.functional.softplus(self.block(h)).mean(-1)).squeeze(-1)


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of integrated gradients double once, since these networks would ask for all four."""
    monkeypatch.setattr(paths, "MAX_DOUBLINGS", 1)


@pytest.fixture
def X(rng: np.random.Generator) -> torch.Tensor:
    codes = random_codes(rng, 3, LENGTH)
    codes[1, 4] = 4
    return one_hot_tensor(torch.from_numpy(codes)).double()


def formula(name: str, **options: Any) -> Callable[..., Scores]:
    function = getattr(methods, name)
    return lambda f, X, **more: function(f, X, **OPTIONS.get(name, {}), **options, **more)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_function_is_the_method(name: str, X: torch.Tensor) -> None:
    model = Smooth().requires_grad_(False)
    scores, expected = formula(name)(model, X), make_method(name, **OPTIONS.get(name, {})).attribute(model, X)
    for one, other in zip(scores, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other)
    assert not scores.hypothetical.requires_grad and not scores.prediction.requires_grad
    torch.testing.assert_close(scores.track(X), (scores.hypothetical * X).sum(1))


@pytest.mark.parametrize("name", sorted(METHODS))
def test_nothing_keeps_a_graph_unless_it_is_wanted(name: str, X: torch.Tensor) -> None:
    model = Smooth()
    scores = formula(name)(model, X.clone().requires_grad_())
    assert not any(part.requires_grad for part in scores if part is not None)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("name", [*GRADIENTS, "ism", "deeplift_shap"])
def test_several_targets_have_an_axis(name: str, X: torch.Tensor) -> None:
    models = [Smooth(), Smooth()]
    with torch.no_grad():
        models[1].head.weight *= -2

    class Both(nn.Module):
        single = tuple(models)

        def forward(self, X: torch.Tensor) -> torch.Tensor:
            return torch.stack([model(X) for model in self.single], dim=1)

    scores = formula(name)(Both(), X)
    assert scores.hypothetical.shape == (3, 2, 4, LENGTH) and scores.track(X).shape == (3, 2, LENGTH)
    for target, model in enumerate(models):
        alone = formula(name)(model, X)
        torch.testing.assert_close(scores.hypothetical[:, target], alone.hypothetical)
        torch.testing.assert_close(scores.prediction[:, target], alone.prediction)
        torch.testing.assert_close(scores.track(X)[:, target], alone.track(X))


def loss_of(name: str, model: nn.Module, X: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    scores = formula(name)(model, X, create_graph=True)
    return (weight * scores.hypothetical).sum() + scores.prediction.sum()


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_second_derivatives_by_the_parameters_equal_central_differences(name: str, X: torch.Tensor) -> None:
    model = Smooth()
    weight = torch.from_numpy(np.random.default_rng(1).normal(size=X.shape))
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(loss_of(name, model, X, weight), parameters)
    step = 1e-6
    for parameter, gradient in zip(parameters, gradients, strict=True):
        for place in (0, parameter.numel() // 2, parameter.numel() - 1):
            values = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter.view(-1)[place] += sign * step
                values.append(float(loss_of(name, model, X, weight).detach()))
                with torch.no_grad():
                    parameter.view(-1)[place] -= sign * step
            slow = (values[0] - values[1]) / (2 * step)
            assert float(gradient.reshape(-1)[place]) == pytest.approx(slow, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", GRADIENTS)
def test_second_derivatives_by_the_sequence_equal_central_differences(name: str, X: torch.Tensor) -> None:
    model = Smooth().requires_grad_(False)
    weight = torch.from_numpy(np.random.default_rng(1).normal(size=X.shape))
    leaf = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss_of(name, model, leaf, weight), leaf)
    step, slow = 1e-6, torch.zeros_like(X)
    for place in range(X.numel()):
        up, down = X.clone(), X.clone()
        up.view(-1)[place] += step
        down.view(-1)[place] -= step
        slow.view(-1)[place] = (loss_of(name, model, up, weight) - loss_of(name, model, down, weight)) / (2 * step)
    torch.testing.assert_close(gradient, slow, rtol=1e-5, atol=1e-7)


def test_a_network_is_trained_with_a_loss_on_its_map() -> None:
    """A network that must not look at the left half of its input learns not to."""
    rng = np.random.default_rng(0)
    codes = random_codes(rng, 64, LENGTH)
    X, y = one_hot_tensor(torch.from_numpy(codes)), torch.from_numpy((codes[:, 2] == 0) * 1.0 + (codes[:, 9] == 1))

    def train(penalty: float) -> float:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(4 * LENGTH, 8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
        for _ in range(60):
            scores = methods.gradient_x_input(model, X, create_graph=True)
            left = scores.track(X)[:, : LENGTH // 2].abs().mean()
            loss = (scores.prediction - y).square().mean() + penalty * left
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        track = methods.gradient_x_input(model, X).track(X).abs()
        return float(track[:, : LENGTH // 2].sum() / track.sum())

    assert train(0.0) > 0.4 and train(3.0) < 0.25


def test_a_wrapped_model_has_second_derivatives_too(X: torch.Tensor) -> None:
    model = seqsal.wrap(Small().eval(), input_length=LENGTH)
    scores = methods.gradient_x_input(model, X.float(), create_graph=True)
    scores.track(X.float()).abs().sum().backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


class _Misses(Method):
    """Misses its sum by what is said of each strand."""

    name = "misses"
    sums_to_difference = True
    remedy = "try harder"

    def attribute(self, model: Any, X: torch.Tensor) -> Scores:
        forward = X[:, 0, 0] == 1  # A at the start: the strand as given
        return Scores(X.sum((1, 2)), X.clone(), torch.where(forward, 0.004, 0.03))


def test_a_strand_average_has_the_larger_error() -> None:
    X = one_hot_tensor(torch.tensor([[0, 1, 1], [1, 1, 3]], dtype=torch.uint8))  # CGT would start with A
    errors = ReverseComplementAverage(_Misses()).attribute(None, X).completeness_error
    assert errors is not None and errors.tolist() == pytest.approx([0.03, 0.03])
    assert ReverseComplementAverage(_Misses()).remedy == "try harder"
    plain = ReverseComplementAverage(make_method("ism")).attribute(lambda X: X[:, 0].sum(1), X)
    assert plain.completeness_error is None


class _Off(Method):
    """Misses its sum by a share that the number of A in a window tells: one in a hundred for each."""

    name = "off"
    sums_to_difference = True
    remedy = "count again"

    def attribute(self, model: Any, X: torch.Tensor) -> Scores:
        return Scores(X.sum((1, 2)), X.clone(), 0.0099 * X[:, 0].sum(1))


def test_users_are_told_of_sums_that_are_off_by_more_than_one_percent(caplog: pytest.LogCaptureFixture) -> None:
    codes = np.full((6, LENGTH), 1, dtype=np.uint8)
    for row, n in enumerate((0, 1, 1, 2, 3, 9)):
        codes[row, :n] = 0
    options = AttributeOptions(_Off(), n_controls=0)
    attr = attribute_windows(Small(), Windows(codes), options, device=torch.device("cpu"))
    assert "3 of 6 windows miss the promised sum by more than 1 % of it; count again" in caplog.text
    errors = np.asarray(attr.completeness_error)
    np.testing.assert_allclose(errors, 0.0099 * np.array([0, 1, 1, 2, 3, 9]), rtol=1e-5)
    assert MAX_COMPLETENESS_ERROR == info.MAX_COMPLETENESS_ERROR == 0.01


def test_what_deeplift_blames_starts_at_one_percent(X: torch.Tensor) -> None:
    method = make_method("deeplift_shap", n_references=2)
    method.prepare(Smooth().requires_grad_(False), X[:1], 4)
    R = method.references_of(X)
    for error, is_noted in ((0.009, False), (0.011, True)):
        method._worst.note(torch.tensor([0.0, error, 0.001]), X, R, 0)
        assert (method._worst.X is not None) == is_noted
    assert torch.equal(method._worst.X, X[1:2]) and torch.equal(method._worst.R, R[1])
    assert "of the error arises in" in method.remedy


def test_errors_are_relative_to_the_difference() -> None:
    total, prediction, baseline = (torch.tensor([value], dtype=torch.float64) for value in (1.2, 3.0, 2.0))
    assert float(completeness_error(total, prediction, baseline)) == pytest.approx(0.2)
    assert float(completeness_error(-total, baseline, prediction)) == pytest.approx(0.2)
    assert not completeness_error(total.requires_grad_(), prediction, baseline).requires_grad


def test_of_a_miss_what_rounding_explains_is_left_out_and_no_more() -> None:
    eps = torch.finfo(torch.float32).eps
    prediction, baseline = torch.tensor([3.0, 3.0]), torch.tensor([1.0, 1.0])
    total = 2.0 + eps * 4 * torch.tensor([31.0, 36.0])  # the allowance is 32 (|f(X)| + |f(R)|) in the last place
    errors = completeness_error(total, prediction, baseline)
    assert errors[0] == 0 and float(errors[1]) == pytest.approx(4 * 4 * eps / 2)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_strand_average_is_the_mean_of_both_strands(name: str, X: torch.Tensor) -> None:
    model, options = Smooth().requires_grad_(False), OPTIONS.get(name, {})
    averaged = make_method(name, rc_average=True, **options).attribute(model, X)
    forward = make_method(name, **options).attribute(model, X)
    reverse = make_method(name, **options).attribute(model, reverse_complement_tensor(X))
    torch.testing.assert_close(averaged.prediction, (forward.prediction + reverse.prediction) / 2)
    expected = (forward.hypothetical + reverse_complement_tensor(reverse.hypothetical)) / 2
    torch.testing.assert_close(averaged.hypothetical, expected)


PROMISES: dict[str, tuple[bool, bool, bool, bool, bool, bool]] = {
    # signed, sums to a difference, shares targets, scores unknown bases, all four bases, may be compiled
    "saliency": (False, False, True, False, True, True),
    "gradient_x_input": (True, False, True, False, True, True),
    "smoothgrad": (True, False, True, False, True, True),
    "integrated_gradients": (True, True, True, False, True, True),
    "expected_gradients": (True, True, True, False, True, True),
    "deeplift_shap": (True, True, True, False, True, False),
    "ism": (True, False, True, True, True, False),
    "tiles": (True, False, True, False, False, False),
    "cam": (True, False, False, False, False, False),
    "grad_cam": (True, False, False, False, False, False),
}
DEFAULTS: dict[str, dict[str, Any]] = {
    "saliency": {"gradient_correction": True},
    "gradient_x_input": {"gradient_correction": True},
    "smoothgrad": {"n_samples": 20, "noise": 0.15, "gradient_correction": True},
    "integrated_gradients": {"n_steps": 50, "baseline": "uniform"},
    "expected_gradients": {"n_references": 50},
    "deeplift_shap": {"n_references": 20, "references": "shuffle"},
    "ism": {},
    "tiles": {"tile": 500, "n_shuffles": 5},
    "cam": {"layer": "input of the global average"},
    "grad_cam": {"layer": "last convolution", "relu": False},
}
PASSES = {  # for a window of 100 bp
    "smoothgrad": 20, "integrated_gradients": 50, "expected_gradients": 100, "deeplift_shap": 20, "ism": 300,
    "tiles": 5,
}  # fmt: skip


@pytest.mark.parametrize("rc_average", [False, True])
@pytest.mark.parametrize("name", sorted(METHODS))
def test_what_methods_promise_and_record(name: str, rc_average: bool) -> None:
    method = make_method(name, rc_average=rc_average)
    kinds = ("signed", "sums_to_difference", "shares_targets", "scores_unknown", "hypothetical", "can_compile")
    assert tuple(getattr(method, kind) for kind in kinds) == PROMISES[name]
    assert method.options == DEFAULTS[name] | ({"rc_average": True} if rc_average else {})
    assert method.n_passes(100) == PASSES.get(name, 1) * (1 + rc_average)
    at_once = {"deeplift_shap": (1, 5), "ism": (1, 1), "tiles": (1, 1)}.get(name, (8, 100))
    assert (method.windows_at_once(8), method.windows_at_once(100)) == at_once


def test_defaults_of_the_functions_are_those_of_the_methods() -> None:
    for name, method in METHODS.items():
        own = inspect.signature(method).parameters
        shared = {key: one.default for key, one in inspect.signature(getattr(methods, name)).parameters.items()}
        own = {key: one.default for key, one in own.items() if key != "allow_incomplete"}  # a function tells its error
        assert own == {key: shared[key] for key in own}


def test_alphas_of_expected_gradients_lie_one_in_each_part_in_any_order(rng: np.random.Generator) -> None:
    X = one_hot_tensor(torch.from_numpy(random_codes(rng, 6, LENGTH)))
    alphas = torch.stack([alpha[:, 0, 0] for _, alpha in _lines(X, 20, seed=0, draw=0)], dim=1)  # (N, 20)
    parts = (alphas * 20).floor().long()
    assert torch.equal(parts.sort(dim=1).values, torch.arange(20).expand(6, 20))
    assert len({tuple(row) for row in parts.tolist()}) == 6, "every window has an order of its own"
    within = alphas * 20 - parts
    assert 0.35 < float(within.mean()) < 0.65 and float(within.std()) > 0.2


def test_only_known_formulas_are_loaded() -> None:
    assert sorted(methods.__all__) == sorted(METHODS)
    with pytest.raises(AttributeError, match="has no attribute 'shap'"):
        methods.shap  # noqa: B018


def test_options_are_checked() -> None:
    check_option("n", 1)
    check_option("kind", "a", ("a", "b"))
    with pytest.raises(MethodError, match="kind: got 'c', expected one of a, b"):
        check_option("kind", "c", ("a", "b"))


def test_one_target_takes_one_number_a_window(X: torch.Tensor) -> None:
    assert OneTarget(lambda X: X.sum((1, 2)))(X).shape == (3, 1)
