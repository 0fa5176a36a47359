"""The value before a terminal function, against the body that the function was put on."""

from __future__ import annotations

import pytest
import torch
from nets import LENGTH, Body, Ended, SigmoidEnd, random_X
from torch import nn
from torch.nn import functional

from seqsal.errors import ModelError
from seqsal.models.output_space import Bypass, Terminal, find_terminal, invert, resolve_space
from seqsal.models.sequence_model import wrap

SIGMOIDS = {
    "torch": torch.sigmoid,
    "method": lambda z: z.sigmoid(),
    "functional": functional.sigmoid,
    "module": nn.Sigmoid(),
    "in place": lambda z: (z * 1).sigmoid_(),
    "special": torch.special.expit,
    "nested": nn.Sequential(nn.Identity(), nn.Sequential(nn.Sigmoid())),
    "then moved": lambda z: torch.sigmoid(z).unsqueeze(1).transpose(1, 2).squeeze(-1).clone()[:, :],
    "then copied": lambda z: torch.sigmoid(z).double().float(),
    "by column": lambda z: torch.cat([torch.sigmoid(z[:, :1]), torch.sigmoid(z[:, 1:])], dim=1),
    "stacked": lambda z: torch.stack([column.sigmoid() for column in z.unbind(1)], dim=1),
}


@pytest.mark.parametrize("name", SIGMOIDS)
@pytest.mark.parametrize("target", [0, 2])
def test_auto_reads_the_logit_however_the_sigmoid_is_called(name: str, target: int) -> None:
    body = Body(3)
    model = wrap(Ended(body, SIGMOIDS[name]), target=target, input_length=LENGTH)
    X = random_X(5, seed=1)
    assert model.output_space == "logit"
    torch.testing.assert_close(model(X), body(X)[:, target])
    torch.testing.assert_close(model.predict(X), torch.sigmoid(body(X)[:, target]).detach())


@pytest.mark.parametrize(
    ("end", "space", "other"),
    [
        (nn.Softmax(dim=1), "logit", "probability"),
        (lambda z: z.softmax(-1), "logit", "probability"),
        (lambda z: functional.softmax(input=z, dim=1), "logit", "probability"),
        (nn.LogSoftmax(dim=1), "logit", "log"),
        (torch.exp, "log", "count"),
        (lambda z: z.exp(), "log", "count"),
    ],
)
def test_softmax_and_exp(end: nn.Module, space: str, other: str) -> None:
    body = Body(4)
    X = random_X(3, seed=2)
    raw = wrap(Ended(body, end), target=1, input_length=LENGTH)
    assert raw.output_space == space
    torch.testing.assert_close(raw(X), body(X)[:, 1])
    natural = wrap(Ended(body, end), target=1, input_length=LENGTH, output_space=other)
    assert natural.output_space == other
    torch.testing.assert_close(natural(X), end(body(X))[:, 1])


@pytest.mark.parametrize("end", [nn.Identity(), lambda z: 2 * torch.sigmoid(z), lambda z: torch.sigmoid(z).mean(1)])
def test_no_terminal_function_is_linear(end: nn.Module) -> None:
    body = Body(2)
    model = wrap(Ended(body, end), input_length=LENGTH)
    X = random_X(3)
    assert model.output_space == "linear"
    torch.testing.assert_close(model(X), end(body(X)).reshape(3, -1)[:, 0])


def test_different_ends_in_different_columns_are_left_alone() -> None:
    end = Ended(Body(2), lambda z: torch.cat([torch.sigmoid(z[:, :1]), z[:, 1:]], dim=1))
    assert wrap(end, input_length=LENGTH).output_space == "linear"


def test_gradient_is_that_of_the_logit_even_when_saturated() -> None:
    body = Body()
    with torch.no_grad():
        body.head.bias += 40  # sigmoid is 1 in float32 and its gradient 0
    X = random_X(3).requires_grad_()
    model = wrap(Ended(body, torch.sigmoid), input_length=LENGTH)
    (got,) = torch.autograd.grad(model(X).sum(), X)
    (expected,) = torch.autograd.grad(body(X).sum(), X)
    assert expected.abs().max() > 0
    torch.testing.assert_close(got, expected)


