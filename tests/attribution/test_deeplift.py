"""DeepLIFT against its definition, closed forms, and the peers where they are right."""

import warnings

import numpy as np
import pytest
import torch
from captum.attr import DeepLift
from tangermeme.deep_lift_shap import deep_lift_shap
from torch import nn
from toy_operations import LENGTH, OPERATIONS, toy
from toys import Linear, Small, Windows, random_codes

import seqsal
from seqsal.attribution import AttributeOptions, attribute_windows
from seqsal.attribution.methods.base import OneTarget
from seqsal.attribution.methods.contributions import DeepLiftShap, _Plan, blame
from seqsal.attribution.targets import TargetView
from seqsal.errors import MethodError, SeqsalError
from seqsal.sequence.tensors import one_hot_tensor

RIGHT_IN_PEERS = ["nn.ReLU", "nn.ELU", "AvgPool1d(4, stride 3)", "AdaptiveAvgPool1d(7)", "BatchNorm1d"]


def one_hot(n=3, length=LENGTH, dtype=torch.float64, unknown=0.0):
    codes = random_codes(np.random.default_rng(5), n, length, unknown)
    return one_hot_tensor(torch.from_numpy(codes)).to(dtype)


def attribute(model, X, batch_size=8, **options):
    method = DeepLiftShap(**{"n_references": 6, **options})
    method.prepare(model, X[:1], batch_size)
    return method, method.attribute(model, X)


