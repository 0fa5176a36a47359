"""How a model is fed and what is read from it: layouts, channels, nested outputs, profiles, further inputs."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from nets import LENGTH, Body, Ended, random_X
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from seqsal.errors import ModelError
from seqsal.models.readout import REDUCTIONS, ExtraInputs, Readout, describe_output
from seqsal.models.sequence_model import wrap

POSITIONS = LENGTH - 4
Pair = namedtuple("Pair", ["profile", "counts"])


class Profile(nn.Module):
    """Logits (N, n_tracks, POSITIONS)."""

    def __init__(self, n_tracks: int = 2) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first = nn.Conv1d(4, 6, 3)
        self.second = nn.Conv1d(6, n_tracks, 3)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return 4 * self.second(torch.relu(self.first(X)))


class Rearranged(nn.Module):
    """A body behind another layout and order of channels."""

    def __init__(self, body: nn.Module, order: str) -> None:
        super().__init__()
        self.body, self.order = body, order

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        rows = [self.order.index(base) for base in "ACGT"]
        return self.body(X.transpose(1, 2)[:, rows])


@pytest.mark.parametrize("order", ["ACGT", "TGCA", "AGCT", "CTAG"])
def test_layout_and_channel_order(order: str) -> None:
    body = Body(2)
    model = wrap(Rearranged(body, order), target=1, input_length=LENGTH, layout="NLC", channel_order=order)
    X = random_X(5, seed=1).requires_grad_()
    torch.testing.assert_close(model(X), body(X)[:, 1])
    (got,) = torch.autograd.grad(model(X).sum(), X)
    (expected,) = torch.autograd.grad(body(X)[:, 1].sum(), X)
    torch.testing.assert_close(got, expected)


def _weighted(logits: torch.Tensor) -> torch.Tensor:
    """Weighted sum of one track's logits (positions,), straight from the definition."""
    z = logits.double() - logits.double().mean()
    weights = z.exp() / z.exp().sum()
    return sum((w.detach() * v for w, v in zip(weights, z, strict=True)), torch.zeros((), dtype=torch.float64))


def _slow(reduce: str, profile: torch.Tensor, target: int) -> torch.Tensor:
    rows = []
    for tracks in profile:
        if reduce == "profile":
            rows.append(sum(_weighted(track) for track in tracks))
        elif reduce == "profile_both":
            rows.append(_weighted(tracks.flatten()))
        elif reduce == "profile_strand":
            rows.append(_weighted(tracks[target]))
        else:
            total = sum(tracks[target].double())
            ways = {"mean": total / len(tracks[target]), "max": max(tracks[target].double())}
            rows.append(ways.get(reduce, total))  # of which all is read, `weighted` is the sum
    return torch.stack(rows).float()


@pytest.mark.parametrize("track_layout", ["NTL", "NLT"])
@pytest.mark.parametrize("reduce", [one for one in REDUCTIONS if one != "log_sum"])  # which logits below 0 lack
def test_reductions_against_their_definitions(reduce: str, track_layout: str) -> None:
    body = Profile(3)
    module = body if track_layout == "NTL" else Ended(body, lambda z: z.transpose(1, 2))
    target = 0 if reduce in ("profile", "profile_both") else 2
    model = wrap(module, input_length=LENGTH, reduce=reduce, track_layout=track_layout, target=target)
    assert model.n_targets == (3 if target else 1)
    for n in (1, 4):
        X = random_X(n, seed=2).requires_grad_()
        torch.testing.assert_close(model(X), _slow(reduce, body(X), target), rtol=1e-5, atol=1e-5)
        (got,) = torch.autograd.grad(model(X).sum(), X)
        (expected,) = torch.autograd.grad(_slow(reduce, body(X), target).sum(), X)
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("end", [lambda z: z[:, 0], torch.squeeze, lambda z: z[:, :1]])
@pytest.mark.parametrize("n", [1, 3])
def test_profile_of_one_track_in_any_shape(end: Callable[[torch.Tensor], torch.Tensor], n: int) -> None:
    body = Profile(1)
    model = wrap(Ended(body, end), input_length=LENGTH, reduce="sum")
    X = random_X(n)
    torch.testing.assert_close(model(X), body(X).sum(dim=(1, 2)))


