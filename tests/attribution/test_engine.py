"""The engine: same numbers however it is batched, streamed, resumed or interrupted."""

from __future__ import annotations

import copy
import math
import threading
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from toys import Linear, Small, Windows, random_codes
from tqdm.auto import tqdm

import seqsal
from seqsal.attribution import passes
from seqsal.attribution.engine import (
    AttributeOptions,
    attribute_to_file,
    attribute_windows,
)
from seqsal.attribution.ism.mutants import Mutator
from seqsal.attribution.methods import contributions as deeplift
from seqsal.attribution.methods import mutagenesis as ism
from seqsal.attribution.methods.base import mask_unknown, project
from seqsal.attribution.methods.registry import METHODS, make_method
from seqsal.attribution.passes import chunk_rows
from seqsal.attribution.request import PlannedMethod
from seqsal.errors import DeviceError, ModelError, RegionError, UsageError
from seqsal.io.store import read_attributions
from seqsal.models import state
from seqsal.sequence.tensors import one_hot_tensor

CPU = torch.device("cpu")


@pytest.fixture
def source(rng: np.random.Generator) -> Windows:
    return Windows(random_codes(rng, 37, 50, 0.02))


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten windows of 50 bp a chunk, so that 37 windows take several."""
    monkeypatch.setattr(passes, "CHUNK_BASES", 500)


def test_equals_one_call_of_the_method(source: Windows, device: torch.device) -> None:
    model = Small()
    result = attribute_windows(model, source, AttributeOptions(hypothetical=True), device=device)
    X = one_hot_tensor(torch.from_numpy(source.codes))
    expected = make_method("gradient_x_input").attribute(model.eval(), X)
    np.testing.assert_allclose(result.track, project(expected.hypothetical, X), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(result.hypothetical, mask_unknown(expected.hypothetical, X), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(result.prediction, expected.prediction, rtol=1e-5)
    np.testing.assert_array_equal(result.codes, source.codes)


def test_one_chunk_takes_no_thread_and_one_look_at_the_model(source: Windows, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a single window would have to wait for."""
    model, started, looks = seqsal.wrap(Small(), input_length=50), [], []
    options = AttributeOptions(["gradient_x_input", "ism"])
    attribute_windows(model, source, options, device=CPU)  # the pool of workers is there for good
    described = state._settings
    monkeypatch.setattr(state, "_settings", lambda layer: looks.append(layer) or described(layer))
    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda thread: started.append(thread.name) or start(thread))
    attribute_windows(model, source, options, device=CPU)
    assert not started
    assert len(looks) == len(list(model.module.modules()))


QUICK: dict[str, dict[str, Any]] = {"tiles": {"tile": 10, "n_shuffles": 2}}


@pytest.mark.parametrize("method", sorted(METHODS))
def test_weights_in_double_precision(method: str) -> None:
    source, options = (
        Windows(random_codes(np.random.default_rng(0), 2, 40, 0.02)),
        AttributeOptions(method, QUICK.get(method, {})),
    )
    torch.manual_seed(0)
    single = nn.Sequential(nn.Conv1d(4, 8, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 2))
    double = copy.deepcopy(single).double()
    of_single, of_double = (
        attribute_windows(seqsal.wrap(model), source, options, device=CPU) for model in (single, double)
    )
    assert of_double.track.dtype == np.float32
    np.testing.assert_allclose(of_double.track, of_single.track, rtol=0, atol=1e-4 * np.abs(of_single.track).max())


