"""From an audit that found a shortcut to a model without it: files, figures, the choice, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from command_line import call, refused

from seqsal.auditing.finding import Finding
from seqsal.auditing.part import NotTested, Results
from seqsal.auditing.parts.artifacts import ArtifactsResult
from seqsal.auditing.result import AuditResult, read_audit
from seqsal.auditing.settings import AuditSettings
from seqsal.auditing.verdict import Verdict
from seqsal.models import CNNConfig, load_checkpoint
from seqsal.pipeline import retrain as retrain_module
from seqsal.pipeline.retrain import REMEDIES, Trial, choose, effect_text, mean_output, try_remedies
from seqsal.pipeline.shortcuts import (
    Shortcut,
    balance_composition,
    clean_examples,
    find_copies,
    neutral_kinds,
    read_shortcuts,
)
from seqsal.sequence.codes import decode, encode, reverse_complement
from seqsal.training import TrainConfig, train_model
from seqsal.training.examples import Examples, load_examples
from seqsal.training.fit import predict_raw

LENGTH, N = 60, 240
SITE, ADAPTER = encode("TTACCCGTAA"), encode("AGATCGGAAGAGCACACGTC")
CONFIG = CNNConfig(LENGTH, n_filters=8, stem_kernel=9, stem_pool=4, n_blocks=1, dropout=0.0)
TRAINING = TrainConfig(epochs=8, max_shift=2, negatives_per_positive=1, batch_size=32, learning_rate=1e-2)
SMALL = {"n_regions": 40, "n_ism_regions": 6, "n_small": 6, "n_steps": 3, "n_draws": 1, "n_bootstrap": 200}
TEST = ["chr3"]
NAME = "Illumina TruSeq read 1"


def write(path: Path, codes: Any) -> Path:
    names = [f"chr{1 + i % 3}:{100 * i}-{100 * i + codes.shape[1]}" for i in range(len(codes))]
    path.write_text("".join(f">{name}\n{decode(row)}\n" for name, row in zip(names, codes, strict=True)))
    return path


def finding(name: str, kind: str, sequence: str = "") -> Finding:
    none = NotTested("-")
    return Finding(name=name, kind=kind, sequence=sequence, n_regions=1, attribution_share=none, enrichment=none,
                   marginal_effect=none, ablation_effect=none, q_value=none, verdict="shortcut")  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sites of which 70 % end in an adapter, a model trained on them, and an audit that found it."""
    folder, rng = tmp_path_factory.mktemp("retrain"), np.random.default_rng(0)
    codes = rng.integers(0, 4, (N, LENGTH), dtype=np.uint8)
    varied = np.where(rng.random((N, len(SITE))) < 0.12, rng.integers(0, 4, (N, len(SITE))), SITE)
    codes[:, 12:22] = np.where(rng.random((N, 1)) < 0.8, varied, codes[:, 12:22])
    for row in np.flatnonzero(rng.random(N) < 0.7):
        width = int(rng.integers(14, 21))
        codes[row, LENGTH - width :] = ADAPTER[:width]
    write(folder / "sites.fa", codes)
    model = folder / "m.safetensors"
    train_model(folder / "sites.fa", config=CONFIG, training=TRAINING, valid_chroms=["chr2"], test_chroms=TEST,
                out=model, device="cpu")  # fmt: skip
    found = ArtifactsResult(findings=(finding(NAME, "adapter", decode(ADAPTER)),))
    settings = AuditSettings().changed(SMALL)
    AuditResult(Verdict(None, None, (NAME,), ""), Results(artifacts=found), settings=settings).to_json(
        folder / "audit.json"
    )
    return folder


def retrained(folder: Path, tmp_path: Path, *more: object) -> Any:
    return call("retrain", "--model", folder / "m.safetensors", "--audit", folder / "audit.json", "--positives",
                folder / "sites.fa", "--device", "cpu", "--out", tmp_path / "m2.safetensors", *more)  # fmt: skip


def test_the_reliance_is_gone_and_the_files_say_so(folder: Path, tmp_path: Path) -> None:
    result = retrained(folder, tmp_path, "--remedy", "both")
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "m2.retrain.json").read_text())
    before, after = figures["before"], figures["after"]
    for one in (before, after):
        assert {"auroc", "faithful", "plausible", "shortcuts", "reliance"} <= set(one)
        assert list(one["reliance"]) == [NAME]
    assert before["shortcuts"] == [NAME] and NAME not in after["shortcuts"]
    assert before["reliance"][NAME] > 0.5
    assert abs(after["reliance"][NAME]) < 0.25 * before["reliance"][NAME]
    assert after["auroc"] > 0.8
    assert [one["remedy"] for one in figures["tried"]] == ["both"]
    assert figures["remedy"] in result.output and f"reliance on {NAME}" in result.output
    model, metadata = load_checkpoint(tmp_path / "m2.safetensors")
    assert model.config == CONFIG
    assert metadata["split"]["test"]["chroms"] == TEST and metadata["inputs"]["cleaned_of"] == [NAME]
    page = (tmp_path / "m2.retrain.html").read_text()
    assert "m2.safetensors: before and after" in page and NAME in page and page.count("<svg") == 1
    assert "://" not in page.replace("http://www.w3.org", "")


