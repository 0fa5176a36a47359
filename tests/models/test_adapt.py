"""Any module as one scalar per sequence, left as it was."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from nets import LENGTH, Body, Ended, SigmoidEnd, random_X
from torch import nn

from seqsal.errors import ModelError
from seqsal.models.cnn import CNN, CNNConfig
from seqsal.models.sequence_model import wrap

SMALL = {"n_filters": 6, "stem_kernel": 5, "stem_pool": 2, "n_blocks": 2}


@pytest.mark.parametrize("shape", ["(N,)", "(N, 1)", "(N, T)"])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_shapes(shape: str, n: int) -> None:
    body = Body(3 if shape == "(N, T)" else 1)
    module = Ended(body, (lambda z: z[:, 0]) if shape == "(N,)" else (lambda z: z))
    target = 2 if shape == "(N, T)" else 0
    model = wrap(module, target=target, input_length=LENGTH)
    X = random_X(n, seed=4)
    assert model.n_targets == (3 if shape == "(N, T)" else 1)
    torch.testing.assert_close(model(X), body(X)[:, target])


@pytest.mark.parametrize("n_targets", [1, 3])
def test_a_model_that_squeezes_a_batch_of_one(n_targets: int) -> None:
    body = Body(n_targets)
    model = wrap(Ended(body, torch.squeeze), target=n_targets - 1, input_length=LENGTH)
    for n in (1, 2):
        torch.testing.assert_close(model(random_X(n)), body(random_X(n))[:, n_targets - 1])


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (lambda z: z[:, :, None], r"gives shape \(2, 1, 1\) for 2 sequences, expected \(N,\), \(N, 1\) or \(N, T\)"),
        (lambda z: z.mean(), r"gives shape \(\) for 2 sequences"),
        (lambda z: z[:0], r"gives shape \(0, 1\) for 2 sequences"),
        (lambda z: (z, z), r"gives a tuple \(0: \(2, 1\), 1: \(2, 1\)\), expected .*choose one by output: 0, 1"),
        (lambda z: {"logits": z}, r"gives a dict \(logits: \(2, 1\)\), expected .*choose one by output: logits"),
        (lambda z: z * torch.nan, "gives NaN or infinite values for 2 of 2 sequences"),
        (lambda z: z / 0.0, "gives NaN or infinite values"),
        (lambda z: z @ z, r"fails on one-hot input of shape \(2, 4, 30\) \(RuntimeError: "),
    ],
)
def test_bad_outputs(end: Callable[[torch.Tensor], object], message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        wrap(Ended(Body(), end), input_length=LENGTH)
    assert "\n" not in str(caught.value)


def test_wrong_length_is_named() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(4 * 20, 1))
    with pytest.raises(ModelError, match=r"fails on one-hot input of shape \(2, 4, 30\).*length that it was made for"):
        wrap(flat, input_length=30)
    model = wrap(flat, input_length=20)
    with pytest.raises(ModelError, match=r"got shape \(3, 4, 30\), but the model reads \(N, 4, 20\)"):
        model(random_X(3))
    with pytest.raises(ModelError, match=r"got shape \(4, 20\)"):
        model.predict(random_X(1, 20)[0])
    with pytest.raises(ModelError, match="input_length: got 0"):
        wrap(flat, input_length=0)


@pytest.mark.parametrize("target", [-1, 3])
def test_target_out_of_range(target: int) -> None:
    with pytest.raises(ModelError, match=rf"target: {target} is out of range, the model has 3 outputs \(0 to 2\)"):
        wrap(Body(3), target=target, input_length=LENGTH)


def test_unknown_length_is_learnt_from_the_first_sequences() -> None:
    model = wrap(Ended(Body(), torch.sigmoid))
    assert (model.input_length, model.n_targets, model.output_space) == (None, None, "auto")
    with torch.inference_mode():
        scores = model.predict(random_X(1))
    assert scores.shape == (1,)
    assert (model.input_length, model.n_targets, model.output_space) == (LENGTH, 1, "logit")
    with pytest.raises(ModelError, match="got shape"):
        model(random_X(2, LENGTH + 1))
    assert wrap(Body(), target=0)(random_X(2)).requires_grad


def test_length_attribute_of_a_module() -> None:
    body = Body()
    body.input_length = LENGTH
    assert wrap(body).input_length == LENGTH
    assert wrap(body).n_targets == 1


def _mixed_mode() -> nn.Module:
    """A module some of whose parts train and some of whose parameters are fixed."""
    module = nn.Sequential(nn.Conv1d(4, 3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Flatten(), nn.LazyLinear(1))
    module(random_X(2))
    module.train()
    module[1].eval()
    module[0].weight.requires_grad_(False)
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    return module


def _snapshot(module: nn.Module) -> list[object]:
    state = [value.clone().tolist() for value in module.state_dict().values()]
    flags = [(p.requires_grad, p.grad.tolist(), p.device) for p in module.parameters()]
    return [state, flags, [m.training for m in module.modules()]]


@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
def test_the_caller_finds_everything_as_it_was() -> None:
    module = _mixed_mode()
    before = _snapshot(module)
    rng = torch.get_rng_state()
    model = wrap(module, input_length=LENGTH)
    model.predict(random_X(3))
    with model.frozen():
        X = random_X(3).requires_grad_()
        model(X).sum().backward()
        assert not any(p.requires_grad for p in module.parameters())
        assert not any(m.training for m in module.modules())
    assert _snapshot(module) == before
    assert torch.equal(torch.get_rng_state(), rng)
    with pytest.raises(ZeroDivisionError), model.frozen():
        raise ZeroDivisionError
    assert _snapshot(module) == before


def test_a_failed_probe_leaves_everything_as_it_was() -> None:
    module = Ended(Body(), lambda z: z * torch.nan).train()
    with pytest.raises(ModelError):
        wrap(module, input_length=LENGTH)
    assert all(m.training for m in module.modules())
    assert all(p.requires_grad and p.grad is None for p in module.parameters())


def test_predict_checks_values_and_evaluates() -> None:
    class Fragile(Body):
        def forward(self, X: torch.Tensor) -> torch.Tensor:
            return super().forward(X) / (X.sum(dim=(1, 2))[:, None] > 0)

    model = wrap(Fragile(), input_length=LENGTH)
    X = random_X(3)
    X[1] = 0
    with pytest.raises(ModelError, match="gives NaN or infinite values for 1 of 3 sequences"):
        model.predict(X)


@pytest.mark.parametrize(
    ("loss", "space", "natural"),
    [("binary", "logit", "probability"), ("count", "log", "count"), ("regression", "linear", "linear")],
)
def test_built_in_model(loss: str, space: str, natural: str) -> None:
    torch.manual_seed(0)
    cnn = CNN(CNNConfig(LENGTH, n_targets=2, loss=loss, **SMALL)).eval()
    X = random_X(4)
    raw = cnn(X)[:, 1]
    squash = {"binary": torch.sigmoid, "count": torch.exp, "regression": lambda z: z}[loss]
    model = wrap(cnn, target=1)
    assert (model.output_space, model.input_length, model.n_targets) == (space, LENGTH, 2)
    torch.testing.assert_close(model(X), raw)
    torch.testing.assert_close(model.predict(X), squash(raw).detach())
    torch.testing.assert_close(wrap(cnn, target=1, output_space=natural)(X), squash(raw))
    torch.testing.assert_close(wrap(cnn, target=1, output_space="linear")(X), raw)
    with pytest.raises(ModelError, match="input_length: 31 bp asked of a model made for 30 bp"):
        wrap(cnn, input_length=31)


def test_wrapping_twice_reads_another_target_of_the_same_module() -> None:
    body = Body(3)
    once = wrap(Ended(body, torch.sigmoid), target=0, input_length=LENGTH)
    once.source = {"file": "m.pt"}
    twice = wrap(once, target=2)
    X = random_X(3)
    torch.testing.assert_close(twice(X), body(X)[:, 2])
    assert twice.source == {"file": "m.pt"}
    assert "target=2, n_targets=3, input_length=30, output_space='logit'" in repr(twice)


def test_batch_size_does_not_matter() -> None:
    model = wrap(CNN(CNNConfig(LENGTH, **SMALL)))
    X = random_X(9, seed=7)
    together = model.predict(X)
    alone = torch.cat([model.predict(x[None]) for x in X])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_device_follows_the_model(device: torch.device) -> None:
    model = wrap(SigmoidEnd().to(device), input_length=LENGTH)
    assert model.device.type == device.type
    assert model(random_X(2).to(device)).device.type == device.type
    assert wrap(nn.Flatten()).device == torch.device("cpu")
