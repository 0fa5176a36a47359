"""Contrasts of outputs: what they are, and that their maps are the differences of maps where that holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import seqsal
from seqsal.errors import SeqsalError
from seqsal.models.contrast import parse_contrast

NAMES = ["liver", "DNASE:K562", "heart-left", "brain (adult)"]
ADDITIVE = ("gradient_x_input", "integrated_gradients", "ism", "deeplift_shap", "expected_gradients", "smoothgrad")
FEW = {"integrated_gradients": {"n_steps": 100}, "deeplift_shap": {"n_references": 2},
       "expected_gradients": {"n_references": 2}, "smoothgrad": {"n_samples": 3}}  # fmt: skip


@pytest.fixture(scope="module")
def module() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv1d(4, 6, 5, padding=2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten(),
        torch.nn.Linear(6, 4),
    )  # fmt: skip


@pytest.fixture(scope="module")
def X() -> np.ndarray[Any, Any]:
    codes = np.random.default_rng(3).integers(0, 4, (2, 24))
    return np.eye(4, dtype=np.float32)[codes].transpose(0, 2, 1)


@pytest.mark.parametrize(
    ("text", "names", "weights"),
    [
        ("1-0", (), [-1, 1, 0, 0]),
        ("3 + 2 - 0", (), [-1, 0, 1, 1]),
        ("-1 + 0.5*2 + .5*3", (), [0, -1, 0.5, 0.5]),
        ("liver - mean(others)", NAMES, [1, -1 / 3, -1 / 3, -1 / 3]),
        ("DNASE:K562 - heart-left", NAMES, [0, 1, -1, 0]),
        ("mean(liver, heart-left)-DNASE:K562", NAMES, [0.5, -1, 0.5, 0]),
        ("brain (adult) - 2*0", NAMES, [-2, 0, 0, 1]),
        (np.array([1.0, 0, 0, -3]), (), [1, 0, 0, -3]),
        ([0.5, 0.5, -1, 0], (), [0.5, 0.5, -1, 0]),
    ],
)
def test_what_a_contrast_says(text: Any, names: Any, weights: Any) -> None:
    columns = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 4)))
    found = parse_contrast(text, names).read(columns)
    np.testing.assert_allclose(found, columns @ torch.tensor(weights, dtype=torch.float64), rtol=1e-12)


@pytest.mark.parametrize("method", ADDITIVE)
def test_a_contrasts_map_is_the_difference_of_maps(method: str, module: torch.nn.Module, X: Any) -> None:
    how = {"X": X, "method": method, "device": "cpu", **FEW.get(method, {})}
    scale = 0.01 if method == "integrated_gradients" else 1e-5  # which takes steps until the sum is right
    each = seqsal.attribute(module, target=[0, 1, 2, 3], **how)
    maps = np.stack([each.result(name).track for name in each.results])
    several = seqsal.attribute(module, contrast=["1-0", "2 - mean(others)"], **how)
    wanted = (maps[1] - maps[0], maps[2] - maps[[0, 1, 3]].mean(axis=0))
    for name, expected in zip(several.results, wanted, strict=True):
        np.testing.assert_allclose(several.result(name).track, expected, atol=scale * np.abs(maps).max())
    alone = seqsal.attribute(module, contrast="1-0", **how)
    np.testing.assert_allclose(alone.track, wanted[0], atol=scale * np.abs(maps).max())
    predicted = [each.result(name).prediction for name in each.results]
    np.testing.assert_allclose(alone.prediction, predicted[1] - predicted[0], atol=1e-6)


def test_several_contrasts_share_the_forward_pass(module: torch.nn.Module, X: Any) -> None:
    n_calls = 0

    class Counted(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, X: torch.Tensor) -> torch.Tensor:
            nonlocal n_calls
            n_calls += 1
            return self.inner(X)

    counts = []
    for contrast in ("1-0", ["1-0", "2-0", "3-0"]):
        model = seqsal.wrap(Counted(), input_length=24)
        seqsal.attribute(model, X=X, contrast=contrast, device="cpu")  # what is learnt about it is learnt now
        n_calls = 0
        seqsal.attribute(model, X=X, contrast=contrast, device="cpu")
        counts.append(n_calls)
    assert counts[0] == counts[1]


@pytest.mark.parametrize(("end", "space"), [(torch.nn.Softplus(), "linear"), (None, "log")])
def test_log_ratios(end: Any, space: str, module: torch.nn.Module, X: Any) -> None:
    class Counts(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, X: torch.Tensor) -> torch.Tensor:
            return torch.exp(self.inner(X)) if end is None else end(self.inner(X))

    model = seqsal.wrap(Counts(), input_length=24)
    attr = seqsal.attribute(model, X=X, contrast=["log(1 / 0)", "log(1 / mean(2, 3))"], method="ism", device="cpu")
    assert attr.output_space == space
    with torch.no_grad():
        y = Counts()(torch.from_numpy(X)).double().numpy()
    np.testing.assert_allclose(attr.prediction, np.log(y[:, 1] / y[:, 0]), rtol=1e-4, atol=1e-6)
    second = attr.result(attr.results[1])
    np.testing.assert_allclose(second.prediction, np.log(y[:, 1] / y[:, 2:].mean(axis=1)), rtol=1e-4, atol=1e-6)
    with pytest.raises(SeqsalError, match="outputs above 0"):
        seqsal.attribute(seqsal.wrap(module, input_length=24), X=X, contrast="log(1 / 0)", device="cpu")


def test_names_files_and_the_road_back(module: torch.nn.Module, X: Any, tmp_path: Any) -> None:
    plain, table, weights = (tmp_path / name for name in ("names.txt", "targets.txt", "w.txt"))
    plain.write_text("\n".join(NAMES) + "\n")
    table.write_text("index\tidentifier\tdescription\n" + "".join(f"{i}\tE{i}\t{n}\n" for i, n in enumerate(NAMES)))
    weights.write_text("0\n1\n-1\n0\n")
    model = seqsal.wrap(module)
    by_number = seqsal.attribute(model, X=X, contrast="1-2", device="cpu")
    for names in (plain, table, NAMES):
        named = seqsal.attribute(model, X=X, contrast="DNASE:K562 - heart-left", target_names=names, device="cpu")
        np.testing.assert_array_equal(named.track, by_number.track)
    np.testing.assert_allclose(
        seqsal.attribute(model, X=X, contrast=str(weights), device="cpu").track, by_number.track, atol=1e-7
    )
    target = seqsal.attribute(model, X=X, target="heart-left", target_names=plain, device="cpu")
    assert (target.target, target.attrs["target_name"]) == (2, "heart-left")
    # the file says what it is about: controls come later, and the audit reads the model so
    attr = seqsal.attribute(model, X=X, contrast=["1-2", "liver - mean(others)"], target_names=plain,
                            out=tmp_path / "A.h5", device="cpu")  # fmt: skip
    read = seqsal.read_attributions(tmp_path / "A.h5", attr.results[1])
    assert read.attrs["contrast"]["text"] == "liver - mean(others)" and read.name.endswith("liver_-_mean(others)")
    from seqsal.attribution.controls import make_controls

    assert make_controls(read, module, n_controls=3, device="cpu").track.shape == (3, 24)
    table_ = seqsal.score(model, X=X, contrast="1-2", device="cpu")
    np.testing.assert_allclose(table_["prediction"], by_number.prediction, rtol=1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"contrast": "9-0"}, "names output 9, the model has 4"),
        ({"contrast": "1 0"}, "not understood at .0., expected . or - between"),
        ({"contrast": "liver - haert-left", "target_names": NAMES}, "did you mean 'heart-left'"),
        ({"contrast": "liver"}, "names need a list of them"),
        ({"contrast": np.zeros(4)}, "not all 0"),
        ({"contrast": np.ones(3)}, "has 3 weights, expected one for each output of the model, which has 4"),
        ({"contrast": "mean(0,1,2,3) - others"}, "leaves no others"),
        ({"contrast": "log(1)"}, r"expected log\(A / B\)"),
        ({"target": "livr", "target_names": NAMES}, "did you mean 'liver'"),
        ({"target": "a", "target_names": ["a", "b", "a"]}, r"names 2 outputs \(0, 2\)"),
        ({"target_names": "nowhere.txt"}, "cannot be read"),
        ({"target_names": NAMES[:3]}, "got 3 names, the model has 4 outputs"),
        ({"target": "a", "target_names": [*"abcde"]}, "got 5 names, the model has 4 outputs"),
    ],
)
def test_bad_contrasts(given: dict[str, Any], message: str, module: torch.nn.Module, X: Any) -> None:
    with pytest.raises(SeqsalError, match=message):
        seqsal.attribute(seqsal.wrap(module, input_length=24), X=X, device="cpu", **given)