def test_a_model_that_squeezes_a_batch_of_one_profile() -> None:
    body = Profile(3)
    model = wrap(Ended(body, torch.squeeze), input_length=LENGTH, reduce="sum", target=1)
    X = random_X(1)
    torch.testing.assert_close(model(X), body(X)[:, 1].sum(dim=-1))


@dataclass
class Answers:
    """What models of language give, as a rule: an object with parts that may be missing."""

    logits: torch.Tensor
    hidden: torch.Tensor
    loss: torch.Tensor | None = None


OUTPUTS: list[tuple[Callable[[torch.Tensor], Any], int | str]] = [
    (lambda z: (z * 2, z), 1),
    (lambda z: (z * 2, z), "1"),
    (lambda z: [z * 2, z * 3, z], -1),
    (lambda z: {"other": z * 2, "human": z}, "human"),
    (lambda z: {"heads": [z * 2, {"human": z}]}, "heads.1.human"),
    (lambda z: {"Oct4.counts": z, "Oct4": {"counts": z * 2}}, "Oct4.counts"),
    (lambda z: {0: z * 2, 1: z}, 1),
    (lambda z: Pair(z * 2, z), "counts"),
    (lambda z: Pair(z * 2, z), 1),
    (lambda z: Answers(z, z * 2), "logits"),
]


@pytest.mark.parametrize(("end", "output"), OUTPUTS)
@pytest.mark.parametrize("squash", [nn.Identity(), torch.sigmoid])
def test_one_of_many_outputs(end: Callable[..., Any], output: int | str, squash: Callable[..., Any]) -> None:
    body = Body(3)
    model = wrap(Ended(body, lambda z: end(squash(z))), output=output, target=2, input_length=LENGTH)
    X = random_X(3, seed=5)
    torch.testing.assert_close(model.predict(X), squash(body(X))[:, 2].detach())
    # a value that is doubled beside it does not hide the sigmoid of the one that is read
    assert model.output_space == ("linear" if isinstance(squash, nn.Identity) else "logit")
    torch.testing.assert_close(model(X), body(X)[:, 2])
    for targets in ([0], [2, 0], [1, 1, 2]):
        torch.testing.assert_close(model.columns(X, targets), body(X)[:, targets])


