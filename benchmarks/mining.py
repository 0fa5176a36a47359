"""What more and harder negatives bring genome-wide: average precision against all windows of held-out chromosomes.

    python benchmarks/mining.py --genome sacCer3.fa.gz --sites Reb1.bed [Abf1.bed …] [--seeds 0 1]

Networks of 200-bp windows around the sites learn from 1, 5 and 10 random negatives a positive, at least 500 bp from any
site, and from 5 with rounds of `--mine`, with the test chromosomes held out. Each is judged on *all* windows of these,
200 bp at steps of 100: positive is the window whose middle is nearest to a site's; others with a site within 100 bp of
their middle are left out. `AP` is the average precision (guessing
gives the share of positives), `found` the share of sites among as many highest windows as there are sites, `test AUROC`
and `test AP` those against random negatives, which `seqsal train` prints.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from seqsal.io.bed import read_bed
from seqsal.io.fasta import Genome
from seqsal.models import CNNConfig
from seqsal.regions import make_regions
from seqsal.training import TrainConfig, train_model
from seqsal.training.fit import predict_raw
from seqsal.training.metrics import average_precision

LENGTH, STEP = 200, 100
SETTINGS = {
    "1 negative a positive": {"negatives_per_positive": 1},
    "5": {"negatives_per_positive": 5},
    "10": {"negatives_per_positive": 10},
    "5, --mine 1": {"negatives_per_positive": 5, "mine": 1},
    "5, --mine 2": {"negatives_per_positive": 5, "mine": 2},
}


def held_out_windows(genome: Path, sites: pd.DataFrame, chroms: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """All windows (n, 200) of some chromosomes that are a site's or share no base with one, and which are a site's."""
    with Genome(genome) as reader:
        tables, labels = [], []
        for chrom in chroms:
            start = np.arange(0, reader.chrom_sizes[chrom] - LENGTH + 1, STEP)
            here = sites[sites["chrom"] == chrom]
            middle = ((here["start"] + here["end"]) // 2).to_numpy()
            distance = np.abs(start[:, None] + LENGTH // 2 - middle)
            nearest = np.zeros(len(start), dtype=bool)
            nearest[distance.argmin(axis=0)] = True
            kept = nearest | (distance.min(axis=1) > LENGTH // 2)
            tables.append(make_regions([chrom] * int(kept.sum()), start[kept], start[kept] + LENGTH))
            labels.append(nearest[kept])
        return reader.read_windows(pd.concat(tables, ignore_index=True)), np.concatenate(labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genome", type=Path, required=True)
    parser.add_argument("--sites", type=Path, nargs="+", required=True)
    parser.add_argument("--test-chroms", default="chrIV,chrX")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--epochs", type=int, default=TrainConfig().epochs)
    options = parser.parse_args()
    chroms = options.test_chroms.split(",")
    for path in options.sites:
        sites = read_bed(path)
        codes, is_site = held_out_windows(options.genome, sites, chroms)
        print(f"{path.stem}: {is_site.sum()} sites among {len(codes):,} windows of {' + '.join(chroms)}")
        print("negatives              seed     AP  found  test AUROC  test AP  processor s  hard negatives", flush=True)
        for name, setting in SETTINGS.items():
            for seed in options.seeds:
                began = time.process_time()
                result = train_model(
                    path, genome=options.genome, config=CNNConfig(LENGTH), seed=seed, device="cpu", test_chroms=chroms,
                    training=TrainConfig(
                        negative_sampling="random", min_distance=500, epochs=options.epochs, **setting
                    ),
                )  # fmt: skip
                seconds = time.process_time() - began
                scores = predict_raw(result.model, codes, torch.device("cpu"))[:, 0]
                found = is_site[np.argsort(-scores, kind="stable")[: is_site.sum()]].mean()
                test = result.test_metrics
                mined = [one["n_taken_for_positives"] for one in result.metadata.get("mining", ())]
                genome_wide = average_precision(is_site, scores)
                print(
                    f"{name:22s} {seed:4d}  {genome_wide:.3f}  {found:5.2f}  {test['auroc']:10.3f}  "
                    f"{test['average_precision']:7.3f}  {seconds:11.0f}  {mined or ''}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
