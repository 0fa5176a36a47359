"""The command line as a user meets it: what works, and one line for what cannot."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import matplotlib
import numpy as np
import pandas as pd
import pyBigWig
import pytest
import torch
from bundle_checks import check_bundle
from click.testing import CliRunner, Result
from command_line import SMALL_AUDIT
from toys import random_codes

import seqsal
from seqsal.attribution import METHODS
from seqsal.cli import VERBS, main
from seqsal.cli.options import METHOD_NAMES, PICTURES, TRAIN_DEFAULTS
from seqsal.io.atomic import all_or_nothing, locked
from seqsal.io.store_writer import AttributionWriter
from seqsal.models import CNN, CNNConfig, save_checkpoint
from seqsal.motifs import MotifResult, write_motifs
from seqsal.plot.style import _METADATA
from seqsal.sequence.codes import decode
from seqsal.training import TrainConfig

LENGTH = 60


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def refused(result: Result, *words: str) -> None:
    """Assert exit code 2 and one line on stderr that holds every one of `words`."""
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    lines = [line for line in result.stderr.splitlines() if "warning" not in line]
    assert len(lines) == 1, result.stderr
    for word in words:
        assert word in lines[0], (word, lines[0])


@dataclass
class Lab:
    """A small genome, regions, a model, and a place to write."""

    folder: Path

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def bed(self, text: str) -> Path:
        path = self.folder / "other.bed"
        path.write_text(text)
        return path

    def attribute(self, **changes: object) -> Result:
        options: dict[str, object] = {"model": self.folder / "M.safetensors", "genome": self.folder / "genome.fa",
                   "regions": self.folder / "regions.bed", "out": self.out / "A.h5", "device": "cpu"}  # fmt: skip
        pairs = [(f"--{name}", value) for name, value in (options | changes).items() if value is not None]
        return call("attribute", *[word for pair in pairs for word in pair])


@pytest.fixture
def lab(tmp_path: Path, rng: np.random.Generator) -> Lab:
    codes = random_codes(rng, 2, 3000, 0.01)
    records = [f">{name}\n{decode(row)}\n" for name, row in zip(("chr1", "chr2"), codes, strict=True)]
    (tmp_path / "genome.fa").write_text("".join(records))
    starts = np.arange(100, 2700, 130)
    (tmp_path / "regions.bed").write_text(
        "".join(f"chr{i % 2 + 1}\t{start}\t{start + 80}\tr{i}\n" for i, start in enumerate(starts))
    )
    torch.manual_seed(0)
    model = CNN(CNNConfig(input_length=LENGTH, n_filters=4, n_blocks=1, stem_kernel=7)).eval()
    save_checkpoint(tmp_path / "M.safetensors", model, {"history": [], "metrics": {}})
    (tmp_path / "out").mkdir()
    return Lab(tmp_path)


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example(verb: str) -> None:
    result = call(verb, "--help")
    assert result.exit_code == 0
    assert f"Example: seqsal {verb}" in " ".join(result.output.split())


def test_help_is_fast_because_torch_is_not_imported() -> None:
    code = """
import sys
from seqsal.cli import main
try:
    main(["--help"])