@pytest.mark.parametrize(
    ("methods", "n_controls", "total", "text"),
    [
        ("gradient_x_input", 3, 8, "5 windows + 3 controls: 100%"),
        ("ism", 0, 5 * 3 * 50, "5 windows: 100%"),
        (["ism", "gradient_x_input"], 0, 5 * (3 * 50 + 1), "sequences/s"),
    ],
)
def test_progress_counts_what_takes_time(
    methods: Any,
    n_controls: int,
    total: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Mutants where there are many, so that a bar moves within a window; and which of the windows are controls."""
    bars = []
    monkeypatch.setattr(passes, "progress_bar", lambda **given: bars.append(tqdm(**given)) or bars[-1])
    source = Windows(random_codes(np.random.default_rng(0), 5, 50, 0.02))
    steps = []
    update = tqdm.update
    monkeypatch.setattr(tqdm, "update", lambda bar, n=1: steps.append(n) or update(bar, n))
    given = {"n_at_once": 30} if "ism" in methods else {}
    options = AttributeOptions(methods, given, n_controls=n_controls)
    attribute_windows(Small(), source, options, device=CPU, progress=True)
    assert bars[0].n == bars[0].total == total == sum(steps)
    assert "ism" not in methods or len([n for n in steps if n]) > 5  # more than one step a window
    assert text in capfd.readouterr().err
    attribute_windows(Small(), source, AttributeOptions(methods), device=CPU, progress=None)
    assert bars[1].disable  # no terminal


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("batch_size", [1, 3, 1000])
def test_batch_size_does_not_matter(source: Windows, batch_size: int) -> None:
    model = Small()
    reference = attribute_windows(model, source, AttributeOptions(n_controls=100), device=CPU)
    options = AttributeOptions(batch_size=batch_size, n_controls=100)
    other = attribute_windows(model, source, options, device=CPU)
    for name in ("track", "prediction", "controls.track"):
        np.testing.assert_allclose(*map(attrgetter(name), (other, reference)), rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(other.controls.codes, reference.controls.codes)


@pytest.mark.usefixtures("small_chunks")
def test_file_and_memory_hold_the_same(source: Windows, tmp_path: Path) -> None:
    options = AttributeOptions(hypothetical=True, seed=3, n_controls=100)
    path = attribute_to_file(Small(), source, tmp_path / "A.h5", options, device=CPU)
    memory, disk = attribute_windows(Small(), source, options, device=CPU), read_attributions(path)
    for name in ("codes", "track", "prediction", "hypothetical", "controls.track", "controls.codes", "controls.source"):
        np.testing.assert_array_equal(*map(attrgetter(name), (disk, memory)))
    assert disk.attrs["method"] == "gradient_x_input"
    assert disk.attrs["gradient_correction"] is True
    assert disk.attrs["options"]["rc_average"] is False
    assert disk.attrs["seed"] == 3
    assert disk.regions["name"].tolist() == source.windows["name"].tolist()
    assert [entry.name for entry in tmp_path.iterdir()] == ["A.h5"]


def test_controls_are_shuffles_of_their_windows(source: Windows) -> None:
    result = attribute_windows(Small(), source, AttributeOptions(n_controls=80), device=CPU)
    assert result.controls.track.shape == (80, 50)
    for codes, parent in zip(result.controls.codes, result.controls.source, strict=True):
        np.testing.assert_array_equal(np.sort(codes), np.sort(source.codes[parent]))
    assert len(np.unique(np.asarray(result.controls.codes), axis=0)) > 70  # draws of one window differ
    assert np.bincount(result.controls.source, minlength=37).min() >= 2


def test_seed_changes_controls_only(source: Windows) -> None:
    one, two = (
        attribute_windows(Small(), source, AttributeOptions(seed=seed, n_controls=9), device=CPU) for seed in (1, 2)
    )
    np.testing.assert_array_equal(one.track, two.track)
    assert not np.array_equal(one.controls.codes, two.controls.codes)


class _Stops(Windows):
    """Loses power after some windows have been read."""

    limit = 10**9

    def read(self, rows):  # type: ignore[no-untyped-def]
        if self.n_read > self.limit:
            raise KeyboardInterrupt
        return super().read(rows)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("limit", [15, 100])
def test_interrupted_run_resumes_to_the_same_file(rng: np.random.Generator, tmp_path: Path, limit: int) -> None:
    source, options = _Stops(random_codes(rng, 37, 50)), AttributeOptions(batch_size=4, n_controls=100)
    whole = attribute_to_file(Small(), source, tmp_path / "whole.h5", options, device=CPU)
    source.n_read, source.limit = 0, limit
    with pytest.raises(KeyboardInterrupt):
        attribute_to_file(Small(), source, tmp_path / "A.h5", options, device=CPU)
    assert not (tmp_path / "A.h5").exists()
    source.n_read, source.limit = 0, 10**9
    resumed = attribute_to_file(Small(), source, tmp_path / "A.h5", options, device=CPU)
    assert source.n_read < 2 * 37 + 100, "it started from the beginning"
    assert resumed.read_bytes() == whole.read_bytes()


@pytest.mark.usefixtures("small_chunks")
def test_other_settings_start_afresh(
    rng: np.random.Generator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = _Stops(random_codes(rng, 37, 50))
    source.limit = 15
    with pytest.raises(KeyboardInterrupt):
        attribute_to_file(Small(), source, tmp_path / "A.h5", AttributeOptions(), device=CPU)
    source.limit = 10**9
    path = attribute_to_file(Small(), source, tmp_path / "A.h5", AttributeOptions(method="saliency"), device=CPU)
    assert "starting afresh" in caplog.text
    assert read_attributions(path).track.min() >= 0


def test_the_model_is_given_back_as_it_was(source: Windows) -> None:
    model = Small().train()
    model.norm.eval()
    model.stem.bias.requires_grad_(False)
    model.head.weight.grad = torch.ones_like(model.head.weight)
    attribute_windows(model, source, AttributeOptions(), device=CPU)
    assert model.training and model.dropout.training and not model.norm.training
    assert not model.stem.bias.requires_grad and model.stem.weight.requires_grad
    assert model.head.weight.grad is not None and (model.head.weight.grad == 1).all()
    assert model.stem.weight.grad is None


def test_the_model_is_given_back_after_an_error(source: Windows) -> None:
    model = Small().train()
    with torch.no_grad():
        model.head.bias.fill_(math.nan)
    with pytest.raises(ModelError, match=r"prediction for chrA:0-50 is not finite"):
        attribute_windows(model, source, AttributeOptions(), device=CPU)
    assert model.training and all(parameter.requires_grad for parameter in model.parameters())


class OnlyThese(nn.Module):
    """Knows some windows, and gives NaN for all others."""

    def __init__(self, X: torch.Tensor) -> None:
        super().__init__()
        self.known = X.flatten(1)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        is_known = (X.flatten(1)[:, None] == self.known).all(2).any(1)
        return torch.where(is_known, X.sum((1, 2)), torch.nan)


def test_a_control_that_is_not_finite_is_named_as_one() -> None:
    codes = random_codes(np.random.default_rng(0), 2, 50)
    model = OnlyThese(one_hot_tensor(torch.from_numpy(codes)))
    with pytest.raises(ModelError, match=r"prediction for a control of chrA:0-50 is not finite"):
        attribute_windows(model, Windows(codes), AttributeOptions(n_controls=2), device=CPU)


def test_nothing_is_left_after_a_model_error(source: Windows, tmp_path: Path) -> None:
    model = Small()
    with torch.no_grad():
        model.head.bias.fill_(math.inf)
    with pytest.raises(ModelError, match="not finite"):
        attribute_to_file(model, source, tmp_path / "A.h5", AttributeOptions(), device=CPU)
    assert not list(tmp_path.iterdir())


class _Hungry(Small):
    """Runs out of memory above `limit` windows, as the CUDA or CPU allocator would say it."""

    def __init__(self, limit: int, error: Exception) -> None:
        super().__init__()
        self.limit, self.error = limit, error

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        if len(X) > self.limit:
            raise self.error
        return super().forward(X)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
    ],
)
def test_out_of_memory_halves_the_batch(source: Windows, error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    expected = attribute_windows(Small(), source, AttributeOptions(batch_size=5), device=CPU)
    result = attribute_windows(_Hungry(5, error), source, AttributeOptions(batch_size=20), device=CPU)
    np.testing.assert_allclose(result.track, expected.track, rtol=1e-4, atol=1e-7)
    assert "batches of 5 windows" in caplog.text


class _Picky(Small):
    """Without a mutator, as it looks at what it is given, and of a memory that a backward pass fills sooner."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit, self.n_refused = limit, 0

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        if len(X) > (self.limit if not torch.is_grad_enabled() else self.limit // 2):
            self.n_refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(X)


@pytest.mark.parametrize("method", ["ism", "grad_cam", "cam", "expected_gradients"])
def test_out_of_memory_within_a_window_halves_what_goes_together(
    source: Windows, method: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutants and probes, which are more than the windows of a batch."""
    monkeypatch.setattr(ism, "_confirmed_mutator", lambda *args: None)
    few = {"n_references": 8} if method == "expected_gradients" else {}
    options = AttributeOptions(method=method, method_options=few, batch_size=16, n_controls=0)
    expected = attribute_windows(Small(), source, options, device=CPU)
    model = _Picky(6)
    result = attribute_windows(model, source, options, device=CPU)
    np.testing.assert_allclose(result.track, expected.track, rtol=1e-3, atol=1e-5 * np.abs(expected.track).max())
    assert 0 < model.n_refused < 12 and "out of memory; going on with batches of" in caplog.text


def test_deeplift_that_runs_out_of_memory_takes_fewer_references_then_windows(
    source: Windows, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = AttributeOptions(method="deeplift_shap", batch_size=64, n_controls=0, method_options={"n_references": 5})
    expected = attribute_windows(Small(), source, options, device=CPU)
    multiply, refused, taken = deeplift._multipliers, [], []

    def limited(plan: Any, X: torch.Tensor, references: torch.Tensor, recorded: Any) -> Any:
        n = references.shape[0] * references.shape[1]
        (taken if n <= 2 else refused).append(n)
        if n > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return multiply(plan, X, references, recorded)

    monkeypatch.setattr(deeplift, "_multipliers", limited)
    result = attribute_windows(Small(), source, options, device=CPU)
    np.testing.assert_allclose(result.track, expected.track, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(result.completeness_error, expected.completeness_error, atol=1e-4)
    assert refused and set(taken) == {1, 2} and "out of memory" in caplog.text


def test_a_mutator_that_runs_out_of_memory_takes_fewer_mutants(
    source: Windows, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    options = AttributeOptions(method="ism", n_controls=0)
    expected = attribute_windows(Small(), source, options, device=CPU)
    run, sizes = Mutator._run, []

    def limited(self: Mutator, passed: Any, positions: Any, bases: Any) -> torch.Tensor:
        n_mutants = 1 if bases is None else bases.size
        if n_mutants > 9:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(n_mutants)
        return run(self, passed, positions, bases)

    monkeypatch.setattr(Mutator, "_run", limited)
    monkeypatch.setattr(ism, "is_worth_tracing", lambda *args: True)
    monkeypatch.setattr(ism, "_disagreement", lambda *args: "")
    result = attribute_windows(Small(), source, options, device=CPU)
    np.testing.assert_allclose(result.track, expected.track, rtol=1e-4, atol=1e-6)
    assert max(sizes) > 1 and "out of memory" in caplog.text


def test_a_window_that_does_not_fit(source: Windows) -> None:
    with pytest.raises(DeviceError, match=r"out of memory with a single window \(CUDA out of memory\)"):
        attribute_windows(
            _Hungry(0, torch.OutOfMemoryError("CUDA out of memory")), source, AttributeOptions(batch_size=8), device=CPU
        )


def test_other_runtime_errors_pass_through(source: Windows) -> None:
    with pytest.raises(RuntimeError, match="shape mismatch"):
        attribute_windows(
            _Hungry(0, RuntimeError("shape mismatch")), source, AttributeOptions(batch_size=8), device=CPU
        )


def test_no_windows(rng: np.random.Generator) -> None:
    empty = Windows(random_codes(rng, 0, 50))
    with pytest.raises(RegionError, match="none left to attribute"):
        attribute_windows(Small(), empty, AttributeOptions(), device=CPU)


def test_options_out_of_range() -> None:
    with pytest.raises(UsageError, match="n_controls: got -1"):
        AttributeOptions(n_controls=-1)
    with pytest.raises(UsageError, match="batch_size: got 0"):
        AttributeOptions(batch_size=0)


def test_without_controls(source: Windows, tmp_path: Path) -> None:
    weight = torch.ones(4, 50)
    path = attribute_to_file(Linear(weight), source, tmp_path / "A.h5", AttributeOptions(n_controls=0), device=CPU)
    result = read_attributions(path)
    assert result.controls is None and result.n_controls == 0


def test_disk_array_indexes_like_numpy(source: Windows, tmp_path: Path) -> None:
    path = attribute_to_file(Small(), source, tmp_path / "A.h5", AttributeOptions(), device=CPU)
    disk, memory = read_attributions(path, in_memory=False), read_attributions(path)
    for rows in (slice(3, 9), np.array([5, 2, 2, 36, -1]), np.arange(37) % 2 == 0, 4):
        np.testing.assert_array_equal(disk.track[rows], memory.track[rows])
    np.testing.assert_array_equal(np.asarray(disk.track), memory.track)


def test_slow_methods_get_short_chunks_and_few_windows_at_once():
    def rows(n_passes, length):
        method = make_method("deeplift_shap", n_references=n_passes)
        return chunk_rows([PlannedMethod(method, ())], length)

    assert rows(20, 2048) == 512
    assert rows(640, 2048) == 25
    assert rows(100_000, 2048) == 8
    assert rows(20, 1 << 22) == 1
    assert make_method("deeplift_shap", n_references=20).windows_at_once(64) == 3
    assert make_method("deeplift_shap", rc_average=True).windows_at_once(4) == 1
    assert make_method("integrated_gradients", rc_average=True, n_steps=7).n_passes(100) == 14
