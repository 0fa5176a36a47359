"""Parts of a model that are computed again for the gradient, where a window would not fit."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import seqsal
from seqsal.attribution.methods import paths
from seqsal.errors import DeviceError, OutputError
from seqsal.models import aside, recompute
from seqsal.models.recompute import free_bytes, measure_kept, recomputed
from seqsal.models.state import facts_of

LENGTH = 64
QUICK: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"n_steps": 2, "allow_incomplete": True}, "deeplift_shap": {"n_references": 2}
}  # fmt: skip


class _Exp(nn.Module):
    """Keeps exactly the output of each exp: n_layers × 4 × L floats a window."""

    def __init__(self, n_layers: int) -> None:
        super().__init__()
        self.n_layers = n_layers

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        for _ in range(self.n_layers):
            X = X.exp()
        return X.sum((1, 2))


@pytest.mark.parametrize("n_windows", [1, 2, 5])
def test_bytes_of_a_known_model(n_windows: int) -> None:
    X = torch.zeros(n_windows, 4, 100)
    assert measure_kept(_Exp(3), _Exp(3), X).n_bytes == 3 * 4 * 100 * 4


def test_weights_do_not_count() -> None:
    model = nn.Sequential(nn.Conv1d(4, 200, 51, padding=25), nn.Flatten(), nn.Linear(200 * 60, 1)).requires_grad_(False)
    kept = measure_kept(model, model, torch.zeros(2, 4, 60)).n_bytes
    assert kept < 2 * 200 * 60 * 4


class Block(nn.Module):
    """A residual block, half as long in the end, with a gate and weights by position, which need no gradient."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv1d(width, width, 5, padding=2), nn.GELU(), nn.Conv1d(width, width, 1))
        self.gate = nn.Conv1d(width, width, 1)

    def forward(self, h: torch.Tensor, *, scale: float = 1.0) -> torch.Tensor:
        h = h + scale * torch.exp(torch.linspace(0, 1, h.shape[2])) * self.inner(h) * torch.sigmoid(self.gate(h))
        return nn.functional.avg_pool1d(h, 2)


