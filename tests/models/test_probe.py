"""Models that cannot be explained are refused at once, in one line, with the cure; nothing of theirs changes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from nets import LENGTH, Body, Ended, SigmoidEnd, random_X
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import seqsal
from seqsal.errors import ModelError
from seqsal.models.cnn import CNN, CNNConfig
from seqsal.models.load import load_model
from seqsal.models.probe import random_sequences
from seqsal.models.sequence_model import wrap


class Indices(nn.Module):
    """Reads base indices (N, L)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        return self.embedding(codes).mean(dim=(1, 2))


class IntegerOneHot(nn.Module):
    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return functional.one_hot(X.argmax(dim=1) + X.bitwise_and(1).sum(dim=1), 9).float().mean(dim=(1, 2))


class Renormalised(nn.Module):
    """Normalises with the statistics of the batch even in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6)
        self.convolution = nn.Conv1d(4, 6, 5)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        h = self.convolution(X)
        h = functional.batch_norm(h, self.norm.running_mean, self.norm.running_var, training=True)
        return torch.relu(h).mean(dim=(1, 2))


class OneAtATime(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = Body()

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return self.body(X.reshape(1, 4, LENGTH))


class LastBases(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.head(X)).mean(dim=1)


class Attentive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv1d(4, 6, 5), nn.Linear(6, 1)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        h = self.stem(X).mT
        return self.head(self.attention(h, h, h, need_weights=False)[0].mean(1))


class Fed(nn.Module):
    """A body that is fed in a way of its own."""

    def __init__(self, feed: Callable[[nn.Module, Any], torch.Tensor]) -> None:
        super().__init__()
        self.body, self.feed = Body(), feed

    def forward(self, given: Any) -> torch.Tensor:
        return self.feed(self.body, given)


def quantised() -> nn.Module:
    module = nn.Sequential(nn.Flatten(), nn.Linear(4 * LENGTH, 8), nn.ReLU(), nn.Linear(8, 1))
    return torch.ao.quantization.quantize_dynamic(module, {nn.Linear})


NO_GRADIENT: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "detached": (lambda: Ended(Body(), lambda z: z.detach()), "does not depend differentiably on its input"),
    "argmax": (
        lambda: Ended(Body(3), lambda z: functional.one_hot(z.argmax(dim=1), 3).float()),
        "does not depend differentiably on its input",
    ),
    "tokens": (lambda: Fed(lambda body, X: body(functional.one_hot(X.argmax(1), 4).mT.float())), "as by argmax"),
    "rounded": (
        lambda: Ended(Body(), lambda z: (1000 * z).round()),
        r"changes with the sequence but its gradient is 0 everywhere \(round, sign",
    ),
    "classes": (lambda: Ended(Body(3), lambda z: z.argmax(dim=1)), "made of integers, as by argmax"),
    "counts": (lambda: Ended(Body(), lambda z: (1000 * z).long()), "made of integers, as by argmax"),
    "booleans": (lambda: Ended(Body(), lambda z: z > 0), "made of integers, as by argmax"),
    "square root of 0": (
        lambda: Ended(Body(), lambda z: (z - z.detach()).abs().sqrt() + z),
        r"gradient on one-hot input is NaN or infinite \(a square root",
    ),
    "a constant": (
        lambda: Ended(Body(), lambda z: torch.ones(len(z), requires_grad=True) * 2),
        "does not depend differentiably on its input",
    ),
    "quantised": (quantised, "quantised"),
    "quantised, scripted": (lambda: torch.jit.script(quantised()), "quantised"),
    "attention traced under no_grad": (
        lambda: torch.no_grad()(torch.jit.trace)(Attentive().eval(), random_X(2)),
        r"trace it outside, by torch.jit.trace\(model, X, check_trace=False\)",
    ),
    "reentrant checkpoint": (
        lambda: Fed(lambda body, X: checkpoint(body, X, use_reentrant=True)),
        "give use_reentrant=False",
    ),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of quantisation and checkpoints
@pytest.mark.parametrize("name", NO_GRADIENT)
def test_a_model_without_a_gradient_is_scored_and_mutated(name: str) -> None:
    make, message = NO_GRADIENT[name]
    torch.manual_seed(1)
    module, X = make().eval(), random_X(2)

    def alone(X: torch.Tensor) -> torch.Tensor:
        """Score windows one at a time, which is what each is worth where the batch sets the scale of 8 bits."""
        return torch.cat([module(x[None]).reshape(-1)[:1] for x in X]).detach().double()

    scores = seqsal.score(module, X=X, device="cpu")
    np.testing.assert_allclose(scores["prediction"], alone(X), rtol=1e-5)
    mutated = X.clone()
    mutated[0, :, 3] = mutated[0].roll(1, 0)[:, 3]
    found = seqsal.attribute(module, X=X, method="ism", device="cpu").hypothetical[0, :, 3]
    base, other = X[0, :, 3].argmax(), mutated[0, :, 3].argmax()
    effect = (alone(mutated) - alone(X))[0].item()
    np.testing.assert_allclose(found[other] - found[base], effect, atol=1e-5)
    for method in ("gradient_x_input", "integrated_gradients", "deeplift_shap", "grad_cam"):
        with pytest.raises(ModelError, match=f"{message}.*; {method} needs the gradient, while ism and score work"):
            seqsal.attribute(module, X=X, method=method, device="cpu")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_attention_that_was_traced_outside_of_no_grad_has_its_gradient() -> None:
    torch.manual_seed(0)
    module, X = Attentive().eval(), random_X(2)
    traced = torch.jit.trace(module, X, check_trace=False)
    for method in ("gradient_x_input", "deeplift_shap"):
        found, wanted = (seqsal.attribute(m, X=X, method=method, device="cpu").track for m in (traced, module))
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("order", ["ACGT", "TGCA"])
def test_a_model_that_looks_bases_up_is_read_through_its_table(order: str) -> None:
    module, X = Indices(), random_X(2)
    rows = torch.tensor([order.index(base) for base in "ACGT"])
    table = module.embedding.weight[rows]  # (4, 3), of A C G T
    model = wrap(module, layout="NL", channel_order=order, input_length=LENGTH)
    torch.testing.assert_close(model(X), module(rows[X.argmax(1)]))
    with torch.no_grad():
        expected = (table.mean(1) / LENGTH).numpy()
    for method in ("gradient_x_input", "deeplift_shap", "ism"):
        h = seqsal.attribute(model, X=X, method=method, device="cpu").hypothetical
        np.testing.assert_allclose(
            h - h.mean(1, keepdims=True),
            np.tile((expected - expected.mean())[None, :, None], (2, 1, LENGTH)),
            atol=1e-6,
        )


@pytest.mark.parametrize("n_tokens", [64, 4101, 4105])
def test_words_of_several_bases_are_refused(n_tokens: int) -> None:
    module = Indices()
    module.embedding = nn.Embedding(n_tokens, 3)
    with pytest.raises(ModelError, match=rf"table of {n_tokens:,}, as for words of several bases.*use ism or tiles"):
        wrap(module, layout="NL", input_length=LENGTH)(random_X(2))


BAD: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "layout": (LastBases, r"fails on .*\(2, 4, 30\) \(RuntimeError: .*\); it works on \(2, 30, 4\): give layout='NLC'"),
    "length": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(4 * 20, 1)),
        r"\(2, 4, 30\) .*give it windows of the length that it was made for, shape \(N, 4, L\)",
    ),
    "indices": (Indices, r"it reads numbers of bases \(N, L\): give layout='NL'"),
    "dictionary": (lambda: Fed(lambda body, d: body(d["sequence"])), r"dictionary: .* calls it with \{'sequence': X\}"),
    "five channels": (lambda: nn.Conv1d(5, 1, LENGTH), r"it reads five channels: .* a fifth one of zeros"),
    "an image": (lambda: nn.Conv2d(1, 1, (4, LENGTH)), r"works on \(2, 1, 4, 30\): .*calls it with X.unsqueeze\(1\)"),
    "a tall image": (lambda: nn.Conv2d(4, 1, (LENGTH, 1)), r"it works on \(2, 4, 30, 1\): .*X.unsqueeze\(3\)"),
    "another fault": (
        lambda: Fed(lambda body, X: X["a"]["b"]),
        r"check what its forward\(\) takes; seqsal calls it with",
    ),
    "integers in": (IntegerOneHot, "it works on integers, through which no gradient runs: make it read floating-point"),
    "one at a time": (OneAtATime, "it works on one sequence at a time: .* batch size that may change"),
    "complex numbers out": (lambda: Ended(Body(), lambda z: z * 1j), "gives complex64 values, expected real ones"),
    "NaN": (lambda: Ended(Body(), lambda z: z.log() * 0 + torch.nan), "gives NaN or infinite values for 2 of 2"),
    "batch statistics": (Renormalised, r"for a sequence alone but .* next to another: its output depends on the batch"),
    "batch mean": (lambda: Ended(Body(), lambda z: z - z.mean(dim=0)), "its output depends on the batch"),
    "batch maximum": (lambda: Ended(Body(), lambda z: z / z.amax(dim=0)), "its output depends on the batch"),
    "batch softmax, saturated": (
        lambda: Ended(Body(), lambda z: torch.sigmoid(20 + z - z.mean(dim=0))),
        "its output depends on the batch",
    ),
    "batch normalisation of values": (
        lambda: Ended(Body(3), lambda z: functional.batch_norm(z, None, None, training=True)),
        r"works on 2 sequences but fails on 1 \(ValueError: Expected more than 1 value per channel.*running statistics",
    ),
    "dropout": (
        lambda: Ended(Body(8), lambda z: functional.dropout(z, 0.5, training=True).sum(dim=1)),
        r"gives \S+ and then \S+ for one and the same sequence; .*F.dropout\(training=self.training\)",
    ),
    "noise": (lambda: Ended(Body(), lambda z: z + 0.1 * torch.randn_like(z)), "for one and the same sequence"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_models_are_refused_in_one_line(name: str) -> None:
    make, message = BAD[name]
    torch.manual_seed(1)
    module = make().train()
    state = {key: value.clone() for key, value in module.state_dict().items()}
    rng = torch.get_rng_state()
    with pytest.raises(ModelError, match=message) as caught:
        wrap(module, input_length=LENGTH)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    assert all(part.training for part in module.modules())
    assert all(p.requires_grad and p.grad is None for p in module.parameters())
    assert torch.equal(torch.get_rng_state(), rng)


@pytest.mark.parametrize("name", ["batch mean", "dropout"])
def test_a_model_of_unknown_length_is_refused_at_its_first_sequence(name: str) -> None:
    """Also when that is a single one, beside which nothing can be seen."""
    make, message = BAD[name]
    model = wrap(make())
    for _ in range(2):
        with pytest.raises(ModelError, match=message):
            model(random_X(1))
        assert (model.n_targets, model.output_space, model.input_length) == (None, "auto", None)


def test_a_wrong_layout_the_other_way_round() -> None:
    with pytest.raises(ModelError, match=r"\(2, 30, 4\) .*it works on \(2, 4, 30\): give layout='NCL'"):
        wrap(Body(), input_length=LENGTH, layout="NLC")


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Conv1d(4, 6, 5), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Flatten(), nn.Linear(6 * 26, 3)),
        nn.Sequential(nn.Conv1d(4, 6, 5), nn.InstanceNorm1d(6), nn.AdaptiveMaxPool1d(1), nn.Flatten()),
        nn.Sequential(nn.Flatten(), nn.LayerNorm(4 * LENGTH), nn.Linear(4 * LENGTH, 1), nn.ReLU()),
        nn.Sequential(nn.Conv1d(4, 3, 5), nn.Hardtanh(0, 0.01), nn.Flatten(), nn.Linear(3 * 26, 1)),
        SigmoidEnd(),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_good_models_pass(module: nn.Module, dtype: torch.dtype) -> None:
    model = wrap(module.to(dtype), input_length=LENGTH)
    X = random_X(3).requires_grad_()
    scores = model(X)  # float32 sequences are what everything else in seqsal gives
    assert scores.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    (gradient,) = torch.autograd.grad(scores.sum(), X)
    assert gradient.dtype == X.dtype
    assert model.predict(X.detach()).shape == (3,)


def test_the_probe_is_cheap() -> None:
    seen: list[int] = []

    class Counting(Body):
        def forward(self, X: torch.Tensor) -> torch.Tensor:
            seen.append(len(X))
            return super().forward(X)

    wrap(Counting(), input_length=LENGTH)
    assert sum(seen) <= 5
    seen.clear()
    wrap(Ended(Counting(), torch.sigmoid), input_length=LENGTH)
    assert sum(seen) <= 7


def test_the_built_in_model_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = 0
    forward = CNN.forward

    def counted(self: CNN, X: torch.Tensor) -> torch.Tensor:
        nonlocal passes
        passes += 1
        return forward(self, X)

    monkeypatch.setattr(CNN, "forward", counted)
    wrap(CNN(CNNConfig(LENGTH, n_filters=4, stem_kernel=5)))
    assert passes == 1


def test_out_of_memory_is_not_mistaken_for_a_bad_model() -> None:
    def fail(z: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("no memory left")

    with pytest.raises(torch.OutOfMemoryError):
        wrap(Ended(Body(), fail), input_length=LENGTH)

    def fail_alone(z: torch.Tensor) -> torch.Tensor:
        return fail(z) if len(z) == 1 else z

    model = wrap(Ended(Body(), fail_alone))
    with pytest.raises(torch.OutOfMemoryError):
        model(random_X(4))
    assert (model.n_targets, model.output_space, model.input_length) == (None, "auto", None)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda X: X.sum((1, 2)), "got a function, expected a torch.nn.Module; put it into a module's forward()"),
        (Indices, "got the class Indices, expected a torch.nn.Module; make one of it, such as Indices()"),
        (Indices().state_dict(), "got an OrderedDict, expected a torch.nn.Module; load the state dictionary into its"),
        ("M.safetensors", "got 'M.safetensors', expected a torch.nn.Module; open files with seqsal.load_model('M.safe"),
        (None, "got None, expected a torch.nn.Module; give the network itself"),
    ],
)
def test_only_modules_are_wrapped(given: Any, words: str) -> None:
    with pytest.raises(ModelError) as error:
        wrap(given)
    assert words in str(error.value)


def test_only_files_are_loaded() -> None:
    with pytest.raises(ModelError, match=r"got an Indices, expected a file or .*; give modules to seqsal.wrap\(\)"):
        load_model(Indices())  # type: ignore[arg-type]


def test_what_a_model_might_have_read_is_tried_in_silence(recwarn: pytest.WarningsRecorder) -> None:
    class Loud(nn.Module):
        def forward(self, batch: Any) -> Any:
            if not isinstance(batch, dict):
                warnings.warn(f"{tuple(batch.shape)} {batch.dtype}", UserWarning, stacklevel=1)
            return batch["x"].sum((1, 2))

    with pytest.raises(ModelError, match="it reads a dictionary"):
        wrap(Loud(), input_length=LENGTH)
    said = {str(one.message) for one in recwarn}
    assert {text for text in said if text.startswith("(")} == {f"(2, 4, {LENGTH}) torch.float32"}


def test_random_sequences_are_one_hot_and_differ() -> None:
    X = random_sequences(50, torch.zeros(0, dtype=torch.float64))
    assert X.shape == (2, 4, 50) and X.dtype == torch.float64
    assert (X.sum(dim=1) == 1).all() and not torch.equal(X[0], X[1])


def make_bases_last() -> nn.Module:
    """Return a model that a command line has to be told how to read."""
    return Ended(LastBases(), lambda z: {"scores": z})


def test_load_model_is_told_how_to_read() -> None:
    reading: dict[str, Any] = {"layout": "NLC", "output": "scores", "channel_order": "TGCA"}
    import nets

    nets.make_bases_last = make_bases_last  # type: ignore[attr-defined]
    model = load_model("nets:make_bases_last", target=1, **reading)
    X = random_X(3)
    torch.testing.assert_close(model(X), model.module(X.flip(1).transpose(1, 2))["scores"][:, 1])
