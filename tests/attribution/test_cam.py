"""Class activation maps against captum, closed forms, and the places of positions that are known by construction."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import captum.attr
import numpy as np
import pytest
import torch
from torch import nn
from toys import Linear, Small, Windows, random_codes

import seqsal
from seqsal.attribution.engine import AttributeOptions, attribute_windows
from seqsal.attribution.methods import grad_cam
from seqsal.attribution.methods.activation_maps import Placement, measure_placement
from seqsal.attribution.methods.activations import LayerSite, new_leaf
from seqsal.attribution.methods.base import project
from seqsal.attribution.methods.registry import METHODS, make_method
from seqsal.errors import MethodError
from seqsal.models import CNN, CNNConfig, wrap
from seqsal.sequence.tensors import one_hot_tensor, reverse_complement_tensor

LENGTH = 48


def windows(rng: np.random.Generator, n: int = 6, length: int = LENGTH, share_unknown: float = 0.0) -> torch.Tensor:
    return one_hot_tensor(torch.from_numpy(random_codes(rng, n, length, share_unknown)))


def track(name: str, model: Callable[..., torch.Tensor], X: torch.Tensor, **options: object) -> torch.Tensor:
    return project(make_method(name, **options).attribute(model, X).hypothetical, X)


class Stack(nn.Module):
    """Any layers that keep positions, then any head; the first layers are named `features.0`, `features.1`, …."""

    def __init__(self, *layers: nn.Module, head: Callable[[torch.Tensor], torch.Tensor] | None = None) -> None:
        super().__init__()
        self.features = nn.Sequential(*layers)
        self.head = head

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        h = self.features(X)
        return h.tanh().flatten(1).sum(1) if self.head is None else self.head(h)


class Averaged(nn.Module):
    """The structure of `cam`: convolution, ReLU, average over all positions, a linear layer."""

    def __init__(self, padding: int = 3) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.convolution = nn.Conv1d(4, 8, 7, padding=padding)
        self.activation = nn.ReLU(inplace=True)
        self.average = nn.AdaptiveAvgPool1d(1)
        self.head = nn.Linear(8, 1)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return self.head(self.average(self.activation(self.convolution(X))).squeeze(-1)).squeeze(-1)


@pytest.mark.parametrize("layer", ["stem", "norm", "block"])
@pytest.mark.parametrize("relu", [True, False])
def test_grad_cam_equals_captum(rng: np.random.Generator, layer: str, relu: bool) -> None:
    model, X = Small().eval(), windows(rng)
    theirs = captum.attr.LayerGradCam(model, model.get_submodule(layer)).attribute(X, relu_attributions=relu)
    ours = track("grad_cam", model, X, layer=layer, relu=relu)
    torch.testing.assert_close(ours, theirs[:, 0].detach(), rtol=1e-4, atol=1e-8)
    assert not relu or bool((ours >= 0).all())


def test_grad_cam_of_a_pooled_layer_is_captums_interpolated(rng: np.random.Generator) -> None:
    torch.manual_seed(0)
    model = Stack(nn.Conv1d(4, 8, 7, padding=3), nn.ReLU(), nn.MaxPool1d(4), nn.Conv1d(8, 8, 3, padding=1)).eval()
    X = windows(rng)
    theirs = captum.attr.LayerGradCam(model, model.features[3]).attribute(X)
    upsampled = nn.functional.interpolate(theirs, size=LENGTH, mode="linear", align_corners=False)[:, 0]
    torch.testing.assert_close(track("grad_cam", model, X), upsampled.detach(), rtol=1e-4, atol=1e-7)


def test_grad_cam_takes_the_last_wide_convolution(rng: np.random.Generator) -> None:
    torch.manual_seed(0)
    model = Stack(nn.Conv1d(4, 8, 5, padding=2), nn.ReLU(), nn.Conv1d(8, 8, 5, padding=2), nn.Conv1d(8, 3, 1)).eval()
    X = windows(rng)
    assert torch.equal(track("grad_cam", model, X), track("grad_cam", model, X, layer="features.2"))
    narrow = Stack(nn.Conv1d(4, 8, 1), nn.Conv1d(8, 3, 1)).eval()
    assert torch.equal(track("grad_cam", narrow, X), track("grad_cam", narrow, X, layer="features.1"))


@pytest.mark.parametrize("layer", ["", "activation"])
def test_cam_is_the_head_applied_at_every_position(rng: np.random.Generator, layer: str) -> None:
    model, X = Averaged().eval(), windows(rng)
    expected = torch.einsum("c,ncl->nl", model.head.weight[0], torch.relu(model.convolution(X)))
    ours = track("cam", model, X, layer=layer)
    torch.testing.assert_close(ours, expected.detach(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(ours.mean(1) + model.head.bias, model(X), rtol=1e-4, atol=1e-6)


def test_cam_of_any_network_that_ends_in_an_average(rng: np.random.Generator) -> None:
    """Its mean and the bias make the output, whatever comes before, and with dropout between average and head."""
    X = windows(rng)
    cnn = CNN(CNNConfig(input_length=LENGTH, n_filters=6, n_blocks=2, pooling="mean", stem_pool=1)).eval()
    for model, bias in ((Small().eval(), "head.bias"), (wrap(cnn), "module.head.bias")):
        total = track("cam", model, X).mean(1) + dict(model.named_parameters())[bias]
        torch.testing.assert_close(total, model(X), rtol=1e-4, atol=1e-6)


def test_cam_is_grad_cam_times_the_number_of_positions(rng: np.random.Generator) -> None:
    cnn = CNN(CNNConfig(input_length=LENGTH, n_filters=6, n_blocks=2, pooling="mean", stem_pool=2)).eval()
    model, X = wrap(cnn), windows(rng)
    grad_cam = track("grad_cam", model, X, layer="blocks")
    torch.testing.assert_close(track("cam", model, X), grad_cam * 24, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(track("cam", model, X, layer="blocks"), grad_cam * 24, rtol=1e-4, atol=1e-7)


class _TwoPaths(Averaged):
    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return super().forward(X) + 0.1 * X[:, 0, :5].sum(1)


class _HiddenHead(Averaged):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))


@pytest.mark.parametrize(
    ("make", "layer", "match"),
    [
        (_TwoPaths, "", "not linear in the average of the input of the global average"),
        (_HiddenHead, "", "not linear .* use grad_cam"),
        (Averaged, "convolution", "not linear in the average of layer convolution"),
        (lambda: Stack(nn.Conv1d(4, 8, 5)), "", "takes no average over all positions .* use grad_cam"),
        (lambda: Stack(nn.Conv1d(4, 8, 5)), "features.0", "not linear"),
        (lambda: wrap(CNN(CNNConfig(input_length=LENGTH, n_filters=4, n_blocks=1))), "", "takes no average"),
        (lambda: wrap(CNN(CNNConfig(input_length=LENGTH, n_filters=4, n_blocks=1, pooling="max"))), "", "no average"),
        (lambda: Linear(torch.ones(4, LENGTH)), "", "takes no average"),
    ],
)
def test_cam_refuses_other_structures(
    rng: np.random.Generator, make: Callable[[], nn.Module], layer: str, match: str
) -> None:
    with pytest.raises(MethodError, match=match) as error:
        make_method("cam", layer=layer).prepare(make().eval(), windows(rng, 1), 8)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([nn.Conv1d(4, 16, 7)], Placement(3, 1)),
        ([nn.Conv1d(4, 16, 8, stride=4)], Placement(3.5, 4)),
        ([nn.Conv1d(4, 16, 9), nn.ReLU(), nn.MaxPool1d(3), nn.Conv1d(16, 16, 5)], Placement(11, 3)),
        ([nn.Conv1d(4, 16, 11), nn.ReLU(), nn.Conv1d(16, 16, 3, dilation=8), nn.ReLU()], Placement(13, 1)),
        ([nn.Conv1d(4, 16, 7, padding=3), nn.ReLU(), nn.AvgPool1d(2)], Placement(0.5, 2)),
        ([nn.Conv1d(4, 16, 3), nn.Upsample(scale_factor=2)], Placement(0.75, 0.5)),
    ],
)
def test_positions_lie_where_their_receptive_fields_are(
    rng: np.random.Generator, layers: list[nn.Module], expected: Placement
) -> None:
    torch.manual_seed(0)
    model, X = Stack(*layers).eval(), windows(rng, 1, 240)
    found = measure_placement(model, X, LayerSite(model, "features"), 4)
    assert found.step == pytest.approx(expected.step, rel=0.01)
    middle = model.features(X).shape[2] // 2
    assert found.offset + found.step * middle == pytest.approx(expected.offset + expected.step * middle, abs=0.5)
    assert found == expected or expected.step < 1


def test_positions_cover_the_window_evenly_where_receptive_fields_touch_its_ends(rng: np.random.Generator) -> None:
    torch.manual_seed(0)
    mixing = [nn.Conv1d(4, 8, 9, padding=4), nn.MaxPool1d(5, ceil_mode=True), nn.Conv1d(8, 8, 49, padding=24)]
    model, X = Stack(*mixing).eval(), windows(rng, 1, 122)
    found = measure_placement(model, X, LayerSite(model, "features"))
    assert found == Placement(122 / 25 / 2 - 0.5, 122 / 25)
    torch.testing.assert_close(
        found.spread(torch.arange(25.0)[None], 122),
        nn.functional.interpolate(torch.arange(25.0)[None, None], size=122, mode="linear")[0],
    )


@pytest.mark.parametrize("placement", [Placement(11, 3), Placement(3.5, 4), Placement(0, 1), Placement(0.75, 0.5)])
def test_spreading_is_linear_interpolation_and_zero_where_the_layer_does_not_look(
    rng: np.random.Generator, placement: Placement
) -> None:
    values = rng.normal(size=(2, 20)).astype(np.float32)
    bases = np.arange(90)
    places = placement.offset + placement.step * np.arange(20)
    inside = (bases >= places[0] - placement.step / 2) & (bases <= places[-1] + placement.step / 2)
    expected = [np.where(inside, np.interp(bases, places, row), 0) for row in values]
    np.testing.assert_allclose(placement.spread(torch.from_numpy(values), 90), expected, rtol=1e-5, atol=1e-6)


def test_a_cropped_layer_points_at_the_base_that_it_sees() -> None:
    """One unit sees TATA in a window cropped to its middle third: the map's peak is on the motif."""
    convolution = nn.Conv1d(4, 1, 4, bias=False)
    with torch.no_grad():
        convolution.weight.copy_(one_hot_tensor(torch.tensor([[3, 0, 3, 0]], dtype=torch.uint8)))
    crop = nn.Conv1d(1, 1, 201, groups=1, bias=False)
    with torch.no_grad():
        crop.weight.fill_(1e-3)
        crop.weight[0, 0, 100] = 1
    model = Stack(convolution, crop, head=lambda h: (h**3).sum((1, 2))).eval()
    codes = torch.full((1, 300), 1, dtype=torch.uint8)
    codes[0, 120:124] = torch.tensor([3, 0, 3, 0])
    peak = int(track("grad_cam", model, one_hot_tensor(codes), layer="features.1")[0].argmax())
    assert 120 <= peak < 124


