"""Real Reb1 sites of yeast: better than the reference of the data's README, chrIV and chrX held out."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqsal.models.cnn import CNNConfig
from seqsal.training.settings import TrainConfig
from seqsal.training.train import train_model

REFERENCE_AUROC, REFERENCE_AP = 0.905, 0.816  # README.md beside the data


@pytest.mark.slow
@pytest.mark.yeast
def test_reb1(yeast: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # for the genome's index
    result = train_model(
        yeast["Reb1"],
        genome=yeast["genome"],
        config=CNNConfig(200),
        training=TrainConfig(negative_sampling="random", min_distance=500),
        test_chroms=["chrIV", "chrX"],
    )
    assert result.metadata["split"]["test"]["chroms"] == ["chrIV", "chrX"]
    assert not {"chrIV", "chrX"} & set(result.metadata["split"]["train"]["chroms"])
    assert result.test_metrics["n_negatives"] == 4 * result.test_metrics["n_positives"]
    assert result.test_metrics["auroc"] > REFERENCE_AUROC
    assert result.test_metrics["average_precision"] > REFERENCE_AP
