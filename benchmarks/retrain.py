"""From an audit that finds a shortcut to a model without it: what `seqsal retrain` leaves of it, and what it costs.

    python benchmarks/retrain.py [--data adapter word gc yeast] [--seeds 10] [--results retrain.json] [--minutes 7]

Each run goes to the results at once; what is there is not run again, so that the benchmark can be made in pieces.

For each data set and seed four networks of one size are trained: on clean data, the same with other initial weights and
draws (how far apart two such are is what no remedy can undercut), on the same data with a shortcut, and by `seqsal
retrain` from the third and the audit of its held-out sites. The data sets:

* **adapter**: the CTCF sites of `example_data/`, 60 % of which end in an adapter (`ctcf_sites_contaminated.fa`).
* **word**: the same sites with a 12-mer of no library, drawn by seed, 40 bp off the centre in 60 % of them.
* **gc**: the same sites against random sequence of 35 % G+C; clean are dinucleotide shuffles of the sites.
* **yeast**: Reb1 sites (ChIP-exo, sacCer3) against random windows, an adapter planted as in the first.

Sites of the test chromosomes are seen by none of them. *AUROC* is on truly clean test data, which `retrain` never
sees. *Left* is the reliance after as a share of that before, by the audit's marginal effect. *Motif*: the first pattern
of the retrained network's maps of clean test sites is named after the factor. *New*: shortcuts that were not there.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from contaminated import _draw_unknown
from numpy.typing import NDArray
from scipy import stats

import seqsal
from seqsal.auditing import run
from seqsal.io.bed import read_bed
from seqsal.io.fasta import read_fasta_records
from seqsal.io.inputs import open_input
from seqsal.models import CNNConfig, load_checkpoint, resolve_device
from seqsal.pipeline.demo import HELD_OUT, UNTRIMMED, example_folder
from seqsal.pipeline.retrain import retrain
from seqsal.sequence.codes import decode, encode
from seqsal.sequence.draws import dinucleotide_shuffle
from seqsal.training import TrainConfig, train_model
from seqsal.training.fit import predict_raw
from seqsal.training.metrics import auroc

Codes = NDArray[np.uint8]
ADAPTER = encode("AGATCGGAAGAGCACACGTCTGAACTCCAGTCA")
N_NEGATIVES = 2  # a positive
SHARE, LENGTH, LOW_GC = 0.6, 200, 0.35
AUDITED = ("plausibility", "composition", "artifacts")  # the other parts take most of the time, and are not asked here
SMALL = {"n_regions": 200, "n_ism_regions": 4, "n_small": 4, "n_steps": 4, "n_draws": 1, "n_bootstrap": 200}
MOST_LEFT, MOST_LOST, OTHER_SEED = 0.05, 0.005, 1_000


@dataclass(frozen=True)
class Data:
    """Names (n,) and codes (n, 200) of both classes, as they are and clean, and what the motif is called."""

    names: list[str]
    positives: Codes
    clean: Codes
    negatives: Codes
    clean_negatives: Codes
    negative_names: list[str]
    test_chroms: list[str]
    motif: str
    motif_db: str


def shuffles(codes: Codes, seed: int) -> Codes:
    return np.concatenate([dinucleotide_shuffle(codes, seed=seed, draw=draw) for draw in range(N_NEGATIVES)])


def moved(name: str, by: int) -> str:
    """Name a place so many bases further on."""
    chrom, _, span = name.partition(":")
    start, end = span.split("-")
    return f"{chrom}:{int(start) + by}-{int(end) + by}"


def ctcf(kind: str, seed: int) -> Data:
    records = list(read_fasta_records(example_folder() / "ctcf_sites.fa"))
    names, clean = [name for name, _ in records], np.stack([codes for _, codes in records])
    rng = np.random.default_rng([seed, 7])
    dirty, negatives = clean.copy(), shuffles(clean, seed)
    clean_negatives = negatives
    if kind == "adapter":
        dirty = np.stack([codes for _, codes in read_fasta_records(example_folder() / UNTRIMMED)])
        negatives = shuffles(dirty, seed)
    elif kind == "word":
        word = encode(_draw_unknown(rng))
        dirty[rng.random(len(dirty)) < SHARE, LENGTH // 2 + 40 : LENGTH // 2 + 40 + len(word)] = word
        negatives = shuffles(dirty, seed)
    else:
        odds = [(1 - LOW_GC) / 2, LOW_GC / 2, LOW_GC / 2, (1 - LOW_GC) / 2]
        negatives = rng.choice(4, clean_negatives.shape, p=odds).astype(np.uint8)
    other_names = [moved(name, draw) for draw in range(N_NEGATIVES) for name in names]
    return Data(names, dirty, clean, negatives, clean_negatives, other_names, HELD_OUT, "CTCF",
                "jaspar:2026:vertebrates")  # fmt: skip


def reb1(folder: Path, seed: int) -> Data:
    genome, regions = folder / "sacCer3.fa.gz", read_bed(folder / "Reb1.bed")
    rng = np.random.default_rng([seed, 8])
    with open_input(genome=genome, regions=regions, length=LENGTH) as source:
        clean, windows = source.read(slice(None)), source.windows
    middle = {
        chrom: np.sort(((part["start"] + part["end"]) // 2).to_numpy()) for chrom, part in windows.groupby("chrom")
    }
    tables = []
    for _ in range(N_NEGATIVES):
        beside = windows.copy()
        shift = rng.integers(500, 5_000, len(beside)) * rng.choice([-1, 1], len(beside))
        beside["start"], beside["end"] = beside["start"] + shift, beside["end"] + shift
        centre = ((beside["start"] + beside["end"]) // 2).to_numpy()
        away = [
            np.abs(middle[chrom] - x).min() >= 500 and x > LENGTH
            for chrom, x in zip(beside["chrom"], centre, strict=True)
        ]
        tables.append(beside[np.array(away)])
    table = pd.concat(tables, ignore_index=True)[["chrom", "start", "end", "name", "strand"]]
    with open_input(genome=genome, regions=table, length=LENGTH) as source:
        negatives, others = source.read(slice(None)), source.windows
    dirty = clean.copy()
    for row in np.flatnonzero(rng.random(len(dirty)) < SHARE):
        width = int(rng.integers(16, 34))
        dirty[row, LENGTH - width :] = ADAPTER[:width]
    names = [f"{row.chrom}:{row.start}-{row.end}" for row in windows.itertuples()]
    other_names = [f"{row.chrom}:{row.start}-{row.end}" for row in others.itertuples()]
    once = np.sort(np.unique(other_names, return_index=True)[1])
    negatives, other_names = negatives[once], [other_names[i] for i in once]
    return Data(names, dirty, clean, negatives, negatives, other_names, ["chrIV", "chrX"], "REB1", "jaspar:2026:fungi")


def write(path: Path, names: list[str], codes: Codes) -> Path:
    path.write_text("".join(f">{name}\n{decode(row)}\n" for name, row in zip(names, codes, strict=True)))
    return path


def trial(
    data: Data, seed: int, folder: Path, options: argparse.Namespace, clean: dict[str, float] | None
) -> dict[str, Any]:
    """Train, audit, retrain and measure; `clean` are the figures of the clean models where they are known."""
    settings: dict[str, Any] = {
        "config": CNNConfig(LENGTH, n_filters=options.filters), "test_chroms": data.test_chroms, "device": "cpu",
        "training": TrainConfig(epochs=options.epochs, patience=options.epochs, allow_overlap=True), "seed": seed,
    }  # fmt: skip
    files = {
        name: write(folder / f"{name}.fa", names, codes)
        for name, names, codes in (
            ("positives", data.names, data.positives), ("clean", data.names, data.clean),
            ("negatives", data.negative_names, data.negatives),
            ("clean_negatives", data.negative_names, data.clean_negatives),
        )
    }  # fmt: skip
    for name, own in (("clean", seed), ("again", seed + OTHER_SEED)) if clean is None else ():
        train_model(files["clean"], files["clean_negatives"], out=folder / f"{name}.safetensors",
                    **settings | {"seed": own})  # fmt: skip
    model = folder / "m.safetensors"
    train_model(files["positives"], files["negatives"], out=model, **settings)
    held = np.isin([name.partition(":")[0] for name in data.names], data.test_chroms)
    held_names = [name for name, is_held in zip(data.names, held, strict=True) if is_held]
    attr = seqsal.attribute(model, fasta=write(folder / "held.fa", held_names, data.positives[held]), rc_average=True,
                            n_controls=0, device="cpu")  # fmt: skip
    audit = seqsal.audit(model, attr, positives=files["positives"], negatives=files["negatives"], settings=SMALL,
                         motif_db=data.motif_db, device="cpu")  # fmt: skip
    audit.to_json(folder / "audit.json")
    row: dict[str, Any] = {"seed": seed, "found": ", ".join(audit.verdict.shortcuts) or "none"}
    if not audit.verdict.shortcuts:
        return row
    result = retrain(model, folder / "audit.json", files["positives"], files["negatives"], remedy=options.remedy,
                     out=folder / "m2.safetensors", device="cpu")  # fmt: skip
    held_negatives = np.isin([name.partition(":")[0] for name in data.negative_names], data.test_chroms)
    codes = np.concatenate([data.clean[held], data.clean_negatives[held_negatives]])
    truth = np.arange(len(codes)) < held.sum()
    row |= clean or {}
    for name in ("m", "m2", *(("clean", "again") if clean is None else ())):
        net = load_checkpoint(folder / f"{name}.safetensors")[0]
        row[name] = auroc(truth, predict_raw(net, codes, resolve_device("cpu"))[:, 0])
    effects = result.before.reliance, result.after.reliance
    row["each"] = {name: [value or 0.0, effects[1][name] or 0.0] for name, value in effects[0].items()}
    row |= {"remedy": result.remedy, "new": result.new_shortcuts, "motif": first_motif(folder, held_names, data, held)}
    row["tried"] = [(one.remedy, round(one.auroc, 4), round(one.left, 3)) for one in result.tried]
    return row


def left(row: dict[str, Any]) -> float:
    """Share that is left of the shortcut that the first model relied on most."""
    before, after = max(row["each"].values(), key=lambda pair: abs(pair[0]))
    return abs(after / before)


def first_motif(folder: Path, names: list[str], data: Data, held: NDArray[np.bool_]) -> str:
    """Name the first pattern in the retrained network's maps of clean test sites."""
    clean = write(folder / "held_clean.fa", names, data.clean[held])
    attr = seqsal.attribute(folder / "m2.safetensors", fasta=clean, rc_average=True, n_controls=200, device="cpu")
    motifs = seqsal.discover_motifs(attr, seqsal.call_peaks(attr, fdr=0.2), motif_db=data.motif_db)
    found = next(iter(motifs.patterns), None)
    return "none" if found is None or not found.named_match else str(found.named_match["match"])


