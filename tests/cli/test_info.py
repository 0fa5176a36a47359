"""`seqsal info`: every file that seqsal writes says what it is and where it comes from."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from command_line import LENGTH, SMALL_AUDIT, Inputs, call, refused

import seqsal
from seqsal.errors import StoreError
from seqsal.experiments.variants.score import COLUMNS
from seqsal.models.checkpoint import write_tensors
from seqsal.motifs.hits import HIT_COLUMNS
from seqsal.pipeline.file_info import size_text, table_text
from seqsal.pipeline.info import describe_file
from seqsal.version import VERSION


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return Inputs.write(tmp_path_factory.mktemp("inputs"), np.random.default_rng(4))


@pytest.fixture(scope="module")
def run_folder(inputs: Inputs) -> Path:
    out = inputs.folder / "run"
    result = call("run", *inputs.given, "--method", "gradient_x_input", "--method", "ism", "--controls", 100,
                  *SMALL_AUDIT, "--seed", 5, "--out", out)  # fmt: skip
    assert result.exit_code == 0, result.output
    return out


def told(path: Path) -> dict[str, Any]:
    result = call("info", path, "--json")
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.output))


def test_attributions(inputs: Inputs, run_folder: Path) -> None:
    facts = told(run_folder / "attributions.h5")
    assert facts["kind"] == "attributions" and facts["written_by"] == f"seqsal {VERSION}"
    assert (facts["n_regions"], facts["length_bp"], facts["n_controls"], facts["seed"]) == (20, LENGTH, 100, 5)
    assert [(one["name"], one["output_space"]) for one in facts["results"]] == [
        ("gradient_x_input", "logit"),
        ("ism", "logit"),
    ]
    assert facts["results"][0]["options"]["gradient_correction"] is True
    sums = {"model": inputs.model, "genome": inputs.folder / "genome.fa", "regions": inputs.folder / "regions.bed"}
    digest = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in sums.items()}
    assert facts["model"]["sha256"] == digest["model"]
    assert facts["genome"]["genome"]["sha256"] == digest["genome"]
    assert facts["genome"]["regions"]["sha256"] == digest["regions"]
    assert facts["n_bytes"] == (run_folder / "attributions.h5").stat().st_size
    text = call("info", run_folder / "attributions.h5").output
    assert digest["model"][:12] in text and "ism" in text and "M.safetensors" in text


def test_folder_of_a_run(run_folder: Path) -> None:
    facts = told(run_folder)
    assert facts["n_regions"] == 20 and facts["parameters"]["seed"] == 5 and "torch" in facts["versions"]
    assert "missing" not in facts
    listed = {one["file"].rstrip("/"): one["n_bytes"] for one in facts["files"]}
    assert set(listed) == {path.name for path in run_folder.iterdir()}
    assert facts["n_bytes"] == sum(listed.values())
    assert told(run_folder / "run.json")["kind"].startswith("run.json")


def test_an_interrupted_folder_says_so(run_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run_folder, copy)
    (copy / "peaks.tsv").unlink()
    assert told(copy)["missing"] == ["peaks.tsv"]
    (copy / "run.json").unlink()
    facts = told(copy)
    assert facts["kind"].startswith("unfinished") and "no run.json" in facts["finish"]


@pytest.mark.parametrize(
    ("name", "kind", "fact"),
    [
        ("audit.json", "audit", "verdict"),
        ("scores.tsv", "scores", "n_rows"),
        ("peaks.tsv", "peaks", "n_negative"),
        ("peaks.narrowPeak", "peaks (narrowPeak)", "n_regions"),
        ("shortcuts.bed", "regions", "n_regions"),
        ("motifs", "folder of `seqsal motifs`", "n_patterns"),
        ("motifs/motifs.tsv", "motifs", "n_rows"),
        ("motifs/motifs.meme", "motif matrices", "n_motifs"),
        ("motifs/seqlets.bed", "seqlets", "n_rows"),
        ("attributions.bw", "bigWig", "n_bases"),
        ("browser", "browser bundle", "files"),
        ("report.html", "report", "written_by"),
    ],
)
def test_every_file_of_a_run(run_folder: Path, name: str, kind: str, fact: str) -> None:
    facts = told(run_folder / name)
    assert facts["kind"].startswith(kind) and fact in facts
    assert call("info", run_folder / name).output.startswith(f"{run_folder / name}: {kind}")


def test_counts_are_those_of_the_tables(run_folder: Path) -> None:
    attr = seqsal.read_attributions(run_folder / "attributions.h5")
    assert told(run_folder / "scores.tsv")["n_rows"] == len(attr)
    peaks = told(run_folder / "peaks.tsv")["n_rows"]
    assert peaks == told(run_folder / "peaks.narrowPeak")["n_regions"] == told(run_folder)["n_peaks"]
    assert told(run_folder / "audit.json")["attributions"]["n_regions"] == len(attr)


def test_an_answer_that_is_open_is_told_in_its_word(run_folder: Path) -> None:
    audit = seqsal.read_audit(run_folder / "audit.json")
    for path in (run_folder, run_folder / "run.json", run_folder / "audit.json"):
        facts = told(path)["verdict"]
        for about in ("faithful", "plausible"):
            known = getattr(audit.verdict, about)
            assert facts[about] == (str(audit.verdict.answer(about)) if known is None else known)
        assert facts["plausible"] == "not tested" and "plausible not tested" in call("info", path).output


def test_tables_of_other_verbs(inputs: Inputs, run_folder: Path, tmp_path: Path) -> None:
    assert told(run_folder / "elements.tsv")["kind"] == "elements of `seqsal run`"
    attributions = run_folder / "attributions.h5"
    assert call("compare", attributions, "--out", tmp_path / "a.tsv").exit_code == 0
    assert told(tmp_path / "a.overall.tsv")["kind"] == "overall agreement of `seqsal compare`"
    assert call("erf", "--model", inputs.model, "--out", tmp_path / "f.tsv").exit_code == 0
    assert told(tmp_path / "f.tsv")["kind"] == "receptive fields of `seqsal erf`"
    for kind, columns in (("hits", HIT_COLUMNS), ("variants", COLUMNS)):
        (tmp_path / "t.tsv").write_text("\t".join(columns) + "\n")
        facts = told(tmp_path / "t.tsv")
        assert facts["kind"] == f"{kind} of `seqsal {kind}`" and facts["n_rows"] == 0


def test_checkpoint(inputs: Inputs) -> None:
    facts = told(inputs.model)
    assert facts["kind"] == "model checkpoint" and facts["written_by"] == f"seqsal {VERSION}"
    model = seqsal.load_model(inputs.model)
    assert facts["n_parameters"] >= sum(one.numel() for one in model.parameters())
    assert facts["config"]["n_filters"] == 4 and facts["input_length_bp"] == LENGTH
    assert facts["epochs"] == {"done": 1, "best": 1} and facts["seed"] == 3


def test_imported_attributions(run_folder: Path, tmp_path: Path) -> None:
    stem = tmp_path / "a"
    assert call("export", run_folder / "attributions.h5", "--format", "chrombpnet-h5", "--out", f"{stem}.h5",
                "--approximate").exit_code == 0  # fmt: skip
    assert "chrombpnet" in told(tmp_path / "a.h5")["kind"]
    bed = next(path for path in tmp_path.iterdir() if path.suffix in (".bed", ".narrowPeak"))
    result = call("import", f"{stem}.h5", "--regions", bed, "--out", tmp_path / "B.h5")
    assert result.exit_code == 0, result.output
    facts = told(tmp_path / "B.h5")
    assert facts["results"][0]["method"] == "imported" and facts["n_controls"] == 0
    assert facts["results"][0]["output_space"] == "unknown"


def test_agreement_and_unfinished_training(run_folder: Path, tmp_path: Path) -> None:
    assert call("compare", run_folder / "attributions.h5", "--out", tmp_path / "a.tsv").exit_code == 0
    facts = told(tmp_path / "a.tsv")
    assert facts["kind"] == "agreement of `seqsal compare`" and facts["n_rows"] == 20
    strings = {"fingerprint": "f", "progress": json.dumps({"history": [{}, {}], "best_epoch": 1})}
    write_tensors(tmp_path / ".M.training.safetensors", {"x": torch.zeros(3)}, strings)
    facts = told(tmp_path / ".M.training.safetensors")
    assert facts["kind"] == "unfinished training" and facts["epochs"] == {"done": 2, "best": 1}
    write_tensors(tmp_path / "W.safetensors", {"x": torch.zeros(3)}, {})
    refused(call("info", tmp_path / "W.safetensors"), "not a checkpoint of seqsal", "--weights")


def test_unfinished_attributions(run_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / ".A.h5.partial"
    shutil.copy(run_folder / "attributions.h5", path)
    with h5py.File(path, "r+") as file:
        file.create_dataset("progress", data=np.array([7, 0]))
    facts = told(path)
    assert facts["kind"] == "unfinished attributions" and facts["done"] == {"n_regions": 7, "n_controls": 0}


@pytest.mark.parametrize(("schema", "cure"), [(9, "upgrade seqsal"), (0, "make it again")])
def test_another_version_says_what_wrote_it(run_folder: Path, tmp_path: Path, schema: int, cure: str) -> None:
    path = tmp_path / "A.h5"
    shutil.copy(run_folder / "attributions.h5", path)
    with h5py.File(path, "r+") as file:
        file.attrs["schema"], file.attrs["seqsal_version"] = schema, "7.7"
    facts = told(path)
    assert facts["written_by"] == "seqsal 7.7" and facts["schema"] == schema and cure in facts["unreadable"]
    for name in ("run.json", "audit.json"):
        content = json.loads((run_folder / name).read_text())
        content["schema"] = schema
        (tmp_path / name).write_text(json.dumps(content))
        assert cure in told(tmp_path / name)["unreadable"]


def test_a_newer_checkpoint_says_what_wrote_it(inputs: Inputs, tmp_path: Path) -> None:
    data = inputs.model.read_bytes()
    newer = data.replace(b'"format_version":"1"', b'"format_version":"7"')
    assert newer != data
    (tmp_path / "M.safetensors").write_bytes(newer)
    facts = told(tmp_path / "M.safetensors")
    assert facts["schema"] == 7 and "upgrade" in facts["unreadable"]


def test_what_is_not_of_seqsal(inputs: Inputs, tmp_path: Path) -> None:
    refused(call("info", tmp_path / "none"), "none", "no such file")
    refused(call("info", tmp_path), str(tmp_path), "not recognised")
    refused(call("info", inputs.folder / "genome.fa"), "genome.fa", "not recognised")
    for name, content in {
        "x.json": b'{"a": 1}', "list.json": b"[1]", "x.bin": bytes(range(256)), "empty": b"", "x.tsv": b"a\tb\n1\t2\n",
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(content)
        refused(call("info", tmp_path / name), name, "not recognised")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.zeros(3)
    refused(call("info", tmp_path / "other.h5"), "other.h5", "not recognised")


def test_damaged_files(inputs: Inputs, run_folder: Path, tmp_path: Path) -> None:
    for source in (inputs.model, run_folder / "attributions.h5", run_folder / "run.json"):
        data = source.read_bytes()
        (tmp_path / source.name).write_bytes(data[: len(data) // 2])
        refused(call("info", tmp_path / source.name), source.name)
    (tmp_path / "y.h5").write_bytes(b"nothing of the kind")
    refused(call("info", tmp_path / "y.h5"), "y.h5", "damaged")
    (tmp_path / "odd.json").write_text('{"parameters": 1, "versions": 2, "schema": 1}')
    refused(call("info", tmp_path / "odd.json"), "odd.json", "damaged")
    with pytest.raises(StoreError, match="damaged"):
        describe_file(tmp_path / "run.json")


def test_sizes_and_columns() -> None:
    assert [size_text(n) for n in (0, 999, 1000, 1_250_000, 345e6, 2e12)] == [
        "0 bytes", "999 bytes", "1.0 kB", "1.2 MB", "345 MB", "2,000 GB",
    ]  # fmt: skip
    assert table_text([("a", "1"), ("long", "2"), ("", "3")]) == "a     1\nlong  2\n      3"