class Tower(nn.Module):
    """Blocks, attention, an average, and the sigmoid inside a part of its own; `reads` tokens or one-hot."""

    def __init__(self, reads: str = "NCL") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.reads = reads
        self.stem = nn.Embedding(4, 8) if reads == "NL" else nn.Conv1d(4, 8, 7, padding=3)
        self.blocks = nn.ModuleList([Block(8) for _ in range(3)])
        self.attention = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Sequential(nn.Linear(8, 16), nn.Sigmoid(), nn.Linear(16, 2), nn.Sigmoid())

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        h = self.stem(X)
        h = h.mT if self.reads == "NL" else h
        for block in self.blocks:
            h = block(h, scale=0.5)
        return self.head(self.attention(h.mT).relu().mean(1))


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every window is long, and none fits."""
    monkeypatch.setattr(recompute, "free_bytes", lambda device: 0)
    monkeypatch.setattr("seqsal.models.sequence_model.LONG", 1)


def windows() -> np.ndarray[Any, Any]:
    return np.eye(4, dtype=np.float32)[np.random.default_rng(0).integers(0, 4, (3, LENGTH))].transpose(0, 2, 1)


@pytest.mark.parametrize("method", ["gradient_x_input", "integrated_gradients", "grad_cam", "deeplift_shap"])
@pytest.mark.parametrize("how", ["parts of the model are computed again", "laid aside"])
def test_maps_are_the_same_to_the_bit(
    method: str, how: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"X": windows(), "method": method, "device": "cpu", "target": [0, 1], "n_controls": 1}
    monkeypatch.setattr(paths, "MAX_DOUBLINGS", 0)
    monkeypatch.setattr("seqsal.attribution.compute.batches.LONG", 1)
    expected = seqsal.attribute(Tower(), **options, **QUICK.get(method, {}))
    monkeypatch.setattr(recompute, "free_bytes", lambda device: 0)
    monkeypatch.setattr("seqsal.models.sequence_model.LONG", 1)
    monkeypatch.setattr(aside, "LEAST", 64)
    if how != "laid aside":
        wrapped = seqsal.wrap(Tower(), input_length=LENGTH)
        fewest = recompute.ROOM * measure_kept(wrapped, wrapped, torch.from_numpy(windows()[:1])).fewest[0]
        monkeypatch.setattr(recompute, "free_bytes", lambda device: fewest)
    model = Tower()
    before = [dict(vars(part)) for part in model.modules()]
    with caplog.at_level(logging.INFO):
        found = seqsal.attribute(model, **options, **QUICK.get(method, {}))
    assert how in caplog.text
    assert [dict(vars(part)) for part in model.modules()] == before
    for name in found.results:
        one, other = found.result(name), expected.result(name)
        np.testing.assert_array_equal(one.prediction, other.prediction)
        np.testing.assert_array_equal(one.track, other.track)
        np.testing.assert_array_equal(one.controls.track, other.controls.track)


@pytest.mark.usefixtures("no_room")
def test_tokens_and_logits_before_a_sigmoid_in_a_segment() -> None:
    model, X = Tower("NL").eval(), torch.from_numpy(windows())
    wrapped = seqsal.wrap(model, layout="NL", input_length=LENGTH)
    assert wrapped.output_space == "logit"
    plain = _gradient(wrapped, X)
    every = tuple(name for name, _ in model.named_children() if name != "blocks")
    with recomputed(model, (*every, *(f"blocks.{i}" for i in range(3)))):
        assert torch.equal(_gradient(wrapped, X), plain)
        facts = facts_of(model)
    assert facts_of(model) is facts  # it is the model that it was


def _gradient(model: nn.Module, X: torch.Tensor) -> torch.Tensor:
    X = X.clone().requires_grad_()
    return torch.autograd.grad(model(X).sum(), X)[0]


def test_segments_keep_as_little_as_is_told() -> None:
    model, X = Tower().eval().requires_grad_(False), torch.from_numpy(windows()[:1])
    kept = measure_kept(model, model, X)
    fewest, segments = kept.fewest
    assert len(segments) > 2 and fewest < 0.7 * kept.n_bytes
    largest = measure_kept(model.blocks[0], model.blocks[0], torch.zeros(1, 8, LENGTH)).n_bytes
    with recomputed(model, segments):
        now = measure_kept(model, model, X).n_bytes  # without what is computed again
    assert now < kept.n_bytes / 2 and now <= fewest <= now + largest


def test_a_second_call_counts_nothing_again_even_of_a_model_that_nothing_is_remembered_of() -> None:
    model = Tower().eval()
    model.config = object()  # as Hugging Face's have one, of which it cannot be told whether it changed
    model.seen = 0
    model.register_forward_pre_hook(lambda module, given: setattr(module, "seen", module.seen + 1))
    wrapped = seqsal.wrap(model, input_length=LENGTH)
    seqsal.attribute(wrapped, X=windows()[:1], device="cpu")
    before = model.seen
    seqsal.attribute(wrapped, X=windows()[:1], device="cpu")
    assert model.seen == before + 1


def test_free_memory_follows_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    before = free_bytes(torch.device("cpu"))
    assert 0 < before < 1 << 50
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1 << 30, 1 << 30))
    assert free_bytes(torch.device("cpu")) < min(before, 1 << 30)


def test_what_is_laid_aside_is_laid_aside_once_and_the_file_is_emptied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Views, numbers of other types and what an operation wrote over in the meantime come back as they were."""
    monkeypatch.setattr(aside, "LEAST", 1)
    torch.manual_seed(0)
    x, index = torch.randn(6, 40, requires_grad=True), torch.randint(0, 40, (6, 9))

    def run() -> torch.Tensor:
        h = x.exp()  # keeps its result
        q, k = h.mT[::2], h[:, 1:21]  # views of it, which the product keeps
        gathered = h.gather(1, index)
        return (q @ (k @ k.mT)).sum() + (gathered.sigmoid() ** 2).sum() + h.max(1).values.prod()

    (expected,) = torch.autograd.grad(run(), x)
    with aside.Aside(frozenset()) as place:
        for _ in range(2):
            out = run()
            assert place._end == sum(one.n_bytes for one in place._known.values())
            held = place.n_held
            (found,) = torch.autograd.grad(out, x)
            del out
            assert torch.equal(found, expected) and held > 4
            assert place.n_held == 0 and place._end == 0


def test_a_full_temporary_folder_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aside, "LEAST", 1)

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    place = aside.Aside(frozenset())
    place.write(torch.zeros(1, dtype=torch.uint8))
    monkeypatch.setattr(place, "_file", SimpleNamespace(seek=lambda at: at, write=full))
    with pytest.raises(OutputError, match=r"No space left on device.*or set TMPDIR"):
        place.write(torch.zeros(4, dtype=torch.uint8))


def test_a_model_for_which_there_is_no_memory_has_a_gradient_all_the_same() -> None:
    class Full(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x * 2

        @staticmethod
        def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")

    class Net(nn.Module):
        def forward(self, X: torch.Tensor) -> torch.Tensor:
            return Full.apply(X).sum((1, 2))

    with pytest.raises(DeviceError, match="out of memory as the model was tried on two windows of 64 bp"):
        seqsal.attribute(Net(), X=windows(), device="cpu")
