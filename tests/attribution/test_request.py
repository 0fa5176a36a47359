"""One request: any model and any method in every place, and no name that is not known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from toys import random_codes

import seqsal
from seqsal.attribution import AttributeOptions, Method, Scores
from seqsal.attribution.controls import make_controls
from seqsal.attribution.request import make_request, plan_methods, read_model_of
from seqsal.errors import MethodError, ModelError, SeqsalError, UsageError
from seqsal.io.rounding import round_bits
from seqsal.io.store import read_attributions
from seqsal.models import CNN, CNNConfig, save_checkpoint
from seqsal.sequence.codes import one_hot

LENGTH = 40


class Gradient(Method):
    """The gradient, as somebody else would write it; counts what it was prepared for."""

    name = "gradient"

    def __init__(self, scale: float = 1.0) -> None:
        self.scale, self.n_prepared = scale, 0

    def prepare(self, model: Any, X: torch.Tensor, batch_size: int) -> None:
        self.n_prepared += 1

    def attribute(self, model: Any, X: torch.Tensor) -> Scores:
        X = X.detach().requires_grad_()
        prediction = model(X)
        return Scores(prediction.detach(), self.scale * torch.autograd.grad(prediction.sum(), X)[0])


@pytest.fixture
def X(rng: np.random.Generator) -> Any:
    return one_hot(random_codes(rng, 9, LENGTH))


@pytest.fixture
def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4 * LENGTH, 2))


def test_a_model_is_taken_in_every_form(X: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    config = CNNConfig(input_length=LENGTH, n_filters=4, n_blocks=1, stem_kernel=7)
    module, path = CNN(config).eval(), tmp_path / "M.safetensors"
    save_checkpoint(path, module, {})
    monkeypatch.chdir(tmp_path)
    Path("made_here.py").write_text(
        f"from seqsal.models import CNN, CNNConfig\n\ndef build():\n    return CNN(CNNConfig(**{vars(config)!r}))\n"
    )
    forms: list[tuple[Any, dict[str, Any]]] = [
        (str(path), {}), (path, {}), (module, {}), (seqsal.wrap(module), {}), ("made_here:build", {"weights": path})
    ]  # fmt: skip
    expected = seqsal.attribute(path, X=X, n_controls=0, device="cpu")
    for model, reading in forms:
        found = seqsal.attribute(model, X=X, n_controls=0, device="cpu", **reading)
        np.testing.assert_array_equal(found.track, expected.track)
        scores = seqsal.score(model, X=X, device="cpu", **reading)
        np.testing.assert_allclose(scores["logit"], expected.prediction, rtol=1e-5, atol=1e-6)
        if not reading:
            np.testing.assert_array_equal(read_model_of(model, found)(torch.from_numpy(X)).shape, (9,))


def test_scores_are_rounded_in_memory_and_in_the_file(X: Any, module: nn.Module, tmp_path: Path) -> None:
    how: dict[str, Any] = {"X": X, "method": ["gradient_x_input", "saliency"], "hypothetical": True, "device": "cpu"}
    plain = seqsal.attribute(module, n_controls=5, **how)
    memory = seqsal.attribute(module, keep_bits=4, **how)
    file = seqsal.attribute(module, keep_bits=4, out=tmp_path / "A.h5", **how)
    for attr in (memory, file):
        assert (attr.attrs["keep_bits"], attr.attrs["rounding_error"]) == (4, 2**-5)
        for name in attr.results:  # later, and rounded as the windows are
            make_controls(attr.result(name), module, n_controls=5, device="cpu")
    for name in plain.results:
        exact = plain.result(name)
        for found in (memory.result(name), read_attributions(tmp_path / "A.h5", name)):
            np.testing.assert_array_equal(found.track, round_bits(exact.track, 4))
            np.testing.assert_array_equal(found.controls.track, round_bits(exact.controls.track, 4))
            np.testing.assert_array_equal(found.prediction, exact.prediction)
            if exact.hypothetical is not None:
                np.testing.assert_array_equal(found.hypothetical, round_bits(exact.hypothetical, 4))
    with pytest.raises(UsageError, match="concat: got keep_bits None where the first have 4"):
        seqsal.concat([memory, plain])


def test_a_method_is_taken_by_name_or_as_it_is(X: Any, module: nn.Module) -> None:
    mine = Gradient(2.0)
    attr = seqsal.attribute(module, X=X, method=[mine, "gradient_x_input"], gradient_correction=False, target=[1, 0])
    assert attr.results == (
        "gradient.target1",
        "gradient.target0",
        "gradient_x_input.target1",
        "gradient_x_input.target0",
    )
    for target in (0, 1):
        own, ours = (attr.result(f"{name}.target{target}").track for name in ("gradient", "gradient_x_input"))
        np.testing.assert_allclose(own, 2 * np.asarray(ours), rtol=1e-5)
    assert mine.n_prepared == 0  # a copy learns about the model
    alone = seqsal.attribute(module, X=X, method=mine, rc_average=True)
    assert alone.method == "gradient" and alone.attrs["options"]["rc_average"] is True


def test_what_cannot_be_a_method(module: nn.Module) -> None:
    for method in (Gradient, 3, ["saliency", None]):
        with pytest.raises(MethodError, match=r"expected a name, one of cam, .* or an instance"):
            AttributeOptions(method=method)  # type: ignore[arg-type]
    with pytest.raises(MethodError, match="gradient was made already; give its options to its class"):
        AttributeOptions(method=Gradient(), method_options={"scale": 2.0})
    with pytest.raises(UsageError, match="each once"):
        AttributeOptions(method=[Gradient(), Gradient()])
    assert len(plan_methods(AttributeOptions(method=[Gradient(), "saliency"], target=[0, 1]))) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_control": 3}, "n_control: no such option; did you mean 'n_controls'"),
        ({"layuot": "NLC"}, "did you mean 'layout'"),
        ({"gradient_corection": True}, "did you mean 'gradient_correction'"),
        ({"progres": True}, "did you mean 'progress'"),
        ({"zzzzzz": 1}, "zzzzzz: no such option; there are genome, "),
        ({"method": "salency"}, "did you mean 'saliency'"),
        ({"method_options": {"gradient_corection": True}}, "did you mean 'gradient_correction'"),
        ({"target": 1.5}, "target: got a float, expected a whole number"),
        ({"target": []}, "target: got none"),
        ({"target": 7}, "target: 7 is out of range"),
        ({"n_controls": -1}, "n_controls: got -1"),
        ({"batch_size": 0}, "batch_size: got 0"),
        ({"keep_bits": 0}, "keep_bits: got 0, expected a whole number from 1 to 22"),
        ({"keep_bits": 23}, "keep_bits: got 23, expected .*; leave it out to keep all 23"),
        ({"keep_bits": 7.5}, "keep_bits: got 7.5"),
        ({"keep_bits": True}, "keep_bits: got True"),
        ({"regions": {"a.bed"}}, "regions: got a set, expected a file, a table or text such as"),
        ({"genome": "a.fa"}, "X: given together with files"),
        ({"weights": "w.pt"}, "weights: given for a model that is a module"),
    ],
)
def test_what_is_not_understood_is_refused(X: Any, module: nn.Module, arguments: Any, message: str) -> None:
    with pytest.raises(SeqsalError, match=message):
        seqsal.attribute(module, X=X, **arguments)


def test_scores_refuse_it_too(X: Any, module: nn.Module) -> None:
    for name, message in (("nonsense", "a model is read by"), ("batchsize", "did you mean 'batch_size'")):
        with pytest.raises(UsageError, match=f"{name}: no such option; {message}"):
            seqsal.score(module, X=X, **{name: 1})
    with pytest.raises(UsageError, match=r"layout: given for a model that is wrapped already; give it to seqsal\.wrap"):
        seqsal.score(seqsal.wrap(module), X=X, layout="NLC")
    with pytest.raises(ModelError, match="got a dict, expected a model file"):
        seqsal.score({}, X=X)  # type: ignore[arg-type]
    second = seqsal.score(module, X=X, target=1)["prediction"]
    np.testing.assert_allclose(second, module(torch.from_numpy(X))[:, 1].detach(), rtol=1e-5)


def test_a_request_of_files_is_made_again_from_what_it_says() -> None:
    given: dict[str, Any] = {
        "genome": "g.fa", "regions": "r.bed", "method": ["saliency", "ism"], "n_at_once": 100, "target": [0, 2],
        "layout": "NLC", "trust_pickle": False, "ignore_strand": True, "seed": 3, "weights": None,
    }  # fmt: skip
    request = make_request("m:f", **given)
    assert request.reading == {"layout": "NLC"} and request.options.method_options == {"n_at_once": 100}
    said = request.arguments()
    assert json.loads(json.dumps(said)) == said
    again = make_request(**said)
    assert again.arguments() == said and again.options.targets == (0, 2)


def test_a_module_is_known_by_its_class_and_weights(X: Any, module: nn.Module, tmp_path: Path) -> None:
    """So that a file of one is not gone on with, or used, for another."""
    sources = []
    for _ in range(2):
        attr = seqsal.attribute(module, X=X, n_controls=2, out=tmp_path / "A.h5")
        sources.append(attr.attrs["model"])
        with torch.no_grad():
            module[1].weight += 1  # type: ignore[index]
    assert sources[0]["class"] == "torch.nn.modules.container.Sequential" == sources[1]["class"]
    assert sources[0]["weights_sha256"] != sources[1]["weights_sha256"] and len(sources[0]["weights_sha256"]) == 64
