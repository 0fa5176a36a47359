"""Several methods and targets in one pass: each result is what a run of its own gives, to the bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import nn
from toys import Small, Windows, random_codes

from seqsal.attribution import passes
from seqsal.attribution.engine import AttributeOptions, attribute_to_file, attribute_windows
from seqsal.attribution.methods import paths
from seqsal.attribution.methods.base import Method, Scores
from seqsal.attribution.methods.registry import METHODS
from seqsal.errors import MethodError, ModelError, StoreError, UsageError
from seqsal.io.attributions import Attributions
from seqsal.io.store import read_attributions
from seqsal.io.store_writer import AttributionWriter
from seqsal.models import wrap

CPU = torch.device("cpu")
QUICK = {"n_samples": 3, "n_steps": 3, "expected_gradients.n_references": 3}
ARRAYS = (
    "codes",
    "track",
    "prediction",
    "hypothetical",
    "completeness_error",
    "controls.track",
    "controls.codes",
    "controls.source",
)


class Many(Small):
    """Five outputs from one body; counts how often it runs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.head = nn.Linear(8, 5)
        self.n_forward = 0

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        self.n_forward += 1
        return super().forward(X)


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of integrated gradients double once, since these networks would ask for all four."""
    monkeypatch.setattr(paths, "MAX_DOUBLINGS", 1)


@pytest.fixture
def source(rng: np.random.Generator) -> Windows:
    return Windows(random_codes(rng, 23, 40, 0.05))


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five windows of 40 bp a chunk."""
    monkeypatch.setattr(passes, "CHUNK_BASES", 200)


def _array(attr: Attributions, name: str) -> Any:
    owner, _, field = name.rpartition(".")
    return getattr(attr if not owner else getattr(attr, owner), field, None)


def same(one: Attributions, other: Attributions) -> None:
    """Assert equality of every array, bit for bit, and of what describes the result."""
    for name in ARRAYS:
        first, second = _array(one, name), _array(other, name)
        assert (first is None) == (second is None), name
        if first is not None:
            np.testing.assert_array_equal(np.asarray(first), np.asarray(second), err_msg=name)
    for key in ("method", "target", "output_space", "options", "gradient_correction", "signed"):
        assert one.attrs[key] == other.attrs[key], key


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("rc_average", [False, True])
def test_each_result_is_what_its_own_run_gives(rng: np.random.Generator, tmp_path: Path, rc_average: bool) -> None:
    model, source = wrap(Many()), Windows(random_codes(rng, 6, 40, 0.05))
    methods = ["gradient_x_input", "ism", "saliency", "smoothgrad", "integrated_gradients", "expected_gradients"]
    shared = {"rc_average": rc_average, "n_controls": 3, "hypothetical": True, "batch_size": 2, "seed": 4}
    options = AttributeOptions(method=methods, target=[3, 0], method_options=QUICK, **shared)
    path = attribute_to_file(model, source, tmp_path / "A.h5", options, device=CPU)
    first, in_memory = read_attributions(path), attribute_windows(model, source, options, device=CPU)
    names = [f"{method}.target{target}" for method in methods for target in (3, 0)]
    assert list(first.results) == list(in_memory.results) == names
    assert first.name == in_memory.name == names[0]
    for method in methods:
        own = {key.rpartition(".")[2]: value for key, value in QUICK.items()}
        own = {key: value for key, value in own.items() if key in METHODS[method]().options}
        for target in (3, 0):
            alone = AttributeOptions(method=method, target=target, method_options=own, **shared)
            expected = attribute_windows(wrap(model.module, target=target), source, alone, device=CPU)
            assert expected.results == (method,)
            name = f"{method}.target{target}"
            for result in (
                first.result(name), in_memory.result(name), read_attributions(path, name),
                read_attributions(path, name, in_memory=False),
            ):  # fmt: skip
                assert result.name == name and list(result.results) == names
                same(result, expected)


def test_contract_of_the_file(source: Windows, tmp_path: Path) -> None:
    options = AttributeOptions(method=["ism", "integrated_gradients"], hypothetical=True, n_controls=5)
    path = attribute_to_file(wrap(Many(), target=2), source, tmp_path / "A.h5", options, device=CPU)
    with h5py.File(path) as file:
        assert {"track", "prediction", "codes", "null", "hypothetical", "results"} <= set(file)
        assert "completeness_error" not in file and file.attrs["result"] == "ism"
        assert set(file["results"]) == {"integrated_gradients"}
        group = file["results/integrated_gradients"]
        assert set(group) == {"track", "prediction", "hypothetical", "completeness_error", "null"}
        assert set(group["null"]) == {"track", "prediction"}
        assert {"method", "target", "output_space", "options", "gradient_correction", "signed"} <= set(group.attrs)
        assert group.attrs["target"] == file.attrs["target"] == 2
        assert group["null/track"].shape == (5, 40)


