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


class Ending(nn.Module):
    """A body with an end that TorchScript can compile, chosen by settings of the model."""

    def __init__(self, end: str, is_on: bool = True) -> None:
        super().__init__()
        self.body, self.end, self.is_on = Body(3), end, is_on

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        z = self.body(X)
        if self.end == "sigmoid":
            z = torch.sigmoid(z) if self.is_on else z
        elif self.end == "softmax":
            z = functional.softmax(z, dim=1)
        elif self.end == "log_softmax":
            z = functional.log_softmax(z, dim=-1)
        elif self.end == "exp":
            z = torch.exp(z)
        elif self.end == "one of softmax":
            z = functional.softmax(z, dim=1)[:, 0]
        elif self.end == "one of log_softmax":
            z = functional.log_softmax(z, dim=1)[:, 0]
        elif self.end == "contrast":
            z = torch.sigmoid(z[:, 0] - z[:, 1])
        elif self.end == "log-odds":
            p = functional.log_softmax(z, dim=1)
            z = p[:, 0] - p[:, 1]
        return z


ENDINGS = {  # end: space, and what is read for target 0, from the body's z (N, 3)
    "sigmoid": ("logit", lambda z: z[:, 0]),
    "softmax": ("logit", lambda z: z[:, 0]),
    "log_softmax": ("logit", lambda z: z[:, 0]),
    "exp": ("log", lambda z: z[:, 0]),
    "one of softmax": ("log", lambda z: z.log_softmax(1)[:, 0]),
    "one of log_softmax": ("log", lambda z: z.log_softmax(1)[:, 0]),
    "contrast": ("logit", lambda z: z[:, 0] - z[:, 1]),
    "log-odds": ("linear", lambda z: z[:, 0] - z[:, 1]),
}
FORMS = {
    "eager": lambda module: module,
    "scripted": torch.jit.script,
    "traced": lambda module: torch.jit.trace(module, random_X(3), check_trace=False),
    "frozen": lambda module: torch.jit.freeze(torch.jit.script(module)),
    "exported": lambda module: torch.export.export(
        module, (random_X(3),), dynamic_shapes={"X": {0: torch.export.Dim("n")}}
    ).module(),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TorchScript
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("end", ENDINGS)
def test_one_rule_for_all_forms_of_a_model(end: str, form: str) -> None:
    if form == "exported" and end not in ("sigmoid", "one of softmax"):
        pytest.skip("an export is Python, as the eager model is, and takes its time")
    module = Ending(end).eval()
    space, expected = ENDINGS[end]
    made = FORMS[form](module)
    X = random_X(4, seed=3).requires_grad_()
    for _ in range(3):  # TorchScript recompiles itself over its first runs: what is read does not depend on the past
        made(X.detach())
    model = wrap(made, input_length=LENGTH)
    assert model.output_space == space
    (wanted,) = torch.autograd.grad(expected(module.body(X)).sum(), X)
    for _ in range(3):
        values = model(X)
        torch.testing.assert_close(values, expected(module.body(X)), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(torch.autograd.grad(values.sum(), X)[0], wanted, rtol=1e-4, atol=1e-5)
    natural = made(X.detach())
    torch.testing.assert_close(model.predict(X), natural if natural.ndim == 1 else natural[:, 0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_setting_of_a_script_decides_how_it_ends() -> None:
    models = [wrap(torch.jit.script(Ending("sigmoid", is_on).eval()), input_length=LENGTH) for is_on in (True, False)]
    assert [model.output_space for model in models] == ["logit", "linear"]
    torch.testing.assert_close(models[0](random_X(2)), models[1](random_X(2)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_script_in_another_module_is_inverted() -> None:
    eager = SigmoidEnd(2).eval()
    X = random_X(4, seed=3)
    model = wrap(nn.Sequential(torch.jit.script(eager)), input_length=LENGTH, target=1)
    assert model.output_space == "logit" and model.terminal is not None and model.terminal.is_opaque
    torch.testing.assert_close(model(X), eager.body(X)[:, 1], rtol=1e-4, atol=1e-5)


def test_what_is_read_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="seqsal"):
        wrap(Ending("one of softmax").eval(), input_length=LENGTH)
        wrap(Ending("sigmoid").eval(), input_length=LENGTH)
    assert [record.getMessage() for record in caplog.records] == [
        "model: ends in some classes of a softmax; the log-probability is attributed (output space log; 'linear' takes "
        "the output as it is)",
        "model: ends in sigmoid; the value before it is attributed (output space logit; 'linear' takes the output as "
        "it is)",
    ]


def test_the_end_of_a_model_without_a_gradient_is_seen() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(4, 1)

        def forward(self, X: torch.Tensor) -> torch.Tensor:
            return torch.sigmoid(self.table(X.argmax(1)).sum(1))

    module = Tokens().requires_grad_(False)
    _, terminal = find_terminal(module, random_X(2).requires_grad_())
    assert terminal is not None and terminal.kind == "sigmoid" and not terminal.is_opaque


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
