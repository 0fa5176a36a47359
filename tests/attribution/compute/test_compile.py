"""`torch.compile`: the same attributions, for the methods that can use it, and one line where it cannot be."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from toys import random_codes

import seqsal
from seqsal.attribution import AttributeOptions, attribute_windows
from seqsal.attribution.compute import is_compiled, model_view
from seqsal.errors import MethodError, ModelError
from seqsal.io.inputs import open_codes

CPU = torch.device("cpu")
L = 40
Codes = np.ndarray[Any, np.dtype[np.uint8]]


class Two(nn.Module):
    """A dilated convolution with a residual, two outputs: (N, 4, L) → (N, 2)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv1d(4, 48, 5, padding=2)
        self.block = nn.Conv1d(48, 48, 3, padding=8, dilation=8)
        self.head = nn.Linear(48, 2)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.stem(X))
        h = h + torch.relu(self.block(h))
        return self.head(h.mean(-1))


@pytest.fixture
def codes(rng: np.random.Generator) -> Codes:
    return random_codes(rng, 6, L)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Functions that were given to a compiler which leaves them as they are."""
    names: list[str] = []

    def compile_nothing(function: Callable[..., Any]) -> Callable[..., Any]:
        names.append(function.__name__)
        return function

    monkeypatch.setattr(torch, "compile", compile_nothing)
    return names


def attribute(codes: Codes, device: torch.device = CPU, **options: Any) -> seqsal.Attributions:
    model = seqsal.wrap(Two(), input_length=L)
    return attribute_windows(model, open_codes(codes), AttributeOptions(n_controls=3, **options), device=device)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch about itself
@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
def test_compiled_models_give_the_same_attributions(
    codes: Codes, device: torch.device, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor import config

    monkeypatch.setattr(config, "compile_threads", 1)  # its pool of processes would load torch again each
    caplog.set_level(logging.INFO, "seqsal")
    expected, found = (attribute(codes, device, compile=compiled, batch_size=4) for compiled in (False, True))
    scale = np.abs(expected.track).max()
    np.testing.assert_allclose(found.track, expected.track, atol=1e-5 * scale)
    np.testing.assert_allclose(found.controls.track, expected.controls.track, atol=1e-5 * scale)
    np.testing.assert_allclose(found.prediction, expected.prediction, rtol=1e-5)
    assert found.attrs["compiled"] is True
    assert found.attrs["precision_correlation"] == pytest.approx(1)
    assert "compiled" not in expected.attrs
    assert "times the speed on 6 windows" in caplog.text


def test_methods_that_look_into_the_model_are_left_alone(codes: Codes, compiled: list[str]) -> None:
    methods = ["gradient_x_input", "ism", "integrated_gradients"]
    given = {"method": methods, "rc_average": True, "target": [0, 1], "method_options": {"n_steps": 3}}
    found = attribute(codes[:2], **given, compile=True)
    expected = attribute(codes[:2], **given)
    assert set(compiled) == {"forward", "columns"}
    for name in expected.results:
        np.testing.assert_allclose(found.result(name).track, expected.result(name).track, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", ["ism", "deeplift_shap", "grad_cam", "cam"])
def test_a_method_that_cannot_use_it_is_refused(codes: Codes, method: str) -> None:
    with pytest.raises(MethodError, match=rf"^compile: {method} looks into the model.*leave it out, or use a method"):
        attribute(codes, method=method, compile=True)


def test_a_model_that_cannot_be_compiled_is_refused_in_one_line(codes: Codes, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> None:
        raise RuntimeError("\nno compiler\nand a long story")

    monkeypatch.setattr(torch, "compile", lambda function: fail)
    with pytest.raises(ModelError, match=r"^compile: torch cannot compile this model for cpu \(no compiler\); leave"):
        attribute(codes, compile=True)


def test_the_model_itself_stays_as_it_is(compiled: list[str]) -> None:
    model = seqsal.wrap(Two(), input_length=L)
    view = model_view(model, "fp32", CPU, compile=True)
    assert is_compiled(view) and not is_compiled(model)
    assert compiled == ["forward", "columns"]
    assert "forward" not in vars(model)
    assert view.module is model.module


def test_a_precision_that_the_model_refuses_is_not_blamed_on_the_compiler(codes: Codes, compiled: list[str]) -> None:
    class OnlySingle(Two):
        def forward(self, X: torch.Tensor) -> torch.Tensor:
            if torch.is_autocast_enabled("cpu"):
                raise RuntimeError("only float32 here")
            return super().forward(X)

    model = seqsal.wrap(OnlySingle(), input_length=L)
    options = AttributeOptions(n_controls=0, precision="bf16", compile=True)
    with pytest.raises(RuntimeError, match=r"^only float32 here$"):
        attribute_windows(model, open_codes(codes), options, device=CPU)
    assert not compiled
