"""Precision: what bfloat16 changes, what is told about it, and that nothing of it stays behind."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import Linear, Small, Windows, random_codes

from seqsal.attribution.compute import autocast_of, check_precision, model_view, pearson
from seqsal.attribution.engine import AttributeOptions, attribute_to_file, attribute_windows
from seqsal.errors import DeviceError, UsageError
from seqsal.io.store import read_attributions
from seqsal.models import wrap
from seqsal.sequence.tensors import one_hot_tensor

CPU = torch.device("cpu")


@pytest.fixture
def source(rng: np.random.Generator) -> Windows:
    return Windows(random_codes(rng, 40, 60, 0.02))


def test_bf16_is_close_to_fp32_and_says_how_close(
    source: Windows, tmp_path: Path, device: torch.device, caplog: pytest.LogCaptureFixture
) -> None:
    model = wrap(Small(32), input_length=60)
    methods = ["gradient_x_input", "integrated_gradients"]
    full, half = (
        AttributeOptions(method=methods, method_options={"n_steps": 5}, n_controls=4, precision=precision)
        for precision in ("fp32", "bf16")
    )
    exact = attribute_windows(model, source, full, device=device)
    assert exact.attrs["precision"] == "fp32" and "precision_correlation" not in exact.attrs
    with caplog.at_level(logging.INFO, "seqsal"):
        path = attribute_to_file(model, source, tmp_path / "A.h5", half, device=device)
    for name in methods:
        result, expected = read_attributions(path, name), exact.result(name)
        assert result.attrs["precision"] == "bf16"
        difference = np.linalg.norm(result.track - expected.track) / np.linalg.norm(expected.track)
        assert 0 < difference < 0.1  # a ReLU at its threshold may flip
        np.testing.assert_allclose(result.prediction, expected.prediction, rtol=0.03, atol=0.01)
        r = np.corrcoef(np.ravel(result.track[:32]), np.ravel(expected.track[:32]))[0, 1]
        assert 0.99 < result.attrs["precision_correlation"] < 1
        assert result.attrs["precision_correlation"] == pytest.approx(r, abs=1e-5)
        assert 0.9 < result.attrs["precision_correlation_prediction"] <= 1
        assert f"{name}: bf16 against fp32 on 32 windows: Pearson r {r:.4f} of the tracks" in caplog.text


def test_a_precision_that_is_too_low_is_warned_of(
    source: Windows, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqsal.attribution.engine.MIN_CORRELATION", 0.99999999)
    attribute_windows(Small(), source, AttributeOptions(precision="bf16", n_controls=0), device=CPU)
    assert "gradient_x_input: bf16 differs from fp32 (Pearson r" in caplog.text and "use fp32" in caplog.text


def test_bf16_resumes_and_repeats(source: Windows, tmp_path: Path) -> None:
    options = AttributeOptions(precision="bf16", n_controls=3)
    one, two = (
        attribute_to_file(Small(), source, tmp_path / name, options, device=CPU).read_bytes() for name in ("a", "b")
    )
    assert one == two


def test_view_gives_float32_and_leaves_the_model_alone(rng: np.random.Generator, device: torch.device) -> None:
    model = wrap(Small(), input_length=60).eval().to(device)
    X = one_hot_tensor(torch.from_numpy(random_codes(rng, 5, 60)).to(device))
    before = model(X)
    view = model_view(model, "bf16", device)
    kinds = []
    hook = model.module.stem.register_forward_hook(lambda module, inputs, output: kinds.append(output.dtype))
    assert view(X).dtype == view.columns(X, [0]).dtype == torch.float32
    hook.remove()
    assert kinds == [torch.bfloat16, torch.bfloat16]
    assert not torch.equal(view(X), before)
    torch.testing.assert_close(model(X), before, rtol=0, atol=0)
    assert model_view(model, "fp32", device) is model
    with autocast_of(view):
        assert torch.is_autocast_enabled(device.type)
    with autocast_of(model):
        assert not torch.is_autocast_enabled(device.type)


def test_tf32_is_refused_on_the_cpu(source: Windows) -> None:
    with pytest.raises(DeviceError, match="precision: tf32 needs a CUDA device, got cpu; use fp32"):
        attribute_windows(Small(), source, AttributeOptions(precision="tf32"), device=CPU)
    with pytest.raises(UsageError, match="precision: got 'fp16', expected one of fp32, bf16, tf32"):
        AttributeOptions(precision="fp16")
    check_precision("tf32", torch.device("cuda"))


@pytest.mark.cuda
def test_tf32_on_a_gpu(source: Windows) -> None:
    switches = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    result = attribute_windows(Small(64), source, AttributeOptions(precision="tf32"), device=torch.device("cuda"))
    assert result.attrs["precision_correlation"] > 0.999
    assert switches == (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32)


def test_pearson(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(2, 5, 7))
    assert pearson(a, b) == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1])
    assert pearson(a, a) == pearson(np.ones(3), np.ones(3)) == 1
    assert pearson(a, -2 * a + 3) == pytest.approx(-1)
    assert np.isnan(pearson(np.ones(3), np.arange(3)))


def test_a_linear_model_keeps_its_weights_within_bf16(rng: np.random.Generator) -> None:
    weight = torch.from_numpy(rng.normal(size=(4, 60)).astype(np.float32))
    source = Windows(random_codes(rng, 5, 60))
    options = AttributeOptions(precision="bf16", n_controls=0, method_options={"gradient_correction": False})
    result = attribute_windows(Linear(weight), source, options, device=CPU)
    expected = np.take_along_axis(weight.numpy()[None], source.codes[:, None].astype(np.int64), axis=1)[:, 0]
    np.testing.assert_allclose(result.track, expected, rtol=2**-7)
