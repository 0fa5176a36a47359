"""Controls that are made later: not before they are needed, once, the same to the bit, and safely into the file."""

from __future__ import annotations

import dataclasses
import itertools
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toys import Small, random_codes

import seqsal
from seqsal.attribution import passes
from seqsal.attribution.controls import control_codes, make_controls, most_controls, options_of_attributions
from seqsal.attribution.engine import AttributionRun
from seqsal.attribution.methods.registry import METHODS
from seqsal.attribution.request import PlannedMethod
from seqsal.errors import ModelError, OutputError, SeqsalError, StoreError, UsageError
from seqsal.io.attributions import Attributions
from seqsal.io.store import read_attributions
from seqsal.io.store_writer import ControlsWriter
from seqsal.models import wrap
from seqsal.models.checkpoint import save_checkpoint
from seqsal.models.cnn import CNN, CNNConfig
from seqsal.regions import make_regions
from seqsal.sequence.codes import one_hot

LENGTH = 60
ARRAYS = ("controls.track", "controls.codes", "controls.source")
QUICK: dict[str, dict[str, Any]] = {
    "smoothgrad": {"n_samples": 2}, "integrated_gradients": {"n_steps": 2}, "expected_gradients": {"n_references": 2},
    "deeplift_shap": {"n_references": 2}, "tiles": {"tile": 20, "n_shuffles": 2},
}  # fmt: skip