def test_root_of_many_is_the_file_of_one(source: Windows, tmp_path: Path) -> None:
    one = attribute_to_file(Small(), source, tmp_path / "1.h5", AttributeOptions(), device=CPU)
    many = attribute_to_file(
        Small(), source, tmp_path / "2.h5", AttributeOptions(method=["gradient_x_input", "saliency"]), device=CPU
    )
    same(read_attributions(one), read_attributions(many))
    assert read_attributions(one).results == ("gradient_x_input",)
    assert read_attributions(many).result("gradient_x_input").name == "gradient_x_input"


@pytest.mark.parametrize(
    ("method", "options", "n_passes"),
    [("gradient_x_input", {}, 1), ("saliency", {}, 1), ("smoothgrad", {"n_samples": 4}, 5),
     ("integrated_gradients", {"n_steps": 4, "allow_incomplete": True}, 6),
     ("expected_gradients", {"n_references": 4}, 9)],
)  # fmt: skip
def test_targets_share_forward_passes(
    source: Windows, monkeypatch: pytest.MonkeyPatch, method: str, options: dict[str, int], n_passes: int
) -> None:
    monkeypatch.setattr(paths, "MAX_DOUBLINGS", 0)  # of the steps, which each target does by itself
    module = Many()
    model = wrap(module, input_length=40)
    settings = AttributeOptions(method=method, target=[4, 0, 2], method_options=options, n_controls=0, batch_size=23)
    attribute_windows(model, source, settings, device=CPU)  # the first run looks at the model
    module.n_forward = 0
    attribute_windows(model, source, settings, device=CPU)
    assert module.n_forward == n_passes


def test_targets_are_shared_in_groups(source: Windows, monkeypatch: pytest.MonkeyPatch) -> None:
    from seqsal.attribution import request as requests

    settings = AttributeOptions(target=[0, 1, 2, 3, 4], n_controls=0, batch_size=23)
    together = attribute_windows(wrap(Many()), source, settings, device=CPU)
    monkeypatch.setattr(requests, "TARGETS_AT_ONCE", 2)
    apart = attribute_windows(wrap(Many()), source, settings, device=CPU)
    assert len(requests.plan_methods(settings)) == 3
    for name in together.results:
        same(together.result(name), apart.result(name))


class _KeepsItsModel(Method):
    """Remembers the model that it was prepared for, as methods that trace it do."""

    name = "keeps_its_model"

    def prepare(self, model, X, batch_size):  # type: ignore[no-untyped-def]
        self.model = model

    def attribute(self, model, X):  # type: ignore[no-untyped-def]
        with torch.no_grad():
            return Scores(self.model(X), torch.zeros_like(X))


def test_what_a_method_learns_of_a_target_stays_with_it(source: Windows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "keeps_its_model", _KeepsItsModel)
    settings = AttributeOptions(method="keeps_its_model", target=[1, 4], n_controls=0, batch_size=8)
    result = attribute_windows(wrap(Many()), source, settings, device=CPU)
    plain = attribute_windows(
        wrap(Many()), source, AttributeOptions(target=[1, 4], n_controls=0, batch_size=8), device=CPU
    )
    for target in (1, 4):
        one, other = result.result(f"keeps_its_model.target{target}"), plain.result(f"gradient_x_input.target{target}")
        np.testing.assert_array_equal(one.prediction, other.prediction)


class _Stops(Windows):
    limit = 10**9

    def read(self, rows):  # type: ignore[no-untyped-def]
        if self.n_read > self.limit:
            raise KeyboardInterrupt
        return super().read(rows)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("limit", [8, 30])
