"""Shifts and strands against slicing by hand."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from seqsal.models import CNN, CNNConfig
from seqsal.sequence.codes import one_hot, reverse_complement
from seqsal.training import fit as fit_module
from seqsal.training.examples import Examples
from seqsal.training.fit import View, augmented_batch, centred_batch, fit
from seqsal.training.settings import TrainConfig


def drawn(n: int, slack: int, seed: int = 0, *, reverse_complement: bool = True) -> View:
    generator, cpu = torch.Generator().manual_seed(seed), torch.device("cpu")
    return View.draw(n, slack, generator, reverse_complement=reverse_complement, device=cpu)


def test_every_sequence_is_a_shift_on_one_of_both_strands(rng: np.random.Generator) -> None:
    codes = rng.integers(0, 5, (400, 26), dtype=np.uint8)
    X = augmented_batch(torch.from_numpy(codes), 20, drawn(400, 6))[0].numpy()
    seen = set()
    for row, x in zip(codes, X, strict=True):
        options = {}
        for shift in range(7):
            crop = row[shift : shift + 20]
            options[one_hot(crop).tobytes()] = (shift, "+")
            options[one_hot(reverse_complement(crop)).tobytes()] = (shift, "-")
        seen.add(options[np.ascontiguousarray(x).tobytes()])
    assert seen == {(shift, strand) for shift in range(7) for strand in "+-"}


def test_without_augmentation_the_middle_is_read(rng: np.random.Generator) -> None:
    codes = torch.from_numpy(rng.integers(0, 5, (9, 20), dtype=np.uint8))
    plain, _ = augmented_batch(codes, 20, drawn(9, 0, reverse_complement=False))
    assert torch.equal(plain, centred_batch(codes, 20))
    wide = torch.nn.functional.pad(codes, (3, 3), value=1)
    assert torch.equal(centred_batch(wide, 20), plain)


def test_draws_depend_on_the_generator_alone(rng: np.random.Generator) -> None:
    codes = torch.from_numpy(rng.integers(0, 4, (9, 30), dtype=np.uint8))
    batches = [augmented_batch(codes, 20, drawn(9, 10, seed=seed))[0] for seed in (1, 1, 2)]
    assert torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[0], batches[2])


def test_the_optimizer_is_torchs_without_its_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def steps(optimizer: Any) -> list[torch.Tensor]:
        weights = torch.linspace(-1, 1, 7).requires_grad_()
        made = optimizer([weights], lr=0.01, weight_decay=0.1, foreach=True)
        for _ in range(3):
            made.zero_grad(set_to_none=True)
            (weights**3).sum().backward()
            made.step()
            made.load_state_dict(made.state_dict())
        return [weights, *made.state_dict()["state"][0].values()]

    expected = steps(torch.optim.AdamW)
    monkeypatch.setitem(sys.modules, "torch._dynamo", None)  # importing it fails
    with pytest.raises(ImportError):
        steps(torch.optim.AdamW)
    for one, other in zip(steps(fit_module._AdamW), expected, strict=True):
        assert torch.equal(one, other)


def test_marks_go_with_their_bases() -> None:
    codes = torch.arange(30, dtype=torch.uint8)[None].repeat(50, 1) % 4
    marks = (torch.arange(30) % 4 == 1).to(torch.int8)[None].repeat(50, 1)  # under every C
    X, moved = augmented_batch(codes, 20, drawn(50, 10), marks)
    assert moved is not None
    is_c, is_g = X[:, 1].bool(), X[:, 2].bool()
    assert all(torch.equal(row.bool(), c) or torch.equal(row.bool(), g)
               for row, c, g in zip(moved, is_c, is_g, strict=True))  # fmt: skip
    assert {int(torch.equal(row.bool(), c)) for row, c in zip(moved, is_c, strict=True)} == {0, 1}


def _of_profile(rng: np.random.Generator, n: int = 64) -> Examples:
    codes = rng.integers(0, 4, (n, 66), dtype=np.uint8)
    tracks = rng.poisson(2 * (codes[:, None, 18:48] == 2)).astype(np.float32)
    parts = np.array(["train"] * (n - 16) + ["valid"] * 16)
    return Examples(codes, tracks.sum(-1), parts, np.ones(n, np.bool_), np.full(n, "chr1"), tracks=tracks,
                    swaps=((0,), ()))  # fmt: skip


def test_no_window_of_a_profile_sets_the_size_of_a_step(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples, norms, step = _of_profile(rng), list[float](), fit_module._AdamW.step
    assert examples.tracks is not None
    tracks = examples.tracks * np.where(np.arange(64) == 5, 1000, 1)[:, None, None].astype(np.float32)

    def watched(self: Any) -> None:
        norms.append(float(torch.stack([one.grad.norm() for one in self.param_groups[0]["params"]]).norm()))
        step(self)

    monkeypatch.setattr(fit_module._AdamW, "step", watched)
    config = CNNConfig.for_profile(60, output_length=24, profile_kernel=9, n_filters=8, stem_kernel=5, n_blocks=1)
    fit(CNN(config), replace(examples, tracks=tracks, targets=tracks.sum(-1)),
        TrainConfig(epochs=1, max_shift=3, batch_size=16), seed=0, device=torch.device("cpu"), state_file=None,
        resume=False, progress=False)  # fmt: skip
    np.testing.assert_allclose(norms, 1, rtol=1e-4)  # in the batch with a thousand times the reads, and in the others


@pytest.mark.parametrize("kind", ["binary", "profile"])
def test_mixed_precision_learns_the_same(kind: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a GPU does it; the CPU knows bfloat16 too."""
    examples = _of_profile(rng)
    sizes: dict[str, Any] = {"n_filters": 8, "stem_kernel": 5, "n_blocks": 1}
    if kind == "binary":
        labels = (rng.random((64, 1)) < 0.5).astype(np.float32)
        examples = replace(examples, tracks=None, targets=labels, swaps=((), ()))
        config = CNNConfig(60, **sizes, dropout=0.0)
    else:
        config = CNNConfig.for_profile(60, output_length=24, profile_kernel=9, **sizes)
    losses = []
    for amp in (False, True):
        monkeypatch.setattr(fit_module, "mixed_precision", lambda device, amp=amp: amp)
        torch.manual_seed(0)
        training = TrainConfig(epochs=2, max_shift=3, batch_size=16)
        state = fit(CNN(config), examples, training, seed=0, device=torch.device("cpu"), state_file=None, resume=False,
                    progress=False)  # fmt: skip
        losses.append([entry["train_loss"] for entry in state.history])
        assert {one.dtype for one in state.best.parameters()} == {torch.float32}
    assert losses[0] != losses[1]
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.02)


@pytest.mark.cuda
def test_mixed_precision_on_a_gpu(rng: np.random.Generator) -> None:
    """A profile is learnt as on the CPU, with weights in float32."""
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    examples, config = _of_profile(rng), CNNConfig.for_profile(60, output_length=24, profile_kernel=9, n_filters=8)
    found = []
    for name in ("cpu", "cuda"):
        torch.manual_seed(0)
        device = torch.device(name)
        state = fit(CNN(config).to(device), examples, TrainConfig(epochs=3, max_shift=3, batch_size=16), seed=0,
                    device=device, state_file=None, resume=False, progress=False)  # fmt: skip
        found.append([entry["valid_loss"] for entry in state.history])
        assert fit_module.mixed_precision(device) == (name == "cuda" and torch.cuda.is_bf16_supported())
        assert {one.dtype for one in state.best.parameters()} == {torch.float32}
    np.testing.assert_allclose(found[1], found[0], rtol=0.05)
