"""A borrowed model is frozen where it is used, and given back as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seqsal.attribution.borrow import borrowed

CPU = torch.device("cpu")


class Stubborn(nn.Sequential):
    """Refuses `train` and `eval`, as what `torch.export` gives does."""

    def train(self, mode: bool = True) -> Stubborn:
        raise NotImplementedError


def make_model() -> Stubborn:
    model = Stubborn(nn.Linear(2, 2), nn.Dropout(), nn.Linear(2, 1))
    model[1].training = False
    model[0].bias.requires_grad_(False)
    model[2].weight.grad = torch.ones(1, 2)
    return model


def state(model: nn.Module) -> list[object]:
    parameters = list(model.parameters())
    modes: list[object] = [module.training for module in model.modules()]
    return modes + [(p.requires_grad, None if p.grad is None else p.grad.tolist(), p.device) for p in parameters]


def test_frozen_inside_and_as_before_outside() -> None:
    model = make_model()
    before = state(model)
    with borrowed(model, CPU) as used:
        assert used is model and not any(module.training for module in model.modules())
        assert all(not p.requires_grad and p.grad is None for p in model.parameters())
    assert state(model) == before and before.count(True) == 3


def test_given_back_after_an_exception() -> None:
    model = make_model()
    before = state(model)
    with pytest.raises(ZeroDivisionError), borrowed(model, CPU):
        raise ZeroDivisionError
    assert state(model) == before


def test_given_back_when_the_device_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model()
    before = state(model)
    home, moves = model.to, []

    def move(device: torch.device) -> nn.Module:
        moves.append(device)
        if device.type == "meta":
            raise torch.OutOfMemoryError
        return home(device)

    monkeypatch.setattr(model, "to", move)
    with pytest.raises(torch.OutOfMemoryError), borrowed(model, torch.device("meta")):
        raise AssertionError("the body must not be entered")
    assert state(model) == before and moves == [torch.device("meta"), CPU]
