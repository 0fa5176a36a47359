"""Many windows that share their bases: the same training as from windows one by one, in the memory of a genome."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from signal_toys import SignalData, make_signal

from seqsal.models import CNNConfig
from seqsal.sequence.codes import reverse_complement
from seqsal.training import stretches
from seqsal.training.settings import TrainConfig
from seqsal.training.signal import read_tracks
from seqsal.training.stretches import Stretches, blocks_of, joined, turned_codes
from seqsal.training.train import train_model

WIDTH = 60


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SignalData:
    """Regions that overlap, on both strands."""
    made = make_signal(tmp_path_factory.mktemp("stretches"), n_each=20, width=80)
    rows = [(f"chr{c}", start, start + WIDTH, f"w{c}.{start}", 0, "+-"[start % 2]) for c in range(1, 5)
            for start in range(100, 1500, 23)]  # fmt: skip
    pd.DataFrame(rows).to_csv(made.regions, sep="\t", header=False, index=False)
    return made


def test_rows_are_those_of_windows_one_by_one(rng: np.random.Generator) -> None:
    genome = {chrom: rng.integers(0, 5, 900, dtype=np.uint8) for chrom in ("chrA", "chrB")}
    table = pd.DataFrame({
        "chrom": rng.choice(["chrA", "chrB"], 80), "start": rng.integers(0, 800, 80),
        "strand": rng.choice(["+", "-"], 80),
    })  # fmt: skip
    table["end"] = table["start"] + 50
    dense = np.stack([genome[row.chrom][row.start : row.end] for row in table.itertuples()])
    is_minus = (table["strand"] == "-").to_numpy()
    dense[is_minus] = reverse_complement(dense[is_minus])
    laid = Stretches.lay(table, 50, turned_codes)
    for rows in np.array_split(rng.permutation(80), 3):
        laid.put(rows, dense[rows])
    assert laid.shape == dense.shape and laid.nbytes < 1800 < dense.nbytes
    some = rng.permutation(80)[:17]
    np.testing.assert_array_equal(laid[some], dense[some])
    np.testing.assert_array_equal(laid.take(some)[torch.arange(17)], dense[some])
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks_of(laid, 300)]), dense)
    np.testing.assert_array_equal(joined([laid, laid.take(some)])[:], np.concatenate([dense, dense[some]]))


@pytest.mark.parametrize("kind", ["profile", "binary"])
def test_training_is_the_same_to_the_bit(
    kind: str, data: SignalData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = TrainConfig(epochs=2, max_shift=3, batch_size=32, allow_overlap=True)
    options: dict[str, Any] = {"genome": data.genome, "training": training, "device": "cpu"}
    if kind == "profile":
        options["config"] = CNNConfig.for_profile(
            WIDTH, n_targets=2, n_filters=4, n_blocks=1, stem_kernel=5, profile_kernel=9
        )
        options |= {"signal": [data.plus, data.minus]}
    else:
        options["config"] = CNNConfig(WIDTH, n_filters=4, stem_kernel=5, n_blocks=1)
        table = pd.read_csv(data.regions, sep="\t", header=None)
        table.iloc[::2].to_csv(tmp_path / "negatives.bed", sep="\t", header=False, index=False)
        options["negatives"] = tmp_path / "negatives.bed"
    each = train_model(data.regions, **options)
    laid: list[Stretches] = []
    lay = Stretches.lay
    monkeypatch.setattr(stretches, "LEAN_BYTES", 0)
    monkeypatch.setattr(stretches, "MOST_IN_MEMORY", 1000)  # so that they go to a file
    monkeypatch.setattr(Stretches, "lay", lambda *args, **more: laid.append(lay(*args, **more)) or laid[-1])
    together = train_model(data.regions, **options)
    assert len(laid) == 2
    assert together.metadata["history"] == each.metadata["history"]
    assert together.metadata["metrics"] == each.metadata["metrics"]
    for name, value in together.model.state_dict().items():
        assert torch.equal(value, each.model.state_dict()[name]), name


def test_tracks_of_minus_windows_are_turned(data: SignalData, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = np.arange(100, 1500, 17)
    table = pd.DataFrame({"chrom": "chr1", "start": starts, "strand": np.resize(["+", "-", "-"], 83), "name": "w"})
    table["end"] = table["start"] + 40
    dense = read_tracks([data.plus, data.minus], table, 30, {}, swap=(1, 0))
    monkeypatch.setattr(stretches, "LEAN_BYTES", 0)
    laid = read_tracks([data.plus, data.minus], table, 30, {}, swap=(1, 0), lean=True)
    assert isinstance(laid, Stretches) and laid.shape == (83, 2, 30)
    np.testing.assert_array_equal(laid[:], dense)
