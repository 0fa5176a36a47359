"""Averaged gradients against closed forms, captum, and slow sums."""

from __future__ import annotations

import captum.attr
import numpy as np
import pytest
import torch
from toys import Linear, Small, random_codes

from seqsal.attribution.compute import made_ahead, read_ahead
from seqsal.attribution.methods import paths
from seqsal.attribution.methods.base import completeness_error, project
from seqsal.attribution.methods.paths import integrated_gradients, shuffled_references
from seqsal.attribution.methods.registry import METHODS, make_method
from seqsal.errors import MethodError
from seqsal.sequence.codes import codes_from_one_hot
from seqsal.sequence.draws import dinucleotide_shuffle, draw_number
from seqsal.sequence.tensors import one_hot_tensor

N_WINDOWS = 5


def windows(rng: np.random.Generator, length: int = 40, share_unknown: float = 0.05) -> torch.Tensor:
    return one_hot_tensor(torch.from_numpy(random_codes(rng, N_WINDOWS, length, share_unknown)))


def test_smoothgrad_without_noise_is_the_gradient(rng: np.random.Generator) -> None:
    X, model = windows(rng), Small().eval()
    for correction in (True, False):
        smooth = make_method("smoothgrad", noise=0.0, n_samples=3, gradient_correction=correction)
        plain = make_method("gradient_x_input", gradient_correction=correction)
        torch.testing.assert_close(smooth.attribute(model, X).hypothetical, plain.attribute(model, X).hypothetical)


def test_smoothgrad_of_a_quadratic_has_a_known_mean(rng: np.random.Generator) -> None:
    """∂/∂x Σ x² at x + σ ε is 2 x + 2 σ ε, whose mean over samples tends to 2 x."""
    X = windows(rng, share_unknown=0)
    method = make_method("smoothgrad", noise=0.5, n_samples=400, gradient_correction=False)
    scores = method.attribute(lambda X: (X**2).sum((1, 2)), X)
    assert (scores.hypothetical - 2 * X).abs().max() < 5 * 2 * 0.5 / 20
    torch.testing.assert_close(scores.prediction, (X**2).sum((1, 2)))


@pytest.mark.parametrize("name", ["integrated_gradients", "expected_gradients"])
def test_linear_model_gives_weights_relative_to_the_reference(rng: np.random.Generator, name: str) -> None:
    weight = torch.from_numpy(rng.normal(size=(4, 40)).astype(np.float32))
    X, model = windows(rng), Linear(weight)
    scores = make_method(name).attribute(model, X)
    if name == "integrated_gradients":
        known = X.sum(1)
        expected = ((weight - weight.mean(0)) * X).sum(1) * known
    else:
        references = torch.stack(list(shuffled_references(X, 50, seed=0)))
        expected = ((weight * X).sum(1) - (weight * references).sum(2).mean(0)) * X.sum(1)
    torch.testing.assert_close(project(scores.hypothetical, X), expected, rtol=1e-4, atol=1e-5)
    assert scores.completeness_error is not None and scores.completeness_error.max() < 1e-3


