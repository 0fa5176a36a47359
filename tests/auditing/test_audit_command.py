"""`seqsal audit`, and the audit of `seqsal run`, as a user meets them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from toys import random_codes

import seqsal
from seqsal.attribution.controls import recorded_model
from seqsal.auditing.settings import RUN_SIZES, AuditSettings
from seqsal.auditing.verdict import Verdict
from seqsal.cli import main
from seqsal.models import CNN, CNNConfig, save_checkpoint
from seqsal.sequence.codes import decode, encode

LENGTH = 60
N_REGIONS = 12
ADAPTER = "AGATCGGAAGAGCACACGTC"
TINY = {
    "n_regions": 12, "n_ism_regions": 4, "n_small": 4, "n_steps": 4, "n_draws": 1, "n_bootstrap": 100,
    "n_examples": 60,
}  # fmt: skip


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def one_line(result: Result) -> str:
    """Return the only line on stderr, warnings and what is said of the model apart."""
    lines = [line for line in result.stderr.splitlines() if "warning" not in line and "info: audit" not in line]
    assert len(lines) == 1, (result.stderr, result.exception)
    return lines[0]


@dataclass
class Lab:
    """A folder with a model, its attributions and everything that an audit can be given."""

    folder: Path

    def audit(self, **changes: object) -> Result:
        """Call `seqsal audit`; an option that is None is left away, one that is a list is repeated."""
        options: dict[str, object] = {"model": self.folder / "M.safetensors", "out": self.folder / "out" / "audit.json",
                                      "device": "cpu"} | changes  # fmt: skip
        attributions = options.pop("attributions", self.folder / "A.h5")
        words: list[object] = [word for name, value in TINY.items() for word in ("--setting", f"{name}={value}")]
        for name, value in options.items():
            for one in value if isinstance(value, list) else [value]:
                words += [] if one is None else [f"--{name.replace('_', '-')}", one]
        return call("audit", attributions, *words)

    @property
    def json(self) -> dict[str, object]:
        content: dict[str, object] = json.loads((self.folder / "out" / "audit.json").read_text())
        return content


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that no test changes."""
    folder, rng = tmp_path_factory.mktemp("audit"), np.random.default_rng(7)
    codes = random_codes(rng, N_REGIONS, LENGTH)
    codes[:6, 20:40] = encode(ADAPTER)
    (folder / "windows.fa").write_text(_fasta("w", codes))
    (folder / "positives.fa").write_text(_fasta("p", random_codes(rng, 60, LENGTH)))
    (folder / "negatives.fa").write_text(_fasta("n", random_codes(rng, 60, LENGTH)))
    (folder / "own.fa").write_text(f">own_adapter\n{ADAPTER}\n")
    (folder / "annotations.bed").write_text("".join(f"w{i}\t20\t40\n" for i in range(N_REGIONS)))
    (folder / "strata.bed").write_text("".join(f"w{i}\t0\t{LENGTH}\tw{i}\t{i}\t+\tbatch{i % 2}\n" for i in range(12)))
    (folder / "P.narrowPeak").write_text("w0\t20\t40\tpos_1\t900\t.\t5\t3\t3\t10\n")
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = CNN(CNNConfig(input_length=LENGTH, n_filters=4, n_blocks=1, stem_kernel=7)).eval()
        save_checkpoint(folder / ("M2.safetensors" if seed else "M.safetensors"), model, {"history": [], "metrics": {}})
    result = call("attribute", "--model", folder / "M.safetensors", "--fasta", folder / "windows.fa", "--out",
                  folder / "A.h5", "--method", "gradient_x_input", "--method", "saliency", "--device", "cpu",
                  "--controls", 20)  # fmt: skip
    assert result.exit_code == 0, result.output
    return folder


def _fasta(prefix: str, codes: np.ndarray) -> str:
    return "".join(f">{prefix}{i}\n{decode(row)}\n" for i, row in enumerate(codes))


@pytest.fixture
def lab(made: Path, tmp_path: Path) -> Lab:
    for path in made.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "out").mkdir()
    return Lab(tmp_path)