class Counting(Small):
    """Counts the sequences that go through it; two outputs."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.head = torch.nn.Linear(8, 2)
        self.n_sequences = 0

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        self.n_sequences += len(X)
        h = torch.relu(self.norm(self.stem(X)))
        return self.head(h.mean(-1))


@pytest.fixture(autouse=True)
def thirty_controls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqsal.attribution.controls.default_n_controls", lambda n_windows, length: 30)


@pytest.fixture
def X(rng: np.random.Generator) -> np.ndarray:
    return one_hot(random_codes(rng, 5, LENGTH, 0.02))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = CNNConfig(input_length=LENGTH, n_filters=4, n_blocks=1, stem_kernel=7)
    save_checkpoint(tmp_path / "M.safetensors", CNN(config).eval(), {"history": [], "metrics": {}})
    return tmp_path / "M.safetensors"


def same_controls(one: Attributions, other: Attributions) -> None:
    for name in ARRAYS:
        np.testing.assert_array_equal(*(np.asarray(attrgetter(name)(attr)) for attr in (one, other)), err_msg=name)


def attribute(model: Any, X: Any, **options: Any) -> Attributions:
    return seqsal.attribute(model, X=X, device="cpu", **options)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_only_the_windows_asked_for_are_attributed(X: np.ndarray, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = wrap(Counting(), input_length=LENGTH), []
    compute = PlannedMethod.attribute
    monkeypatch.setattr(PlannedMethod, "attribute", lambda self, f, X: seen.append(len(X)) or compute(self, f, X))
    n_sequences = []
    for given in ({}, {"n_controls": 0}, {"n_controls": 2}):
        n_before = model.module.n_sequences
        attr = attribute(model, X[:1], method=method, **given, **QUICK.get(method, {}))
        n_sequences.append(model.module.n_sequences - n_before)
        assert attr.n_controls == given.get("n_controls", 0)
    assert seen[:2] == [1, 1] and sum(seen) == 5
    assert n_sequences[0] >= n_sequences[1]  # a model is looked at once
    assert n_sequences[1] <= n_sequences[2]


@pytest.mark.parametrize("method", sorted(METHODS))
def test_controls_made_later_are_those_made_at_once(X: np.ndarray, method: str) -> None:
    model = wrap(Counting(), input_length=LENGTH)
    options = {"method": method, "rc_average": True, "target": 1, "seed": 3, "draw": 1, **QUICK.get(method, {})}
    try:
        later = attribute(model, X, **options)
    except SeqsalError:
        pytest.skip("not for this model")
    codes = control_codes(later, 20)
    made = make_controls(later)
    np.testing.assert_array_equal(codes, np.asarray(made.codes)[:20])
    np.testing.assert_array_equal(codes, control_codes(later, 20))
    assert later.controls is made and later.n_controls == 30
    same_controls(later, attribute(model, X, n_controls=30, **options))


def test_peaks_make_the_controls_once_and_tell(X: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    model = wrap(Counting(), input_length=LENGTH)
    attr = attribute(model, X)
    caplog.set_level("INFO", "seqsal.attribution.controls")
    peaks = seqsal.call_peaks(attr, fdr=1, statistic="height")
    assert caplog.text.count("attributing 30 shuffled windows by gradient_x_input") == 1
    n_before = model.module.n_sequences
    again = seqsal.call_peaks(attr, fdr=1, statistic="height")
    assert model.module.n_sequences == n_before and caplog.text.count("attributing") == 1
    assert peaks.equals(again) and peaks.attrs["n_controls"] == 30
    at_once = seqsal.call_peaks(attribute(model, X, n_controls=30), fdr=1, statistic="height")
    assert at_once.equals(peaks) and len(peaks)


def test_only_the_methods_that_need_them_get_controls(X: np.ndarray) -> None:
    model = wrap(Counting(), input_length=LENGTH)
    options: dict[str, Any] = {"method": ["gradient_x_input", "ism", "saliency"], "target": [0, 1]}
    attr, whole = attribute(model, X, **options), attribute(model, X, n_controls=30, **options)
    make_controls(attr.result("saliency.target1"))
    has = {name: attr.result(name).n_controls for name in attr.results}
    assert has == {name: 30 * name.startswith("saliency") for name in attr.results}
    seqsal.call_peaks(attr)
    for name in ("saliency.target0", "saliency.target1", "gradient_x_input.target0", "gradient_x_input.target1"):
        same_controls(attr.result(name), whole.result(name))
    assert attr.result("ism.target0").controls is None


@pytest.mark.parametrize("in_file", [False, True])
def test_more_controls_join_those_that_there_are(X: np.ndarray, tmp_path: Path, in_file: bool) -> None:
    model = wrap(Counting(), input_length=LENGTH)
    options: dict[str, Any] = {"method": ["gradient_x_input", "grad_cam"], "seed": 2}
    attr = attribute(model, X, n_controls=30, **options, **({"out": tmp_path / "A.h5"} if in_file else {}))
    n_before = model.module.n_sequences
    make_controls(attr, n_controls=60)
    assert 30 <= model.module.n_sequences - n_before < 60, "the first ones were attributed again"
    assert attr.n_controls == 60 and make_controls(attr, n_controls=40) is attr.controls
    whole = attribute(model, X, n_controls=60, **options)
    grown = read_attributions(tmp_path / "A.h5") if in_file else attr
    for name in ("codes", "source"):
        np.testing.assert_array_equal(np.asarray(getattr(grown.controls, name)), getattr(whole.controls, name))
    for name in ("track", "prediction"):
        values = (np.asarray(getattr(one.controls, name)) for one in (grown, whole))
        np.testing.assert_allclose(*values, rtol=0, atol=1e-6)
    coarse = make_controls(attr.result("grad_cam"), model, n_controls=60)
    np.testing.assert_array_equal(np.asarray(coarse.codes), whole.controls.codes)


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("numbers", [(4, 16), (8, 64), (16, 32, 64)])
def test_controls_that_are_fewer_than_windows_are_kept_when_they_grow(
    rng: np.random.Generator, tmp_path: Path, in_file: bool, numbers: tuple[int, ...]
) -> None:
    """The same set as made at once, those that there were first; also where windows have the same bases."""
    codes = random_codes(rng, 40, LENGTH, 0.02)
    codes[7:10] = codes[6]
    model = wrap(Counting(), input_length=LENGTH)
    attr = attribute(model, one_hot(codes), n_controls=numbers[0], **({"out": tmp_path / "A.h5"} if in_file else {}))
    for n_before, n_controls in itertools.pairwise(numbers):
        before, n_sequences = np.asarray(attr.controls.codes), model.module.n_sequences
        make_controls(attr, n_controls=n_controls)
        assert model.module.n_sequences - n_sequences <= n_controls - n_before + 16, "some were attributed again"
        np.testing.assert_array_equal(np.asarray(attr.controls.codes)[:n_before], before)
    whole = attribute(model, one_hot(codes), n_controls=numbers[-1])
    grown, at_once = (
        np.column_stack([np.asarray(getattr(one.controls, name)) for name in ("codes", "track")])
        for one in (attr, whole)
    )
    grown, at_once = (one[np.lexsort(one[:, :LENGTH].T)] for one in (grown, at_once))
    np.testing.assert_allclose(grown, at_once, rtol=0, atol=1e-6)
    assert sorted(np.asarray(attr.controls.source)) == sorted(np.asarray(whole.controls.source))


def test_controls_grow_as_far_as_the_method_is_cheap(X: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    cheap, dear = (attribute(Counting(), X, method=method) for method in ("gradient_x_input", "ism"))
    assert most_controls(cheap) == most_controls(dear) == 8 * 30
    with monkeypatch.context() as patch:
        patch.setattr("seqsal.attribution.controls.WINDOWS_A_CONTROL", len(X) / 500)
        assert most_controls(cheap) == 480, "a share of the windows, where they are many"
    monkeypatch.setattr("seqsal.attribution.controls.MOST_GROWN_BASES", 3 * LENGTH * LENGTH * 70)
    assert (most_controls(cheap), most_controls(dear)) == (240, 60)


def test_seeds_get_the_same_controls(X: np.ndarray) -> None:
    attr = attribute(Counting(), X, method=["gradient_x_input", "grad_cam"])
    peaks = seqsal.call_peaks(attr, seeds="grad_cam", fdr=1)
    assert peaks.attrs["n_controls"] == 30 and attr.result("grad_cam").n_controls == 30


def test_a_model_in_memory_gives_the_controls_of_its_file(X: np.ndarray, tmp_path: Path) -> None:
    model, path = wrap(Counting(), input_length=LENGTH), tmp_path / "A.h5"
    options: dict[str, Any] = {"method": ["saliency", "smoothgrad"], "n_samples": 2, "target": [1, 0]}
    attr = attribute(model, X, out=path, **options)
    whole = attribute(model, X, **options, n_controls=30)
    peaks = seqsal.call_peaks(attr, fdr=1)
    assert attr.n_controls == 30 and peaks.attrs["n_controls"] == 30
    same_controls(read_attributions(path), whole)
    assert read_attributions(path, "smoothgrad.target1").controls is None
    bare = read_attributions(path, "smoothgrad.target1", in_memory=False)  # another process remembers no model
    with pytest.raises(
        StoreError, match=r"no shuffled controls.*the file does not say which model made them; give it, model="
    ):
        seqsal.call_peaks(bare)
    seqsal.call_peaks(bare, model=model.module, device="cpu")
    for name in attr.results:
        same_controls(read_attributions(path, name), whole.result(name))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["A.h5"]
    assert read_attributions(path).track.tolist() == whole.track.tolist()


def test_a_file_finds_its_checkpoint(X: np.ndarray, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = checkpoint.parent
    monkeypatch.chdir(folder)
    attribute("M.safetensors", X, out="A.h5")
    whole = attribute("M.safetensors", X, n_controls=30)
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(
        folder / "elsewhere"
    )  # where the name that was typed leads nowhere, but the folder of the file does
    attr = read_attributions(folder / "A.h5", in_memory=False)
    assert make_controls(attr, device="cpu") is attr.controls
    same_controls(read_attributions(folder / "A.h5"), whole)


@pytest.mark.parametrize("loss", ["gone", "changed"])
def test_a_checkpoint_that_is_lost(X: np.ndarray, checkpoint: Path, tmp_path: Path, loss: str) -> None:
    attribute(checkpoint, X, out=tmp_path / "A.h5")
    if loss == "gone":
        checkpoint.unlink()
    else:
        checkpoint.write_bytes(checkpoint.read_bytes() + b" ")
    words = {"gone": "is not where it was", "changed": "has changed since"}[loss]
    with pytest.raises(StoreError, match=rf"their model, .*M\.safetensors, {words}; give it, model=… or `seqsal peaks"):
        seqsal.call_peaks(read_attributions(tmp_path / "A.h5"))


def test_no_code_is_run_because_a_file_names_it(X: np.ndarray, tmp_path: Path) -> None:
    attr = attribute(Counting(), X)
    named = dataclasses.replace(attr, run=None, attrs={**attr.attrs, "model": {"factory": "os:getcwd", "file": "a.pt"}})
    with pytest.raises(StoreError, match="os:getcwd, is code, which is not run because a file names it"):
        make_controls(named)
    named = dataclasses.replace(attr, run=None, attrs={**attr.attrs, "model": {"file": "a.pt", "sha256": "0"}})
    with pytest.raises(StoreError, match=r"a\.pt, is not loaded unless you give it"):
        make_controls(named)


def test_another_model_is_refused(X: np.ndarray, tmp_path: Path) -> None:
    model = wrap(Counting(), input_length=LENGTH)
    attr = attribute(model, X)
    with pytest.raises(ModelError, match=r"predicts .* for .*, where the attributions have .*, so it is another model"):
        seqsal.call_peaks(attr, model=Counting(seed=7), device="cpu")
    with torch.no_grad():
        model.module.head.bias += 1  # trained on
    with pytest.raises(ModelError, match="so it is another model"):
        seqsal.call_peaks(attr)
    assert attr.controls is None


def test_what_cannot_be_made_again_is_refused(X: np.ndarray) -> None:
    attr = attribute(Counting(), X)
    own = dataclasses.replace(attr, run=None, attrs={**attr.attrs, "method": "mine"})
    with pytest.raises(StoreError, match="mine is not a method of seqsal"):
        make_controls(own, Counting(), device="cpu")
    imported = dataclasses.replace(attr, attrs={**attr.attrs, "method": "imported"})
    with pytest.raises(StoreError, match="imported attributions have no shuffled controls"):
        make_controls(imported)


def test_options_come_back_from_the_attributes(X: np.ndarray) -> None:
    options: dict[str, Any] = {"method": ["cam", "smoothgrad"], "n_samples": 3, "target": [1, 0], "seed": 4, "draw": 2}
    attr = attribute(Counting(), X, **options)
    found = options_of_attributions(attr.result("smoothgrad.target0"))
    assert (found.methods, found.targets, found.seed, found.draw) == (("cam", "smoothgrad"), (1, 0), 4, 2)
    assert found.method_options["smoothgrad.n_samples"] == 3 and "cam.layer" not in found.method_options


def test_attributions_pickle_without_their_model(X: np.ndarray) -> None:
    attr = attribute(Counting(), X)
    again = pickle.loads(pickle.dumps(attr))
    assert isinstance(attr.run, AttributionRun) and again.run is None
    np.testing.assert_array_equal(again.track, attr.track)


class _Stop(ControlsWriter):
    """Is interrupted after three chunks of five controls."""

    def write(self, part: str, start: int, arrays: Mapping[str, Any], **options: Any) -> None:
        if self.done["null"] >= 3 * 5:
            raise KeyboardInterrupt
        super().write(part, start, arrays, **options)


def test_an_interrupted_append_leaves_the_file_and_resumes(
    X: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, path = wrap(Counting(), input_length=LENGTH), tmp_path / "A.h5"
    monkeypatch.setattr(passes, "CHUNK_BASES", 5 * LENGTH)
    attr = attribute(model, X, out=path)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("seqsal.attribution.controls.ControlsWriter", _Stop)
        with pytest.raises(KeyboardInterrupt):
            seqsal.call_peaks(attr)
    assert path.read_bytes() == before and attr.controls is None
    assert (tmp_path / ".A.h5.controls.partial").exists()
    n_before = model.module.n_sequences
    seqsal.call_peaks(attr, statistic="height")
    assert model.module.n_sequences - n_before < 24, "it started from the beginning"
    same_controls(read_attributions(path), attribute(model, X, n_controls=30))
    assert not (tmp_path / ".A.h5.controls.partial").exists()


def test_a_file_that_another_process_adds_to(X: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "A.h5"
    attr = attribute(Counting(), X, out=path)
    script = f"""
