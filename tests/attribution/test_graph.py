"""Traced graphs compute what the model computes, for any number of windows, and say where each operation is."""

import operator

import pytest
import torch
from torch import nn
from toy_operations import LENGTH, OPERATIONS, Toy, toy

import seqsal
from seqsal.attribution.graph import trace
from seqsal.attribution.methods import deeplift_shap
from seqsal.errors import ModelError
from seqsal.models.state import frozen


def windows(n, length=LENGTH, dtype=torch.float64):
    return torch.randn(n, 4, length, dtype=dtype, generator=torch.manual_seed(n))


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_graph_computes_what_the_model_does(name):
    model = toy(name).double()
    graph = trace(model, windows(1))
    for n in (1, 2, 5):
        assert torch.allclose(graph.run(windows(n)), model(windows(n)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["Tensor.relu_", "assignment to a slice", "RMSNorm", "LSTM"])
def test_a_graph_has_no_operation_in_place(name):
    graph = trace(toy(name).double(), windows(1))
    assert [op.name for op in graph.ops if op.name.endswith("_")] == []


def test_operations_know_their_module():
    graph = trace(toy("squeeze and excite").double(), windows(1))
    places = {op.name: op.where for op in graph.ops if op.varies}
    assert places["convolution"] == "stem (Conv1d)"
    assert places["sigmoid"] == "body (_Gate)"
    assert str(next(op for op in graph.ops if op.name == "sigmoid")) == "sigmoid in body (_Gate)"


def test_what_no_base_can_influence_is_computed_once():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(3.0, dtype=torch.float64))
            self.n_calls = 0

        def forward(self, X):
            weights = torch.linspace(0, 1, X.shape[2], dtype=X.dtype).exp() * self.scale
            return (X * weights).sum((1, 2))

    graph = trace(Positions(), windows(1))
    assert [op.name for op in graph.varying] == ["mul", "sum"]


def test_what_only_has_the_shape_of_something_does_not_vary():
    class Masked(nn.Module):
        def forward(self, X):
            return (X * (torch.ones_like(X) + X.new_full(X.shape, 2))).sum((1, 2))

    graph = trace(Masked(), windows(1))
    assert [op.name for op in graph.varying] == ["mul", "sum"]
    assert torch.allclose(graph.run(windows(5)), 3 * windows(5).sum((1, 2)))


def test_sizes_follow_the_number_of_windows():
    class Merged(nn.Module):
        def forward(self, X):
            rows = X.transpose(1, 2).reshape(X.shape[0] * X.shape[2], 4)
            offset = torch.arange(X.shape[0], dtype=X.dtype)
            return rows.view(X.shape[0], -1).sum(1) + 0 * offset

    graph = trace(Merged(), windows(1))
    assert torch.allclose(graph.run(windows(7)), windows(7).sum((1, 2)))
    merged = next(op for op in graph.ops if op.shapes is not None and op.shapes[0] == (2 * LENGTH, 4))
    assert (merged.batch_axis, merged.windows_on_axis) == (0, LENGTH)


def test_results_are_freed_after_their_last_use():
    graph = trace(toy("nn.ReLU").double(), windows(1))
    alive, most = 0, 0

    class Counted:
        def __init__(self):
            nonlocal alive, most
            alive += 1
            most = max(most, alive)

        def __del__(self):
            nonlocal alive
            alive -= 1

    def apply(op, args, kwargs):
        result = op.target(*args, **kwargs)
        if op.target is not operator.getitem:
            result.counted = Counted()
        return result

    graph.run(windows(2), apply)
    assert most <= 3 < len(graph.varying)


class Swish(torch.autograd.Function):
    """A function of autograd in the old style, with a context."""

    @staticmethod
    def forward(ctx, h):
        ctx.save_for_backward(h)
        return h * torch.sigmoid(h)

    @staticmethod
    def backward(ctx, grad):
        (h,) = ctx.saved_tensors
        return grad * torch.sigmoid(h) * (1 + h * (1 - torch.sigmoid(h)))


def filtered(h):
    """A long convolution by Fourier transforms, as Hyena has it."""
    weights = torch.linspace(1, 0, h.shape[-1], dtype=h.dtype)
    n = 2 * h.shape[-1]
    return torch.fft.irfft(torch.fft.rfft(h, n=n) * torch.fft.rfft(weights, n=n), n=n)[..., : h.shape[-1]].relu()


def compiled_part():
    part = nn.Sequential(nn.ReLU(), nn.Conv1d(6, 6, 3, padding=1))
    part.compile()
    return part