class Column(nn.Module):
    """(N,) → (N, 1), which the peers expect."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, X):
        return self.model(X)[:, None]


@pytest.mark.parametrize("name", OPERATIONS)
def test_contributions_add_up_whatever_the_operation(name):
    X = one_hot()
    _, scores = attribute(toy(name).double(), X)
    assert float(scores.completeness_error.max()) < 1e-10
    assert torch.allclose(scores.prediction, toy(name).double()(X))


@pytest.mark.parametrize("name", ["nn.ReLU", "MaxPool1d(5, stride 2)", "InstanceNorm1d", "MultiheadAttention", "LSTM"])
@pytest.mark.parametrize("batch_size", [1, 4, 6, 7, 100])
def test_batches_do_not_matter(name, batch_size):
    X = one_hot()
    whole = attribute(toy(name).double(), X)[1]
    parts = attribute(toy(name).double(), X, batch_size)[1]
    assert whole.noise is parts.noise is None
    for a, b in zip(whole[:3], parts[:3], strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", RIGHT_IN_PEERS)
def test_hypothetical_contributions_equal_tangermeme(name):
    X, model = one_hot(), toy(name).double()
    method, scores = attribute(model, X)
    R = method.references_of(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = deep_lift_shap(Column(model), X, references=R, hypothetical=True, device="cpu")
    assert torch.allclose(scores.hypothetical, expected, rtol=1e-9)


@pytest.mark.parametrize("name", RIGHT_IN_PEERS)
def test_contributions_equal_captum(name):
    X, model = one_hot(), toy(name).double()
    reference = X.flip(2)
    method = DeepLiftShap(n_references=1)
    method.references_of = lambda X: reference[:, None]
    method.prepare(model, X[:1], 8)
    scores = method.attribute(model, X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = DeepLift(Column(model)).attribute(X.clone().requires_grad_(), reference, target=0)
    # captum multiplies by X − R; at the base that is there that is the contribution less the reference's part
    ours = scores.hypothetical * X
    theirs = expected.detach().sum(1)
    assert torch.allclose(ours.sum((1, 2)), theirs.sum(1))
    assert torch.allclose(ours.sum(1), theirs)


def slow_definition(X, R, weight, bias, head):
    """f = head · relu(w * x + b), one window and reference at a time, from the definition of the rescale rule."""
    h = np.zeros((4, X.shape[1]))
    pad = weight.shape[2] // 2
    padded = [np.pad(value, ((0, 0), (pad, pad))) for value in (X, R)]
    for out in range(weight.shape[0]):
        for start in range(X.shape[1]):
            a, b = ((value[:, start : start + weight.shape[2]] * weight[out]).sum() + bias[out] for value in padded)
            m = float(a > 0) if a == b else (max(a, 0) - max(b, 0)) / (a - b)
            for k in range(weight.shape[2]):
                position = start + k - pad
                if 0 <= position < X.shape[1]:
                    for base in range(4):
                        change = weight[out, base, k] - (weight[out, :, k] * R[:, position]).sum()
                        h[base, position] += head[out, start] * m * change
    return h


def test_a_convolution_and_relu_from_the_definition():
    X = one_hot(2, 14)
    torch.manual_seed(0)
    conv, head = nn.Conv1d(4, 3, 5, padding=2).double(), torch.randn(3, 14, dtype=torch.float64)

    class Model(nn.Module):
        def forward(self, X):
            return (torch.relu(conv(X)) * head).sum((1, 2))

    model = Model()
    method, scores = attribute(model, X, n_references=2)
    R = method.references_of(X)
    arrays = [value.detach().numpy() for value in (conv.weight, conv.bias, head)]
    expected = np.mean(
        [[slow_definition(x, r, *arrays) for x, r in zip(X.numpy(), R[:, k].numpy(), strict=True)] for k in range(2)],
        axis=0,
    )
    np.testing.assert_allclose(scores.hypothetical.numpy(), expected, atol=1e-12)


def test_a_linear_model_gives_its_weights_less_the_references_mean():
    X = one_hot()
    weight = torch.randn(4, LENGTH, dtype=torch.float64)
    method, scores = attribute(Linear(weight).double(), X)
    R = method.references_of(X)
    expected = weight - (R * weight).sum(2, keepdim=True).mean(1)
    assert torch.allclose(scores.hypothetical, expected)


def test_references_are_shuffles_that_depend_on_the_bases():
    X = one_hot(2)
    method = DeepLiftShap(n_references=4, seed=3)
    both = method.references_of(X)
    assert torch.equal(method.references_of(X[1:]), both[1:])
    other = DeepLiftShap(n_references=4, seed=3, draw=1).references_of(X)
    assert not (other == both).flatten(2).all(2).any()
    assert torch.equal(both.sum(3), X.sum(2)[:, None].expand(-1, 4, -1))
    assert len({shuffle.numpy().tobytes() for shuffle in both[0]}) == 4


@pytest.mark.parametrize("references", ["uniform", "zero"])
def test_other_references(references):
    X = one_hot(unknown=0.1)
    method, scores = attribute(toy("nn.ReLU").double(), X, references=references)
    R = method.references_of(X)
    known = X.sum(1, keepdim=True)
    assert torch.allclose(R[:, 0].sum(1, keepdim=True), known * (1.0 if references == "uniform" else 0.0))
    assert float(scores.completeness_error.max()) < 1e-10
    assert method.options == {"n_references": 1, "references": references}


def test_several_targets_from_one_forward_pass():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv1d(4, 5, 7), nn.ReLU(), nn.AdaptiveMaxPool1d(3), nn.Flatten(), nn.Linear(15, 4))
    model = seqsal.wrap(module, input_length=LENGTH)
    X = one_hot(dtype=torch.float32)
    view = TargetView(model.eval().requires_grad_(False), [2, 0], torch.device("cpu"))
    method = DeepLiftShap(n_references=6)
    method.prepare_targets(view, X[:1], 8)
    both = method.attribute_targets(view, X)
    for scores, target in zip(both, [2, 0], strict=True):
        alone = attribute(seqsal.wrap(module, target=target, input_length=LENGTH), X)[1]
        assert torch.allclose(scores.hypothetical, alone.hypothetical, atol=1e-6)
        assert torch.allclose(scores.prediction, alone.prediction)


def test_an_operation_without_a_rule_is_refused_by_name_before_the_work():
    class Sorts(nn.Module):
        def __init__(self):
            super().__init__()
            self.sorter = nn.Module()

        def forward(self, X):
            h = X.sum(1).sort(-1).values
            return torch.where(h > 1, h, 2 * h).sum(1)

    with pytest.raises(MethodError, match=r"no rule for sort, gt, where; use ism, or integrated_gradients"):
        attribute(Sorts(), one_hot())


def test_a_branch_that_is_cut_off_is_blamed():
    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.head = toy("nn.ReLU").double().stem, nn.Linear(6, 1).double()

        def forward(self, X):
            h = torch.relu(self.stem(X))
            return self.head((h * h.softmax(-1).detach()).sum(-1))[:, 0]

    torch.manual_seed(0)
    with pytest.raises(SeqsalError, match="of the error arises in detach"):
        attribute(Cut().requires_grad_(False), one_hot())
    method, scores = attribute(Cut().requires_grad_(False), one_hot(), allow_incomplete=True)
    assert float(scores.completeness_error.max()) > 0.01
    assert "of the error arises in detach" in method.remedy
    assert "integrated_gradients" in method.remedy


def test_blame_finds_nothing_where_everything_adds_up():
    X = one_hot(1)
    model = toy("MultiheadAttention").double()
    plan = _Plan.of(OneTarget(model), X)
    op, _ = blame(plan, X, X.flip(2))
    assert op in plan.graph.varying


def test_the_engine_streams_it(device):
    codes = random_codes(np.random.default_rng(0), 9, 60, 0.03)
    model = seqsal.wrap(Small().eval(), input_length=60)
    attr = attribute_windows(
        model, Windows(codes), AttributeOptions("deeplift_shap", n_controls=4, hypothetical=True), device=device
    )
    assert np.asarray(attr.completeness_error).max() < 1e-2
    assert (np.asarray(attr.track)[codes == 4] == 0).all()
    total = np.asarray(attr.track).sum(1)
    X = one_hot_tensor(torch.from_numpy(codes))
    _, scores = attribute(Small().eval().requires_grad_(False), X, n_references=20)
    np.testing.assert_allclose(np.asarray(attr.track), (scores.hypothetical * X).sum(1).numpy(), atol=1e-5)
    assert np.isfinite(total).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_references": 0}, r"n_references: got 0, expected a whole number above 0"),
        ({"references": "gc"}, r"references: got 'gc', expected shuffle, uniform, zero, or a FASTA or BED file"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(SeqsalError, match=message):
        DeepLiftShap(**options)