@pytest.fixture(scope="module")
def examples(folder: Path) -> Examples:
    return load_examples(folder / "sites.fa", None, genome=None, config=CONFIG, training=TRAINING,
                         valid_chroms=["chr2"], test_chroms=TEST, seed=0)  # fmt: skip


def test_copies_are_found_whole_or_in_part_on_either_strand(examples: Examples) -> None:
    shortcut = Shortcut(NAME, "adapter", encode("AGATCGGAAGAGCACACGTCTGAACTCCAGTCA"))
    copies = find_copies(shortcut, examples.codes, 2)
    has = copies.any(axis=1)
    truth = np.array([decode(ADAPTER[:14]) in decode(row) for row in examples.codes])
    assert (has == truth).all()
    assert copies[truth].sum(axis=1).min() >= 14
    turned = find_copies(shortcut, reverse_complement(examples.codes), 2)
    assert (turned.any(axis=1) == has).all()
    twice = np.concatenate([ADAPTER, SITE[::-1], ADAPTER])[None]
    assert find_copies(shortcut, twice, 0).sum() == 40


def test_clean_examples_differ_under_copies_of_their_part_alone(examples: Examples) -> None:
    shortcut = Shortcut(NAME, "adapter", encode("AGATCGGAAGAGCACACGTCTGAACTCCAGTCA"))
    copies = find_copies(shortcut, examples.codes, 2)
    clean = clean_examples(examples, copies, ("test",), seed=0)
    changed = clean.codes != examples.codes
    assert not changed[~copies].any() and not changed[examples.parts != "test"].any()
    assert not find_copies(shortcut, clean.codes[examples.rows("test")], 2).any()
    shorter = replace(examples, codes=examples.codes[::-1], parts=examples.parts[::-1],
                      is_positive=examples.is_positive[::-1])  # fmt: skip
    assert clean_examples(shorter, copies[::-1], ("test",), 0).codes.shape == clean.codes.shape


def test_composition_is_matched_in_every_part(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rich = rng.choice(4, (150, 40), p=[0.2, 0.3, 0.3, 0.2]).astype(np.uint8)
    poor = rng.choice(4, (150, 40), p=[0.3, 0.2, 0.2, 0.3]).astype(np.uint8)
    positives, negatives = write(tmp_path / "p.fa", rich), write(tmp_path / "n.fa", poor)
    training = replace(TRAINING, max_shift=0)
    given = load_examples(positives, negatives, genome=None, config=replace(CONFIG, input_length=40), training=training,
                          valid_chroms=["chr2"], test_chroms=TEST, seed=0)  # fmt: skip
    fair = balance_composition(given, [Shortcut("GC content", "composition")], training, positives=positives,
                               genome=None, seed=0)  # fmt: skip
    for part in ("train", "valid", "test"):
        assert fair.counts(part) == given.counts(part)
        rows = fair.rows(part)
        gc = np.isin(fair.codes[rows], (1, 2)).mean(axis=1)
        own = fair.is_positive[rows]
        assert abs(gc[own].mean() - gc[~own].mean()) < 0.02
    kinds = neutral_kinds(given, seed=0)
    own = given.parts == "train"
    assert kinds.shape == (4, 1000, 40)
    gc = np.isin(kinds, (1, 2)).mean(axis=(1, 2))
    for k, of in enumerate((given.is_positive, given.is_positive, ~given.is_positive, ~given.is_positive)):
        assert abs(gc[k] - np.isin(given.codes[own & of], (1, 2)).mean()) < 0.01
    assert not (kinds[1, :50, None] == given.codes[None]).all(axis=2).any()
    assert balance_composition(given, [Shortcut(NAME, "adapter")], training, positives=positives, genome=None,
                               seed=0) is given  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "not measured"), (-0.004, "0.00"), (0.004, "0.00"), (0.0, "0.00"), (-0.006, "-0.01"), (11.67, "+11.67")],
)
def test_an_effect_of_zero_has_no_sign(value: float | None, text: str) -> None:
    assert effect_text(value) == text


def test_the_most_accurate_of_those_that_leave_little_is_taken() -> None:
    trials = [Trial("randomise", 0.95, {}, 0.03), Trial("masks", 0.99, {}, 0.6), Trial("both", 0.96, {}, 0.04)]
    chosen, why = choose(trials, 0.9)
    assert chosen.remedy == "both" and "masks 0.990 and 60%" in why
    assert choose(trials[1:2], 0.9)[0].remedy == "masks"
    assert choose([replace(one, left=one.left + 0.1) for one in trials], 0.9)[0].remedy == "randomise"


