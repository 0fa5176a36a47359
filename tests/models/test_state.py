"""Switches of CUDA's arithmetic: as asked while it lasts, and as they were afterwards, whichever of them a user set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

from seqsal.attribution.compute import frozen_on_device
from seqsal.models import state as arithmetic
from seqsal.models.state import cuda_arithmetic

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SETTINGS: dict[str, Callable[[], Any]] = {
    "as torch comes": lambda: None,
    "convolutions ieee": lambda: setattr(torch.backends.cudnn.conv, "fp32_precision", "ieee"),
    "cudnn ieee": lambda: setattr(torch.backends.cudnn, "fp32_precision", "ieee"),
    "everything ieee": lambda: setattr(torch.backends, "fp32_precision", "ieee"),
    "everything tf32": lambda: setattr(torch.backends, "fp32_precision", "tf32"),
    "products tf32": lambda: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "older switch off": lambda: setattr(torch.backends.cudnn, "allow_tf32", False),
    "older switches crossed": lambda: (
        setattr(torch.backends.cudnn, "allow_tf32", False),
        setattr(torch.backends.cuda.matmul, "allow_tf32", True),
    ),
    "deterministic": lambda: setattr(torch.backends.cudnn, "deterministic", True),
    "timed": lambda: setattr(torch.backends.cudnn, "benchmark", True),
}


def told(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except RuntimeError:
        return "cannot be told"


def newer_switches() -> list[Any]:
    backends = torch.backends
    return [
        backends.cuda.matmul, backends.cudnn, backends.cudnn.conv, backends.cudnn.rnn,
        backends.mkldnn, backends.mkldnn.matmul, backends.mkldnn.conv,
    ]  # fmt: skip


def state() -> list[Any]:
    return [
        torch.backends.fp32_precision,
        *(switch.fp32_precision for switch in newer_switches()),
        told(lambda: torch.backends.cudnn.allow_tf32),
        told(lambda: torch.backends.cuda.matmul.allow_tf32),
        told(torch.get_float32_matmul_precision),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
    ]


@pytest.fixture(params=list(SETTINGS))
def setting(request: pytest.FixtureRequest) -> Iterator[list[Any]]:
    """What a user has set, and torch as it comes afterwards."""
    before = state()
    SETTINGS[request.param]()
    yield state()
    torch.backends.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True
    for switch in newer_switches():
        switch.fp32_precision = "none"
    torch.backends.cudnn.conv.fp32_precision = torch.backends.cudnn.rnn.fp32_precision = "tf32"
    torch.backends.cudnn.deterministic = torch.backends.cudnn.benchmark = False
    assert state() == before


@pytest.mark.parametrize("precision", ["fp32", "bf16", "tf32"])
def test_switches_are_as_asked_and_then_as_they_were(setting: list[Any], precision: str) -> None:
    expected = ["tf32" if precision == "tf32" else "ieee"] * 3
    with pytest.raises(KeyboardInterrupt), cuda_arithmetic(precision, CUDA):
        inside = [torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn]
        assert [switch.fp32_precision for switch in inside] == expected
        assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
        with cuda_arithmetic("fp32", CUDA):
            assert [switch.fp32_precision for switch in inside] == ["ieee"] * 3
        assert [switch.fp32_precision for switch in inside] == expected
        raise KeyboardInterrupt
    assert state() == setting


def test_the_cpu_needs_no_switch(setting: list[Any]) -> None:
    with cuda_arithmetic("fp32", CPU):
        assert state() == setting


def test_switches_that_torch_does_not_have_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    before, of_another_version = state(), arithmetic._attribute("cudnn.another", "fp32_precision", "ieee", "tf32")
    monkeypatch.setattr(arithmetic, "_SWITCHES", (of_another_version, *arithmetic._SWITCHES[:2]))
    with cuda_arithmetic("fp32", CUDA):
        assert torch.backends.cudnn.allow_tf32 is False and torch.get_float32_matmul_precision() == "highest"
    torch.backends.cudnn.conv.fp32_precision = torch.backends.cudnn.rnn.fp32_precision = "tf32"
    torch.backends.cuda.matmul.fp32_precision = torch.backends.mkldnn.matmul.fp32_precision = "none"
    assert state() == before


def test_a_frozen_model_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = nn.Linear(2, 1), []
    monkeypatch.setattr("seqsal.attribution.compute.process._moved", lambda *_: torch.no_grad())
    with frozen_on_device(model, CUDA):
        asked.append(torch.backends.cudnn.conv.fp32_precision)
    with frozen_on_device(model, CUDA, "tf32"):
        asked.append(torch.backends.cudnn.conv.fp32_precision)
    assert asked == ["ieee", "tf32"]
