"""Training from files to a checkpoint: what it learns, that it repeats, resumes, does not leak, and what it refuses."""

from __future__ import annotations

import logging
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from seqsal.errors import BedError, OutputError, TrainingError, UsageError
from seqsal.io.bed import read_bed
from seqsal.io.fasta import Genome, read_fasta_records
from seqsal.models.checkpoint import load_checkpoint
from seqsal.models.cnn import CNN, CNNConfig
from seqsal.models.seen import find_seen
from seqsal.regions import make_regions
from seqsal.sequence.codes import decode, encode, reverse_complement
from seqsal.sequence.draws import dinucleotide_shuffle
from seqsal.training import fit as fit_module
from seqsal.training.examples import Examples, load_examples
from seqsal.training.fit import HeldOut, evaluate, learning_rate, predict_raw, state_path
from seqsal.training.settings import TrainConfig
from seqsal.training.sources import common_length, is_fasta
from seqsal.training.train import TrainResult, train_model

LENGTH = 40
MOTIF = encode("TTACCCGTA")
CONFIG = CNNConfig(LENGTH, n_filters=8, stem_kernel=11, stem_pool=4, n_blocks=1, dropout=0.1)
TRAINING = TrainConfig(epochs=3, max_shift=3, negatives_per_positive=2, min_distance=0, batch_size=32)
N_EACH = 40  # sites on each of four chromosomes


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A genome of four chromosomes with motifs, and BED files of the sites and of places without."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    rows, lines = [], []
    for chrom in ("chr1", "chr2", "chr3", "chr4"):
        codes = rng.integers(0, 4, 40 * (4 * N_EACH + 2), dtype=np.uint8)
        for site in range(N_EACH):
            centre = 160 * site + 80
            codes[centre - 4 : centre + 5] = MOTIF
            rows.append((chrom, centre - LENGTH // 2, centre + LENGTH // 2, f"s{site}", site % 7, "."))
        lines += [f">{chrom}", decode(codes)]
    (folder / "genome.fa").write_text("\n".join(lines) + "\n")
    table = pd.DataFrame(rows)
    table.to_csv(folder / "sites.bed", sep="\t", header=False, index=False)
    table[[1, 2]] += 80
    table.to_csv(folder / "other.bed", sep="\t", header=False, index=False)
    return {"genome": folder / "genome.fa", "sites": folder / "sites.bed", "other": folder / "other.bed"}


def _train(data: dict[str, Path], **changes: Any) -> TrainResult:
    arguments: dict[str, Any] = {"genome": data["genome"], "config": CONFIG, "training": TRAINING, "device": "cpu"}
    return train_model(data["sites"], **(arguments | changes))


def _examples(data: dict[str, Path], positives: Any = None, negatives: Any = None, **changes: Any) -> Examples:
    arguments: dict[str, Any] = {
        "genome": data.get("genome"), "config": CONFIG, "training": TRAINING, "valid_chroms": ["chr3"],
        "test_chroms": ["chr4"], "seed": 0,
    }  # fmt: skip
    return load_examples(data["sites"] if positives is None else positives, negatives, **(arguments | changes))


def _write_fasta(path: Path, codes: NDArray[np.uint8], names: list[str]) -> Path:
    lines = [f">{name}\n{decode(row)}\n" for name, row in zip(names, codes, strict=True)]
    path.write_text("".join(lines))
    return path


# ---- learning


@pytest.mark.slow
def test_a_motif_is_learnt(data: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    training = replace(TRAINING, epochs=15, learning_rate=1e-2)
    result = _train(data, training=training, out=out, valid_chroms=["chr3"], test_chroms=["chr4"])
    assert result.test_metrics["auroc"] > 0.95
    assert result.test_metrics["average_precision"] > 0.9
    assert (result.test_metrics["n_positives"], result.test_metrics["n_negatives"]) == (N_EACH, 2 * N_EACH)
    model, metadata = load_checkpoint(out)
    assert metadata == result.metadata
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), result.model.state_dict().values()))  # noqa: B905
    assert list(tmp_path.iterdir()) == [out]
    assert "test: auroc=" in repr(result)