@pytest.mark.parametrize("baseline", ["uniform", "zero", "shuffle"])
def test_integrated_gradients_equals_captum(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, baseline: str
) -> None:
    monkeypatch.setattr(paths, "MAX_DOUBLINGS", 0)
    X, model = windows(rng), Small().eval().requires_grad_(False)
    method = make_method("integrated_gradients", baseline=baseline, n_steps=50)
    scores = method.attribute(model, X)
    reference = {
        "uniform": 0.25 * X.sum(1, keepdim=True).expand(X.shape),
        "zero": torch.zeros_like(X),
        "shuffle": next(shuffled_references(X, 1, seed=0)),
    }[baseline]
    theirs = captum.attr.IntegratedGradients(model).attribute(
        X, baselines=reference, n_steps=50, method="gausslegendre"
    )
    known = X.sum(1)
    torch.testing.assert_close(project(scores.hypothetical, X), (theirs.sum(1) * known).float(), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("name", "option", "limit"), [
    ("integrated_gradients", {"n_steps": 200}, 1e-3), ("expected_gradients", {"n_references": 600}, 0.1),
])  # fmt: skip
def test_the_sum_is_the_difference(rng: np.random.Generator, name: str, option: dict[str, int], limit: float) -> None:
    X, model = windows(rng, length=20).double(), Small().eval().double()
    scores = make_method(name, **option).attribute(model, X)
    assert METHODS[name].sums_to_difference
    assert scores.completeness_error is not None
    if name == "integrated_gradients":
        reference = model(0.25 * X.sum(1, keepdim=True).expand(X.shape)).detach()
    else:
        draws = [model(reference).detach() for reference in shuffled_references(X, 600, seed=0)]
        reference = torch.stack(draws).mean(0)
    difference = scores.prediction - reference
    total = project(scores.hypothetical, X).sum(1)
    torch.testing.assert_close(
        scores.completeness_error, (total - difference).abs() / difference.abs(), rtol=1e-2, atol=1e-4
    )
    assert ((total - difference).abs() <= limit * difference.abs().max()).all()


@pytest.mark.parametrize("name", ["smoothgrad", "integrated_gradients", "expected_gradients"])
def test_bases_seed_the_draws_and_batches_do_not(rng: np.random.Generator, name: str) -> None:
    X, model = windows(rng), Small().eval()
    method = make_method(name, seed=3)
    whole = method.attribute(model, X).hypothetical
    parts = torch.cat([method.attribute(model, X[i : i + 2]).hypothetical for i in range(0, 5, 2)])
    torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-7)
    for other in ({"seed": 4}, {"seed": 3, "draw": 1}):
        again = make_method(name, **other).attribute(model, X).hypothetical
        assert torch.equal(whole, again) == (name == "integrated_gradients")


def test_unknown_bases_get_zero(rng: np.random.Generator) -> None:
    X = windows(rng, share_unknown=0.3)
    for name in ("smoothgrad", "integrated_gradients", "expected_gradients", "ism"):
        track = project(make_method(name).attribute(Small().eval(), X).hypothetical, X)
        assert (track[X.sum(1) == 0] == 0).all(), name


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("smoothgrad", {"n_samples": 0}, "n_samples: got 0"),
        ("smoothgrad", {"noise": -1}, "noise: got -1"),
        ("integrated_gradients", {"n_steps": 0}, "n_steps: got 0"),
        ("integrated_gradients", {"baseline": "mean"}, "got 'mean', expected one of uniform, zero, shuffle"),
        ("expected_gradients", {"n_references": 0}, "n_references: got 0"),
        ("ism", {"n_at_once": 0}, "n_at_once: got 0"),
    ],
)
def test_options_out_of_range(name: str, options: dict[str, object], match: str) -> None:
    with pytest.raises(MethodError, match=match):
        make_method(name, **options)


def kinked(X: torch.Tensor) -> torch.Tensor:
    """Rise in the share of A, with two kinks on the way from the uniform reference to 1; linear in the share of C."""
    share = X[:, 0].sum(1) / X.shape[2]
    return 2 * torch.relu(share - 0.4) + torch.relu(share - 0.617) + X[:, 1].sum(1) / X.shape[2]


@pytest.mark.parametrize("create_graph", [False, True])
def test_steps_double_for_the_windows_that_miss_alone(create_graph: bool) -> None:
    codes = np.zeros((5, 12), dtype=np.uint8)
    codes[2:] = 1  # linear on the way
    codes[4, 1:] = 2
    X = one_hot_tensor(torch.from_numpy(codes)).double()
    seen: list[torch.Size] = []

    def f(X: torch.Tensor) -> torch.Tensor:
        seen.append(X.shape)
        return kinked(X)

    scores = integrated_gradients(f, X, n_steps=12, create_graph=create_graph)
    assert scores.completeness_error is not None and scores.completeness_error.max() <= 0.01
    n_windows = [shape[0] for shape in seen]
    assert n_windows == [5] * (2 + 12) + [2] * 24, "f(X), f(R), the steps; and twice the steps where they were too few"
    alone = [integrated_gradients(kinked, X[i : i + 1], n_steps=12) for i in range(5)]
    torch.testing.assert_close(torch.cat([one.hypothetical for one in alone]), scores.hypothetical)
    linear = integrated_gradients(kinked, X[2:], n_steps=1)
    torch.testing.assert_close(scores.hypothetical[2:], linear.hypothetical)