except SystemExit:
    print("torch" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "False"


def test_listed_methods_are_the_methods() -> None:
    assert sorted(METHOD_NAMES) == sorted(METHODS)


def test_shown_training_defaults_are_the_defaults() -> None:
    for name, shown in TRAIN_DEFAULTS.items():
        home = CNNConfig if name in CNNConfig.__dataclass_fields__ else TrainConfig
        assert home.__dataclass_fields__[name].default == shown, name


def test_pictures_are_those_that_can_be_saved() -> None:
    assert set(PICTURES) == set(_METADATA)


LATE = {  # verbs that draw when all else is done
    "space": ["--a", "GATT", "--b", "CCTG", "--plot"],
    "pair": ["--motifs", "GATT", "--plot"],
    "interactions": ["--within", "10-14", "--plot"],
    "erf": ["--out"],
    "logo": ["--region", "chr1:100-140", "--out"],
}


@pytest.mark.parametrize("verb", LATE)
def test_a_picture_of_an_unknown_kind_is_refused_before_the_work(lab: Lab, verb: str) -> None:
    given: list[object] = ["none.h5"] if verb == "logo" else ["--model", "none.safetensors"]
    if verb not in ("logo", "erf"):
        given += ["--genome", lab.folder / "genome.fa", "--regions", lab.folder / "regions.bed",
                  "--out", lab.out / "e.tsv"]  # fmt: skip
    refused(call(verb, *given, *LATE[verb], lab.out / "picture.txt"), "picture.txt: unknown extension", ".svg")
    assert not list(lab.out.iterdir())


LONG = "ACGT" * 100


@pytest.mark.parametrize(
    "words",
    [
        ["attribute", "--model", LONG, "--genome", "g.fa", "--regions", "r.bed", "--out", "A.h5"],
        ["attribute", "--model", "{model}", "--genome", LONG, "--regions", "r.bed", "--out", "A.h5"],
        ["attribute", "--model", "{model}", "--genome", "{genome}", "--regions", LONG, "--out", "A.h5"],
        ["attribute", "--model", "{model}", "--genome", "{genome}", "--regions", "{regions}", "--out", LONG],
        ["score", "--model", "{model}", "--fasta", LONG, "--out", "s.tsv"],
        ["peaks", LONG, "--out", "p.narrowPeak"],
        ["motifs", "A.h5", "--peaks", LONG, "--out", "m"],
        ["variants", "--model", "{model}", "--genome", "{genome}", "--vcf", LONG, "--out", "v.tsv"],
        ["run", "--model", "{model}", "--fasta", "{genome}", "--motif-db", LONG, "--out", "d"],
        ["run", "--model", "{model}", "--genome", "{genome}", "--regions", "{regions}", "--out", LONG],
        ["train", "--positives", LONG, "--genome", "{genome}", "--input-length", "60", "--out", "T.safetensors"],
        ["info", LONG],
        ["work", LONG, "--task", "0"],
        ["hits", "A.h5", "--motifs", LONG, "--out", "h.tsv"],
    ],
    ids=lambda words: f"{words[0]}-{words[words.index(LONG) - 1]}",
)
def test_a_name_longer_than_the_system_takes(lab: Lab, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    monkeypatch.chdir(lab.out)
    places = {"model": "M.safetensors", "genome": "genome.fa", "regions": "regions.bed"}
    given = [word.format(**{key: lab.folder / name for key, name in places.items()}) for word in words]
    refused(call(*given))
    assert not list(lab.out.iterdir())


def test_attribute_peaks_logo_export(lab: Lab) -> None:
    result = lab.attribute(bigwig=lab.out / "A.bw")
    assert result.exit_code == 0, result.output
    assert "20 regions × 60 bp" in result.output
    attr = seqsal.read_attributions(lab.out / "A.h5")
    with pyBigWig.open(str(lab.out / "A.bw")) as bigwig:
        row = attr.regions.iloc[3]
        values = np.array(bigwig.values(row["chrom"], int(row["start"]), int(row["end"])))
    known = attr.codes[3] < 4
    np.testing.assert_array_equal(values[known].astype(np.float32), attr.track[3][known])
    assert np.isnan(values[~known]).all()

    result = call("peaks", lab.out / "A.h5", "--out", lab.out / "P.narrowPeak", "--fdr", "1")
    assert result.exit_code == 0, result.output
    peaks = pd.read_csv(lab.out / "P.tsv", sep="\t")
    assert len(peaks) == len((lab.out / "P.narrowPeak").read_text().splitlines()) > 0

    region = f"{row['chrom']}:{row['start']}-{row['end']}"
    assert call("logo", lab.out / "A.h5", "--region", region, "--out", lab.out / "logo.svg").exit_code == 0
    assert "<svg" in (lab.out / "logo.svg").read_text()
    for kind in ("bigwig", "bedgraph", "bed"):
        result = call("export", lab.out / "A.h5", "--format", kind, "--out", lab.out / f"x.{kind}")
        assert result.exit_code == 0, result.output
    assert (lab.out / "x.bigwig").read_bytes() == (lab.out / "A.bw").read_bytes()


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_every_method_streams_through_the_same_path(lab: Lab, method: str) -> None:
    options = {"ism": "n_at_once=100", "smoothgrad": "noise=0.1", "tiles": "tile=20"}
    option = {"integrated_gradients": "n_steps=5", **options}.get(method)
    model = lab.folder / "mean.safetensors"  # it ends in an average, which cam needs
    config = CNNConfig(input_length=LENGTH, n_filters=4, n_blocks=1, stem_kernel=7, pooling="mean")
    save_checkpoint(model, CNN(config).eval(), {})
    result = lab.attribute(model=model, method=method, controls=3, **({"method-option": option} if option else {}))
    assert result.exit_code == 0, result.output
    attr = seqsal.read_attributions(lab.out / "A.h5")
    assert attr.method == method
    assert np.isfinite(attr.track).all() and attr.track.any() and attr.n_controls == 3
    assert (attr.completeness_error is not None) == METHODS[method].sums_to_difference
    if option:
        name, value = option.split("=")
        assert attr.attrs["options"].get(name, float(value)) == float(value)


def test_a_sum_that_is_off_is_told_with_the_cure(lab: Lab) -> None:
    result = lab.attribute(method="expected_gradients", **{"method-option": "n_references=1"})
    assert result.exit_code == 0
    assert "miss the promised sum" in result.stderr and "raise n_references" in result.stderr


def test_class_activation_maps(lab: Lab) -> None:
    refused(lab.attribute(method="cam"), "no average over all positions", "use grad_cam")
    refused(lab.attribute(method="grad_cam", **{"method-option": "layer=block"}), "none named 'block'", "blocks")
    command = [
        "attribute", "--model", lab.folder / "M.safetensors", "--genome", lab.folder / "genome.fa", "--device", "cpu",
        "--regions", lab.folder / "regions.bed", "--out", lab.out / "A.h5", "--method", "grad_cam",
    ]  # fmt: skip
    refused(call(*command, "--hypothetical"), "grad_cam scores positions", "leave it out")
    assert not list(lab.out.iterdir())
    result = call(*command, "--method-option", "layer=blocks.0", "--method-option", "relu=true")
    assert result.exit_code == 0, result.output
    attr = seqsal.read_attributions(lab.out / "A.h5")
    assert attr.attrs["options"]["layer"] == "blocks.0" and attr.attrs["options"]["relu"] is True
    assert not attr.attrs["signed"] and attr.hypothetical is None and (np.asarray(attr.track) >= 0).all()


def test_method_options_that_are_wrong(lab: Lab) -> None:
    refused(lab.attribute(**{"method-option": "n_steps"}), "NAME=VALUE")
    refused(lab.attribute(**{"method-option": "n_steps=4"}), "n_steps", "gradient_correction")
    refused(lab.attribute(method="ism", **{"method-option": "n_at_once=x"}), "n_at_once")


def test_fasta_route_keeps_genome_coordinates(lab: Lab, rng: np.random.Generator) -> None:
    records = [(f"chr5:{start}-{start + LENGTH}", decode(row)) for start, row in
               zip((900, 100), random_codes(rng, 2, LENGTH), strict=True)]  # fmt: skip
    records.append(("plain", "ACGT" * (LENGTH // 4)))
    (lab.folder / "seqs.fa").write_text("".join(f">{name}\n{sequence}\n" for name, sequence in records))
    result = lab.attribute(genome=None, regions=None, fasta=lab.folder / "seqs.fa")
    assert result.exit_code == 0, result.output
    regions = seqsal.read_attributions(lab.out / "A.h5").regions
    assert regions["chrom"].tolist() == ["chr5", "chr5", "plain"]
    assert regions["start"].tolist() == [900, 100, 0]


@pytest.mark.parametrize("name", ["s.tsv", "s.bed", "s.bedgraph"])
def test_score(lab: Lab, name: str) -> None:
    result = call("score", "--model", lab.folder / "M.safetensors", "--genome", lab.folder / "genome.fa",
                  "--regions", lab.folder / "regions.bed", "--out", lab.out / name)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert len((lab.out / name).read_text().splitlines()) >= 20


def test_scores_are_the_models_probabilities(lab: Lab) -> None:
    table = seqsal.score(
        lab.folder / "M.safetensors", genome=lab.folder / "genome.fa", regions=lab.folder / "regions.bed"
    )
    model = seqsal.load_model(lab.folder / "M.safetensors")
    attr = seqsal.attribute(
        model, genome=lab.folder / "genome.fa", regions=lab.folder / "regions.bed", n_controls=0, device="cpu"
    )
    np.testing.assert_allclose(table["prediction"], 1 / (1 + np.exp(-attr.prediction)), rtol=1e-5)
    np.testing.assert_allclose(table["logit"], attr.prediction, rtol=1e-4, atol=1e-6)


def test_one_hot_arrays_and_tables_from_python(lab: Lab, rng: np.random.Generator) -> None:
    X = np.eye(5, 4, dtype=np.float32)[random_codes(rng, 6, LENGTH, 0.05)].transpose(0, 2, 1)
    model = seqsal.load_model(lab.folder / "M.safetensors")
    plain = seqsal.attribute(model, X=X, n_controls=0)
    tensor = seqsal.attribute(model, X=torch.from_numpy(X), n_controls=0)
    np.testing.assert_array_equal(plain.track, tensor.track)
    assert plain.track.shape == (6, LENGTH) and len(plain.regions) == 6
    np.testing.assert_allclose((plain.hypothetical * X).sum(1), plain.track, atol=1e-7)


def test_run_fills_the_folder_and_repeats_to_the_byte(lab: Lab) -> None:
    arguments = ["run", "--model", lab.folder / "M.safetensors", "--genome", lab.folder / "genome.fa",
                 "--regions", lab.folder / "regions.bed", "--device", "cpu", *SMALL_AUDIT]  # fmt: skip
    for name in ("one", "two"):
        result = call(*arguments, "--out", lab.out / name)
        assert result.exit_code == 0, result.output
        assert "report" in result.output
    files = sorted(path.name for path in (lab.out / "one").iterdir())
    assert files == [
        "attributions.bw", "attributions.h5", "audit.json", "browser", "elements.bed", "elements.tsv", "motifs",
        "peaks.narrowPeak", "peaks.tsv",
        "report.html", "run.json", "run.toml", "scores.tsv", "shortcuts.bed",
    ]  # fmt: skip
    repeated = ["scores.tsv", "peaks.narrowPeak", "peaks.tsv", "report.html", "attributions.h5", "audit.json"]
    repeated += ["run.toml", "elements.bed", "elements.tsv"]
    check_bundle(lab.out / "one" / "browser", seqsal.read_attributions(lab.out / "one" / "attributions.h5"))
    repeated += [f"browser/{name}" for name in ("hub.txt", "genome/trackDb.txt", "igv_session.xml", "washu.json")]
    for name in (*repeated, "motifs/motifs.tsv", "motifs/motifs.meme", "motifs/seqlets.bed"):
        assert (lab.out / "one" / name).read_bytes() == (lab.out / "two" / name).read_bytes(), name
    info = json.loads((lab.out / "one" / "run.json").read_text())
    assert info["parameters"]["method"] == "gradient_x_input"
    stages = ["load", "attribute", "scores", "tracks", "peaks", "motifs", "elements", "audit", "browser", "report"]
    assert info["null"] == "shuffle"
    assert sorted(info["seconds"]) == sorted(stages)
    assert info["model"]["sha256"] and info["inputs"]["genome"]["sha256"]


@pytest.mark.usefixtures("no_pages")
def test_unusable_regions_are_named_and_listed(lab: Lab) -> None:
    regions = lab.bed("chr1\t100\t200\tgood\nchr1\t50000\t50100\tbeyond\nchrUn\t1\t90\tstranger\nchr1\t-0\t40\tedge\n")
    result = call("run", "--model", lab.folder / "M.safetensors", "--genome", lab.folder / "genome.fa",
                  "--regions", regions, "--out", lab.out / "run", "--device", "cpu", "--no-audit")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "beyond" in result.stderr and "stranger" in result.stderr
    info = json.loads((lab.out / "run" / "run.json").read_text())
    assert [row["name"] for row in info["rejected"]] == ["beyond", "stranger"]
    attr = seqsal.read_attributions(lab.out / "run" / "attributions.h5")
    assert attr.regions["name"].tolist() == ["good", "edge"]
    assert attr.regions["padded"].tolist() == [False, True]


def bad_bed(text: str) -> Callable[[Lab], dict[str, object]]:
    return lambda lab: {"regions": lab.bed(text)}


def plain_gzip(lab: Lab) -> dict[str, object]:
    path = lab.folder / "plain.fa.gz"
    path.write_bytes(gzip.compress((lab.folder / "genome.fa").read_bytes()))
    return {"genome": path}


def doubled(lab: Lab) -> dict[str, object]:
    path = lab.folder / "double.fa"
    path.write_text(">chr1\nACGT\n>chr1\nACGT\n")
    return {"genome": path}


def truncated_model(lab: Lab) -> dict[str, object]:
    path = lab.folder / "torn.safetensors"
    path.write_bytes((lab.folder / "M.safetensors").read_bytes()[:500])
    return {"model": path}


CASES: dict[str, tuple[Callable[[Lab], dict[str, object]], tuple[str, ...]]] = {
    "missing genome": (lambda lab: {"genome": lab.folder / "none.fa"}, ("none.fa",)),
    "missing regions": (lambda lab: {"regions": lab.folder / "none.bed"}, ("none.bed",)),
    "missing model": (lambda lab: {"model": lab.folder / "none.safetensors"}, ("none.safetensors",)),
    "empty BED": (bad_bed(""), ("other.bed",)),
    "only comments": (bad_bed("# nothing\ntrack name=x\n"), ("other.bed",)),
    "start after end": (bad_bed("chr1\t10\t90\nchr1\t200\t100\n"), ("other.bed:2", "200", "100")),
    "negative start": (bad_bed("chr1\t-5\t90\n"), ("other.bed:1", "-5")),
    "not a number": (bad_bed("chr1\t10\t90\n\nchr1\tten\t90\n"), ("other.bed:3", "ten")),
    "too few columns": (bad_bed("chr1\t10\n"), ("other.bed:1",)),
    "all beyond the end": (bad_bed("chr1\t90000\t90100\n"), ("other.bed", "none of")),
    "1 against chr1": (bad_bed("1\t10\t90\n2\t10\t90\n"), ("other.bed", "chr1", "chr")),
    "duplicate records": (doubled, ("double.fa", "chr1")),
    "gzip that is not bgzip": (plain_gzip, ("plain.fa.gz", "bgzip")),
    "torn model": (truncated_model, ("torn.safetensors",)),
    "target out of range": (lambda lab: {"target": 5}, ("target", "5")),
    "another length": (lambda lab: {"input-length": 100}, ("100", "60")),
    "unknown method": (lambda lab: {"method": "magic"}, ("magic", "gradient_x_input")),
    "unknown device": (lambda lab: {"device": "tpu"}, ("tpu",)),
    "no input": (lambda lab: {"genome": None, "regions": None}, ("genome and regions", "fasta")),
    "both inputs": (lambda lab: {"fasta": lab.folder / "genome.fa"}, ("fasta",)),
    "folder that is not there": (lambda lab: {"out": lab.folder / "no" / "A.h5"}, ("A.h5", "does not exist")),
}


@pytest.mark.parametrize("name", ["\x1b[31m\u202ered", "a" * 1_000_000])
def test_names_from_files_cannot_reach_into_the_terminal(lab: Lab, name: str) -> None:
    regions = lab.bed(f"chr1\t10\t90\na{name}\t20\t100\t{name}\n")
    warned = lab.attribute(regions=regions)
    assert warned.exit_code == 0 and "1 of 2 regions cannot be used" in warned.stderr
    failed = lab.attribute(regions=lab.bed(f"{name}\t20\t100\n"))
    assert failed.exit_code == 2
    for text in (warned.stderr, failed.stderr):
        assert text.replace("\n", "").isprintable() and len(text) < 2000
        assert (r"\x1b[31m\u202ered" if len(name) < 99 else "aaa…aaa") in text


def test_a_genome_edited_after_indexing_is_indexed_anew(lab: Lab) -> None:
    path = lab.folder / "genome.fa"
    assert lab.attribute().exit_code == 0
    (lab.out / "A.h5").unlink()
    stamp = path.stat().st_mtime + 10
    path.write_text(">chr1\n" + "".join("ACGT" * 10 + "\n" for _ in range(30)))
    os.utime(path, (stamp, stamp))
    assert lab.attribute().exit_code == 0
    attr = seqsal.read_attributions(lab.out / "A.h5")
    assert len(attr) > 0
    for region, codes in zip(attr.regions.itertuples(), attr.codes, strict=True):
        positions = np.arange(region.start, region.end)
        np.testing.assert_array_equal(codes, np.where(positions < 1200, positions % 4, 4))


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_line_and_nothing_is_written(lab: Lab, case: str) -> None:
    prepare, words = CASES[case]
    refused(lab.attribute(**prepare(lab)), *words)
    assert not list(lab.out.iterdir())


def test_a_model_with_nan_outputs(lab: Lab) -> None:
    torch.manual_seed(0)
    model = CNN(CNNConfig(input_length=LENGTH, n_filters=4, n_blocks=1, stem_kernel=7)).eval()
    with torch.no_grad():
        model.head.bias.fill_(float("nan"))
    save_checkpoint(lab.folder / "nan.safetensors", model, {})
    refused(lab.attribute(model=lab.folder / "nan.safetensors"), "NaN")
    assert not list(lab.out.iterdir())


def test_output_folder_without_permission(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere, so permission is simulated
    refused(lab.attribute(), "A.h5", "no permission")


def test_run_into_a_file(lab: Lab) -> None:
    (lab.out / "taken").touch()
    result = call("run", "--model", lab.folder / "M.safetensors", "--genome", lab.folder / "genome.fa",
                  "--regions", lab.folder / "regions.bed", "--out", lab.out / "taken")  # fmt: skip
    refused(result, "taken", "is a file")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["peaks", "none.h5", "--out", "P.narrowPeak"], ("none.h5", "no such file")),
        (["logo", "none.h5", "--region", "chr1:1-9", "--out", "x.svg"], ("none.h5",)),
        (["score", "--model", "M.safetensors", "--fasta", "x.fa", "--out", "s.xls"], ("s.xls", ".tsv")),
        (["peaks"], ("ATTRIBUTIONS",)),
        (["attribute", "--model", "M"], ("--out",)),
        (["nonsense"], ("nonsense",)),
        (["train", "--positives", "x.bed", "--out", "M.pt"], ("M.pt", ".safetensors")),
    ],
)
def test_bad_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(call(*arguments), *words)
    assert not list(tmp_path.iterdir())


def test_logo_of_a_region_outside_the_data(lab: Lab) -> None:
    assert lab.attribute().exit_code == 0
    refused(call("logo", lab.out / "A.h5", "--region", "chr1:2900-2950", "--out", lab.out / "x.svg"), "chr1:2900-2950")
    refused(call("logo", lab.out / "A.h5", "--region", "chr1", "--out", lab.out / "x.svg"), "chrom:start-end")
    refused(call("logo", lab.out / "A.h5", "--region", "chr1:110-150", "--out", lab.out / "x.gif"), ".svg")
    assert [path.name for path in lab.out.iterdir()] == ["A.h5"]


def test_no_peak_is_a_result(lab: Lab) -> None:
    assert lab.attribute().exit_code == 0
    result = call("peaks", lab.out / "A.h5", "--out", lab.out / "P.narrowPeak", "--fdr", "1e-9")
    assert result.exit_code == 0 and "0 peaks" in result.output and "best q" in result.output
    assert (lab.out / "P.narrowPeak").read_text() == ""
    assert (lab.out / "P.tsv").read_text().startswith("chrom\tstart\tend")


@pytest.mark.parametrize(
    "words",
    [
        ["attribute", "--out", "genome.fa"],
        ["attribute", "--out", "link.h5"],
        ["attribute", "--out", "A.h5", "--bigwig", "regions.bed"],
        ["attribute", "--out", "A.h5", "--bigwig", "A.h5"],
        ["score", "--out", "regions.bed"],
        ["run", "--motif-db", "run/peaks.tsv", "--out", "run"],
    ],
)
def test_an_output_that_is_an_input_is_refused(lab: Lab, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    monkeypatch.chdir(lab.folder)
    Path("link.h5").symlink_to("M.safetensors")
    Path("run").mkdir()
    Path("run/peaks.tsv").touch()
    before = {path: path.read_bytes() for path in lab.folder.rglob("*") if path.is_file()}
    result = call(*words, "--model", "M.safetensors", "--genome", "genome.fa", "--regions", "regions.bed")
    refused(result, "two outputs" if words[-1] == "A.h5" else "is an input as well")
    assert {path: path.read_bytes() for path in lab.folder.rglob("*") if path.is_file()} == before


def test_peaks_make_the_controls_that_a_file_lacks(lab: Lab) -> None:
    result = lab.attribute()
    assert "0 controls" in result.output and "they are made when peaks are called" in result.stderr
    (lab.folder / "M.safetensors").rename(lab.folder / "moved.safetensors")
    peaks = ["peaks", lab.out / "A.h5", "--fdr", 1, "--statistic", "height", "--out", lab.out / "P.narrowPeak"]
    refused(call(*peaks), "A.h5", "--model")
    assert call(*peaks, "--model", lab.folder / "moved.safetensors", "--device", "cpu").exit_code == 0
    assert seqsal.read_attributions(lab.out / "A.h5").n_controls == 1000
    first = (lab.out / "P.narrowPeak").read_bytes()
    assert call(*peaks).exit_code == 0 and (lab.out / "P.narrowPeak").read_bytes() == first


def test_attributions_are_not_replaced_by_what_is_made_of_them(lab: Lab) -> None:
    assert lab.attribute(controls=20).exit_code == 0
    kept = (lab.out / "A.h5").read_bytes()
    for verb, more in (("peaks", []), ("export", ["--format", "npz"]), ("logo", ["--region", "chr1:100-160"])):
        refused(call(verb, lab.out / "A.h5", *more, "--out", lab.out / "A.h5"), "is an input as well")
    with pytest.raises(seqsal.SeqsalError, match="is an input as well"):
        genome, regions = lab.folder / "genome.fa", lab.folder / "regions.bed"
        seqsal.attribute(lab.folder / "M.safetensors", genome=genome, regions=regions, out=regions)
    assert (lab.out / "A.h5").read_bytes() == kept


def test_a_misspelled_verb_is_suggested() -> None:
    refused(call("atribute", "--out", "A.h5"), "No such command 'atribute'; did you mean 'attribute'?", "seqsal --help")
    refused(call("zzz"), "No such command 'zzz'.")


def test_help_of_long_verbs_is_in_groups() -> None:
    text = call("run", "--help").output
    places = [
        text.index(f"\n{name}:\n") for name in ("Options", "How the model is read", "Input", "Attribution", "Audit")
    ]
    assert places == sorted(places) and text.index("--layout") > places[1] and text.index("--genome ") > places[2]


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("seqsal.io.store.read_attributions", broken)
    result = call("peaks", "A.h5", "--out", "P.narrowPeak")
    assert result.exit_code == 1 and isinstance(result.exception, ZeroDivisionError)


def test_a_terminal_of_another_encoding_and_a_full_one(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [str(one) for one in ("info", (lab.folder / "M.safetensors").rename(lab.folder / "α→.safetensors"))]
    assert r"\u03b1\u2192" in CliRunner(charset="latin-1").invoke(main, names).stdout
    said, full = io.StringIO(), open("/dev/full", "w")
    monkeypatch.setattr(sys, "stdout", full)
    monkeypatch.setattr(sys, "stderr", said)
    with pytest.raises(SystemExit, match="2"):
        main.main(names)
    with contextlib.suppress(OSError):
        full.close()
    assert said.getvalue().endswith("standard output cannot be written (No space left on device); free some space\n")


def test_disk_that_fills(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    refused(lab.attribute(), "A.h5", "no space left")
    result = call("run", "--model", lab.folder / "M.safetensors", "--genome", lab.folder / "genome.fa",
                  "--regions", lab.folder / "regions.bed", "--out", lab.out / "run")  # fmt: skip
    refused(result, "attributions.h5", "no space left")
    assert not list(lab.out.iterdir())


def test_the_file_follows_the_contract(lab: Lab) -> None:
    assert lab.attribute(seed=4, controls=100).exit_code == 0
    with h5py.File(lab.out / "A.h5") as file:
        assert set(file["regions"]) >= {"chrom", "start", "end", "strand", "name"}
        assert file["codes"].shape == file["track"].shape == (20, LENGTH)
        assert file["codes"].dtype == np.uint8 and file["track"].dtype == np.float32
        assert file["prediction"].shape == (20,) and file["null/track"].shape == (len(file["null/source"]), LENGTH)
        wanted = {
            "seqsal_version",
            "method",
            "target",
            "output_space",
            "model",
            "genome",
            "gradient_correction",
            "seed",
        }
        assert wanted <= set(file.attrs)
        assert file.attrs["output_space"] == "logit" and file.attrs["seed"] == 4
        assert json.loads(file.attrs["model"])["sha256"]


def test_quiet_is_quiet(lab: Lab) -> None:
    command = ["attribute", "--model", lab.folder / "M.safetensors", "--genome", lab.folder / "genome.fa"]
    command += ["--regions", lab.out / "narrow.bed", "--out", lab.out / "A.h5", "--device", "cpu"]
    lab.out.mkdir(exist_ok=True)
    rows = (line.split() for line in (lab.folder / "regions.bed").read_text().splitlines() if line.strip())
    (lab.out / "narrow.bed").write_text("".join(f"{r[0]}\t{int(r[1]) + 10}\t{int(r[2]) - 10}\n" for r in rows))
    assert "controls: none made" in call(*command).stderr
    again = call(*command, "--no-resume", "--quiet")
    assert (again.exit_code, again.stdout, again.stderr) == (0, "", "")


def test_a_termination_is_told_and_the_work_goes_on_later(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def terminate(writer: AttributionWriter) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)  # which the signal ends

    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(AttributionWriter, "finish", terminate)
        ended = lab.attribute()
    assert (ended.exit_code, ended.stderr.strip().splitlines()[-1]) == (
        143, "seqsal: terminated; run the same command again to resume",
    )  # fmt: skip
    assert signal.getsignal(signal.SIGTERM) is before
    assert [path.name for path in lab.out.iterdir()] == [".A.h5.partial"]
    assert lab.attribute().exit_code == 0 and [path.name for path in lab.out.iterdir()] == ["A.h5"]


def test_a_second_run_into_a_folder_is_refused(lab: Lab) -> None:
    (lab.out / "run").mkdir()
    with locked(lab.out / "run"):
        result = call("run", "--model", lab.folder / "M.safetensors", "--genome", lab.folder / "genome.fa",
                      "--regions", lab.folder / "regions.bed", "--device", "cpu", "--out", lab.out / "run")  # fmt: skip
        refused(result, "run: another process is writing it")
    assert list((lab.out / "run").iterdir()) == []


def test_peaks_and_their_table_come_together(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object, **settings: object) -> None:
        raise OSError(28, "No space left on device")

    assert lab.attribute(controls=100).exit_code == 0
    monkeypatch.setattr("pandas.DataFrame.to_csv", full)
    refused(call("peaks", lab.out / "A.h5", "--out", lab.out / "p.narrowPeak"), "p.tsv", "no space left")
    assert [path.name for path in lab.out.iterdir()] == ["A.h5"]


def test_a_matplotlibrc_changes_no_logo(lab: Lab) -> None:
    assert lab.attribute().exit_code == 0
    odd = {"font.size": 30, "savefig.facecolor": "red", "axes.grid": True, "text.usetex": True, "lines.linewidth": 9}
    for name, settings in (("plain", {}), ("odd", odd)):
        with matplotlib.rc_context(settings):
            logo = call("logo", lab.out / "A.h5", "--region", "chr1:110-140", "--out", lab.out / f"{name}.svg")
            assert logo.exit_code == 0, logo.output
    assert (lab.out / "plain.svg").read_bytes() == (lab.out / "odd.svg").read_bytes()


def test_what_an_earlier_run_made_and_this_one_does_not_is_removed(tmp_path: Path) -> None:
    with all_or_nothing(stale=[tmp_path / "motif_usage.tsv"]):
        write_motifs(MotifResult((), {"pos": 0, "neg": 0}, usage=pd.DataFrame({"motif": ["a"]})), tmp_path)
    assert (tmp_path / "motif_usage.tsv").exists()
    with all_or_nothing(stale=[tmp_path / "motif_usage.tsv"]):
        write_motifs(MotifResult((), {"pos": 0, "neg": 0}), tmp_path)
    assert not (tmp_path / "motif_usage.tsv").exists() and (tmp_path / "motifs.tsv").exists()
