"""A library leaves the process as it found it: threads, switches, random states, and the caller's model."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from toys import Small, random_codes

import seqsal
from seqsal.attribution import METHODS
from seqsal.errors import SeqsalError
from seqsal.models import CNNConfig
from seqsal.sequence.codes import decode, one_hot
from seqsal.training.settings import TrainConfig
from seqsal.training.train import train_model

L = 60
STEERING = ("MALLOC", "GLIBC", "OMP", "MKL", "CUBLAS", "PYTHON")


class Grouped(Small):
    """With what `cam` wants (a pooled last layer), and one that fails when it is told to."""

    fails = False

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        if self.fails:
            raise RuntimeError("as it was told")
        return super().forward(X)


def process_state() -> dict[str, Any]:
    backends = torch.backends
    return {
        "threads": torch.get_num_threads(),
        "interop threads": torch.get_num_interop_threads(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "default type": torch.get_default_dtype(),
        "products": torch.get_float32_matmul_precision(),
        "cudnn": (backends.cudnn.allow_tf32, backends.cudnn.deterministic, backends.cudnn.benchmark),
        "oneDNN": backends.mkldnn.enabled,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "torch's random state": torch.get_rng_state().tolist(),
        "numpy's random state": str(np.random.get_state()),  # noqa: NPY002 - of users who have it
        "numpy's errors": np.geterr(),
        "environment": {name: value for name, value in os.environ.items() if name.startswith(STEERING)},
        "collections": gc.get_threshold(),
    }


def model_state(model: nn.Module) -> dict[str, Any]:
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {
        "modes": {name: module.training for name, module in model.named_modules()},
        "hooks": {
            name: (len(module._forward_hooks), len(module._forward_pre_hooks), len(module._backward_hooks))
            for name, module in model.named_modules()
        },
        "flags": {name: parameter.requires_grad for name, parameter in model.named_parameters()},
        "gradients": {
            name: None if parameter.grad is None else parameter.grad.tolist()
            for name, parameter in model.named_parameters()
        },
        "values": {name: tensor.tolist() for name, tensor in tensors.items()},
        "devices": {name: str(tensor.device) for name, tensor in tensors.items()},
        "attributes": {name: sorted(vars(module)) for name, module in model.named_modules()},
    }


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def model() -> Grouped:
    """In training mode but for one layer, one parameter frozen, one with a gradient."""
    model = Grouped().train()
    model.norm.training = False
    model.stem.bias.requires_grad_(False)
    model.head.weight.grad = torch.full_like(model.head.weight, 7.0)
    return model


@pytest.fixture
def X(rng: np.random.Generator) -> np.ndarray[Any, Any]:
    return one_hot(random_codes(rng, 5, L))


def check(work: Callable[[], object], *models: nn.Module) -> None:
    """Assert that work leaves the process and the models as they were."""
    before, models_before = process_state(), [model_state(model) for model in models]
    work()
    assert process_state() == before
    for model, model_before in zip(models, models_before, strict=True):
        assert model_state(model) == model_before


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("method", sorted(METHODS))
def test_attribute(method: str, model: Grouped, X: np.ndarray[Any, Any]) -> None:
    options: dict[str, Any] = {"tile": L // 2} if method == "tiles" else {}
    check(lambda: seqsal.attribute(model, X=X, method=method, n_controls=3, device="cpu", **options), model)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_attribute_without_gradients_and_in_another_precision(
    precision: str, model: Grouped, X: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    def work() -> None:
        with torch.no_grad():
            seqsal.attribute(model, X=X, precision=precision, out=tmp_path / "A.h5", device="cpu")

    check(work, model)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("method", ["gradient_x_input", "ism", "deeplift_shap", "grad_cam"])
def test_attribute_of_a_model_that_fails(
    method: str, model: Grouped, X: np.ndarray[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def work() -> None:
        monkeypatch.setattr(Grouped, "fails", True)
        with pytest.raises((RuntimeError, SeqsalError), match="as it was told"):
            seqsal.attribute(model, X=X, method=method, device="cpu")

    check(work, model)


@pytest.mark.usefixtures("threads")
def test_score(model: Grouped, X: np.ndarray[Any, Any]) -> None:
    check(lambda: seqsal.score(model, X=X, device="cpu"), model)


@pytest.mark.usefixtures("threads")
def test_train(rng: np.random.Generator, tmp_path: Path) -> None:
    fasta = tmp_path / "positives.fa"
    fasta.write_text("".join(f">s{i}\n{decode(codes)}\n" for i, codes in enumerate(random_codes(rng, 40, 200))))
    config = CNNConfig(input_length=200, n_filters=4, n_blocks=1)
    check(lambda: train_model(fasta, config=config, training=TrainConfig(epochs=1), device="cpu"))


@pytest.mark.slow
def test_audit(model: Grouped, X: np.ndarray[Any, Any]) -> None:
    attr = seqsal.attribute(model, X=X, n_controls=20, device="cpu")
    sizes = {"n_ism_regions": 2, "n_small": 4, "n_steps": 4, "n_draws": 1, "n_bootstrap": 100}
    check(lambda: seqsal.audit(model, attr, settings=sizes, device="cpu"), model)
