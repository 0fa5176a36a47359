"""Mutagenesis against a loop from the definition, a linear model and tangermeme."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tangermeme.saturation_mutagenesis import saturation_mutagenesis
from torch import nn
from torch.nn import functional
from toys import Linear, Small, random_codes

import seqsal
from seqsal.attribution.ism.mutants import is_worth_tracing
from seqsal.attribution.methods import mutagenesis
from seqsal.attribution.methods.base import OneTarget, project
from seqsal.attribution.methods.registry import make_method
from seqsal.models import wrap
from seqsal.sequence.tensors import one_hot_tensor

N_WINDOWS = 4


def windows(rng: np.random.Generator, share_unknown: float = 0.0) -> torch.Tensor:
    return one_hot_tensor(torch.from_numpy(random_codes(rng, N_WINDOWS, 25, share_unknown)))


@pytest.mark.parametrize("n_at_once", [1, 7, 1000])
def test_equals_the_definition(rng: np.random.Generator, n_at_once: int) -> None:
    X, model = windows(rng, 0.1), Small().eval()
    slow = torch.zeros_like(X)
    for n in range(len(X)):
        for position in range(X.shape[2]):
            for base in range(4):
                mutated = X[n : n + 1].clone()
                mutated[0, :, position] = 0
                mutated[0, base, position] = 1
                slow[n, base, position] = model(mutated).item()
    scores = make_method("ism", n_at_once=n_at_once).attribute(model, X)
    torch.testing.assert_close(scores.hypothetical, slow - slow.mean(1, keepdim=True), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(scores.prediction, model(X).detach())


def test_linear_model_gives_its_corrected_weights(rng: np.random.Generator) -> None:
    weight = torch.from_numpy(rng.normal(size=(4, 25)).astype(np.float32))
    X = windows(rng)
    track = project(make_method("ism").attribute(Linear(weight), X).hypothetical, X)
    torch.testing.assert_close(track, ((weight - weight.mean(0)) * X).sum(1), rtol=1e-4, atol=1e-5)


def test_equals_tangermeme(rng: np.random.Generator) -> None:
    X = windows(rng)
    model = nn.Sequential(Small(), nn.Unflatten(0, (-1, 1))).eval()
    theirs = saturation_mutagenesis(model, X, hypothetical=True, device="cpu")
    ours = make_method("ism").attribute(model[0], X).hypothetical
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_needs_no_gradient(rng: np.random.Generator) -> None:
    X = windows(rng)
    scores = make_method("ism").attribute(lambda X: (X[:, 0].sum(1) > 6).float(), X)
    assert torch.isfinite(scores.hypothetical).all()


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], width: int = 8) -> None:
        super().__init__()
        self.layer, self.head = kind(4, width, batch_first=True), nn.Linear(width, 1)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(X.mT)[0].mean(1))


@pytest.mark.parametrize("make", [lambda: Recurrent(nn.GRU), lambda: Recurrent(nn.LSTM), lambda: nn.Sequential(
    nn.Flatten(), nn.Linear(4 * 20, 1))], ids=["GRU", "LSTM", "tiny"])  # fmt: skip
def test_what_tracing_would_take_longer_for_gets_whole_passes(
    make: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A GRU over 100 steps took 36 s to be traced, and nothing was saved; it is counted once, not at every call."""
    counts: list[Any] = []
    worth = mutagenesis.is_worth_tracing
    monkeypatch.setattr(mutagenesis, "is_worth_tracing", lambda *given: counts.append(given) or worth(*given))
    monkeypatch.setattr(mutagenesis, "Mutator", lambda *given: pytest.fail("traced"))
    module, X = make().eval(), np.eye(4, dtype=np.float32)[[np.arange(20) % 4]].transpose(0, 2, 1)
    with caplog.at_level("INFO"):
        tracks = [seqsal.attribute(module, X=X, method="ism", device="cpu").track for _ in range(2)]
    assert len(counts) == 1 and "whole forward passes for each substitution, because they are faster" in caplog.text
    assert np.array_equal(*tracks)


def test_a_long_recurrent_model_is_not_traced_however_wide_it_is() -> None:
    X = torch.eye(4)[torch.arange(150) % 4].mT[None]
    assert not is_worth_tracing(Recurrent(nn.GRU, 512), X)
    assert is_worth_tracing(nn.Sequential(nn.Conv1d(4, 512, 3), nn.ReLU(), nn.Flatten()), X)


