"""The table of published models in docs/models.md: each is read without being told how, and rightly."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nets import random_X

import seqsal
from seqsal.models import wrap
from seqsal.models.adapters import FAMILIES
from seqsal.models.grid import find_grid

DOCS = Path(__file__).parents[2] / "docs" / "models.md"
By = Callable[[torch.Tensor], torch.Tensor]


def _enformer() -> tuple[Any, int, By]:
    package = pytest.importorskip("enformer_pytorch")
    module = package.Enformer.from_hparams(
        dim=48, depth=1, heads=2, target_length=4, num_downsamples=7, dim_divisible_by=12, attn_dim_key=8,
        output_heads={"human": 5, "mouse": 3}, use_tf_gamma=False,
    )  # fmt: skip
    return module, 1024, lambda X: module(X.mT)["human"].sum(1)


def _borzoi() -> tuple[Any, int, By]:
    package = pytest.importorskip("borzoi_pytorch.pytorch_borzoi_model")
    module = package.Borzoi.from_hparams(dim=32, depth=1, heads=2, attn_dim_key=8, attn_dim_value=8, bins_to_return=16)
    return module, 2048, lambda X: module(X).sum(2)


def _spliceai() -> tuple[Any, int, By]:
    module = pytest.importorskip("spliceai_pytorch.spliceai_pytorch").SpliceAI_80nt()
    return module, 5080, lambda X: module(X).sum(1)


def _promoterai() -> tuple[Any, int, By]:
    architecture = pytest.importorskip("promoterai_torch.architecture")
    module = architecture.PromoterAI(4, 8, [3, 2], output_crop=50)
    for head in module.output_heads:
        for projection in head.projections:
            torch.nn.init.ones_(projection.bias)
    return module, 300, lambda X: module(X.mT)[0].sum(1)


def _grelu() -> tuple[Any, int, By]:
    module = pytest.importorskip("grelu.model.models").ConvModel(
        n_tasks=3, stem_channels=8, stem_kernel_size=5, n_conv=1, kernel_size=3, channel_init=8
    )
    return module, 100, lambda X: module(X).sum(2)


def _alphagenome() -> tuple[Any, int, By]:
    package = pytest.importorskip("alphagenome_pytorch")
    module = package.AlphaGenome(
        dims=(16, 24, 32),
        transformer_kwargs={
            "depth": 2, "heads": 2, "dim_head_qk": 8, "dim_head_v": 8, "dim_pairwise": 8, "pool_size": 4,
            "single_to_pairwise_heads": 2, "max_positions": 64,
        },
    )  # fmt: skip
    for part in module.modules():
        if hasattr(part, "update_running_var"):
            part.update_running_var = False  # which it does in evaluation mode too
    module.add_head("human", "1bp_tracks", package.TracksScaledPrediction(module.dim_1bp, 3), ("embeds_1bp",))

    def by_hand(X: torch.Tensor) -> torch.Tensor:
        with pytest.MonkeyPatch.context() as patch:  # which its first step does to numbers of bases
            patch.setattr(torch.nn.functional, "one_hot", lambda tokens, num_classes: X.mT.clone())
            return module(X.argmax(1), 0)["human"]["1bp_tracks"].sum(1)

    return module, 256, by_hand


def _keras() -> tuple[Any, int, By]:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "torch":
        pytest.skip("another backend of Keras")
    given = keras.Input((64, 4))
    hidden = keras.layers.GlobalAveragePooling1D()(keras.layers.Conv1D(8, 7, activation="relu")(given))
    module = keras.Model(given, keras.layers.Dense(3, activation="softplus")(hidden))
    return module, 64, lambda X: module(X.mT)


MAKE: dict[str, Callable[[], tuple[Any, int, By]]] = {
    "enformer_pytorch": _enformer, "borzoi_pytorch": _borzoi, "spliceai_pytorch": _spliceai,
    "promoterai_torch": _promoterai, "grelu": _grelu, "alphagenome_pytorch": _alphagenome, "keras": _keras,
}  # fmt: skip
BINS = {
    "enformer_pytorch": (128, 256),
    "borzoi_pytorch": (32, 768),
    "spliceai_pytorch": (1, 40),
    "promoterai_torch": (1, 25),
}


def test_each_family_has_a_model_here_and_a_row_in_the_docs() -> None:
    assert {package for package, _ in FAMILIES} == set(MAKE)
    text = DOCS.read_text().replace("-", "_")
    for package in (*MAKE, "bpnet_lite"):
        assert f"\n| {package} " in text, package


@pytest.mark.parametrize("package", MAKE)
def test_a_published_model_is_read_without_being_told_how(package: str) -> None:
    torch.manual_seed(0)
    module, length, by_hand = MAKE[package]()
    module.eval()
    X = random_X(2, length)
    model = wrap(module, input_length=length)
    with model.frozen(), torch.no_grad():
        expected = by_hand(X)
        torch.testing.assert_close(model.columns(X, range(3)), expected[:, :3], rtol=1e-4, atol=1e-5)
    attr = seqsal.attribute(module, X=X.numpy(), target=1, gradient_correction=False, device="cpu")
    assert attr.track.any() and attr.attrs["options"]["input_length"] == length
    with model.frozen():
        window = X.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(by_hand(window)[:, 1].sum(), window)
    np.testing.assert_allclose(attr.hypothetical, gradient, atol=1e-4 * float(gradient.abs().max()))
    if package in BINS:
        assert find_grid(model, length)[:2] == BINS[package]


def test_names_of_outputs_that_come_with_a_family() -> None:
    module, length, _ = _spliceai()
    model = wrap(module, input_length=length)
    assert model.target_names == ("neither", "acceptor", "donor")
    X = random_X(1, length).numpy()
    named = seqsal.attribute(model, X=X, target_names=model.target_names, target="donor", device="cpu")
    np.testing.assert_array_equal(named.track, seqsal.attribute(model, X=X, target=2, device="cpu").track)


def test_what_the_caller_says_goes_first() -> None:
    module, length, _ = _enformer()
    model = wrap(module, input_length=length, output="mouse", reduce="mean")
    assert (model.readout.output, model.readout.reduce, model.readout.layout, model.n_targets) == (
        "mouse", "mean", "NLC", 3
    )  # fmt: skip
    assert importlib.util.find_spec("enformer_pytorch") is not None