def test_metadata(data: dict[str, Path]) -> None:
    metadata = _train(data, valid_chroms=["chr3"], test_chroms=["chr4"]).metadata
    assert metadata["split"]["train"] == {
        "chroms": ["chr1", "chr2"], "n_chroms": 2, "n_positives": 2 * N_EACH, "n_negatives": 4 * N_EACH,
    }  # fmt: skip
    assert [entry["epoch"] for entry in metadata["history"]] == [1, 2, 3]
    losses = [entry["valid_loss"] for entry in metadata["history"]]
    assert metadata["best_epoch"] == 1 + int(np.argmin(losses))
    assert metadata["inputs"]["negatives"] == {"sampling": "gc", "negatives_per_positive": 2, "min_distance": 0}
    assert (metadata["seed"], metadata["device"]) == (0, "cpu")
    best = metadata["history"][metadata["best_epoch"] - 1]
    assert metadata["metrics"]["valid"]["auroc"] == pytest.approx(best["valid_auroc"])


def test_the_best_epoch_is_kept_and_patience_ends_training(
    data: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss that rises from the second epoch on leaves the first one's weights."""
    epochs = []
    real = fit_module._Loop._train

    def train(self: Any, epoch: int, generator: torch.Generator) -> float:
        loss = real(self, epoch, generator)
        if epoch == 1:
            epochs.append({key: value.clone() for key, value in self.state.averaged.state_dict().items()})
        else:
            with torch.no_grad():
                self.state.averaged.head.bias.add_(50 * epoch)
        return loss

    monkeypatch.setattr(fit_module._Loop, "_train", train)
    result = _train(data, training=replace(TRAINING, epochs=10, patience=2))
    assert result.metadata["best_epoch"] == 1
    assert len(result.metadata["history"]) == 3
    assert "trained: 3 of 10 epochs (early: no lower validation loss for 2 epochs); weights of epoch 1 kept" in (
        result.summary()
    )
    for key, value in result.model.state_dict().items():
        torch.testing.assert_close(value, epochs[0][key])


def test_the_test_says_how_sure_it_is_and_on_what(data: dict[str, Path]) -> None:
    result = _train(data)
    test = result.test_metrics
    low, high = test["auroc_interval"]
    assert 0 <= low <= test["auroc"] <= high <= 1
    assert test["negatives"] == "windows of the genome of the same GC content"
    assert f"test auroc: {test['auroc']:.3f} (95 % interval {low:.3f} to {high:.3f})" in result.summary()
    assert "40 positives and 80 negatives (windows of the genome of the same GC content)" in result.summary()
    assert "classes: a positive weighs 2 times a negative in the loss; calibration error" in result.summary()
    assert f"trained: 3 of 3 epochs (all of them); weights of epoch {result.metadata['best_epoch']} kept" in (
        result.summary()
    )
    assert set(result.metadata["curves"]["calibration"]) == {"predicted_probability", "share_of_positives"}
    assert set(result.metadata["curves"]) == {"roc", "precision_recall", "calibration"}
    seen = find_seen(result.metadata, make_regions(["chr1"], [0], [6400]), lambda rows: np.zeros((0, LENGTH), np.uint8))
    assert seen is not None and seen[0] in ("train", "valid", "test")
    assert result.metadata["n_threads"] == 1 and result.model.metadata == result.metadata


@pytest.mark.parametrize(("work", "chosen"), [(fit_module.WORK_OF_A_THREAD, 1), (20_000, 2)])
def test_threads_are_counted_from_the_work(
    data: dict[str, Path], work: int, chosen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_module, "WORK_OF_A_THREAD", work)
    torch.set_num_threads(2)
    try:
        result = _train(data, training=replace(TRAINING, epochs=1))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert result.metadata["n_threads"] == chosen


def test_work_is_what_the_convolutions_multiply() -> None:
    for config in (CNNConfig(40, n_filters=6), CNNConfig(31, n_filters=4, stem_pool=1, n_blocks=2, pooling="max")):
        counted = 0

        def count(layer: torch.nn.Module, _: object, out: torch.Tensor) -> None:
            nonlocal counted
            counted += layer.weight.numel() * out.shape[-1]  # type: ignore[operator,union-attr]

        model = CNN(config)
        for layer in model.modules():
            if isinstance(layer, torch.nn.Conv1d):
                layer.register_forward_hook(count)
        model(torch.zeros(1, 4, config.input_length))
        assert config.n_products == counted


def test_regression_gives_values_in_the_targets_units(data: dict[str, Path]) -> None:
    config = replace(CONFIG, loss="regression", n_targets=2)
    table = pd.read_csv(
        data["sites"], sep="\t", header=None, names=["chrom", "start", "end", "name", "score", "strand"]
    )
    table["high"] = 1000 + 50 * (table["score"] > 3)
    training = replace(TRAINING, target_columns=("score", "high"))
    result = train_model(table, genome=data["genome"], config=config, training=training, device="cpu")
    raw = predict_raw(result.model, _examples(data, table, config=config, training=training).codes, torch.device("cpu"))
    assert np.abs(raw.mean(axis=0) - [3, 1020]).max() < 40
    assert len(result.test_metrics["pearson"]) == len(result.test_metrics["spearman"]) == 2
    assert result.test_metrics["n_negatives"] == 0


def test_counts_start_at_their_mean(data: dict[str, Path]) -> None:
    config = replace(CONFIG, loss="count")
    result = _train(data, config=config, training=replace(TRAINING, epochs=1, learning_rate=1e-6))
    assert math.exp(result.model.head.bias.item()) == pytest.approx(np.mean([i % 7 for i in range(N_EACH)]), rel=0.01)
    wanted = {"pearson", "spearman", "pearson_interval", "spearman_interval", "n_positives", "n_negatives", "negatives"}
    assert set(result.test_metrics) == wanted


def test_several_binary_targets(data: dict[str, Path]) -> None:
    table = pd.read_csv(
        data["sites"], sep="\t", header=None, names=["chrom", "start", "end", "name", "score", "strand"]
    )
    table = table.assign(odd=table["score"] % 2, low=(table["score"] < 2).astype(int))
    training = replace(TRAINING, target_columns=("odd", "low"))
    config = replace(CONFIG, n_targets=2)
    examples = _examples(data, table, config=config, training=training)
    assert (examples.targets[examples.is_positive] == table[["odd", "low"]].to_numpy()).all()
    assert (examples.targets[~examples.is_positive] == 0).all()
    result = train_model(table, genome=data["genome"], config=config, training=training, device="cpu")
    assert len(result.test_metrics["auroc"]) == 2


# ---- the same again


def test_same_seed_same_bytes(data: dict[str, Path], tmp_path: Path) -> None:
    files = [tmp_path / f"{i}.safetensors" for i in range(3)]
    before = torch.get_rng_state()
    for file, seed in zip(files, (5, 5, 6), strict=True):
        _train(data, out=file, seed=seed)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].read_bytes() != files[2].read_bytes()
    assert torch.equal(torch.get_rng_state(), before)


