"""`seqsal.audit` as a function and as a package, and what it takes."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from audit_cases import Ignores, attributions_of, model_of
from toys import Linear, Small, random_codes

import seqsal
from seqsal.attribution.request import read_model_of
from seqsal.auditing.parts import PARTS
from seqsal.auditing.run import describe_inputs, read_peaks_of, read_sequences
from seqsal.auditing.settings import FORMER
from seqsal.errors import BedError, FastaError, ModelError, RegionError, UsageError
from seqsal.io.attributions import Attributions
from seqsal.sequence.codes import decode, one_hot

LENGTH = 60
TINY = {
    "n_regions": 8, "n_ism_regions": 4, "n_small": 4, "n_steps": 4, "n_draws": 1, "n_bootstrap": 100,
    "n_examples": 20,
}  # fmt: skip


@pytest.fixture
def module(rng: np.random.Generator) -> Linear:
    return Linear(torch.from_numpy(rng.normal(size=(4, LENGTH))).float())


@pytest.fixture
def attr(module: Linear, rng: np.random.Generator) -> Attributions:
    return attributions_of(module, random_codes(rng, 8, LENGTH))


@pytest.mark.parametrize(
    "statements",
    [
        "import seqsal; f = seqsal.audit",
        "import seqsal; from seqsal.auditing.settings import FORMER, AuditSettings; f = seqsal.audit",
        "from seqsal.auditing.settings import FORMER, AuditSettings; import seqsal; f = seqsal.audit",
        "from seqsal import audit as f",
        "from seqsal.auditing import audit as f",
    ],
)
def test_it_can_be_called_whatever_is_imported_first(statements: str) -> None:
    check = (
        "import inspect, sys; assert callable(f); names = list(inspect.signature(f).parameters); "
        "assert names[:3] == ['model', 'attr', 'motif_db'], names; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", f"{statements}; {check}"], check=True)


def test_audit_of_a_linear_model(module: Linear, attr: Attributions, tmp_path: Path) -> None:
    model = model_of(module, LENGTH)
    first, second = (seqsal.audit(model, attr, settings=TINY, device="cpu") for _ in range(2))
    assert list(first.results) == list(PARTS) == list(first.seconds)
    assert first.verdict.faithful is True and first.verdict.plausible is None and first.verdict.shortcuts == ()
    for name, audit in {"a": first, "b": second}.items():
        audit.to_json(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert first.provenance["attributions"]["n_regions"] == 8 and first.provenance["given"] == {}
    assert [one["verdict"] for one in first["artifacts"]] == sorted(
        (one["verdict"] for one in first["artifacts"]), key=["shortcut", "present", "clean"].index
    )


def test_another_seed_is_another_audit(module: Linear, attr: Attributions) -> None:
    model = model_of(module, LENGTH)
    deletion = [
        seqsal.audit(model, attr, settings=TINY, seed=seed, device="cpu")["faithfulness"]["deletion"]["random_auc"]
        for seed in (0, 1)
    ]
    assert deletion[0] != deletion[1]


def test_without_a_model_what_needs_none_is_tested(attr: Attributions) -> None:
    audit = seqsal.audit(attr=attr, settings=TINY, device="cpu")
    assert audit.verdict.faithful is None and audit.untested
    assert audit["faithfulness"]["deletion"]["auc"] is None and audit.provenance["model"] is None


def test_a_model_that_ignores_its_input_is_a_result(rng: np.random.Generator) -> None:
    attr = attributions_of(Ignores(), random_codes(rng, 6, LENGTH))
    audit = seqsal.audit(model_of(Ignores(), LENGTH), attr, settings=TINY, device="cpu")
    assert audit.verdict.faithful is not True and audit.verdict.shortcuts == ()


def test_a_single_region_has_no_intervals(module: Linear, rng: np.random.Generator) -> None:
    attr = attributions_of(module, random_codes(rng, 1, LENGTH))
    audit = seqsal.audit(model_of(module, LENGTH), attr, settings=TINY, device="cpu")
    assert audit["faithfulness"]["deletion"]["ci"] is None
    assert any("one region" in line for line in audit.untested)


def test_a_module_is_read_as_the_attributions_say(rng: np.random.Generator) -> None:
    class Two(Small):
        def forward(self, X: torch.Tensor) -> torch.Tensor:
            score = super().forward(X)
            return torch.sigmoid(torch.stack([score, -2 * score], dim=1))

    module = Two().eval()
    model = seqsal.wrap(module, target=1, input_length=LENGTH, output_space="probability")
    attr = seqsal.attribute(model, X=one_hot(random_codes(rng, 4, LENGTH)), target=1, n_controls=10, device="cpu")
    read = read_model_of(module, attr)
    assert (read.target, read.output_space, read.input_length) == (1, "probability", LENGTH)
    assert read_model_of(read, attr) is read


def test_the_wrong_model(module: Linear, attr: Attributions, rng: np.random.Generator) -> None:
    other = model_of(Linear(torch.from_numpy(rng.normal(size=(4, LENGTH))).float()), LENGTH)
    with pytest.raises(ModelError, match=r"model: predicts .* but the attributions are about a prediction of"):
        seqsal.audit(other, attr, settings=TINY, device="cpu")
    with pytest.raises(ModelError, match="model: got attributions, expected a model"):
        seqsal.audit(attr, attr)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="attr: none given"):
        seqsal.audit(module)


def test_settings_by_name(attr: Attributions) -> None:
    with pytest.raises(UsageError, match=r"setting: got 'n_reigons' \(did you mean n_regions\?\), expected one of"):
        seqsal.audit(None, attr, settings={"n_reigons": 3})
    with pytest.raises(UsageError, match="setting: max_edits is no longer one; it is the constant"):
        seqsal.audit(None, attr, settings={"max_edits": 3})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("n_regions", 0, "a whole number from 1 to 1,000,000,000"),
        ("n_regions", 10**10, "a whole number from 1"),
        ("n_regions", "many", "a whole number"),
        ("n_regions", True, "a whole number"),
        ("confidence", 1.5, "a number above 0 and at most 1"),
        ("confidence", "high", "a number above 0"),
        ("retrain", 1, "True or False"),
    ],
)
def test_each_setting_has_its_range(attr: Attributions, name: str, value: object, expected: str) -> None:
    with pytest.raises(UsageError, match=f"^{name}: got .*, expected {expected}"):
        seqsal.audit(None, attr, settings={name: value})


def test_former_settings_are_constants_now() -> None:
    for place in FORMER.values():
        module, _, constant = place.rpartition(".")
        assert hasattr(importlib.import_module(f"seqsal.auditing.{module}"), constant), place


def test_no_regions(attr: Attributions) -> None:
    none = Attributions(attr.regions[:0], attr.codes[:0], attr.track[:0], attr.prediction[:0])
    with pytest.raises(RegionError, match="hold no regions"):
        seqsal.audit(None, none)


@pytest.fixture
def files(tmp_path: Path, rng: np.random.Generator) -> Path:
    chromosome = random_codes(rng, 1, 2000)[0]
    (tmp_path / "genome.fa").write_text(f">chr1\n{decode(chromosome)}\n")
    (tmp_path / "regions.bed").write_text("".join(f"chr1\t{start}\t{start + 80}\n" for start in range(100, 1700, 80)))
    records = [f">r{i}\n{decode(row)}\n" for i, row in enumerate(random_codes(rng, 30, 70))]
    (tmp_path / "sequences.fa").write_text("".join(records))
    return tmp_path


def test_sequences_of_a_class_in_every_form(files: Path, rng: np.random.Generator) -> None:
    from_bed = read_sequences(files / "regions.bed", "positives", LENGTH, genome=files / "genome.fa")
    assert from_bed.shape == (20, LENGTH) and from_bed.dtype == np.uint8
    from_fasta = read_sequences(files / "sequences.fa", "positives", LENGTH, n_most=7)
    assert from_fasta.shape == (7, LENGTH)
    codes = random_codes(rng, 9, LENGTH)
    np.testing.assert_array_equal(read_sequences(codes, "negatives", LENGTH), codes)
    np.testing.assert_array_equal(read_sequences(one_hot(codes), "negatives", LENGTH), codes)
    np.testing.assert_array_equal(read_sequences(codes, "negatives", LENGTH, n_most=3), codes[[0, 4, 8]])
    table = pd.DataFrame({"chrom": ["chr1"], "start": [200], "end": [260]})
    assert read_sequences(table, "positives", LENGTH, genome=files / "genome.fa").shape == (1, LENGTH)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("regions.bed", UsageError, "positives: are regions, which need a genome to be read from"),
        ("none.fa", UsageError, "positives: .*none.fa: no such file"),
        ("empty.fa", (BedError, FastaError, UsageError), "empty.fa|need a genome"),
    ],
)
def test_sequences_that_cannot_be_read(files: Path, given: str, error: Any, message: str) -> None:
    (files / "empty.fa").write_text("")
    with pytest.raises(error, match=message):
        read_sequences(files / given, "positives", LENGTH)


def test_arrays_of_another_length(rng: np.random.Generator) -> None:
    with pytest.raises(UsageError, match=r"positives: got an array \(3, 50\) of uint8, expected codes \(n, 60\)"):
        read_sequences(random_codes(rng, 3, 50), "positives", LENGTH)


def test_peaks_from_a_file(attr: Attributions, tmp_path: Path) -> None:
    line = "{}\t5\t15\tpeak\t0\t.\t{}\t2\t2\t5\n"
    (tmp_path / "good.narrowPeak").write_text(line.format("chr1", 3.0) + line.format("chr1", -3.0))
    (tmp_path / "elsewhere.narrowPeak").write_text(line.format("chrZ", 3.0))
    (tmp_path / "none.narrowPeak").write_text("")
    peaks = read_peaks_of(attr, tmp_path / "good.narrowPeak")
    assert peaks is not None and peaks["sign"].tolist() == ["pos", "neg"]
    assert read_peaks_of(attr, peaks) is peaks and read_peaks_of(attr, None) is None
    none = read_peaks_of(attr, tmp_path / "none.narrowPeak")
    assert none is not None and none.empty and "sign" in none
    with pytest.raises(RegionError, match=r"no peak is on a chromosome of the attributions \(chrZ against chr1\)"):
        read_peaks_of(attr, tmp_path / "elsewhere.narrowPeak")


def test_the_record_names_files_and_not_their_folders(tmp_path: Path) -> None:
    given = {
        "motif_db": "jaspar:2026:fungi",
        "positives": tmp_path / "p.fa",
        "negatives": np.zeros((3, 4)),
        "genome": None,
    }
    assert describe_inputs(given) == {"motif_db": "jaspar:2026:fungi", "positives": "p.fa", "negatives": "ndarray of 3"}