def test_linear_takes_the_output_as_it_is() -> None:
    end = Ended(Body(), torch.sigmoid)
    X = random_X(2)
    model = wrap(end, input_length=LENGTH, output_space="linear")
    assert model.output_space == "linear"
    torch.testing.assert_close(model(X), end(X)[:, 0])


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("target", [0, 1])
def test_torchscript_is_inverted(target: int) -> None:
    eager = SigmoidEnd(2)
    scripted = torch.jit.script(eager)
    X = random_X(4, seed=3)
    model = wrap(scripted, input_length=LENGTH, target=target)
    assert model.output_space == "logit"
    assert model.terminal is not None and model.terminal.is_opaque
    for _ in range(4):  # TorchScript recompiles itself over its first runs
        torch.testing.assert_close(model(X), eager.body(X)[:, target], rtol=1e-4, atol=1e-5)


def test_torch_export_is_bypassed() -> None:
    eager = SigmoidEnd(2).eval()
    batch = torch.export.Dim("batch")
    exported = torch.export.export(eager, (random_X(3),), dynamic_shapes={"X": {0: batch}}).module()
    X = random_X(5, seed=3)
    model = wrap(exported, input_length=LENGTH, target=1)
    assert model.terminal is not None and not model.terminal.is_opaque
    torch.testing.assert_close(model(X), eager.body(X)[:, 1])
    assert not model.predict(X).requires_grad


def test_invert_undoes_what_it_can() -> None:
    z = torch.linspace(-12, 12, 25)
    torch.testing.assert_close(invert(torch.sigmoid(z), "sigmoid"), z, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(invert(torch.exp(z), "exp"), z)
    torch.testing.assert_close(invert(torch.exp(z), "softmax"), z)
    torch.testing.assert_close(invert(z, "log_softmax"), z)
    assert torch.isfinite(invert(torch.tensor([0.0, 1.0]), "sigmoid")).all()
    assert torch.isfinite(invert(torch.tensor([0.0]), "exp")).all()


def test_find_terminal_counts_all_calls_and_finds_the_last() -> None:
    X = random_X(2).requires_grad_()
    output, terminal = find_terminal(Ended(Body(), torch.sigmoid), X)
    # sigmoid, exp and softmax in the body, then the one that ends it
    assert terminal == Terminal("sigmoid", frozenset({3}), 4)
    assert output.shape == (2, 1)


def test_another_path_through_the_model_is_noticed() -> None:
    terminal = Terminal("sigmoid", frozenset({1}), 2)
    with pytest.raises(ModelError, match=r"1 times in this pass but 2 times when probed"), Bypass(terminal):
        torch.sigmoid(torch.zeros(1))


@pytest.mark.parametrize(
    ("requested", "terminal", "expected"),
    [
        ("auto", None, "linear"),
        ("logit", None, "logit"),
        ("auto", Terminal("sigmoid", frozenset({0}), 1), "logit"),
        ("auto", Terminal("softmax"), "log"),
        ("probability", Terminal("softmax", frozenset({0}), 1), "probability"),
        ("count", Terminal("exp", frozenset({0}), 1), "count"),
    ],
)
def test_resolve_space(requested: str, terminal: Terminal | None, expected: str) -> None:
    assert resolve_space(requested, terminal) == expected


def test_unknown_and_contradictory_spaces() -> None:
    with pytest.raises(ModelError, match="output_space: 'odds' is unknown, expected one of auto"):
        wrap(Body(), output_space="odds")
    with pytest.raises(ModelError, match="'log' was asked of a model that ends in sigmoid"):
        wrap(Ended(Body(), torch.sigmoid), input_length=LENGTH, output_space="log")
    with pytest.raises(ModelError, match="'probability' was asked for, but the model gives values from"):
        wrap(Ended(Body(), lambda z: z + 5), input_length=LENGTH, output_space="probability")