def _interrupt_after(epoch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real = fit_module._Loop.run_epoch

    def run_epoch(self: Any, number: int) -> dict[str, Any]:
        if number > epoch:
            raise KeyboardInterrupt
        return real(self, number)

    monkeypatch.setattr(fit_module._Loop, "run_epoch", run_epoch)


def test_resumed_training_ends_with_the_same_bytes(
    data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    training = replace(TRAINING, epochs=4)
    _train(data, out=whole, training=training)
    for epoch in (1, 3):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            _interrupt_after(epoch, patch)
            _train(data, out=parts, training=training)
        assert not parts.exists() and state_path(parts).exists()
    caplog.set_level(logging.INFO)
    _train(data, out=parts, training=training)
    assert "resuming after epoch 3" in caplog.text
    assert parts.read_bytes() == whole.read_bytes()
    assert not state_path(parts).exists()


def test_a_state_of_another_run_is_not_taken_up(
    data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "m.safetensors"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        _interrupt_after(1, patch)
        _train(data, out=out)
    left = state_path(out).read_bytes()
    result = _train(data, out=out, seed=1)
    assert "is of another run (data, settings or seed differ)" in caplog.text
    assert result.metadata == _train(data, seed=1).metadata
    state_path(out).write_bytes(left[:200])
    assert _train(data, out=out).metadata == _train(data).metadata
    assert "training starts from the beginning" in caplog.text
    state_path(out).write_bytes(left)
    caplog.clear()
    _train(data, out=out, resume=False)
    assert not caplog.records


# ---- examples


def test_no_part_sees_another_ones_chromosomes(data: dict[str, Path]) -> None:
    for sampling in ("gc", "random", "shuffle"):
        examples = _examples(data, training=replace(TRAINING, negative_sampling=sampling))
        for part, chroms in (("train", {"chr1", "chr2"}), ("valid", {"chr3"}), ("test", {"chr4"})):
            assert set(examples.chroms[examples.rows(part)]) == chroms
            n = N_EACH * len(chroms)
            assert examples.counts(part) == {"n_positives": n, "n_negatives": 2 * n}


def test_shuffles_are_of_their_own_positive(data: dict[str, Path]) -> None:
    examples = _examples(data, training=replace(TRAINING, negative_sampling="shuffle"))
    n = int(examples.is_positive.sum())
    positives, shuffles = examples.codes[:n], examples.codes[n:].reshape(2, n, -1)
    for shuffled in shuffles:
        assert (np.sort(shuffled, axis=1) == np.sort(positives, axis=1)).all()
        assert (shuffled != positives).any(axis=1).all()
    assert (shuffles[0] != shuffles[1]).any()
    assert (examples.parts[n:].reshape(2, n) == examples.parts[:n]).all()


def test_windows_have_their_flanks(data: dict[str, Path]) -> None:
    examples = _examples(data)
    genome = dict(read_fasta_records(data["genome"]))
    assert (examples.codes[0] == genome["chr1"][60 - 3 : 100 + 3]).all()
    assert examples.codes.shape[1] == LENGTH + 6


def test_given_negatives_are_used(data: dict[str, Path]) -> None:
    examples = _examples(data, negatives=data["other"])
    n = int(examples.is_positive.sum())
    assert (~examples.is_positive).sum() == n
    genome = dict(read_fasta_records(data["genome"]))
    assert (examples.codes[n] == genome["chr1"][140 - 3 : 180 + 3]).all()
    assert (examples.parts[:n] == examples.parts[n:]).all()


@pytest.mark.parametrize("kind", ["same file", "same place", "same bases", "few"])
def test_negatives_that_are_positives(
    data: dict[str, Path], tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    sites = read_bed(data["sites"])
    negatives: Any = {
        "same file": data["sites"],
        "same place": sites.assign(start=sites["start"] + 15, end=sites["end"] + 15),
    }.get(kind)
    if kind == "same bases":
        with Genome(data["genome"]) as genome:
            codes = reverse_complement(genome.read_windows(sites))
        negatives = _write_fasta(tmp_path / "n.fa", codes, [f"n{i}" for i in range(len(codes))])
    if kind == "few":
        negatives = pd.concat([read_bed(data["other"]), sites[:8]])
        assert _examples(data, negatives=negatives).counts("train")["n_negatives"] == 88
    else:
        with pytest.raises(TrainingError, match=r"negatives: 160 of 160 are positives as well.*give --allow-overlap"):
            _examples(data, negatives=negatives)
        _examples(data, negatives=negatives, training=replace(TRAINING, allow_overlap=True))
    n = "8 of 168 are positives as well, and 8 of 160" if kind == "few" else "160 of 160 are positives as well, and 160"
    assert f"negatives: {n}" in caplog.text


def test_shuffles_under_the_names_of_their_sites_are_negatives(data: dict[str, Path], tmp_path: Path) -> None:
    sites = read_bed(data["sites"])
    with Genome(data["genome"]) as genome:
        codes = genome.read_windows(sites)
    names = [f"{row.chrom}:{row.start}-{row.end}" for row in sites.itertuples()]
    given = {
        "positives": _write_fasta(tmp_path / "p.fa", codes, names),
        "negatives": _write_fasta(tmp_path / "n.fa", dinucleotide_shuffle(codes, seed=0), names),
    }
    examples = _examples({"sites": data["sites"]}, **given)
    assert (~examples.is_positive).sum() == len(codes)


@pytest.mark.parametrize("value", ["text", "", np.inf, -np.inf, 1e30, None, "1e400"])
def test_values_that_cannot_be_learnt(data: dict[str, Path], value: object) -> None:
    table = read_bed(data["sites"])
    table["value"] = [*range(len(table) - 1), value]
    for loss in ("regression", "count"):
        changes = {"config": replace(CONFIG, loss=loss), "training": replace(TRAINING, target_columns=("value",))}
        with pytest.raises(
            TrainingError, match=r"target_columns: value of region s39 is .*, expected .*1e\+12 at most"
        ):
            _examples(data, table, **changes)


def test_sequences_without_a_genome(tmp_path: Path, rng: np.random.Generator) -> None:
    """Names split the records; both classes get flanks of N, so that these tell nothing."""
    codes = rng.integers(0, 4, (200, LENGTH), dtype=np.uint8)
    names = [f"r{i}" for i in range(200)]
    positives = _write_fasta(tmp_path / "p.fa", codes, names)
    negatives = _write_fasta(tmp_path / "n.fa", codes[:, ::-1], [f"n{i}" for i in range(200)])
    shuffled = _examples({}, positives, genome=None, valid_chroms=None, test_chroms=None)
    assert shuffled.provenance["negatives"]["sampling"] == "shuffle"
    given = _examples({}, positives, negatives, genome=None, valid_chroms=None, test_chroms=None)
    for examples in (shuffled, given):
        assert set(examples.parts) == {"train", "valid", "test"}
        assert (examples.codes[:, :3] == 4).all() and (examples.codes[:, -3:] == 4).all()
        assert (examples.codes[:, 3:-3] < 4).all()
    result = train_model(positives, training=TRAINING, config=CONFIG, device="cpu")
    assert result.test_metrics["auroc"] == pytest.approx(0.5, abs=0.3)


def test_sequences_with_coordinates_are_split_by_chromosome(tmp_path: Path, rng: np.random.Generator) -> None:
    codes = rng.integers(0, 4, (60, LENGTH), dtype=np.uint8)
    names = [f"chr{i % 4}:{100 * i}-{100 * i + LENGTH}" for i in range(60)]
    positives = _write_fasta(tmp_path / "p.fa", codes, names)
    examples = _examples({}, positives, genome=None, valid_chroms=["chr2"], test_chroms=None)
    assert set(examples.chroms[examples.rows("valid")]) == {"chr2"}
    assert not set(examples.chroms[examples.rows("train")]) & set(examples.chroms[examples.rows("test")])


def test_uneven_padding_is_warned_of(
    tmp_path: Path, rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    codes = rng.integers(0, 4, (200, LENGTH), dtype=np.uint8)
    positives = _write_fasta(tmp_path / "p.fa", codes[:, 5:-5], [f"r{i}" for i in range(200)])
    negatives = _write_fasta(tmp_path / "n.fa", codes, [f"n{i}" for i in range(200)])
    _examples({}, positives, negatives, genome=None, valid_chroms=None, test_chroms=None)
    assert "a model can tell them apart by that" in caplog.text


def test_what_the_user_gave(data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TrainingError, match="pipe: is a pipe or a device, which cannot be read twice; give a file"):
        is_fasta(tmp_path / "pipe")
    assert is_fasta(data["genome"]) and not is_fasta(data["sites"]) and not is_fasta(tmp_path / "absent")
    assert not is_fasta(make_regions("chr1", [0], [5]))
    assert common_length(data["sites"]) == LENGTH
    assert common_length(_write_fasta(tmp_path / "p.fa", np.zeros((2, 7), np.uint8), ["a", "b"])) == 7
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", lambda *arguments: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
        patch.setattr(Path, "open", lambda *arguments: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
        assert not is_fasta(data["sites"])
        with pytest.raises(BedError, match=r"sites.bed: cannot be read \(Permission denied\)"):
            common_length(data["sites"])
    with pytest.raises(TrainingError, match=r"from 5 to 6 bp; give the model's input length \(input_length"):
        common_length(make_regions("chr1", [0, 0], [5, 6]))


# ---- refusals


def test_settings_out_of_range() -> None:
    for changes, message in (
        ({"epochs": 0}, "epochs: got 0, expected a whole number above 0"),
        ({"learning_rate": 0.0}, "learning_rate: got 0.0"),
        ({"weight_decay": -1.0}, "weight_decay: got -1.0"),
        ({"max_shift": -1}, "max_shift: got -1"),
        ({"warmup": 1.0}, "warmup: got 1.0"),
        ({"weight_average": 1.0}, "weight_average: got 1.0"),
        ({"test_fraction": 0.5}, "test_fraction: got 0.5"),
        ({"min_distance": -1}, "min_distance: got -1"),
        ({"negative_sampling": "none"}, "negative_sampling: got 'none', expected auto or gc or random or shuffle"),
    ):
        with pytest.raises(TrainingError, match=message):
            TrainConfig(**changes)


def test_refusals(data: dict[str, Path], tmp_path: Path) -> None:
    regression = replace(CONFIG, loss="regression")
    table = make_regions(["chr1", "chr2", "chr3", "chr4"] * 20, np.arange(80) * 60 + 10, np.arange(80) * 60 + 50)
    few = table[:12]
    with pytest.raises(UsageError, match="positives: are regions, which need a genome"):
        _train(data, genome=None)
    with pytest.raises(UsageError, match="negative_sampling: 'gc' draws from a genome, but none was given"):
        names = [f"s{i}" for i in range(80)]
        fasta = _write_fasta(tmp_path / "p.fa", np.zeros((80, LENGTH), np.uint8), names)
        train_model(fasta, config=CONFIG, training=replace(TRAINING, negative_sampling="gc"))
    with pytest.raises(TrainingError, match="train part: 6 positives, expected 10 at least; give more regions"):
        _examples(data, few)
    with pytest.raises(TrainingError, match="valid part: 0 negatives, expected 2 at least"):
        _examples(data, negatives=read_bed(data["other"]).query("chrom != 'chr3'"))
    with pytest.raises(TrainingError, match="negatives: given for a regression model"):
        _train(data, negatives=data["other"], config=regression)
    with pytest.raises(TrainingError, match="target_columns: score of region region_1 is nan, expected a number"):
        _examples(data, table, config=regression)
    with pytest.raises(TrainingError, match="expected counts of 0 or more"):
        _examples(data, table.assign(score=-1.0), config=replace(CONFIG, loss="count"))
    with pytest.raises(TrainingError, match=r"target_columns: 1 given \(score\) for 3 targets"):
        _examples(data, table, config=replace(regression, n_targets=3))
    with pytest.raises(TrainingError, match="the positives have no column 'signal'; they have chrom, start"):
        _examples(data, table, config=regression, training=replace(TRAINING, target_columns=("signal",)))
    with pytest.raises(TrainingError, match=r"target 0: is 2 for every training region"):
        train_model(table.assign(score=2.0), genome=data["genome"], config=regression, training=TRAINING)
    with pytest.raises(TrainingError, match=r"input_length: got 100,000,000 bp, but no chromosome of .* is as long"):
        _examples(data, config=replace(CONFIG, input_length=100_000_000))  # 10 GB, were they read
    with pytest.raises(TrainingError, match="no room for windows of 46 bp at least 5000 bp away"):
        _examples(data, training=replace(TRAINING, min_distance=5000))
    with pytest.raises(OutputError, match="does not exist"):
        _train(data, out=tmp_path / "no" / "m.safetensors")


def test_a_loss_of_nan_is_reported(data: dict[str, Path], tmp_path: Path) -> None:
    config = replace(CONFIG, loss="count", batch_norm=False)
    with pytest.raises(TrainingError, match=r"no longer finite in epoch 1 .*lower the learning rate \(1e\+10\)"):
        _train(data, config=config, training=replace(TRAINING, learning_rate=1e10), out=tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


# ---- small parts


def test_learning_rate_rises_and_falls() -> None:
    rates = np.array([learning_rate(step, 100, 2.0, 0.2) for step in range(100)])
    assert rates.argmax() == 20 and rates[20] == 2.0
    assert (np.diff(rates[:21]) > 0).all() and (np.diff(rates[20:]) < 0).all()
    assert rates[0] == pytest.approx(0.08) and rates[-1] == pytest.approx(2e-4)
    assert learning_rate(0, 1, 2.0, 0.0) == 2.0


def test_averaged_weights_are_a_moving_average(rng: np.random.Generator) -> None:
    torch.manual_seed(0)
    mean, model = CNN(CONFIG), CNN(CONFIG)
    start = mean.head.weight.clone()
    fit_module._average(mean, model, 0.9)
    torch.testing.assert_close(mean.head.weight, 0.9 * start + 0.1 * model.head.weight)
    fit_module._average(mean, model, 0.0)
    assert all(torch.equal(a, b) for a, b in zip(mean.parameters(), model.parameters(), strict=True))


def test_balance_makes_classes_count_the_same() -> None:
    targets = torch.tensor([[1.0], [0.0], [0.0], [0.0]])
    raw = torch.zeros(4, 1, requires_grad=True)
    fit_module._Loss("binary", targets, TrainConfig())(raw, targets).backward()
    assert raw.grad is not None
    assert raw.grad.sum() == pytest.approx(0)  # the pull of one positive is that of three negatives
    plain = fit_module._Loss("binary", targets, TrainConfig(balance=False))(torch.zeros(4, 1), targets)
    assert plain == pytest.approx(math.log(2))


def test_evaluate_correlates_counts_on_a_log_scale() -> None:
    counts = np.array([[0.0], [3.0], [50.0], [1000.0]], dtype=np.float32)
    result = evaluate("count", HeldOut(np.log1p(counts).astype(np.float64), counts))
    assert result["pearson"] == pytest.approx(1) and result["spearman"] == pytest.approx(1)


def test_predictions_are_in_evaluation_mode_and_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    model = CNN(CONFIG).train()
    codes = np.random.default_rng(0).integers(0, 4, (20, LENGTH + 4), dtype=np.uint8)
    whole = predict_raw(model, codes, torch.device("cpu"))
    monkeypatch.setattr(fit_module, "_EVALUATION_BP", 3 * codes.shape[1])
    np.testing.assert_allclose(predict_raw(model, codes, torch.device("cpu")), whole, rtol=1e-5, atol=1e-6)
    assert model.training and whole.shape == (20, 1)
