"""Hard negatives: the strongest candidates of the training part join it, told, resumed, and none that is held out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from seqsal.errors import TrainingError
from seqsal.io.bed import read_bed
from seqsal.io.fasta import Genome
from seqsal.models.checkpoint import load_checkpoint
from seqsal.models.cnn import CNNConfig
from seqsal.sequence.codes import decode
from seqsal.training import fit as fit_module
from seqsal.training import mining
from seqsal.training.examples import Examples, load_examples
from seqsal.training.fit import state_path
from seqsal.training.mining import Miner
from seqsal.training.settings import TrainConfig
from seqsal.training.train import TrainResult, train_model

LENGTH = 40
CONFIG = CNNConfig(LENGTH, n_filters=4, stem_kernel=7, stem_pool=4, n_blocks=1)
TRAINING = TrainConfig(epochs=1, max_shift=3, negatives_per_positive=1, min_distance=0, batch_size=32, mine=1)
HELD_OUT: dict[str, Any] = {"valid_chroms": ["chr3"], "test_chroms": ["chr4"]}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A genome of four chromosomes, with sites on each."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    chroms, starts = ("chr1", "chr2", "chr3", "chr4"), range(100, 3000, 200)
    genome = "".join(f">{chrom}\n{decode(rng.integers(0, 4, 4_000, dtype=np.uint8))}\n" for chrom in chroms)
    (folder / "genome.fa").write_text(genome)
    for name, offsets in (("sites", [0]), ("others", [65, 110])):
        rows = [(chrom, start + offset) for chrom in chroms for start in starts for offset in offsets]
        lines = (f"{chrom}\t{start}\t{start + LENGTH}\t{name}_{chrom}_{start}\n" for chrom, start in rows)
        (folder / f"{name}.bed").write_text("".join(lines))
    return {"genome": folder / "genome.fa", "sites": folder / "sites.bed", "others": folder / "others.bed"}


def train(data: dict[str, Path], **changes: Any) -> TrainResult:
    arguments = {"genome": data["genome"], "config": CONFIG, "training": TRAINING, "device": "cpu", **HELD_OUT}
    return train_model(data["sites"], **(arguments | changes))


def examples_of(data: dict[str, Path], negatives: Path | None = None, **changes: Any) -> Examples:
    arguments = {"genome": data["genome"], "config": CONFIG, "training": TRAINING, "seed": 0, **HELD_OUT}
    return load_examples(data["sites"], negatives, **(arguments | changes))


@pytest.mark.parametrize("sampling", ["gc", "random", "shuffle"])
def test_the_strongest_of_the_training_part_are_added_and_nothing_else_changes(
    data: dict[str, Path], sampling: str
) -> None:
    training = replace(TRAINING, negative_sampling=sampling)
    before = examples_of(data, training=training)
    miner = Miner(data["sites"], data["genome"], training, 0)
    candidates, others = miner.candidates(before, 1), miner.candidates(before, 2)
    assert set(candidates.windows["chrom"]) == {"chr1", "chr2"} and set(candidates.parts) == {"train"}
    assert len(candidates.codes) == 100 * 30 and not np.array_equal(candidates.codes, others.codes)
    again = miner.candidates(before, 1)
    np.testing.assert_array_equal(candidates.codes, again.codes)
    scores = np.random.default_rng(1).normal(size=len(candidates.codes))
    after, said = miner.add(before, candidates, scores)
    n = len(before.codes)
    for name in ("codes", "targets", "parts", "is_positive", "chroms"):
        np.testing.assert_array_equal(getattr(after, name)[:n], getattr(before, name))
    added = after.windows.iloc[n:]
    assert said["n_added"] == len(added) == 30 and said["n_candidates"] == 3000
    assert (after.parts[n:] == "train").all() and not after.is_positive[n:].any() and not after.targets[n:].any()
    assert said["score_range"][1] == scores.max() and said["score_range"][0] >= np.sort(scores)[-300]
    assert after.seen != before.seen
    if sampling != "shuffle":  # they keep their distance from positives, and from each other
        with Genome(data["genome"]) as genome:
            np.testing.assert_array_equal(genome.read_windows(added), after.codes[n:])
        sites = read_bed(data["sites"])
        for row in added.itertuples():
            here = sites[sites["chrom"] == row.chrom]
            assert ((here["end"] <= row.start) | (here["start"] >= row.end)).all()
        starts = added[added["chrom"] == "chr1"]["start"].sort_values()
        assert (starts.diff().dropna() >= (LENGTH + 6) / 2).all()


def test_given_negatives_are_mined_beyond_those_trained_on_at_first(data: dict[str, Path]) -> None:
    whole = examples_of(data, data["others"], training=replace(TRAINING, mine=0))
    before = examples_of(data, data["others"])
    assert before.spare is not None and before.counts("train")["n_negatives"] == 30
    n_all = whole.counts("train")["n_negatives"]
    assert len(before.spare.codes) == n_all - 30 and before.counts("test") == whole.counts("test")
    miner = Miner(data["sites"], data["genome"], TRAINING, 0)
    scores = np.arange(len(before.spare.codes), dtype=np.float64)
    after, said = miner.add(before, miner.candidates(before, 1), scores)
    assert said["n_added"] == n_all - 30 == 30  # all that are left
    with pytest.raises(TrainingError, match=r"none of the 30 candidates is left"):
        miner.add(after, miner.candidates(after, 1), scores)
    with pytest.raises(TrainingError, match="none is left to mine; give more, or a smaller --negatives-per-positive"):
        examples_of(data, data["others"], training=replace(TRAINING, negatives_per_positive=3))


def test_mining_is_recorded_repeats_and_resumes_in_a_later_round(
    data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = replace(TRAINING, mine=2)
    monkeypatch.setattr(mining, "PER_POSITIVE", 10)
    whole = train(data, training=training)
    assert [one["n_added"] for one in whole.metadata["mining"]] == [30, 30]
    assert whole.metadata["split"]["train"]["n_negatives"] == 90 and whole.metadata["training"]["mine"] == 2
    assert whole.metadata["split"]["test"] == train(data, training=TRAINING).metadata["split"]["test"]
    assert "hard negatives: 60 of 600 candidates were added in 2 rounds" in whole.summary()
    out, run_epoch = tmp_path / "M.safetensors", fit_module._Loop.run_epoch
    n_run = []

    def stop_in_round_1(loop: Any, epoch: int) -> Any:
        if len(n_run) == 1:
            raise KeyboardInterrupt
        n_run.append(epoch)
        return run_epoch(loop, epoch)

    monkeypatch.setattr(fit_module._Loop, "run_epoch", stop_in_round_1)
    with pytest.raises(KeyboardInterrupt):
        train(data, training=training, out=out)
    assert state_path(out).exists() and not out.exists()
    n_run.clear()
    monkeypatch.setattr(
        fit_module._Loop, "run_epoch", lambda loop, epoch: n_run.append(epoch) or run_epoch(loop, epoch)
    )
    resumed = train(data, training=training, out=out)
    assert len(n_run) == 2  # not the round that was done
    for name, value in whole.model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), resumed.model.state_dict()[name].numpy(), err_msg=name)
    assert not list(tmp_path.glob(".*training*"))
    assert load_checkpoint(out)[1]["mining"] == whole.metadata["mining"]


def test_mining_needs_negatives(data: dict[str, Path]) -> None:
    sites = read_bed(data["sites"]).assign(value=np.arange(60.0))
    training = replace(TRAINING, target_columns=("value",))
    with pytest.raises(TrainingError, match="mine: got 1 round for a regression model"):
        train_model(
            pd.DataFrame(sites),
            genome=data["genome"],
            config=replace(CONFIG, loss="regression"),
            training=training,
            **HELD_OUT,
        )
    with pytest.raises(TrainingError, match="mine: got -1, expected 0 or more rounds"):
        TrainConfig(mine=-1)