def test_doubling_of_steps_has_an_end() -> None:
    n_calls = 0

    def rough(X: torch.Tensor) -> torch.Tensor:
        """A million kinks: no quadrature is right."""
        nonlocal n_calls
        n_calls += 1
        total = X[:, 0].sum(1)
        return total + torch.sin(1e6 * total) * 10

    X = one_hot_tensor(torch.zeros(1, 7, dtype=torch.uint8)).double()
    scores = integrated_gradients(rough, X, n_steps=3)
    assert scores.completeness_error is not None and scores.completeness_error[0] > 0.01
    assert n_calls == 2 + 3 * (1 + 2 + 4 + 8 + 16)


def test_of_several_targets_only_those_that_miss_go_on() -> None:
    X = one_hot_tensor(torch.zeros(1, 12, dtype=torch.uint8)).double()

    def both(X: torch.Tensor) -> torch.Tensor:
        return torch.stack([kinked(X), X[:, 0, 0] ** 8], dim=1)

    scores = integrated_gradients(both, X, n_steps=12)
    for target in (0, 1):
        alone = integrated_gradients(lambda X, target=target: both(X)[:, target], X, n_steps=12)
        torch.testing.assert_close(scores.hypothetical[:, target], alone.hypothetical)
    plain = integrated_gradients(lambda X: X[:, 0, 0] ** 8, X, n_steps=12)
    assert torch.equal(plain.hypothetical, scores.hypothetical[:, 1]), "it was right at once"


def test_a_reference_of_ones_own(rng: np.random.Generator) -> None:
    X, model = windows(rng), Small().eval()
    R = 0.25 * X.sum(1, keepdim=True).expand(X.shape)
    torch.testing.assert_close(integrated_gradients(model, X, baseline=R), integrated_gradients(model, X))


def test_a_miss_within_rounding_is_no_error():
    prediction, baseline = torch.tensor([1000.0, 1.0, 1.0]), torch.tensor([999.9999, 0.5, 0.5])
    total = torch.tensor([0.0003, 0.45, 0.5])
    assert completeness_error(total, prediction, baseline).tolist() == pytest.approx([0, 0.1, 0], abs=2e-5)


@pytest.mark.parametrize("together", [1, 200, 1 << 19])
def test_references_do_not_depend_on_what_is_drawn_together(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    codes = random_codes(rng, 3, 40, 0.05)
    monkeypatch.setattr(paths, "SHUFFLED_BP", together)
    X = one_hot_tensor(torch.from_numpy(codes))
    for draw, reference in enumerate(shuffled_references(X, 5, seed=7, draw=2)):
        alone = dinucleotide_shuffle(codes, seed=7, draw=draw_number("references", draw, 2))
        assert np.array_equal(codes_from_one_hot(reference.numpy()), alone)


@pytest.mark.parametrize("method", ["expected_gradients", "smoothgrad"])
def test_what_is_made_ahead_for_a_gpu_is_the_same(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    X = one_hot_tensor(torch.from_numpy(random_codes(rng, 3, 40)))
    model = Small().eval()
    expected = make_method(method).attribute(model, X).hypothetical
    monkeypatch.setattr(paths, "made_ahead", lambda items, device: read_ahead(items))
    assert torch.equal(make_method(method).attribute(model, X).hypothetical, expected)
    assert made_ahead(items := iter([1, 2]), torch.device("cpu")) is items
    assert list(made_ahead(items, torch.device("cuda"))) == [1, 2]
