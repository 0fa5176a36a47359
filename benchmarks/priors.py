"""What CutOut, priors of maps and teachers buy: accuracy, calibration, and maps that say why.

    python benchmarks/priors.py [--data single redundant yeast] [--seeds 10] [--results priors.json] [--minutes 7]

Of each data set and seed networks of one size are trained that differ in one thing (`VARIANTS`), and for the first data
set students of half the filters, with teachers or without (`STUDENTS`). Each run goes to the results at once, and is
not run again.

* **single**: random sequence with one site of CTCF, at any place, a tenth of its bases drawn at random, against the
  same without sites.
* **redundant**: one site each of CTCF and REST, drawn likewise: either tells the classes apart.
* **yeast**: 500 Reb1 sites of sacCer3 against random windows; chrIV and chrX are the test.

Of the test part: *AUROC*; *masked*, the AUROC when the stretch of 20 bp with the most attribution of each positive has
been shuffled; *calibration*, the mean distance of probability and share of positives in ten bins, both classes weighing
the same. Of the maps of its positives (gradient × input): *bases*, over how many a map is spread (the exponential of
the entropy of its shares); *on sites*, the share of its mass on the planted sites, and *both*, how even that is between
the two (1: alike); *stable*, the cosine of maps before and after a turn, shifts and silent mutations, the mean of the
three; *faithful*, how much more the logit falls when the 20 bases with the most attribution are replaced than when any
20 are, in standard deviations of the logits. Of students *agree*, Pearson's correlation of their logits and the
teacher's, and *maps agree*, the cosine of maps. Means over seeds with 95 % intervals (Student's t), and
differences of the same seed.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contaminated import CTCF, known_motifs
from numpy.typing import NDArray
from retrain import reb1, told, write

from seqsal.attribution.methods import gradient_x_input
from seqsal.models import CNN, CNNConfig, resolve_device
from seqsal.models.checkpoint import save_checkpoint
from seqsal.sequence.codes import one_hot
from seqsal.sequence.draws import dinucleotide_shuffle
from seqsal.training import TrainConfig, train_model
from seqsal.training.cutout import salient_starts, shuffle_stretches
from seqsal.training.distill import Teacher
from seqsal.training.fit import predict_raw
from seqsal.training.metrics import auroc, pearson
from seqsal.training.priors import CHANGES, changed, map_distance

MASKED_BP, N_SITES, LENGTH, NOISE = 20, 600, 100, 0.1
REST = "MA0138.3"
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "cutout random": {"cutout": "random"},
    "cutout salient": {"cutout": "salient"},
    "fourier": {"priors": ("fourier",)},
    "consistency": {"priors": ("consistency",)},
}
STUDENTS: dict[str, tuple[tuple[str, ...], float]] = {  # teachers, weight of their maps
    "student alone": ((), 0.0),
    "of plain": (("plain",), 0.0),
    "of plain, maps": (("plain",), 1.0),
    "of fourier": (("fourier",), 0.0),
    "of fourier, maps": (("fourier",), 1.0),
    "of three": (("plain", "plain 2", "plain 3"), 0.0),
}
PAIRS = {  # which is compared with which
    **dict.fromkeys([name for name in VARIANTS if name != "plain"], "plain"),
    **dict.fromkeys([name for name in STUDENTS if name != "student alone"], "student alone"),
}
Codes = NDArray[np.uint8]


def planted(kind: str, seed: int) -> tuple[list[str], Codes, NDArray[np.int8], list[str], Codes, list[str]]:
    """Names and codes of both classes, which bases are of the first or second site, and the test chromosomes."""
    rng = np.random.default_rng([seed, 9])
    codes = rng.integers(0, 4, (2 * N_SITES, LENGTH)).astype(np.uint8)
    where = np.zeros((N_SITES, LENGTH), np.int8)
    halves = [(CTCF, 0, LENGTH)] if kind == "single" else [(CTCF, 0, LENGTH // 2), (REST, LENGTH // 2, LENGTH)]
    for number, (accession, first, last) in enumerate(halves):
        ppm = next(motif for motif in known_motifs() if motif.accession == accession).ppm
        width = ppm.shape[1]
        for row in range(N_SITES):
            start = int(rng.integers(first, last - width + 1))
            site = np.array([rng.choice(4, p=column / column.sum()) for column in ppm.T])
            codes[row, start : start + width] = np.where(rng.random(width) < NOISE, rng.integers(0, 4, width), site)
            where[row, start : start + width] = number + 1
    names = [f"chr{1 + i % 5}:{1000 * i}-{1000 * i + LENGTH}" for i in range(len(codes))]
    return names[:N_SITES], codes[:N_SITES], where, names[N_SITES:], codes[N_SITES:], ["chr1"]


def sets(kind: str, seed: int, yeast: Path) -> tuple[list[str], Codes, NDArray[np.int8] | None, list[str], Codes, Any]:
    if kind != "yeast":
        return planted(kind, seed)
    data, rng = reb1(yeast, seed), np.random.default_rng([seed, 10])
    ours, theirs = (rng.permutation(len(one))[:N_SITES] for one in (data.names, data.negative_names))
    return ([data.names[i] for i in ours], data.clean[ours], None, [data.negative_names[i] for i in theirs],
            data.negatives[theirs], data.test_chroms)  # fmt: skip


def map_of(model: torch.nn.Module, X: torch.Tensor) -> torch.Tensor:
    return gradient_x_input(lambda X: model(X).sum(dim=1), X).track(X).detach()


def logits(model: CNN, codes: Codes) -> NDArray[np.float64]:
    return predict_raw(model, codes, resolve_device("cpu"))[:, 0]


def measures(model: CNN, positives: Codes, negatives: Codes, where: NDArray[np.int8] | None) -> dict[str, float]:
    """Measure a network on the test part."""
    values, others = logits(model, positives), logits(model, negatives)
    X, generator = torch.from_numpy(one_hot(positives)), torch.Generator().manual_seed(0)
    track = map_of(model, X)
    share = track.abs() / track.abs().sum(dim=1, keepdim=True)
    order = torch.rand((len(X), MASKED_BP), generator=generator).argsort(dim=1)
    with torch.no_grad():
        masked = model(shuffle_stretches(X, salient_starts(model, X, MASKED_BP), order))[:, 0].numpy()
    truth = np.repeat([True, False], [len(values), len(others)])
    weight = np.where(truth, 0.5 / len(values), 0.5 / len(others))
    chance = 1 / (1 + np.exp(-np.concatenate([values, others])))
    bins = np.minimum((10 * chance).astype(int), 9)
    stable = []
    for kind in CHANGES:
        other, back, same = changed(X, track, kind, generator)
        stable.append(1 - float(map_distance(track * same, back(map_of(model, other)) * same)))
    shuffled = dinucleotide_shuffle(positives, seed=0, draw=0)
    falls = []
    for score in (track.numpy(), np.random.default_rng(0).random(track.shape)):
        top, without = np.argsort(-score, axis=1)[:, :MASKED_BP], positives.copy()
        np.put_along_axis(without, top, np.take_along_axis(shuffled, top, axis=1), axis=1)
        falls.append((values - logits(model, without)).mean())
    found = {
        "AUROC": auroc(truth, np.concatenate([values, others])),
        "masked": auroc(truth, np.concatenate([masked, others])),
        "calibration": sum(abs(float((weight * (truth - chance))[bins == k].sum())) for k in range(10)),
        "bases": float(torch.exp(-(share * (share + 1e-12).log()).sum(dim=1)).mean()),
        "stable": float(np.mean(stable)),
        "faithful": (falls[0] - falls[1]) / np.concatenate([values, others]).std(),
    }
    if where is not None:
        on = np.stack([(share.numpy() * (where == k)).sum(axis=1) for k in range(1, where.max() + 1)])
        found["on sites"] = float(on.sum(axis=0).mean())
        if len(on) > 1:
            found["both"] = float((2 * on.min(axis=0) / on.sum(axis=0)).mean())
    return {name: float(value) for name, value in found.items()}


def agreement(model: CNN, teacher: Teacher, positives: Codes, negatives: Codes) -> dict[str, float]:
    """How far a student says the same as its teachers."""
    codes, X = np.concatenate([positives, negatives]), torch.from_numpy(one_hot(positives))
    taught = np.mean([logits(one, codes) for one in teacher.models], axis=0)
    return {"agree": float(pearson(taught, logits(model, codes))),
            "maps agree": 1 - float(map_distance(map_of(model, X), teacher.track(X)))}  # fmt: skip


def trial(kind: str, seed: int, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Train and measure all networks of a data set and seed."""
    names, positives, where, other_names, negatives, test = sets(kind, seed, Path(options.yeast or "."))
    is_test, other_test = (np.isin([one.partition(":")[0] for one in some], test) for some in (names, other_names))
    given = positives[is_test], negatives[other_test]
    on = None if where is None else where[is_test]
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        files = write(folder / "p.fa", names, positives), write(folder / "n.fa", other_names, negatives)

        def train(n_filters: int, of: int = seed, teachers: Any = None, **settings: Any) -> CNN:
            training = TrainConfig(
                batch_size=32,
                learning_rate=4e-3,
                epochs=options.epochs,
                patience=options.epochs,
                allow_overlap=True,
                **settings,
            )
            return train_model(
                *files, config=CNNConfig(positives.shape[1], n_filters=n_filters, n_blocks=2), training=training,
                test_chroms=test, seed=of, device="cpu", teachers=teachers,
            ).model  # fmt: skip

        models: dict[str, CNN] = {}
        for name, settings in VARIANTS.items():
            models[name] = train(options.filters, **settings)
            found[name] = measures(models[name], *given, on)
        if kind != "single":
            return found
        models |= {f"plain {k}": train(options.filters, of=seed + 1000 * k) for k in (2, 3)}
        for name, model in models.items():
            save_checkpoint(folder / f"{name}.safetensors", model, {})
        for name, (teachers, weight) in STUDENTS.items():
            heat = {"temperature": options.temperature, "match_maps": weight} if teachers else {}
            student = train(options.filters // 2, teachers=[folder / f"{one}.safetensors" for one in teachers], **heat)
            found[name] = measures(student, *given, on)
            if teachers:
                found[name] |= agreement(student, Teacher([models[one] for one in teachers]), *given)
    return found


def report(kind: str, rows: list[dict[str, dict[str, float]]]) -> None:
    print(f"\n{kind}, {len(rows)} seeds")
    for name in rows[0]:
        cells = [f"{what} {told([row[name][what] for row in rows])}" for what in rows[0][name]]
        print(f"  {name}: {'; '.join(cells)}")
        to = PAIRS.get(name)
        if to is not None and to in rows[0]:
            less = [f"{what} {told([row[name][what] - row[to][what] for row in rows])}" for what in rows[0][to]]
            print(f"    less {to}: {'; '.join(less)}", flush=True)
    if "of fourier" in rows[0]:
        for end in ("", ", maps"):
            less = [
                f"{what} {told([row['of fourier' + end][what] - row['of plain' + end][what] for row in rows])}"
                for what in rows[0]["of plain"]
            ]
            print(f"  fourier as a teacher{end}, less plain as a teacher: {'; '.join(less)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["single", "redundant"], choices=["single", "redundant", "yeast"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--filters", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--temperature", type=float, default=2.0)
    parser.add_argument("--yeast", type=Path, default=os.environ.get("SEQSAL_YEAST"))
    parser.add_argument("--results", type=Path, default=Path("priors.json"))
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no run after so many")
    options = parser.parse_args()
    if "yeast" in options.data and options.yeast is None:
        parser.error("give the folder of the yeast data, or set SEQSAL_YEAST")
    end = time.monotonic() + 60 * options.minutes
    known = json.loads(options.results.read_text()) if options.results.exists() else {}
    for seed in range(options.seeds):
        for kind in options.data:
            key = (
                f"{kind} {seed} {options.filters} filters {options.epochs} epochs, temperature {options.temperature:g}"
            )
            if key not in known and time.monotonic() < end:
                start = time.process_time()
                known[key] = trial(kind, seed, options)
                print(f"{key}: {time.process_time() - start:.0f} s", flush=True)
                options.results.write_text(json.dumps(known, indent=1) + "\n")
    for kind in options.data:
        if rows := [row for key, row in known.items() if key.startswith(f"{kind} ")]:
            report(kind, rows)


if __name__ == "__main__":
    main()