class Pooled(nn.Module):
    """Averages over a long window, in any of the ways in which networks do; its structure cannot be read."""

    def __init__(self, pool: str, offset: float = 0.0) -> None:
        super().__init__()
        self.stem, self.weigh, self.head = nn.Conv1d(4, 6, 9, padding=4), nn.Conv1d(6, 1, 1), nn.Linear(6, 1)
        self.pool, self.offset = pool, offset

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        h = self.stem(functional.one_hot(X.argmax(1), 4).mT.to(self.head.weight.dtype)).relu()
        if self.pool == "mean":
            h = h.mean(-1)
        elif self.pool == "adaptive":
            h = functional.adaptive_avg_pool1d(h, 1)[..., 0]
        elif self.pool == "window":
            h = functional.avg_pool1d(h, h.shape[-1])[..., 0]
        elif self.pool == "attention":
            h = torch.einsum("ncl,nl->nc", h, self.weigh(h)[:, 0].softmax(-1))
        elif self.pool == "last":
            return self.head((h + self.offset).mT).mean(1)
        return self.head(h) if self.pool != "cumulative" else self.head((h + self.offset).cumsum(-1)[..., -1])


def effects(model: nn.Module, X: torch.Tensor, positions: list[int]) -> torch.Tensor:
    """Effects (4, positions) of whole passes for each substitution."""
    with torch.no_grad():
        outputs = mutagenesis._precise_outputs(OneTarget(model), X, positions, 6)[0][:, positions]
    return (outputs - outputs.mean(0)).double()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TorchScript
@pytest.mark.parametrize("pool", ["mean", "adaptive", "window", "attention", "last", "mean, traced"])
@pytest.mark.parametrize("length", [4_096, 32_768])
def test_whole_passes_do_not_round_averages_off(pool: str, length: int) -> None:
    """Float32 alone is off by 0.05 to 0.2 % at 4 kb, and by 0.5 to 3 % at 32 kb."""
    torch.manual_seed(2)
    pool, _, form = pool.partition(", ")
    module = Pooled(pool).eval()
    made = torch.jit.trace(module, torch.eye(4).repeat(2, 1, length // 4)) if form else module
    model = wrap(made, input_length=length)
    codes = torch.randint(0, 4, (1, length), generator=torch.Generator().manual_seed(0))
    X = functional.one_hot(codes, 4).mT.float().contiguous()
    found = effects(model, X, [length // 2, length // 2 + 1])
    double = wrap(copy.deepcopy(module).double(), input_length=length)
    exact = effects(double, X.double(), [length // 2, length // 2 + 1])
    assert (found - exact).abs().max() < (3e-3 if pool == "attention" else 1e-5) * exact.abs().max()


def test_what_is_rounded_off_elsewhere_is_told(caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    X = np.eye(4, dtype=np.float32)[[np.arange(300) % 4]].transpose(0, 2, 1)
    seqsal.attribute(Pooled("cumulative").eval(), X=X, method="ism", device="cpu")
    assert "rounds off" not in caplog.text
    module = Pooled("cumulative", 1e3).eval()
    found = seqsal.attribute(module, X=X, method="ism", device="cpu").track[0]
    exact = seqsal.attribute(copy.deepcopy(module).double(), X=X, method="ism", device="cpu").track[0]
    off = np.abs(found - exact).max() / np.abs(exact).max()
    told = re.findall(r"ism: float32 rounds off up to ([\d.]+) % of the largest .* module.double\(\)", caplog.text)
    assert off > 0.01 and len(told) == 1
    assert 0.2 * off < float(told[0]) / 100 < 2 * off


class Cumulative(nn.Module):
    """All that follows a substitution changes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv1d(4, 16, 3, padding=1)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return torch.tanh(torch.tanh(self.layer(X).cumsum(2) / 100).cumsum(2) / 100).mean((1, 2))


def test_what_saves_nothing_gets_whole_passes(caplog: pytest.LogCaptureFixture) -> None:
    X = np.eye(4, dtype=np.float32)[[np.arange(100) % 4]].transpose(0, 2, 1)
    with caplog.at_level("INFO"):
        seqsal.attribute(Cumulative(), X=X, method="ism", device="cpu")
    assert "whole forward passes for each substitution, because they are as fast" in caplog.text


def test_a_first_call_on_a_span_takes_few_whole_passes() -> None:
    """Each costs as much as the mutants of 7 positions; 26 of them were a third of a span of 200 of 2,114 bp."""
    network, n_windows = Small(32).eval(), 0

    def count(_: nn.Module, given: tuple[torch.Tensor, ...], __: Any) -> None:
        nonlocal n_windows
        n_windows += len(given[0])

    network.register_forward_hook(count)
    model, X = (
        seqsal.wrap(network, input_length=300),
        np.eye(4, dtype=np.float32)[[np.arange(300) % 4]].transpose(0, 2, 1),
    )
    seqsal.attribute(model, X=X, device="cpu")
    n_windows = 0
    first = seqsal.attribute(model, X=X, method="ism", span=20, device="cpu")
    assert n_windows == 1 + 5 + 3 + 1  # counted, traced with two and with three, checked at three positions, predicted
    assert first.track.shape == (1, 20)
