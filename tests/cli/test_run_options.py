"""`seqsal run` as one looks before leaping: --dry-run, --resume, --quiet, --verbose, and what the shell completes."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from command_line import LENGTH, Inputs, call, refused

from seqsal.cli import VERBS, main
from seqsal.pipeline.dry_run import try_run


@pytest.fixture
def inputs(tmp_path: Path, rng: np.random.Generator) -> Inputs:
    return Inputs.write(tmp_path, rng)


def test_dry_run_tells_and_writes_nothing(inputs: Inputs) -> None:
    call("score", *inputs.given, "--out", inputs.folder / "s.tsv")  # the genome's index is there now
    before = {path: path.stat().st_mtime_ns for path in inputs.folder.rglob("*")}
    with (inputs.folder / "regions.bed").open("a") as bed:
        bed.write("chr1\t90000\t90080\tbeyond\n")
    before[inputs.folder / "regions.bed"] = (inputs.folder / "regions.bed").stat().st_mtime_ns
    out = inputs.folder / "deep" / "run"
    result = call("run", *inputs.given, "--method", "saliency", "--method", "ism", "--dry-run", "--out", out)
    assert result.exit_code == 0, result.output
    lines = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in result.stdout.splitlines())
    assert lines["regions"] == f"20 usable of {LENGTH} bp, 1 unusable" and "beyond" in result.stderr
    assert lines["controls"].startswith("1,000") and lines["results"] == "saliency, ism"
    assert re.match(r"attribution about (below )?\d+ (s|min) \(\d+ windows took ", lines["time"])
    assert "audit, browser tracks and report are not timed" in lines["time"]
    assert "are free" in lines["size"] and lines["written"].startswith("nothing")
    assert {path: path.stat().st_mtime_ns for path in inputs.folder.rglob("*")} == before


@pytest.mark.usefixtures("no_pages")
def test_dry_run_has_the_size_of_the_file(inputs: Inputs) -> None:
    given = {"model": str(inputs.model), "genome": inputs.folder / "genome.fa", "device": "cpu",
             "regions": inputs.folder / "regions.bed", "n_controls": 100}  # fmt: skip
    out = inputs.folder / "run"
    found = try_run(out=out, **given)
    assert found.n_regions == 20 and found.n_controls == 100 and not found.begun and found.audited
    assert found.results == ("gradient_x_input",)
    assert found.free_bytes > 0 and found.attribution_seconds > 0
    assert call("run", *inputs.given, "--controls", 100, "--no-audit", "--out", out).exit_code == 0
    size = (out / "attributions.h5").stat().st_size
    assert found.file_bytes["attributions.h5"] < size < found.file_bytes["attributions.h5"] + 40_000
    assert (out / "attributions.bw").stat().st_size < found.file_bytes["attributions.bw"] + 20_000


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["--fdr", "2"], ("fdr", "2")),
        (["--controls", "0"], ("controls", "0")),
        (["--motif-db", "none.meme"], ("none.meme",)),
        (["--method", "nonsense"], ("nonsense",)),
        (["--genome", "none.fa"], ("none.fa",)),
        (["--artifacts", "none.fa"], ("none.fa",)),
        (["--url-base", "nowhere"], ("nowhere",)),
        (["--device", "abacus"], ("abacus",)),
        (["--target", "7"], ("target", "7")),
        (["--fail-on", "shortcut", "--no-audit"], ("--fail-on",)),
    ],
)
@pytest.mark.parametrize("dry", [["--dry-run"], []])
def test_dry_run_refuses_what_the_run_refuses(
    inputs: Inputs, changes: list[str], words: tuple[str, ...], dry: list[str]
) -> None:
    refused(call("run", *inputs.given, "--out", inputs.folder / "run", *changes, *dry), *words)
    assert not (inputs.folder / "run").exists()


def test_dry_run_looks_at_the_folder(inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(call("run", *inputs.given, "--dry-run", "--out", inputs.model), "is an input as well")
    refused(call("run", *inputs.given, "--dry-run", "--out", inputs.model / "run"), "is a file")
    usage = shutil.disk_usage(inputs.folder)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
        refused(call("run", *inputs.given, "--dry-run", "--out", inputs.folder / "run"), "no space", "1.0 kB")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    refused(call("run", *inputs.given, "--dry-run", "--out", inputs.folder / "run"), "no permission")


def test_a_trial_counts_each_window(inputs: Inputs, rng: np.random.Generator) -> None:
    for n_windows in (1, 3, 50):
        X = np.eye(4, dtype=np.float32)[rng.integers(0, 4, (n_windows, LENGTH))].transpose(0, 2, 1)
        trial = try_run(inputs.model, X=X, method=["saliency", "ism"], audit=False, out=inputs.folder / "run")
        assert trial.n_tried <= min(n_windows, 32) and trial.results == ("saliency", "ism")
        assert trial.attribution_seconds >= trial.tried_seconds > 0
        assert trial.n_controls == 1000 and not trial.audited


@pytest.mark.usefixtures("no_pages")
def test_run_uses_finished_attributions_and_no_resume_does_not(inputs: Inputs) -> None:
    inputs.keep(3)
    out = inputs.folder / "run"
    arguments = ["run", *inputs.given, "--controls", 100, "--no-audit", "--out", out]
    assert call(*arguments).exit_code == 0
    made = (out / "attributions.h5").stat().st_ino
    again = call(*arguments, "--verbose")
    assert again.exit_code == 0 and "used as it is" in again.stderr
    assert (out / "attributions.h5").stat().st_ino == made
    assert call(*arguments, "--no-resume").exit_code == 0
    fresh = (out / "attributions.h5").stat().st_ino
    assert fresh != made
    assert call(*arguments, "--seed", 9).exit_code == 0
    with h5py.File(out / "attributions.h5") as file:
        assert file.attrs["seed"] == 9


def test_rounding_is_told_recorded_and_not_mixed(inputs: Inputs) -> None:
    inputs.keep(3)
    out = inputs.folder / "run"
    arguments = ["run", *inputs.given, "--controls", 100, "--no-audit", "--out", out]
    first = call(*arguments, "--keep-bits", 7)
    text = "scores rounded to 7 bits of mantissa, relative error at most 0.0039"
    assert first.exit_code == 0 and text in first.stdout, first.output
    assert text in (out / "report.html").read_text() and "keep-bits = 7" in (out / "run.toml").read_text()
    told = call("info", out / "attributions.h5").stdout
    assert re.search(r"keep bits +7\n", told) and re.search(r"rounding error +0\.0039", told), told
    made = (out / "attributions.h5").stat().st_ino
    other = call(*arguments, "--keep-bits", 9)
    assert other.exit_code == 0 and (out / "attributions.h5").stat().st_ino != made
    partial = inputs.folder / ".A.h5.partial"
    shutil.copy(out / "attributions.h5", partial)  # of 9 bits
    with h5py.File(partial, "r+") as file:
        file.create_dataset("progress", data=np.array([3, 100]))
    plain = call("attribute", *inputs.given, "--controls", 100, "--out", inputs.folder / "A.h5", "--keep-bits", 7)
    assert plain.exit_code == 0 and "an unfinished file of other settings is there; starting afresh" in plain.stderr
    with h5py.File(inputs.folder / "A.h5") as file:
        assert not np.any(file["track"][...].view(np.uint32) & 0xFFFF) and file.attrs["keep_bits"] == 7
    for bits in (0, 23, "few"):
        refused(call("attribute", *inputs.given, "--out", inputs.folder / "B.h5", "--keep-bits", bits), "--keep-bits")


def test_no_resume_ignores_unfinished_attributions(inputs: Inputs) -> None:
    out = inputs.folder / "A.h5"
    arguments = ["attribute", *inputs.given, "--controls", 100, "--out", out]
    assert call(*arguments).exit_code == 0
    whole = out.read_bytes()
    partial = inputs.folder / ".A.h5.partial"
    for option, is_kept in (("--resume", True), ("--no-resume", False)):
        shutil.copy(out, partial)
        with h5py.File(partial, "r+") as file:
            file["track"][0] = 99.0
            file.create_dataset("progress", data=np.array([20, 100]))
        assert call(*arguments[:-1], out, option).exit_code == 0
        with h5py.File(out) as file:
            assert (file["track"][0] == 99.0).all() == is_kept
    assert out.read_bytes() == whole


@pytest.mark.usefixtures("no_pages")
def test_a_begun_run_has_no_run_json(inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs.keep(3)
    out = inputs.folder / "run"
    arguments = ["run", *inputs.given, "--controls", 100, "--no-audit", "--out", out]
    assert call(*arguments).exit_code == 0

    def stop(*arguments: object, **settings: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("seqsal.pipeline.run.call_peaks", stop)
        assert call(*arguments).exit_code == 130
    assert not (out / "run.json").exists()
    assert "an interrupted run is there" in call(*arguments, "--dry-run").stdout
    assert call(*arguments).exit_code == 0 and (out / "run.json").exists()


@pytest.mark.usefixtures("no_pages")
def test_quiet_verbose_and_the_summary(inputs: Inputs) -> None:
    inputs.keep(3)
    arguments = ["run", *inputs.given, "--controls", 100, "--no-audit", "--out", inputs.folder / "run"]
    quiet = call(*arguments, "--quiet")
    assert quiet.exit_code == 0 and quiet.stdout == ""
    assert "3 of 3 regions are longer than the window" in quiet.stderr  # not what was asked for: that is never kept
    assert quiet.stderr.count("\n") == 1
    verbose = call(*arguments, "--verbose")
    for stage in json.loads((inputs.folder / "run" / "run.json").read_text())["seconds"]:
        assert re.search(rf"info: {stage} took \d+\.\d s", verbose.stderr), stage
    assert re.search(r"run took \d+\.\d s in all", verbose.stderr)
    plain = call(*arguments)
    assert "info: load" not in plain.stderr  # what --verbose asked for ended with its command
    written = {path for path in (inputs.folder / "run").iterdir()}
    shown = {Path(line.split("  ")[-1].strip()) for line in plain.stdout.splitlines()}
    assert written <= shown
    columns = {line.index(str(inputs.folder)) for line in plain.stdout.splitlines() if str(inputs.folder) in line}
    assert len(columns) == 1
    refused(call(*arguments, "--quiet", "--verbose"), "--quiet", "--verbose")
    refused(call("peaks", "A.h5", "--out", "P.narrowPeak", "--verbose", "--quiet"), "--quiet", "--verbose")


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("info", "doctor", "completion")])
def test_verbs_can_be_told_how_much_to_say(verb: str) -> None:
    text = call(verb, "--help").output
    assert "--quiet" in text and "--verbose" in text and "--config" in text


def completions(words: str) -> list[str]:
    environment = {"_SEQSAL_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    result = CliRunner(env=environment).invoke(main, [], prog_name="seqsal")
    assert result.exit_code == 0, result.output
    return [line.partition(",")[2] for line in result.stdout.splitlines()]


def test_the_shell_completes_verbs_options_and_values() -> None:
    assert completions("seqsal ru") == ["run"]
    assert completions("seqsal com") == ["compare", "completion"]
    assert "--dry-run" in completions("seqsal run --dr")
    assert completions("seqsal run --layout N") == ["NCL", "NLC", "NL"]
    assert completions("seqsal attribute --method is") == ["ism"]
    assert completions("seqsal completion z") == ["zsh"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    result = call("completion", shell)
    assert result.exit_code == 0
    assert "_SEQSAL_COMPLETE" in result.stdout and f"{shell}_complete" in result.stdout and "seqsal" in result.stdout
    refused(call("completion", "tcsh"), "tcsh")