def test_everything_that_can_be_given(lab: Lab) -> None:
    folder = lab.folder
    result = lab.audit(
        motif_db="jaspar:2026:fungi",
        peaks=folder / "P.narrowPeak",
        annotations=folder / "annotations.bed",
        positives=folder / "positives.fa",
        negatives=folder / "negatives.fa",
        artifacts=folder / "own.fa",
        strata=f"{folder / 'strata.bed'}:7",
        other_model=[folder / "M2.safetensors"],
    )
    assert result.exit_code == 0, (result.output, result.exception)
    assert lab.json["schema"] == 1 and result.output.rstrip().endswith("audit.json")
    assert "faithful: " in result.output and "plausibility" in result.output
    names = [one["name"] for one in lab.json["artifacts"]]  # type: ignore[attr-defined]
    assert "own_adapter" in names and "GC content" in names
    provenance = lab.json["provenance"]
    assert provenance["n_positives"] == 60 and provenance["n_other_models"] == 1  # type: ignore[index]
    assert provenance["given"]["positives"] == "positives.fa"  # type: ignore[index]
    assert (folder / "out" / "audit.shortcuts.bed").exists()


def without_model(lab: Lab, **changes: object) -> Path:
    """Copy the attributions into a file that names no model, or another."""
    path = lab.folder / "unnamed.h5"
    shutil.copy(lab.folder / "A.h5", path)
    with h5py.File(path, "r+") as file:
        file.attrs["model"] = json.dumps(json.loads(file.attrs["model"]) | changes if changes else {})
    return path


def test_the_model_that_the_file_names_is_taken(lab: Lab) -> None:
    given, named = lab.audit(), (lab.folder / "out" / "audit.json").read_bytes()
    result = lab.audit(model=None)
    assert (result.exit_code, given.exit_code) == (0, 0), result.output
    assert (lab.folder / "out" / "audit.json").read_bytes() == named
    assert re.search(r"audit: the model is \S*M\.safetensors, which the attributions name", result.stderr)
    result = lab.audit(model=None, attributions=without_model(lab, sha256="0" * 64))
    assert "only what needs no model is tested" in result.stderr
    assert "M.safetensors, has changed since; give it (--model M)" in result.stderr
    assert lab.json["verdict"]["faithful"] is None  # type: ignore[index]
    for changes, reason in (({"factory": "nets:Net"}, "nets:Net, is code"), ({}, "does not say which model")):
        found, why = recorded_model(seqsal.read_attributions(without_model(lab, **changes)))
        assert found is None and reason in why


def test_twice_the_same_bytes_and_quiet(lab: Lab) -> None:
    texts = []
    for _ in range(2):
        result = lab.audit(model=None, attributions=without_model(lab))
        assert result.exit_code == 0, result.output
        texts.append((lab.folder / "out" / "audit.json").read_bytes())
    assert texts[0] == texts[1]
    assert lab.json["verdict"]["faithful"] is None  # type: ignore[index]
    quiet = call("audit", without_model(lab), "--out", lab.folder / "out" / "q.json", "--quiet", "--device", "cpu")
    assert quiet.exit_code == 0 and quiet.output == ""


def test_another_result_of_the_file(lab: Lab) -> None:
    assert lab.audit(model=None, result="saliency").exit_code == 0
    assert lab.json["provenance"]["attributions"]["method"] == "saliency"  # type: ignore[index]


def judged(monkeypatch: pytest.MonkeyPatch, verdict: Verdict) -> None:
    """Have the audit come to a verdict whatever it finds."""
    monkeypatch.setattr("seqsal.auditing.run.judge", lambda *sections, **options: verdict)


BAD = Verdict(False, True, ("TruSeq",), "It is bad.")
GOOD = Verdict(True, True, (), "It is good.")
OPEN = Verdict(None, None, (), "Nobody knows.")


@pytest.mark.parametrize(
    ("verdict", "fail_on", "code", "words"),
    [
        (BAD, "shortcut,unfaithful", 3, ["the audit failed: shortcut (TruSeq)", "unfaithful"]),
        (BAD, "unfaithful, implausible", 3, ["the audit failed: unfaithful"]),
        (BAD, "implausible", 0, []),
        (BAD, None, 0, []),
        (GOOD, "shortcut,unfaithful,implausible", 0, []),
    ],
)
def test_fail_on(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, verdict: Verdict, fail_on: str | None, code: int, words: list[str]
) -> None:
    judged(monkeypatch, verdict)
    result = lab.audit(model=None, attributions=without_model(lab), fail_on=fail_on)
    assert result.exit_code == code, (result.output, result.exception)
    if words:
        line = one_line(result)
        assert line.startswith("seqsal: the audit failed: ") and all(word in line for word in words)
    else:
        assert result.stderr.startswith("seqsal: info: audit: ") and result.stderr.count("\n") == 1
    assert lab.json["verdict"]["text"] == verdict.text  # type: ignore[index]
    assert (lab.folder / "out" / "audit.shortcuts.bed").exists()