@pytest.mark.parametrize(
    ("end", "output", "message"),
    [
        (lambda z: (z, z), 2, r"output: '2' is not in what the model gives, a tuple \(0: \(2, 1\), 1: \(2, 1\)\)"),
        (lambda z: {"a": z}, "b", r"output: 'b' is not in .* a dict \(a: \(2, 1\)\); choose one of its parts: a"),
        (lambda z: z, "b", r"output: 'b' is not in what the model gives, \(2, 1\); leave output out"),
        (lambda z: {"a": (z, z)}, "a", r"gives a tuple .*choose one by output: a.0, a.1"),
        (lambda z: {"a": None}, "a", r"gives a NoneType, expected a tensor.*wrap it in a module"),
        (
            lambda z: Answers(z, z),
            None,
            r"gives an Answers \(logits: \(2, 1\), hidden: .*output: logits, hidden",
        ),
        (lambda z: Answers(z, z), "logit", r"output: 'logit' is not in .*; choose one of its parts: logits, hidden"),
    ],
)
def test_outputs_that_are_not_there(end: Callable[..., Any], output: int | str | None, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        wrap(Ended(Body(), end), output=output, input_length=LENGTH)


def test_columns_are_what_forward_gives_for_each_target() -> None:
    module = Ended(Body(4), lambda z: z.softmax(dim=1))
    X = random_X(3)
    model = wrap(module, input_length=LENGTH)
    each = torch.stack([wrap(module, input_length=LENGTH, target=t)(X) for t in (3, 1)], dim=1)
    torch.testing.assert_close(model.columns(X, (3, 1)), each)
    assert model.columns(X, [0]).requires_grad
    with pytest.raises(ModelError, match=r"target: 4 is out of range, the model has 4 outputs \(0 to 3\)"):
        model.columns(X, [0, 4])
    unprobed = wrap(module)
    torch.testing.assert_close(unprobed.columns(X, (3, 1)), each)


@pytest.mark.parametrize("reduce", ["sum", "mean", "profile", "profile_strand"])
@pytest.mark.parametrize("end", [torch.sigmoid, torch.exp, lambda z: z.softmax(dim=-1), lambda z: z.log_softmax(-1)])
def test_what_is_reduced_is_the_value_before_the_terminal_function(
    reduce: str, end: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    body = Profile(2)
    X = random_X(3)
    model = wrap(Ended(body, end), input_length=LENGTH, reduce=reduce)
    assert model.output_space in ("logit", "log")
    torch.testing.assert_close(model(X), wrap(body, input_length=LENGTH, reduce=reduce)(X))


def test_the_space_after_the_terminal_function_can_be_reduced_when_asked() -> None:
    body = Profile(2)
    X = random_X(3)
    module = Ended(body, torch.sigmoid)
    model = wrap(module, input_length=LENGTH, reduce="sum", target=1, output_space="probability")
    torch.testing.assert_close(model(X), module(X)[:, 1].sum(dim=-1))
    auto = wrap(module, input_length=LENGTH, reduce="sum", target=1)
    torch.testing.assert_close(auto.predict(X), module(X)[:, 1].sum(dim=-1).detach())
    values = auto(X).detach().double().numpy()
    assert (auto.natural(values) == values).all()  # the positions' probabilities are not in their summed logits
    with pytest.raises(
        ModelError, match=r"output_space: 'probability' is after the sigmoid .* reduce='profile' weighs"
    ):
        wrap(module, input_length=LENGTH, reduce="profile", output_space="probability")


def test_profile_needs_reducing_and_says_how() -> None:
    message = r"gives shape \(2, 2, 26\) .*reduce the profile by reduce='sum', 'mean' or .*'profile'"
    with pytest.raises(ModelError, match=message):
        wrap(Profile(2), input_length=LENGTH)
    with pytest.raises(ModelError, match=r"gives shape \(2,\) .*expected \(N, tracks, positions\) or \(N, positions\)"):
        wrap(Ended(Profile(2), lambda z: z.sum(dim=(1, 2))), input_length=LENGTH, reduce="sum")
    with pytest.raises(ModelError, match=r"gives shape \(2, 2, 0\) .*give longer windows"):
        wrap(Ended(Profile(2), lambda z: z[..., 26:]), input_length=LENGTH, reduce="sum")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layout": "LNC"}, "layout: got 'LNC', expected one of NCL, NLC"),
        ({"track_layout": "TNL"}, "track_layout: got 'TNL', expected one of NTL, NLT"),
        (
            {"reduce": "most"},
            "reduce: got 'most', expected one of sum, mean, max, log_sum, weighted, profile, profile_both",
        ),
        ({"channel_order": "ACG"}, "channel_order: got 'ACG', expected the letters A, C, G and T"),
        ({"channel_order": "ACGU"}, "channel_order: got 'ACGU'"),
        ({"extra_inputs": torch.zeros(2)}, "extra_inputs: got a Tensor, expected a tuple .* or a dict"),
        ({"extra_inputs": 3}, "extra_inputs: got an int, expected a tuple"),
    ],
)
def test_unknown_choices(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        wrap(Body(), **given)


class WithContext(nn.Module):
    """A body whose output is scaled per cell type and shifted by a track, with a switch."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Body(2)

    def forward(self, X: torch.Tensor, scale: torch.Tensor, track: torch.Tensor, flip: bool = False) -> torch.Tensor:
        assert len(scale) == len(track) == len(X)
        sign = -1 if flip else 1
        return sign * (self.body(X) * scale + track.mean(dim=(1, 2))[:, None])


@pytest.mark.parametrize("batch_axis", [True, False])
@pytest.mark.parametrize("named", [True, False])
def test_extra_inputs_are_repeated_along_the_batch(batch_axis: bool, named: bool) -> None:
    module = WithContext()
    scale, track = torch.tensor([2.0, 3.0]), torch.arange(12.0).reshape(3, 4)
    given = [scale[None], track[None], True] if batch_axis else [scale, track, True]
    extra = dict(zip(("scale", "track", "flip"), given, strict=True)) if named else tuple(given)
    model = wrap(module, input_length=LENGTH, extra_inputs=extra, target=1)
    for n in (1, 2, 5):
        X = random_X(n)
        expected = -(module.body(X)[:, 1] * 3 + 5.5)
        torch.testing.assert_close(model(X), expected)
    again = wrap(model, target=0)
    torch.testing.assert_close(again(X), -(module.body(X)[:, 0] * 2 + 5.5))


def test_extra_inputs_follow_the_model_to_its_device_and_into_the_record(device: torch.device) -> None:
    model = wrap(WithContext(), extra_inputs={"scale": torch.ones(2), "track": torch.ones(1, 3, 4)}).to(device)
    assert model(random_X(2).to(device)).device.type == device.type
    lines = model.reading["extra_inputs"]
    assert [line.split(" sha256 ")[0] for line in lines] == [
        "scale: (1, 2) torch.float32", "track: (1, 3, 4) torch.float32",
    ]  # fmt: skip
    other = ExtraInputs({"scale": 2 * torch.ones(2), "mode": "a"}).describe()
    assert other[0] != lines[0] and other[1] == "mode: 'a'"
    assert "extra_inputs" not in wrap(Body()).reading


def test_wrapping_again_keeps_what_is_not_given_anew() -> None:
    module = Ended(Profile(3), lambda z: {"a": z.transpose(1, 2), "b": z * 2})
    once = wrap(module, input_length=LENGTH, output="a", reduce="mean", track_layout="NLT", channel_order="TGCA")
    twice = wrap(once, target=2, reduce="sum")
    assert twice.readout == Readout("NCL", "TGCA", "a", "sum", "NLT")
    X = random_X(2)
    torch.testing.assert_close(twice(X), module.body(X.flip(1))[:, 2].sum(dim=-1))
    assert once.reading == {
        "layout": "NCL", "channel_order": "TGCA", "output": "a", "reduce": "mean", "track_layout": "NLT",
    }  # fmt: skip


def test_describe_output() -> None:
    z = torch.zeros(2, 1)
    assert describe_output((z, None)) == "a tuple (0: (2, 1), 1: NoneType)"
    assert describe_output(dict.fromkeys("abcdefgh", z)).endswith("f: (2, 1), …)")
    assert describe_output(3) == "an int"


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_with_several_outputs() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = Body(2)

        def forward(self, X: torch.Tensor) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
            z = self.body(X)
            return {"raw": (z * 2, z), "squashed": (z * 2, torch.sigmoid(z))}

    eager = Heads()
    scripted = torch.jit.script(eager)
    X = random_X(3)
    for path, space in (("raw.1", "linear"), ("squashed.1", "logit"), ("squashed.-1", "logit"), ("raw.0", "linear")):
        model = wrap(scripted, output=path, input_length=LENGTH, target=1)
        assert model.output_space == space, path
        factor = 2 if path == "raw.0" else 1
        torch.testing.assert_close(model(X), factor * eager.body(X)[:, 1], rtol=1e-4, atol=1e-5)


def test_torch_export_with_several_outputs() -> None:
    eager = Ended(Profile(2).eval(), lambda z: {"profile": z.transpose(1, 2), "counts": (z.logsumexp(-1).sigmoid(),)})
    batch = torch.export.Dim("batch")
    exported = torch.export.export(eager, (random_X(3),), dynamic_shapes={"X": {0: batch}}).module()
    X = random_X(5)
    counts = wrap(exported, output="counts.0", target=1, input_length=LENGTH)
    assert counts.output_space == "logit"
    torch.testing.assert_close(counts(X), eager.body(X).logsumexp(-1)[:, 1])
    profile = wrap(exported, output="profile", reduce="profile", track_layout="NLT", input_length=LENGTH)
    torch.testing.assert_close(profile(X), wrap(eager.body, reduce="profile", input_length=LENGTH)(X))


@pytest.mark.parametrize("reduce", [None, *REDUCTIONS])
@pytest.mark.parametrize("n", [2, 3])
def test_forward_can_be_traced(reduce: str | None, n: int) -> None:
    body = Rearranged(Profile(3) if reduce else Body(3), "TGCA")
    module = Ended(body, lambda z: (z, torch.sigmoid(z)))
    space = "linear" if reduce == "log_sum" else "auto"
    how = {"layout": "NLC", "channel_order": "TGCA", "reduce": reduce, "output_space": space}
    model = wrap(module, output=1, input_length=LENGTH, **how)
    with model.frozen():
        graph = make_fx(model)(random_X(n))
        X = random_X(n, seed=9)
        torch.testing.assert_close(graph(X), model(X))