import sys
from seqsal.io.store_writer import ControlsWriter
with ControlsWriter({str(path)!r}, ["gradient_x_input"], 30):
    print("open", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(OutputError, match="another process is writing it"):
            seqsal.call_peaks(attr)
        process.stdin.close()
    seqsal.call_peaks(attr)
    assert read_attributions(path).n_controls == 30


def test_controls_that_appeared_meanwhile_are_taken(X: np.ndarray, tmp_path: Path) -> None:
    model, path = wrap(Counting(), input_length=LENGTH), tmp_path / "A.h5"
    one = attribute(model, X, out=path)
    other = read_attributions(path, in_memory=False)
    seqsal.call_peaks(one)
    n_before = model.module.n_sequences
    assert other.controls is None
    make_controls(other, model)
    assert model.module.n_sequences - n_before < 50 and other.n_controls == 30


def test_a_part_of_a_file_keeps_its_controls_in_memory(X: np.ndarray, tmp_path: Path) -> None:
    attr = attribute(Counting(), X, out=tmp_path / "A.h5")
    first = {name: np.asarray(getattr(attr, name))[:2] for name in ("codes", "track", "prediction")}
    part = dataclasses.replace(attr, regions=attr.regions[:2], **first)
    make_controls(part)
    assert part.n_controls == 30 and read_attributions(tmp_path / "A.h5").controls is None
    assert np.asarray(part.controls.source).max() == 1


def test_a_file_without_write_permission(
    X: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    attr = attribute(Counting(), X, out=tmp_path / "A.h5")
    monkeypatch.setattr(os, "access", lambda *args: False)
    seqsal.call_peaks(attr)
    assert "kept in memory only" in caplog.text and attr.n_controls == 30
    assert read_attributions(tmp_path / "A.h5").controls is None


def test_auto_makes_controls_where_they_are_no_more_than_the_windows(
    rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "seqsal.attribution.engine")
    few = attribute(Counting(), one_hot(random_codes(rng, 99, 2000)), n_controls="auto", gradient_correction=False)
    assert few.n_controls == 0
    assert "controls: none made, as the usual 100 would take longer than the 99 windows" in caplog.text
    many = attribute(Counting(), one_hot(random_codes(rng, 101, 2000)), n_controls="auto", gradient_correction=False)
    assert many.n_controls == 101 and caplog.text.count("none made") == 1


@pytest.fixture
def on_genome(tmp_path: Path, rng: np.random.Generator) -> dict[str, Any]:
    """A genome of one chromosome with ten regions on it."""
    bases = "".join(np.array(list("ACGT"))[random_codes(rng, 1, 6_000)[0]])
    (tmp_path / "g.fa").write_text(f">chr1\n{bases}\n")
    return {
        "genome": tmp_path / "g.fa",
        "regions": make_regions(["chr1"] * 10, *(np.arange(10) * 400 + [[0], [LENGTH]])),
    }


def test_controls_of_the_background_are_told_kept_and_replaced(
    on_genome: dict[str, Any], checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Made at once or later they are the same; a file has one kind, and says which."""
    caplog.set_level("INFO", "seqsal.attribution.controls")
    options = {**on_genome, "device": "cpu", "method": ["gradient_x_input", "saliency"]}
    at_once = seqsal.attribute(checkpoint, null="background", n_controls=30, **options)
    path = tmp_path / "A.h5"
    seqsal.attribute(checkpoint, null="background", out=path, **options)
    assert read_attributions(path).null == "background"  # none are there yet
    peaks = seqsal.call_peaks(read_attributions(path, in_memory=False), fdr=1)
    later = read_attributions(path)
    assert peaks.attrs["null"] == later.controls.kind == at_once.controls.kind == "background"
    same_controls(later, at_once)
    assert "attributing 30 background windows" in caplog.text and later.result("saliency").controls is None

    make_controls(later.result("saliency"))
    same_controls(read_attributions(path, "saliency"), at_once.result("saliency"))
    caplog.clear()
    shuffled = make_controls(read_attributions(path), null="shuffle")
    assert "in place of 30 background windows" in caplog.text
    assert shuffled.kind == read_attributions(path).null == "shuffle"
    assert read_attributions(path, "saliency").controls is None  # not of two kinds in a file
    same_controls(read_attributions(path), seqsal.attribute(checkpoint, n_controls=30, **options))
    in_memory = seqsal.attribute(checkpoint, n_controls=30, **options)
    make_controls(in_memory, null="background")
    same_controls(in_memory, at_once)


def test_background_without_a_genome_or_with_another_is_refused(
    on_genome: dict[str, Any], X: np.ndarray, tmp_path: Path
) -> None:
    model = wrap(Counting(), input_length=LENGTH)
    attr = attribute(model, X)
    with pytest.raises(StoreError, match=r"were not read from one; give it .*--genome"):
        seqsal.call_peaks(attr, null="background")
    with pytest.raises(SeqsalError, match="background"):
        seqsal.call_peaks(attr, null="background", genome=on_genome["genome"])
    with pytest.raises(UsageError, match=r"got 'backgrond', expected shuffle or background; did you mean 'background'"):
        attribute(model, X, null="backgrond")
    placed = seqsal.attribute(model, device="cpu", **on_genome)
    moved = on_genome["genome"].rename(tmp_path / "moved.fa")
    with pytest.raises(SeqsalError, match="no such file"):
        make_controls(placed, null="background")
    assert make_controls(placed, null="background", genome=moved).kind == "background"


def test_a_background_that_cannot_be_is_refused_before_any_window_is_attributed(
    on_genome: dict[str, Any], X: np.ndarray, tmp_path: Path
) -> None:
    model, path = wrap(Counting(), input_length=LENGTH), tmp_path / "A.h5"
    everywhere = make_regions(["chr1"] * 100, np.arange(100) * LENGTH, (np.arange(100) + 1) * LENGTH)
    before = model.module.n_sequences
    for given, message in (({"X": X}, "were not read from one"), ({**on_genome, "regions": everywhere}, "room for 0")):
        with pytest.raises(StoreError, match=message):
            seqsal.attribute(model, out=path, device="cpu", null="background", n_controls=20, **given)
        assert not list(tmp_path.glob("*A.h5*"))
    assert model.module.n_sequences <= before + 3  # a look at the model
