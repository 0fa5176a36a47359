"""What CutOut buys: the stretch that the network looks at most, any stretch, or none, shuffled in training.

    python benchmarks/cutout.py [--data ctcf redundant yeast] [--seeds 10] [--filters 32] [--yeast FOLDER]

For each data set, seed and kind of CutOut a network is trained (`seqsal train --cutout`), with all else the same:

* **ctcf**: the CTCF sites of `example_data/` against their shuffles; chr8, chr9, chr13 and chr20 are the test.
* **redundant**: random sequence with one site each of two motifs, at random places, against the same without sites:
  either site alone tells the classes apart.
* **yeast**: Reb1 sites of sacCer3 against random windows; chrIV and chrX are the test.

Of the test part: *AUROC*; *masked*, the AUROC when the stretch of 20 bp with the most attribution of each positive has
been shuffled; *bases*, over how many bases a positive's map is spread (the exponential of the entropy of its shares);
*calibration*, the mean distance of probability and share of positives in ten bins, both classes weighing the same.
Means over seeds with 95 % intervals, and paired differences from none.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contaminated import CTCF, known_motifs
from numpy.typing import NDArray
from retrain import LENGTH, ctcf, reb1, told, write

from seqsal.attribution.methods import gradient_x_input
from seqsal.models import CNNConfig, resolve_device
from seqsal.sequence.codes import one_hot
from seqsal.training import TrainConfig, train_model
from seqsal.training.cutout import salient_starts, shuffle_stretches
from seqsal.training.fit import predict_raw
from seqsal.training.metrics import auroc
from seqsal.training.settings import CUTOUTS

MASKED_BP = 20
SECOND = "MA0138.3"  # REST
N_REDUNDANT = 600


def sets(kind: str, seed: int, yeast: Path) -> tuple[list[str], Any, list[str], Any, list[str]]:
    """Names and codes of positives and negatives, and the test chromosomes."""
    if kind == "redundant":
        rng = np.random.default_rng([seed, 9])
        codes = rng.integers(0, 4, (2 * N_REDUNDANT, LENGTH)).astype(np.uint8)
        for accession, first in ((CTCF, 10), (SECOND, 110)):
            ppm = next(motif for motif in known_motifs() if motif.accession == accession).ppm
            for row in range(N_REDUNDANT):
                start = first + int(rng.integers(0, 80 - ppm.shape[1]))
                site = [rng.choice(4, p=column / column.sum()) for column in ppm.T]
                codes[row, start : start + ppm.shape[1]] = site
        names = [f"chr{1 + i % 5}:{1000 * i}-{1000 * i + LENGTH}" for i in range(len(codes))]
        return names[:N_REDUNDANT], codes[:N_REDUNDANT], names[N_REDUNDANT:], codes[N_REDUNDANT:], ["chr1"]
    data = reb1(yeast, seed) if kind == "yeast" else ctcf("adapter", seed)
    return data.names, data.clean, data.negative_names, data.clean_negatives, data.test_chroms


def measures(model: torch.nn.Module, positives: NDArray[np.uint8], negatives: NDArray[np.uint8]) -> dict[str, float]:
    """Measure a network on the test part."""
    device = resolve_device("cpu")
    values, others = (predict_raw(model, codes, device)[:, 0] for codes in (positives, negatives))  # type: ignore[arg-type]
    X = torch.from_numpy(one_hot(positives))
    track = gradient_x_input(lambda X: model(X).sum(dim=1), X).track(X).detach().abs()
    share = track / track.sum(dim=1, keepdim=True)
    order = torch.rand((len(X), MASKED_BP), generator=torch.Generator().manual_seed(0)).argsort(dim=1)
    with torch.no_grad():
        masked = model(shuffle_stretches(X, salient_starts(model, X, MASKED_BP), order))[:, 0].numpy()
    truth = np.repeat([True, False], [len(values), len(others)])
    weight = np.where(truth, 0.5 / len(values), 0.5 / len(others))
    chance = 1 / (1 + np.exp(-np.concatenate([values, others])))
    bins = np.minimum((10 * chance).astype(int), 9)
    off = [abs(float((weight * (truth - chance))[bins == k].sum())) for k in range(10)]
    return {
        "AUROC": auroc(truth, np.concatenate([values, others])),
        "masked": auroc(truth, np.concatenate([masked, others])),
        "bases": float(torch.exp(-(share * (share + 1e-12).log()).sum(dim=1)).mean()),
        "calibration": sum(off),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["ctcf", "redundant"], choices=["ctcf", "redundant", "yeast"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--filters", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--yeast", type=Path, default=os.environ.get("SEQSAL_YEAST"))
    options = parser.parse_args()
    if "yeast" in options.data and options.yeast is None:
        parser.error("give the folder of the yeast data, or set SEQSAL_YEAST")
    for kind in options.data:
        found: dict[str, list[dict[str, float]]] = {name: [] for name in CUTOUTS}
        for seed in range(options.seeds):
            names, positives, other_names, negatives, test = sets(kind, seed, Path(options.yeast or "."))
            is_test, other_test = (
                np.isin([name.partition(":")[0] for name in some], test) for some in (names, other_names)
            )
            with tempfile.TemporaryDirectory() as folder:
                files = [
                    write(Path(folder) / "p.fa", names, positives),
                    write(Path(folder) / "n.fa", other_names, negatives),
                ]
                for cutout in CUTOUTS:
                    training = TrainConfig(epochs=options.epochs, patience=8, cutout=cutout, allow_overlap=True)
                    model = train_model(
                        *files, config=CNNConfig(LENGTH, n_filters=options.filters), training=training,
                        test_chroms=test, seed=seed, device="cpu",
                    ).model  # fmt: skip
                    found[cutout].append(measures(model, positives[is_test], negatives[other_test]))
        print(f"{kind}, {options.seeds} seeds")
        for cutout, rows in found.items():
            cells = [f"{name} {told([row[name] for row in rows])}" for name in rows[0]]
            if cutout != "none":
                pairs = list(zip(rows, found["none"], strict=True))
                cells.append("less none: " + ", ".join(
                    f"{name} {statistics.fmean(a[name] - b[name] for a, b in pairs):+.4f}" for name in rows[0]
                ))  # fmt: skip
            print(f"  {cutout:8} {'; '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
