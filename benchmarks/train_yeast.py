"""Train the built-in model on yeast Reb1 sites, against the reference that ships with the data.

    python benchmarks/train_yeast.py [FOLDER] [--seeds 0 1 2] [--site Reb1]

FOLDER (or the variable SEQSAL_YEAST) holds sacCer3.fa.gz and Reb1.bed. Windows of 200 bp around the sites against four
times as many random windows at least 500 bp from any site; chrIV and chrX are the test, looked at once for each seed.
The reference, a plain 64-filter dilated CNN trained for 25 epochs, reached AUROC 0.905 and average precision 0.816.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

import torch

from seqsal.models import CNNConfig
from seqsal.training import TrainConfig, TrainResult, train_model

REFERENCE = {"auroc": 0.905, "average_precision": 0.816}  # README.md beside the data
TEST_CHROMS = ("chrIV", "chrX")
LENGTH = 200


def train(folder: Path, site: str, seed: int) -> tuple[TrainResult, float]:
    start = time.perf_counter()
    result = train_model(
        folder / f"{site}.bed",
        genome=folder / "sacCer3.fa.gz",
        config=CNNConfig(input_length=LENGTH),
        training=TrainConfig(negative_sampling="random", negatives_per_positive=4, min_distance=500),
        test_chroms=TEST_CHROMS,
        seed=seed,
        progress=True,
    )
    return result, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=os.environ.get("SEQSAL_YEAST"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--site", default="Reb1", choices=["Reb1", "Abf1"])
    options = parser.parse_args()
    if options.folder is None:
        parser.error("give the folder of the yeast data, or set SEQSAL_YEAST")
    print(f"{options.site}, test {' + '.join(TEST_CHROMS)}, {torch.get_num_threads()} threads")
    print("seed  epochs  best  valid AUROC  test AUROC  test AP  positives  negatives  seconds")
    rows = []
    for seed in options.seeds:
        result, seconds = train(Path(options.folder), options.site, seed)
        test, metadata = result.test_metrics, result.metadata
        rows.append(test)
        print(
            f"{seed:4d}  {len(metadata['history']):6d}  {metadata['best_epoch']:4d}  "
            f"{metadata['metrics']['valid']['auroc']:11.4f}  {test['auroc']:10.4f}  {test['average_precision']:7.4f}  "
            f"{test['n_positives']:9d}  {test['n_negatives']:9d}  {seconds:7.1f}",
            flush=True,
        )
    for name, reference in REFERENCE.items():
        values = [row[name] for row in rows]
        print(
            f"{name}: mean {statistics.fmean(values):.4f}, lowest {min(values):.4f}, highest {max(values):.4f}; "
            f"reference {reference} (Reb1)"
        )


if __name__ == "__main__":
    main()