def test_interrupted_run_of_many_resumes_to_the_same_file(
    rng: np.random.Generator, tmp_path: Path, limit: int, caplog: pytest.LogCaptureFixture
) -> None:
    source, model = _Stops(random_codes(rng, 23, 40)), wrap(Many(), input_length=40)
    options = AttributeOptions(
        method=["gradient_x_input", "integrated_gradients"], target=[1, 2],
        method_options={"n_steps": 3, "allow_incomplete": True},
        batch_size=4, n_controls=20,
    )  # fmt: skip
    whole = attribute_to_file(model, source, tmp_path / "whole.h5", options, device=CPU)
    source.n_read, source.limit = 0, limit
    with pytest.raises(KeyboardInterrupt):
        attribute_to_file(model, source, tmp_path / "A.h5", options, device=CPU)
    source.n_read, source.limit = 0, 10**9
    resumed = attribute_to_file(model, source, tmp_path / "A.h5", options, device=CPU)
    assert source.n_read < 2 * 23 + 20 and "starting afresh" not in caplog.text
    assert resumed.read_bytes() == whole.read_bytes()


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(
    "change",
    [{"method": ["gradient_x_input", "saliency"], "method_options": {}}, {"target": [1, 3]}, {"target": [2, 1]},
     {"method_options": {"integrated_gradients.n_steps": 4, "allow_incomplete": True}}, {"precision": "bf16"}],
)  # fmt: skip
def test_other_results_start_afresh(
    rng: np.random.Generator, tmp_path: Path, caplog: pytest.LogCaptureFixture, change: dict[str, object]
) -> None:
    source, model = _Stops(random_codes(rng, 23, 40)), wrap(Many(), input_length=40)
    given = {"method": ["gradient_x_input", "integrated_gradients"], "target": [1, 2], "n_controls": 20,
             "method_options": {"integrated_gradients.n_steps": 3, "allow_incomplete": True}}  # fmt: skip
    source.limit = 15
    with pytest.raises(KeyboardInterrupt):
        attribute_to_file(model, source, tmp_path / "A.h5", AttributeOptions(**given), device=CPU)  # type: ignore[arg-type]
    source.limit = 10**9
    attribute_to_file(model, source, tmp_path / "A.h5", AttributeOptions(**(given | change)), device=CPU)  # type: ignore[arg-type]
    assert "starting afresh" in caplog.text


class _Told(AttributionWriter):
    def write(self, *args, **options):  # type: ignore[no-untyped-def]
        super().write(*args, **options)
        print("written", flush=True)