@pytest.mark.parametrize("name", ["cam", "grad_cam"])
def test_only_the_base_that_is_there_is_scored(rng: np.random.Generator, name: str) -> None:
    X = windows(rng, share_unknown=0.2)
    scores = make_method(name).attribute(Small().eval(), X)
    assert not METHODS[name].hypothetical
    assert (scores.hypothetical[X == 0] == 0).all() and (scores.hypothetical[X == 1] != 0).any()
    torch.testing.assert_close(scores.prediction, Small().eval()(X).detach())


@pytest.mark.parametrize("name", ["cam", "grad_cam"])
def test_strand_average_is_equivariant(rng: np.random.Generator, name: str) -> None:
    X, model = windows(rng), Small().eval()
    forward = track(name, model, X, rc_average=True)
    reverse = track(name, model, reverse_complement_tensor(X), rc_average=True)
    torch.testing.assert_close(reverse, forward.flip(-1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "layer"), [("cam", ""), ("cam", "activation"), ("grad_cam", "convolution")])
def test_threads_share_one_model(rng: np.random.Generator, name: str, layer: str) -> None:
    model, method = Averaged().eval().requires_grad_(False), make_method(name, layer=layer)
    batches = [windows(rng) for _ in range(40)]
    method.prepare(model, batches[0][:1], 8)
    expected = [method.attribute(model, X).hypothetical for X in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda X: method.attribute(model, X).hypothetical, batches))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("name", ["cam", "grad_cam"])