def test_what_was_not_tested_cannot_fail_but_is_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    judged(monkeypatch, OPEN)
    result = lab.audit(model=None, attributions=without_model(lab), fail_on="unfaithful")
    assert result.exit_code == 0
    assert result.stderr.endswith(
        "\nseqsal: warning: --fail-on unfaithful: cannot be decided (not tested), see the audit [S60]\n"
    )


def damaged(name: str, text: str) -> Callable[[Lab], dict[str, object]]:
    def make(lab: Lab) -> dict[str, object]:
        (lab.folder / "bad").mkdir()
        path = lab.folder / "bad" / name
        path.write_text(text)
        return {name.partition(".")[0]: path}

    return make


def given(**options: str) -> Callable[[Lab], dict[str, object]]:
    return lambda lab: {name: value.replace("LAB", str(lab.folder)) for name, value in options.items()}


CASES: dict[str, tuple[Callable[[Lab], dict[str, object]], list[str]]] = {
    "no attributions": (given(attributions="LAB/none.h5"), ["none.h5"]),
    "attributions of another kind": (given(attributions="LAB/own.fa"), ["own.fa", "HDF5"]),
    "unknown result": (given(result="beauty"), ["no result 'beauty'", "gradient_x_input, saliency"]),
    "no model": (given(model="LAB/none.safetensors"), ["none.safetensors"]),
    "another model": (given(model="LAB/M2.safetensors"), ["model: predicts", "attributions are about"]),
    "another window": (given(input_length="40"), ["40", "60"]),
    "no other model": (given(other_model="LAB/none.safetensors"), ["none.safetensors"]),
    "unknown name in fail-on": (given(fail_on="shortcut,ugly"), ["fail-on", "'ugly'", "implausible"]),
    "unknown setting": (given(setting="beauty=3"), ["setting: got 'beauty'", "n_regions"]),
    "setting without a value": (given(setting="n_regions"), ["NAME=VALUE"]),
    "setting out of range": (given(setting="n_regions=0"), ["n_regions: got 0"]),
    "setting of another type": (given(setting="n_regions=many"), ["n_regions: got 'many'", "whole number"]),
    "output of another kind": (given(out="LAB/out/audit.txt"), ["audit.txt", ".json"]),
    "output without a folder": (given(out="LAB/none/audit.json"), ["none", "does not exist"]),
    "output that is a folder": (given(out="LAB/out"), ["out", ".json"]),
    "empty artifacts": (damaged("artifacts.fa", ""), ["artifacts.fa"]),
    "artifacts that are no DNA": (damaged("artifacts.fa", ">a\nPEPTIDES\n"), ["artifacts.fa", "A, C, G"]),
    "no artifacts": (given(artifacts="LAB/none.fa"), ["none.fa"]),
    "unknown database": (given(motif_db="jaspar:2026:martians"), ["martians", "fungi"]),
    "no positives": (given(positives="LAB/none.fa"), ["positives", "none.fa", "no such file"]),
    "positives without a genome": (given(positives="LAB/annotations.bed"), ["positives", "genome"]),
    "no annotations": (given(annotations="LAB/none.bed"), ["none.bed"]),
    "malformed annotations": (damaged("annotations.bed", "chr1\t5\n"), ["annotations.bed:1", "too few columns"]),
    "no strata": (given(strata="LAB/none.tsv:batch"), ["none.tsv"]),
    "strata without a column": (given(strata="LAB/strata.bed"), ["strata.bed"]),
    "unknown column": (given(strata="LAB/strata.bed:99"), ["strata.bed", "99"]),
    "peaks without summits": (given(peaks="LAB/annotations.bed"), ["annotations.bed", "no summits"]),
    "peaks from elsewhere": (damaged("peaks.narrowPeak", "chrZ\t2\t4\tp\t0\t.\t5\t3\t3\t1\n"), ["chrZ", "w0"]),
    "no such device": (given(device="gpu"), ["device", "gpu"]),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_line_and_nothing_is_written(lab: Lab, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqsal.auditing.run.run_audit", lambda *given, **options: pytest.fail("work was done"))
    make, words = CASES[case]
    result = lab.audit(**make(lab))
    assert result.exit_code == 2, (result.output, result.exception)
    line = one_line(result)
    assert all(word in line for word in words), line
    assert not list((lab.folder / "out").iterdir())


def test_an_unused_database_and_short_windows_are_results(lab: Lab) -> None:
    (lab.folder / "rare.meme").write_text(
        "MEME version 4\n\nALPHABET= ACGT\n\nMOTIF rare rare\nletter-probability matrix: alength= 4 w= 30 nsites= 20\n"
        + "0.999 0.001 0 0\n" * 30
    )
    (lab.folder / "long.fa").write_text(f">long_adapter\n{'ACGTTGCA' * 20}\n")
    result = lab.audit(model=None, motif_db=lab.folder / "rare.meme", artifacts=lab.folder / "long.fa")
    assert result.exit_code == 0, (result.output, result.exception)
    untested = " ".join(lab.json["untested"])  # type: ignore[arg-type]
    assert lab.json["verdict"]["plausible"] is None  # type: ignore[index]
    assert "Known motifs were not tested" in untested and "long_adapter" in untested


def test_the_model_is_read_as_it_was(lab: Lab) -> None:
    """The attributions say how: probability, not the logit that a model is read by if nothing is said."""
    made = call("attribute", "--model", lab.folder / "M.safetensors", "--fasta", lab.folder / "windows.fa", "--out",
                lab.folder / "P.h5", "--output-space", "probability", "--device", "cpu", "--controls", 20)  # fmt: skip
    assert made.exit_code == 0, made.output
    result = lab.audit(attributions=lab.folder / "P.h5")
    assert result.exit_code == 0, (result.output, result.exception)
    assert lab.json["provenance"]["attributions"]["output_space"] == "probability"  # type: ignore[index]


def run(lab: Lab, *more: object) -> Result:
    settings = [word for name, value in TINY.items() for word in ("--setting", f"{name}={value}")]
    return call("run", "--model", lab.folder / "M.safetensors", "--fasta", lab.folder / "windows.fa", "--out",
                lab.folder / "run", "--device", "cpu", "--controls", 20, *settings, *more)  # fmt: skip


@pytest.mark.usefixtures("no_pages")
def test_run_audits(lab: Lab) -> None:
    result = run(lab, "--artifacts", lab.folder / "own.fa", "--positives", lab.folder / "positives.fa")
    assert result.exit_code == 0, (result.output, result.exception)
    assert re.search(r"^audit +faithful: ", result.output, re.MULTILINE)
    audit = seqsal.read_audit(lab.folder / "run" / "audit.json")
    assert audit.settings == AuditSettings().changed({**RUN_SIZES, **TINY})
    assert audit.provenance["n_positives"] == 60
    info = json.loads((lab.folder / "run" / "run.json").read_text())
    assert info["verdict"]["text"] == audit.verdict.text and info["seconds"]["audit"] > 0
    assert (lab.folder / "run" / "shortcuts.bed").exists()


def test_run_fails_on_a_bad_verdict_when_everything_is_written(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    judged(monkeypatch, BAD)
    result = run(lab, "--fail-on", "shortcut", "--method", "ism")
    assert seqsal.read_audit(lab.folder / "run" / "audit.json").provenance["attributions"]["method"] == "ism"
    assert result.exit_code == 3 and "the audit failed: shortcut (TruSeq)" in result.stderr
    assert {"audit.json", "report.html", "run.json"} <= {path.name for path in (lab.folder / "run").iterdir()}


@pytest.mark.usefixtures("no_pages")
def test_run_without_audit(lab: Lab) -> None:
    (lab.folder / "run").mkdir()
    for name in ("audit.json", "shortcuts.bed"):
        (lab.folder / "run" / name).write_text("of an earlier run\n")
    result = run(lab, "--no-audit")
    assert result.exit_code == 0 and "audit " not in result.output
    assert not (lab.folder / "run" / "audit.json").exists() and not (lab.folder / "run" / "shortcuts.bed").exists()
    refused = run(lab, "--no-audit", "--fail-on", "shortcut")
    assert refused.exit_code == 2 and "--no-audit leaves it out" in one_line(refused)


@pytest.mark.parametrize("more", [("--artifacts", "none.fa"), ("--strata", "none.tsv:x"), ("--setting", "beauty=1")])
def test_run_refuses_what_an_audit_refuses_before_any_work(lab: Lab, more: tuple[str, str]) -> None:
    result = run(lab, *more)
    assert result.exit_code == 2 and more[1].split(":")[0].split("=")[0] in one_line(result)
    assert not (lab.folder / "run").exists()