def write_and_tell(path: Path) -> None:
    """Write a file of two methods and two targets, and a line for each chunk of each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passes, "CHUNK_BASES", 200)
        patch.setitem(attribute_to_file.__globals__, "AttributionWriter", _Told)
        source = Windows(random_codes(np.random.default_rng(3), 45, 40))
        options = AttributeOptions(method=["gradient_x_input", "ism"], target=[0, 3], n_controls=20, batch_size=4)
        attribute_to_file(wrap(Many(), input_length=40), source, path, options, device=CPU)


def test_killed_in_the_middle_resumes_to_the_same_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, killed = tmp_path / "whole.h5", tmp_path / "A.h5"
    write_and_tell(whole)
    n_writes = capsys.readouterr().out.count("written")
    assert n_writes == 13 * 4
    code = (
        f"import sys; sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]!r}; import torch; "
        "torch.set_num_threads(1); from test_results import write_and_tell; write_and_tell(sys.argv[1])"
    )
    with subprocess.Popen([sys.executable, "-c", code, killed], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(30):  # in the midst of the eighth chunk
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    assert (tmp_path / ".A.h5.partial").exists() and not killed.exists()
    write_and_tell(killed)
    assert capsys.readouterr().out.count("written") < n_writes
    assert killed.read_bytes() == whole.read_bytes()


def test_names_that_are_not_there(source: Windows, tmp_path: Path) -> None:
    options = AttributeOptions(method=["saliency", "gradient_x_input"], n_controls=0)
    path = attribute_to_file(Small(), source, tmp_path / "A.h5", options, device=CPU)
    match = "has no result 'ism', expected one of saliency, gradient_x_input"
    with pytest.raises(StoreError, match=rf"A\.h5: {match}"):
        read_attributions(path, "ism")
    with pytest.raises(StoreError, match=match):
        read_attributions(path, in_memory=False).result("ism")
    with pytest.raises(StoreError, match=match):
        attribute_windows(Small(), source, options, device=CPU).result("ism")
    assert "results: saliency, gradient_x_input" in repr(read_attributions(path))


def test_files_from_before_there_were_results(source: Windows, tmp_path: Path) -> None:
    path = attribute_to_file(Small(), source, tmp_path / "A.h5", AttributeOptions(), device=CPU)
    with h5py.File(path, "r+") as file:
        del file.attrs["result"], file.attrs["results"]
    old = read_attributions(path)
    assert old.results == ("gradient_x_input",) and old.result("gradient_x_input") is old


def test_targets_that_are_not_there(source: Windows) -> None:
    with pytest.raises(ModelError, match=r"target: 7 is out of range, the model has 5 outputs \(0 to 4\)"):
        attribute_windows(wrap(Many()), source, AttributeOptions(target=[0, 7]), device=CPU)
    with pytest.raises(ModelError, match=r"target: 1 is out of range, the model has 1 output \(0 to 0\).*seqsal\.wrap"):
        attribute_windows(Small(), source, AttributeOptions(target=1), device=CPU)


def test_options_find_their_methods(source: Windows) -> None:
    options = AttributeOptions(
        method=["gradient_x_input", "integrated_gradients", "smoothgrad"], n_controls=0,
        method_options={"gradient_correction": False, "n_steps": 4, "smoothgrad.gradient_correction": True},
    )  # fmt: skip
    result = attribute_windows(Small(), source, options, device=CPU)
    assert result.attrs["gradient_correction"] is False
    assert result.result("integrated_gradients").attrs["options"]["n_steps"] == 4
    assert result.result("smoothgrad").attrs["options"]["gradient_correction"] is True


@pytest.mark.parametrize(
    ("options", "match"),
    [({"n_samples": 3}, "option n_samples: none of the methods has it; gradient_x_input has gradient_correction; ism"),
     ({"smoothgrad.n_samples": 3}, r"option smoothgrad\.n_samples: got method 'smoothgrad', expected one of grad"),
     ({"ism.gradient_correction": True}, "method ism: unknown option gradient_correction"),
     ({"gradient_correction": 3}, "option gradient_correction is 3, expected true or false")],
)  # fmt: skip
def test_options_that_nobody_has(source: Windows, options: dict[str, object], match: str) -> None:
    with pytest.raises(MethodError, match=match):
        attribute_windows(
            Small(), source, AttributeOptions(method=["gradient_x_input", "ism"], method_options=options), device=CPU
        )


def test_requests_that_make_no_sense() -> None:
    with pytest.raises(UsageError, match="method: got ism, ism, expected each once"):
        AttributeOptions(method=["ism", "ism"])
    with pytest.raises(UsageError, match="target: got 1, 0, 1, expected each once"):
        AttributeOptions(target=[1, 0, 1])
    with pytest.raises(UsageError, match="method: got none, expected one or more"):
        AttributeOptions(method=[])
    with pytest.raises(MethodError, match="got 'gradcam2', expected one of"):
        attribute_windows(Small(), Windows(np.zeros((1, 40), np.uint8)), AttributeOptions(method=["ism", "gradcam2"]),
                          device=CPU)  # fmt: skip


SLOW = {"ism": {"n_at_once": 64}, "smoothgrad": {"n_samples": 2}, "integrated_gradients": {"n_steps": 2},
        "expected_gradients": {"n_references": 2}, "deeplift_shap": {"n_references": 2},
        "tiles": {"tile": 10, "n_shuffles": 2}}  # fmt: skip


class _Pooled(nn.Module):
    """A convolution, an average over all positions and a linear head, which every method can explain."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv1d(4, 6, 5, padding=2)
        self.head = nn.Linear(6, 1)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.convolution(X)).mean(-1)).squeeze(-1)


@pytest.mark.parametrize("rc_average", [False, True])
@pytest.mark.parametrize("method", sorted(METHODS))
def test_unknown_bases_get_nothing(
    rng: np.random.Generator, method: str, rc_average: bool, device: torch.device
) -> None:
    codes = random_codes(rng, 6, 40, 0.2)
    codes[0, :7], codes[1, -9:], codes[2] = 4, 4, 4  # a padded start, a padded end, nothing known at all
    options = AttributeOptions(
        method=method, rc_average=rc_average, n_controls=3, hypothetical=METHODS[method].hypothetical,
        method_options=SLOW.get(method, {}),
    )  # fmt: skip
    result = attribute_windows(_Pooled(), Windows(codes), options, device=device)
    assert (result.track[codes == 4] == 0).all()
    assert (result.controls.track[np.asarray(result.controls.codes) == 4] == 0).all()
    assert result.track[:2].any()
    if result.hypothetical is not None and not METHODS[method].scores_unknown:
        assert (np.moveaxis(np.asarray(result.hypothetical), 1, 2)[codes == 4] == 0).all()