def test_batches_do_not_matter(rng: np.random.Generator, name: str, batch_size: int, device: torch.device) -> None:
    source = Windows(random_codes(rng, 9, 50, 0.02))
    one, other = (
        attribute_windows(
            wrap(Small()),
            source,
            AttributeOptions(method=name, batch_size=size, n_controls=3),
            device=device,
        )
        for size in (None, batch_size)
    )
    np.testing.assert_allclose(one.track, other.track, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(one.controls.track, other.controls.track, rtol=1e-4, atol=1e-7)


def test_the_hook_goes_when_a_pass_fails(rng: np.random.Generator) -> None:
    def fail(h: torch.Tensor) -> torch.Tensor:
        raise FloatingPointError

    model, X = Stack(nn.Conv1d(4, 8, 5), head=lambda h: h.sum((1, 2))).eval(), windows(rng)
    method = make_method("grad_cam", layer="features.0")
    method.prepare(model, X[:1], 8)
    model.head = fail
    with pytest.raises(FloatingPointError):
        method.attribute(model, X)
    assert not model.features[0]._forward_hooks


def test_a_thread_that_does_not_watch_is_left_alone(rng: np.random.Generator) -> None:
    model, X = Averaged().eval(), windows(rng)
    with LayerSite(model, "convolution").watch(lambda A: new_leaf(A * 0)) as seen, ThreadPoolExecutor(1) as pool:
        elsewhere = pool.submit(model, X).result()
        assert not seen
        model(X)
        assert len(seen) == 1
    torch.testing.assert_close(elsewhere, model(X))


class _Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(4, 4, 3, padding=1)
        self.idle = nn.Conv1d(4, 4, 3)
        self.pool = nn.AdaptiveMaxPool1d(1)
        self.recurrent = nn.GRU(4, 4)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        h = self.convolution(self.convolution(X))
        return self.pool(h).sum((1, 2)) + self.recurrent(X.transpose(1, 2))[0].sum((1, 2))


@pytest.mark.parametrize(
    ("layer", "match"),
    [
        ("convolution", "called 2 times"),
        ("idle", "not called in any forward pass"),
        ("pool", r"shape \(1, 4, 1\) for 1 windows, expected \(1, channels, positions\)"),
        ("recurrent", "gives a tuple"),
        ("convolutoin", "none named 'convolutoin'; near it: convolution"),
        ("xyz", "none named 'xyz'; it has: convolution, idle, pool, recurrent"),
    ],
)
def test_layers_that_will_not_do(rng: np.random.Generator, layer: str, match: str) -> None:
    for name in ("cam", "grad_cam"):
        with pytest.raises(MethodError, match=match):
            make_method(name, layer=layer).prepare(_Twice().eval(), windows(rng, 1), 8)


def test_a_layer_that_the_output_does_not_depend_on(rng: np.random.Generator) -> None:
    model = Stack(nn.Conv1d(4, 8, 5), head=lambda h: (h > 0).float().sum((1, 2)))
    with pytest.raises(MethodError, match="does not depend on it differentiably"):
        make_method("grad_cam").prepare(model, windows(rng, 1), 8)


def test_the_last_convolution_that_the_output_depends_on_is_taken(rng: np.random.Generator) -> None:
    class TwoHeads(nn.Module):
        """Counts and a profile, whose convolution comes last, as BPNet's."""

        def __init__(self) -> None:
            super().__init__()
            self.body, self.profile, self.counts = nn.Conv1d(4, 5, 5), nn.Conv1d(5, 2, 3), nn.Linear(5, 1)

        def forward(self, X: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            h = self.body(X).relu()
            counts = self.counts(h.mean(2))
            return self.profile(h), counts

    module, X = TwoHeads().eval(), windows(rng, 2)
    counts = wrap(module, output=1)
    torch.testing.assert_close(*(grad_cam(counts, X, layer=layer).track(X) for layer in ("", "body")))
    profile = wrap(module, output=0, reduce="sum")
    torch.testing.assert_close(*(grad_cam(profile, X, layer=layer).track(X) for layer in ("", "profile")))
    for reduce in ("profile", "profile_both", "profile_strand"):  # centred, so that gradients at the logits cancel
        logits = wrap(module, output=0, reduce=reduce)
        torch.testing.assert_close(*(grad_cam(logits, X, layer=layer).track(X) for layer in ("", "body")))
        with pytest.raises(MethodError, match=r"layer profile: its gradient averages to 0 .* use gradient_x_input"):
            make_method("grad_cam", layer="profile").prepare(logits, X[:1], 2)


def test_a_model_without_convolutions(rng: np.random.Generator) -> None:
    with pytest.raises(MethodError, match=r"no one-dimensional convolution is seen .* gradient_x_input"):
        make_method("grad_cam").prepare(Linear(torch.ones(4, LENGTH)), windows(rng, 1), 8)


def test_compiled_code_shows_no_layers(rng: np.random.Generator) -> None:
    X = windows(rng, 1)
    with pytest.warns(DeprecationWarning):
        scripted = torch.jit.trace(Averaged().eval(), X)
    with pytest.raises(MethodError, match="no one-dimensional convolution is seen"):
        make_method("grad_cam").prepare(scripted, X, 8)


def test_relu_keeps_one_sign_only() -> None:
    assert not make_method("grad_cam", relu=True).signed
    assert make_method("grad_cam").signed and make_method("cam", rc_average=True).signed
    assert make_method("grad_cam", relu=True).options == {"layer": "last convolution", "relu": True}
    assert make_method("cam", layer="x").options == {"layer": "x"}


@pytest.mark.parametrize("name", ["cam", "grad_cam"])
def test_hypothetical_scores_are_kept_where_there_are_any(rng: np.random.Generator, name: str) -> None:
    source, device = Windows(random_codes(rng, 3, 50)), torch.device("cpu")
    X = one_hot_tensor(torch.from_numpy(source.codes)).numpy()
    assert seqsal.attribute(Small(), X=X, method=name, n_controls=0, device="cpu").hypothetical is None
    assert seqsal.attribute(Small(), X=X, n_controls=0, device="cpu").hypothetical is not None
    for run in (
        lambda: AttributeOptions(method=name, hypothetical=True, n_controls=0),
        lambda: seqsal.attribute(Small(), X=X, method=name, hypothetical=True, n_controls=0, device="cpu"),
    ):
        with pytest.raises(MethodError, match=f"hypothetical: {name} scores positions, not the bases .* leave it out"):
            run()
    both = AttributeOptions(method=(name, "ism"), hypothetical=True, n_controls=0)
    result = attribute_windows(Small(), source, both, device=device)
    assert result.hypothetical is None and result.result("ism").hypothetical is not None


def test_lower_precision_is_taken(rng: np.random.Generator) -> None:
    source = Windows(random_codes(rng, 8, 50))
    for name in ("cam", "grad_cam"):
        full, low = (
            attribute_windows(
                wrap(Small()),
                source,
                AttributeOptions(method=name, precision=precision, n_controls=0),
                device=torch.device("cpu"),
            ).track
            for precision in ("fp32", "bf16")
        )
        assert np.corrcoef(full.ravel(), low.ravel())[0, 1] > 0.99 and not np.array_equal(full, low)


class _Ending(Averaged):
    """Two outputs through a sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 2)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(super().forward(X))


def test_cam_of_the_logits_of_several_targets(rng: np.random.Generator) -> None:
    """A linear head followed by a sigmoid is linear in the logit and in nothing else."""
    module, X = _Ending(), windows(rng).numpy()
    attr = seqsal.attribute(module, X=X, method="cam", target=[0, 1], n_controls=0, device="cpu")
    for target in (0, 1):
        result = attr.result(f"cam.target{target}")
        total = np.asarray(result.track).mean(1) + float(module.head.bias[target].detach())
        np.testing.assert_allclose(total, result.prediction, rtol=1e-4, atol=1e-6)
        with torch.no_grad():
            np.testing.assert_allclose(1 / (1 + np.exp(-total)), module(torch.from_numpy(X))[:, target], rtol=1e-4)
    with pytest.raises(MethodError, match="not linear"):
        make_method("cam").prepare(wrap(module, output_space="probability"), torch.from_numpy(X[:1]), 8)