def test_a_network_that_learned_nothing_is_the_last_to_be_taken() -> None:
    trials = [Trial("randomise", 0.965, {}, 0.054), Trial("masks", 0.649, {}, 0.009), Trial("both", 0.956, {}, 0.078)]
    assert choose(trials, 0.97)[0].remedy == "randomise"
    assert choose([replace(one, auroc=0.6 + one.left) for one in trials], 0.97)[0].remedy == "masks"  # none learned


@pytest.mark.parametrize(
    ("lefts", "aurocs", "tried", "chosen"),
    [
        ((0.03, 0.01, 0.0), (0.9, 0.99, 0.99), 1, "randomise"),  # good enough: no other is tried
        ((0.03, 0.02, 0.0), (0.7, 0.9, 0.9), 2, "masks"),  # the first model is more accurate
        ((0.20, 0.04, 0.2), (0.9, 0.75, 0.9), 3, "masks"),
    ],
)
def test_remedies_are_tried_until_one_is_good_enough(
    monkeypatch: pytest.MonkeyPatch, lefts: Any, aurocs: Any, tried: int, chosen: str
) -> None:
    figures = dict(zip(REMEDIES, zip(lefts, aurocs, strict=True), strict=True))
    task = SimpleNamespace(
        first=SimpleNamespace(config=None), training=None, seed=0, device=None, progress=False, first_auroc=0.8,
        treated=lambda remedy: remedy,
        trial=lambda remedy, model: Trial(remedy, figures[remedy][1], {}, figures[remedy][0]),
    )  # fmt: skip
    monkeypatch.setattr(retrain_module, "train_examples", lambda examples, *_, **__: SimpleNamespace(model=examples))
    trials, because, (trial, made) = try_remedies(task, REMEDIES)  # type: ignore[arg-type]
    assert len(trials) == tried and trial.remedy == chosen == made.model  # type: ignore[comparison-overlap]
    assert ("not tried" in because) == (tried < 3)


def test_an_artifact_that_is_known_on_one_strand_counts(folder: Path) -> None:
    model, codes = load_checkpoint(folder / "m.safetensors")[0], np.zeros((3, LENGTH), np.uint8)
    codes[:, 20:40] = ADAPTER
    here, there = (mean_output(model, one, torch.device("cpu")) for one in (codes, reverse_complement(codes)))
    assert here == pytest.approx(there, abs=1e-5)
    assert here == pytest.approx(predict_raw(model, np.stack([codes[0], reverse_complement(codes)[0]]),
                                             torch.device("cpu")).mean(), abs=1e-5)  # fmt: skip


def test_words_of_the_library_are_taken_at_full_length(folder: Path) -> None:
    (shortcut,) = read_shortcuts(read_audit(folder / "audit.json"))
    assert shortcut.word is not None
    assert shortcut.name == NAME and decode(shortcut.word) == "AGATCGGAAGAGCACACGTCTGAACTCCAGTCA"


def found(folder: Path, tmp_path: Path, *findings: Finding, **changes: Any) -> Path:
    """Write an audit like that of the fixture with other shortcuts."""
    audit = read_audit(folder / "audit.json")
    result = replace(audit, results=Results(artifacts=ArtifactsResult(findings=findings)), **changes)
    return result.to_json(tmp_path / "other.json")


def test_what_is_refused(folder: Path, tmp_path: Path) -> None:
    refused(retrained(folder, tmp_path, "--audit", found(folder, tmp_path)), "found no shortcut", "nothing to train")
    gc = found(folder, tmp_path, finding("GC content", "composition"))
    refused(retrained(folder, tmp_path, "--audit", gc, "--remedy", "masks"), "GC content", "take randomise")
    other = found(folder, tmp_path, finding("unknown_x", "unknown", "GGGGGGGGGGGGTTTTTTTTTTTT"))
    refused(retrained(folder, tmp_path, "--audit", other), "no training example has a copy of unknown_x")
    about = found(folder, tmp_path, finding(NAME, "adapter", "AGATCGG"), provenance={"model": {"sha256": "0" * 64}})
    refused(retrained(folder, tmp_path, "--audit", about), "is about another model", "give the audit of this one")
    one_class = write(tmp_path / "one.fa", np.zeros((3, LENGTH), np.uint8))
    refused(retrained(folder, tmp_path, "--negatives", one_class), "negatives", "expected")
    refused(retrained(folder, tmp_path, "--out", folder / "m.safetensors"), "m.safetensors")
    counts = tmp_path / "counts.safetensors"
    few = replace(TRAINING, epochs=1, target_columns=("start",))
    train_model(folder / "sites.fa", config=replace(CONFIG, loss="count"), training=few, valid_chroms=["chr2"],
                test_chroms=TEST, out=counts, device="cpu")  # fmt: skip
    refused(retrained(folder, tmp_path, "--model", counts), "is a count model", "--irrelevant")
    assert not list(tmp_path.glob("m2.*"))