FOREIGN = {
    "LSTM in float32": lambda: toy("LSTM"),
    "GRU in float32": lambda: toy("GRU"),
    "traced": lambda: torch.jit.trace(toy("nn.ReLU"), windows(2, dtype=torch.float32), check_trace=False),
    "traced LSTM": lambda: torch.jit.trace(toy("LSTM"), windows(2, dtype=torch.float32), check_trace=False),
    "scripted": lambda: torch.jit.script(Scored()),
    "frozen script": lambda: torch.jit.freeze(torch.jit.script(Scored().eval())),
    "scripted attention": lambda: torch.jit.script(Attentive().eval()),
    "exported": lambda: torch.export.export(
        Scored().eval(), (windows(2, dtype=torch.float32),), dynamic_shapes=({0: torch.export.Dim("n", min=1)},)
    ).module(),
    "autograd.Function": lambda: Toy(Swish.apply),
    "FFT": lambda: Toy(filtered),
    "compiled part": lambda: Toy(compiled_part()),
}


class Scored(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(4, 6, 5, padding=2), nn.ReLU(), nn.Flatten(), nn.Linear(240, 1))

    def forward(self, X):
        return self.layers(X).squeeze(1)


class Attentive(nn.Module):
    """Both of torch's layers of attention, which scripts fuse into one operation where no gradient is asked for."""

    def __init__(self):
        super().__init__()
        self.stem, self.attention = nn.Conv1d(4, 6, 5), nn.MultiheadAttention(6, 2, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoderLayer(6, 2, 12, batch_first=True), nn.Linear(6, 1)

    def forward(self, X):
        h = self.stem(X).mT
        return self.head(self.encoder(self.attention(h, h, h, need_weights=False)[0])).mean((1, 2))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")  # of TorchScript
@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_models_are_read_and_their_contributions_add_up(name):
    """In float32 and as users have them, where a rule is found for each operation."""
    torch.manual_seed(0)
    model = FOREIGN[name]()
    X = nn.functional.one_hot(windows(3).argmax(1), 4).mT.float()
    with frozen(model):
        graph = trace(model, X[:1])
        torch.testing.assert_close(graph.run(X), model(X), rtol=1e-4, atol=1e-5)
        scores = deeplift_shap(model, X, references="uniform")
        difference = model(X) - model(torch.full_like(X, 0.25))
    torch.testing.assert_close(scores.track(X).sum(1), difference, rtol=1e-3, atol=1e-4)


def test_nothing_is_compiled_where_mutants_are_compared_with_float64():
    compiled = []
    part = torch.compile(nn.Linear(80, 4), backend=lambda graph, _: compiled.append(graph) or graph.forward)
    model, X = nn.Sequential(nn.Flatten(), part, nn.Softplus(), nn.Linear(4, 1)), torch.eye(4).repeat(2, 1, 5)
    seqsal.attribute(model, X=X, method="ism", device="cpu")
    assert not compiled


@pytest.mark.parametrize("kept", [0.0, 1.0])  # in part, too, where results no longer fit each other
def test_what_leaves_torch_is_refused(kept):
    class Leaves(nn.Module):
        def forward(self, X):
            left = torch.from_numpy(X.detach().numpy().copy()).exp()
            return (left + kept * X if kept else left).sum((1, 2))

    with pytest.raises(ModelError, match=r"computed outside torch's operations.*: ism, or integrated_gradients where"):
        trace(Leaves(), windows(1))


def test_a_constant_may_be_looked_at():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(3.0))

        def forward(self, X):
            return X.sum((1, 2)) * float(self.scale)

    assert torch.allclose(trace(Scaled(), windows(1)).run(windows(5)), 3 * windows(5).sum((1, 2)))


def test_a_model_that_decides_by_values_is_refused():
    class Decides(nn.Module):
        def forward(self, X):
            return X.sum((1, 2)) if X.sum() > 0 else X.mean((1, 2))

    with pytest.raises(ModelError, match=r"may branch on them; .*: ism, or"):
        trace(Decides(), windows(1))


def test_a_model_that_does_other_things_for_other_batches_is_refused():
    class Varies(nn.Module):
        def forward(self, X):
            return X.sum((1, 2)) if len(X) == 2 else X.exp().sum((1, 2))

    with pytest.raises(ModelError, match="different operations for two windows than for three"):
        trace(Varies(), windows(1))


def test_tracing_leaves_no_hooks_behind():
    model = toy("nn.ReLU").double()
    trace(model, windows(1))
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())
