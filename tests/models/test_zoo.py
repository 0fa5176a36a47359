"""Models that others wrote, small and with random weights, read through `wrap` and by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from nets import random_X
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

import seqsal
from seqsal.errors import ModelError
from seqsal.models.load import load_model
from seqsal.models.sequence_model import SequenceModel, wrap

LENGTH = 400


def _gradient(model: Any, X: torch.Tensor) -> torch.Tensor:
    X = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(X).sum(), X)
    return gradient


def _check(model: SequenceModel, by_hand: Any, X: torch.Tensor) -> None:
    """The wrapped model gives the values and gradients of the one read by hand, leaves it alone and can be traced."""
    state = {key: value.clone() for key, value in model.module.state_dict().items()}
    modes = [part.training for part in model.module.modules()]
    flags = [p.requires_grad for p in model.module.parameters()]
    with model.frozen():
        torch.testing.assert_close(model(X), by_hand(X), rtol=1e-4, atol=1e-5)
        expected = _gradient(by_hand, X)
        assert expected.abs().max() > 0
        torch.testing.assert_close(_gradient(model, X), expected, rtol=1e-4, atol=1e-6)
        for n in (2, 3):
            torch.testing.assert_close(make_fx(model)(X[:n])(X[:n]), model(X[:n]))
    together = model.predict(X)
    alone = torch.cat([model.predict(x[None]) for x in X])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, state[key]) for key, value in model.module.state_dict().items())
    assert [part.training for part in model.module.modules()] == modes
    assert [p.requires_grad for p in model.module.parameters()] == flags


def _bpnet(kind: str, n_outputs: int, n_control_tracks: int) -> nn.Module:
    bpnetlite = pytest.importorskip("bpnetlite")
    torch.manual_seed(0)
    small = {"n_layers": 3, "trimming": 50, "verbose": False}
    if kind != "ChromBPNet":
        cls = getattr(bpnetlite.bpnet, kind)
        return cls(n_filters=8, n_outputs=n_outputs, n_control_tracks=n_control_tracks, **small)
    bias, accessibility = (bpnetlite.BPNet(n_filters=n, n_outputs=1, n_control_tracks=0, **small) for n in (4, 8))
    return bpnetlite.ChromBPNet(bias, accessibility)


BPNETS = [
    ("BPNet", 1, 0), ("BPNet", 1, 2), ("BPNet", 2, 0), ("BPNet", 2, 2), ("BasePairNet", 2, 1), ("ChromBPNet", 1, 0),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "n_outputs", "n_controls"), BPNETS)
def test_bpnet_lite_is_read_without_being_told_how(kind: str, n_outputs: int, n_controls: int) -> None:
    module = _bpnet(kind, n_outputs, n_controls)
    wrappers = pytest.importorskip("bpnetlite.bpnet")
    with_controls = wrappers.ControlWrapper(module)
    X = random_X(3, LENGTH)
    counts = wrap(module, input_length=LENGTH)
    assert (counts.output_space, counts.n_targets) == ("log", 1)
    _check(counts, lambda X: wrappers.CountWrapper(with_controls)(X)[:, 0], X)
    profile = wrap(module, input_length=LENGTH, output="profile")
    assert (profile.output_space, profile.n_targets) == ("logit", 1)

    def by_hand(X: torch.Tensor) -> torch.Tensor:
        logits = with_controls(X)[0]
        z = logits - logits.mean(dim=-1, keepdim=True)
        return (z.softmax(dim=-1).detach() * z).sum(dim=(1, 2))

    _check(profile, by_hand, X)
    both = wrap(module, input_length=LENGTH, output="profile", reduce="profile_both")
    torch.testing.assert_close(both(X), wrappers.ProfileWrapper(with_controls)(X)[:, 0])
    if n_outputs == 1:
        torch.testing.assert_close(profile(X), both(X))


def test_the_product_rule_is_nearer_to_mutagenesis_than_rescaling_a_profile() -> None:
    wrappers, deep_lift_shap = pytest.importorskip("bpnetlite.bpnet"), pytest.importorskip("tangermeme.deep_lift_shap")
    torch.manual_seed(0)
    module, X = _bpnet("BPNet", 2, 0), random_X(8, LENGTH // 2)
    with torch.no_grad():
        module.fconv.weight *= 10  # as peaked as a trained one's
    read = {"X": X, "output": "profile", "reduce": "profile_both", "device": "cpu", "n_controls": 0}
    exact, product = (seqsal.attribute(module, method=method, **read).track for method in ("ism", "deeplift_shap"))
    scaling = {wrappers._ProfileLogitScaling: deep_lift_shap._nonlinear}
    rescaled = deep_lift_shap.deep_lift_shap(
        wrappers.ProfileWrapper(module), X, additional_nonlinear_ops=scaling, device="cpu", warning_threshold=1e9,
        random_state=0,
    ).sum(1)  # fmt: skip
    ours, theirs = (
        [np.corrcoef(one, wanted)[0, 1] for one, wanted in zip(track, exact, strict=True)]
        for track in (product, rescaled.detach().numpy())
    )
    assert np.mean(ours) > np.mean(theirs) + 0.1


def test_bpnet_lite_read_otherwise() -> None:
    module = _bpnet("BPNet", 2, 2)
    X = random_X(2, LENGTH)
    with_zeros = module(X, torch.zeros(2, 2, LENGTH))
    for output, expected in (("counts", with_zeros[1]), (1, with_zeros[1]), ("1", with_zeros[1])):
        torch.testing.assert_close(wrap(module, input_length=LENGTH, output=output)(X), expected[:, 0])
    strand = wrap(module, input_length=LENGTH, output="profile", reduce="sum", target=1)
    torch.testing.assert_close(strand(X), with_zeros[0][:, 1].sum(dim=-1))
    controls = torch.rand(2, LENGTH)
    controlled = wrap(module, input_length=LENGTH, extra_inputs=(controls,))
    torch.testing.assert_close(controlled(X), module(X, controls.expand(2, 2, LENGTH))[1][:, 0])
    switched = wrap(wrap(module, input_length=LENGTH, output="profile"), output="counts")
    torch.testing.assert_close(switched(X), with_zeros[1][:, 0])
    with pytest.raises(ModelError, match=r"gives shape \(2, 2, 0\) .*give longer windows"):
        wrap(module, input_length=90, output="profile")


def test_a_subclass_that_gives_something_else_is_not_mistaken_for_bpnet() -> None:
    bpnetlite = pytest.importorskip("bpnetlite")

    class Total(bpnetlite.BPNet):
        def forward(self, X: torch.Tensor) -> torch.Tensor:
            return super().forward(X)[1]

    class Same(bpnetlite.BPNet):
        pass

    X = random_X(2, LENGTH)
    for cls, space in ((Total, "linear"), (Same, "log")):
        module = cls(n_filters=4, n_layers=2, n_control_tracks=0, trimming=40, verbose=False)
        model = wrap(module, input_length=LENGTH)
        assert model.output_space == space
        torch.testing.assert_close(model(X), bpnetlite.BPNet.forward(module, X)[1][:, 0])


def test_enformer() -> None:
    enformer_pytorch = pytest.importorskip("enformer_pytorch")
    torch.manual_seed(0)
    module = enformer_pytorch.Enformer.from_hparams(
        dim=48, depth=1, heads=2, target_length=4, num_downsamples=4, dim_divisible_by=12, attn_dim_key=8,
        output_heads={"human": 5, "mouse": 3},
    )  # fmt: skip
    length = 256

    class Unknown(type(module)):  # a family of its own
        def forward(self, X: torch.Tensor) -> Any:
            return super().forward(X)

    module.__class__ = Unknown
    with pytest.raises(ModelError, match=r"it works on \(2, 256, 4\): give layout='NLC'"):
        wrap(module, input_length=length)
    with pytest.raises(ModelError, match="choose one by output: human, mouse"):
        wrap(module, input_length=length, layout="NLC")
    with pytest.raises(ModelError, match=r"gives shape \(2, 4, 3\) .*reduce='sum'"):
        wrap(module, input_length=length, layout="NLC", output="mouse")
    module.__class__ = Unknown.__mro__[1]
    model = wrap(module, input_length=length, layout="NLC", output="human", reduce="mean", track_layout="NLT", target=3)
    assert model.n_targets == 5
    _check(model, lambda X: module(X.transpose(1, 2))["human"].mean(dim=1)[:, 3], random_X(3, length))
    attr = seqsal.attribute(
        model, X=random_X(3, length), method=["deeplift_shap", "integrated_gradients"], n_controls=0
    )
    for name in attr.results:
        assert np.asarray(attr.result(name).completeness_error).max() < 0.01


@pytest.mark.parametrize("name", ["SpliceAI_80nt", "SpliceAI_400nt"])
def test_spliceai(name: str) -> None:
    spliceai = pytest.importorskip("spliceai_pytorch.spliceai_pytorch")
    torch.manual_seed(0)
    module = getattr(spliceai, name)()
    model = wrap(module, input_length=500, reduce="sum", track_layout="NLT", target=2)
    assert model.n_targets == 3
    _check(model, lambda X: module(X).sum(dim=1)[:, 2], random_X(3, 500))
    probabilities = nn.Sequential(module, nn.Softmax(dim=-1))
    before = wrap(probabilities, input_length=500, reduce="mean", track_layout="NLT", target=1)
    assert before.output_space == "logit"
    _check(before, lambda X: module(X).mean(dim=1)[:, 1], random_X(3, 500))


def test_promoterai() -> None:
    architecture = pytest.importorskip("promoterai_torch.architecture")
    torch.manual_seed(0)
    module = architecture.PromoterAI(4, 8, [3, 2], output_crop=100)
    for head in module.output_heads:
        for projection in head.projections:
            nn.init.ones_(projection.bias)  # else its last ReLU may be shut
    model = wrap(module, input_length=LENGTH, layout="NLC", output=1, reduce="mean", track_layout="NLT", target=1)
    _check(model, lambda X: module(X.transpose(1, 2))[1].mean(dim=1)[:, 1], random_X(3, LENGTH))


@pytest.fixture
def bpnet_factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A factory as a user writes one, in the current folder."""
    pytest.importorskip("bpnetlite")
    (tmp_path / "my_bpnet.py").write_text(
        "from bpnetlite import BPNet\n\n\n"
        "def make():\n"
        "    return BPNet(n_filters=8, n_layers=3, trimming=50, verbose=False)\n"
    )
    monkeypatch.chdir(tmp_path)
    yield "my_bpnet:make"
    sys.modules.pop("my_bpnet", None)


