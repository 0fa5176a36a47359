"""CutOut: what is cut, by a network whose map is known; that bases stay; that it repeats; what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from seqsal.errors import TrainingError
from seqsal.sequence.codes import decode
from seqsal.training import train_model
from seqsal.training.cutout import cut_out, salient_starts, shuffle_stretches
from seqsal.training.settings import TrainConfig

N, LENGTH = 300, 40
SALIENT = TrainConfig(cutout="salient", cutout_probability=0.5, cutout_width=8)


class At(torch.nn.Module):
    """A linear model that reads the bases from 20 on, 8 of them."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.zeros(4, LENGTH)
        weight[:, 20:28] = torch.tensor([3.0, -1.0, -1.0, -1.0])[:, None]
        self.weight = torch.nn.Parameter(weight)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return (X * self.weight).sum(dim=(1, 2))[:, None]


@pytest.fixture
def X() -> torch.Tensor:
    return torch.eye(4)[torch.from_numpy(np.random.default_rng(0).integers(0, 4, (N, LENGTH)))].mT.contiguous()


def changed(X: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    return (X != seen).any(dim=1)


def test_the_stretch_that_the_network_reads_is_cut(X: torch.Tensor) -> None:
    model = At().train()
    assert (salient_starts(model, X, 8) == 20).all()
    assert model.training and model.weight.grad is None
    seen = cut_out(model, X, SALIENT, torch.Generator().manual_seed(0))
    where = changed(X, seen)
    assert not where[:, :20].any() and not where[:, 28:].any()
    assert 0.4 < float(where.any(dim=1).float().mean()) < 0.6
    assert torch.equal(seen.sum(dim=2), X.sum(dim=2)) and (seen.sum(dim=1) == 1).all()


def test_any_stretch_is_cut_at_random(X: torch.Tensor) -> None:
    every = replace(SALIENT, cutout="random", cutout_probability=1.0)
    seen = cut_out(At(), X, every, torch.Generator().manual_seed(1))
    where = changed(X, seen)
    assert where.any(dim=0).all()
    first, last = where.int().argmax(dim=1), LENGTH - 1 - where.flip(1).int().argmax(dim=1)
    assert (last - first < 8)[where.any(dim=1)].all()
    again = cut_out(At(), X, every, torch.Generator().manual_seed(1))
    assert torch.equal(seen, again)


def test_stretches_are_put_into_the_order_asked_for() -> None:
    X = torch.eye(4)[torch.tensor([[0, 1, 2, 3, 0, 1]])].mT
    seen = shuffle_stretches(X, torch.tensor([2]), torch.tensor([[2, 0, 1]]))
    assert seen.argmax(dim=1).tolist() == [[0, 1, 0, 2, 3, 1]]
    unknown = X.clone()
    unknown[:, :, 3] = 0
    assert shuffle_stretches(unknown, torch.tensor([2]), torch.tensor([[2, 0, 1]])).sum() == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cutout": "saliency"}, "cutout: got 'saliency', expected none or random or salient"),
        ({"cutout_probability": 0}, "cutout_probability: got 0, expected a share above 0"),
        ({"cutout_width": 1}, "cutout_width: got 1, expected 2 bp or more"),
    ],
)
def test_settings_out_of_range(changes: dict[str, object], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        TrainConfig(**changes)  # type: ignore[arg-type]


def test_a_stretch_wider_than_the_window_is_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    positives = tmp_path / "p.fa"
    positives.write_text("".join(f">s{i}\n{decode(rng.integers(0, 4, 24, dtype=np.uint8))}\n" for i in range(60)))
    with pytest.raises(TrainingError, match=r"cutout_width: got 25 bp, expected 2 to 24, the window's"):
        train_model(positives, training=TrainConfig(cutout="random", cutout_width=25))