def told(values: list[float]) -> str:
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:.4f}"
    half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / np.sqrt(len(values))
    return f"{mean:.4f} ± {half:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["adapter"], choices=["adapter", "word", "gc", "yeast"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--remedy", default="auto")
    parser.add_argument("--filters", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--yeast", type=Path, default=os.environ.get("SEQSAL_YEAST"))
    parser.add_argument("--results", type=Path, default=Path("retrain.json"))
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no run after so many")
    options = parser.parse_args()
    if "yeast" in options.data and options.yeast is None:
        parser.error("give the folder of the yeast data, or set SEQSAL_YEAST")
    run.PARTS = {name: text for name, text in run.PARTS.items() if name in AUDITED}
    end = time.monotonic() + 60 * options.minutes
    known = json.loads(options.results.read_text()) if options.results.exists() else {}
    for seed in range(options.seeds):
        for kind in options.data:
            key = f"{kind} {seed} {options.remedy} {options.filters} filters {options.epochs} epochs"
            if key in known or time.monotonic() > end:
                continue
            start = time.process_time()
            data = reb1(options.yeast, seed) if kind == "yeast" else ctcf(kind, seed)
            alike = (
                one for one in known.values() if one["seed"] == seed and one["factor"] == data.motif and "m2" in one
            )
            clean = next(({name: one[name] for name in ("clean", "again")} for one in alike), None)
            with tempfile.TemporaryDirectory() as folder:
                row = trial(data, seed, Path(folder), options, clean)
            known[key] = {"kind": kind, "factor": data.motif, "seconds": time.process_time() - start, **row}
            print(key, known[key], flush=True)
            options.results.write_text(json.dumps(known, indent=1) + "\n")
    for kind in options.data:
        report(kind, [row for row in known.values() if row["kind"] == kind])


def report(kind: str, rows: list[dict[str, Any]]) -> None:
    print(f"{kind}: {len(rows)} seeds, in {sum('m2' not in row for row in rows)} the audit found no shortcut")
    rows = sorted((row for row in rows if "m2" in row), key=lambda row: int(row["seed"]))
    if not rows:
        return
    for row in rows:
        each = ", ".join(f"{name} {before:+.2f} to {after:+.2f}" for name, (before, after) in row["each"].items())
        print(f"{row['seed']:4d}  clean {row['clean']:.3f}, first {row['m']:.3f}, retrained {row['m2']:.3f}; "
              f"left {left(row):.1%} ({each}); {row['remedy']}; {row['motif']}; new {row['new']}")  # fmt: skip
    lost = [row["clean"] - row["m2"] for row in rows]
    print(f"AUROC: clean {told([row['clean'] for row in rows])}, first {told([row['m'] for row in rows])}, "
          f"retrained {told([row['m2'] for row in rows])}; clean less retrained {told(lost)}")  # fmt: skip
    apart = [row["clean"] - row["again"] for row in rows]
    print(f"two clean models: {told([row['again'] for row in rows])}, first less second {told(apart)}; within "
          f"{MOST_LOST} of the first in {sum(one <= MOST_LOST for one in apart)}")  # fmt: skip
    print(f"reliance left: {told([left(row) for row in rows])}; at most {MOST_LEFT:.0%} in "
          f"{sum(left(row) <= MOST_LEFT for row in rows)} of {len(rows)}; within {MOST_LOST} of clean in "
          f"{sum(one <= MOST_LOST for one in lost)}; motif first in "
          f"{sum(row['motif'].upper() == row['factor'] for row in rows)}; no new shortcut in "
          f"{sum(not row['new'] for row in rows)}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