def test_attributing_a_bpnet_from_its_factory_and_weights(bpnet_factory: str, tmp_path: Path) -> None:
    module: Any = _bpnet("BPNet", 2, 2)
    torch.save(module.state_dict(), tmp_path / "w.pt")
    model = load_model(bpnet_factory, weights=tmp_path / "w.pt", output="profile")
    X = random_X(4, LENGTH)
    attr = seqsal.attribute(
        model, X=X.numpy(), n_controls=0, device="cpu", out=tmp_path / "a.h5", gradient_correction=False
    )
    expected = _gradient(wrap(module, input_length=LENGTH, output="profile"), X) * X
    np.testing.assert_allclose(attr.track[:], expected.sum(dim=1).numpy(), rtol=1e-3, atol=1e-5)
    assert attr.attrs["output_space"] == "logit"
    assert attr.attrs["reading"]["output"] == "0" and attr.attrs["reading"]["reduce"] == "profile"
    with h5py.File(tmp_path / "a.h5") as file:
        assert '"reduce": "profile"' in file.attrs["reading"]


def test_packages_are_not_imported_for_recognising_their_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bpnetlite", ModuleType("bpnetlite"))
    assert wrap(nn.Sequential(nn.Flatten(), nn.Linear(40, 1)), input_length=10).output_space == "linear"
