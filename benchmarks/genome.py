"""Sites of a factor found in a whole genome, by the height of peaks, by the prediction alone and by joint evidence.

    python benchmarks/genome.py --genome sacCer3.fa.gz --sites Reb1.bed [--test-chroms chrIV,chrX] [--cache FOLDER]

`seqsal train` learns windows of 200 bp around the sites, the test chromosomes held out; the whole genome is tiled by
windows of 200 bp at steps of 100 bp and attributed with `--controls` shuffles, all by the commands that a user types,
and kept in FOLDER. Calls are compared with the list at some q-values, on the held-out chromosomes and on all:

* **calls**: activating peaks (by the prediction alone: windows, those that overlap as one, which stand where the
  smoothed track is highest).
* **sites**: sites with a call within 30 bp, of the number on these chromosomes.
* **precision**: share of the calls within 30 bp of a site. A site that the list lacks counts as false.

The prediction alone has q-values by target-decoy competition: the share of the controls that are predicted as high,
times the windows, over the number of windows as high. With 20,000 controls for the 121,545 windows of yeast five of
them decide what is called at q ≤ 0.2: the prediction alone finds 93 sites of Reb1 then, and 7 with four times as many.
"""

from __future__ import annotations

import argparse
import gzip
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

import seqsal
from seqsal.io.attributions import Attributions
from seqsal.io.bed import read_bed
from seqsal.peaks.candidates import CandidateRules, smooth_runs

LENGTH, STEP, NEAR_BP = 200, 100, 30
RATES = (0.05, 0.1, 0.2, 0.3)


def prepare(options: argparse.Namespace) -> Path:
    """Train, tile and attribute, as far as it has not been done; returns the attribution file."""
    folder = options.cache / options.sites.stem
    folder.mkdir(parents=True, exist_ok=True)
    model, tiles, out = folder / "M.safetensors", folder / "tiles.bed", folder / f"A{options.controls}.h5"
    if not model.exists():
        seqsal_command(
            "train", "--positives", options.sites, "--genome", options.genome, "--input-length", LENGTH,
            "--test-chroms", options.test_chroms, "--epochs", 25, "--negative-sampling", "random", "--min-distance",
            500, "--out", model,
        )  # fmt: skip
    if not out.exists():
        write_tiles(options.genome, tiles)
        seqsal_command(
            "attribute", "--model", model, "--genome", options.genome, "--regions", tiles, "--controls",
            options.controls, "--out", out,
        )  # fmt: skip
    return out


def seqsal_command(*arguments: object) -> None:
    """Run a command of seqsal."""
    subprocess.run([sys.executable, "-m", "seqsal", *map(str, arguments), "--quiet"], check=True)


def write_tiles(genome: Path, path: Path) -> None:
    """Write windows over all chromosomes of a FASTA file."""
    sizes: dict[str, int] = {}
    chrom = ""
    with gzip.open(genome, "rt") if genome.suffix == ".gz" else open(genome) as file, open(path, "w") as out:
        for line in file:
            if line.startswith(">"):
                chrom = line[1:].split()[0]
                sizes[chrom] = 0
            else:
                sizes[chrom] += len(line.strip())
        for chrom, size in sizes.items():
            out.writelines(f"{chrom}\t{s}\t{s + LENGTH}\n" for s in range(0, size - LENGTH + 1, STEP))


def by_prediction(attr: Attributions) -> pd.DataFrame:
    """Windows as calls with q-values by their predictions alone: chrom, place, q_value."""
    prediction = np.asarray(attr.prediction, dtype=np.float64)
    assert attr.controls is not None
    controls = np.sort(np.asarray(attr.controls.prediction, dtype=np.float64))
    order = np.argsort(-prediction, kind="stable")
    tail = (1 + len(controls) - np.searchsorted(controls, prediction[order], side="left")) / (1 + len(controls))
    false = tail * len(prediction) / np.arange(1, len(prediction) + 1)
    q_values = np.minimum.accumulate(false[::-1])[::-1]
    high = order[q_values <= max(RATES)]
    calls = attr.regions.loc[high, ["chrom", "start"]].assign(q_value=q_values[q_values <= max(RATES)])
    tracks = np.asarray(attr.track[high])
    places = [
        int(np.argmax(smooth_runs(np.arange(LENGTH), track, CandidateRules.smooth_bp).smoothed)) for track in tracks
    ]
    gap = CandidateRules.smooth_bp // 2 + 1
    return calls.assign(place=calls["start"] + np.array(places, dtype=np.int64) - gap)


def merged(calls: pd.DataFrame) -> pd.DataFrame:
    """Replace calls whose windows overlap by the best one of them."""
    calls = calls.sort_values(["chrom", "start"])
    is_new = (calls["chrom"] != calls["chrom"].shift()) | (calls["start"].diff() >= LENGTH)
    return calls.loc[calls.groupby(is_new.cumsum())["q_value"].idxmin()]


def judge(calls: pd.DataFrame, sites: pd.DataFrame) -> str:
    """Count calls, sites found and precision."""
    found, is_true = np.zeros(len(sites), bool), np.zeros(len(calls), bool)
    for chrom in sites["chrom"].unique():
        of_sites, of_calls = (sites["chrom"] == chrom).to_numpy(), (calls["chrom"] == chrom).to_numpy()
        away = np.abs(sites["start"].to_numpy()[of_sites][:, None] - calls["place"].to_numpy()[of_calls])
        found[of_sites], is_true[of_calls] = (away <= NEAR_BP).any(axis=1), (away <= NEAR_BP).any(axis=0)
    return f"{len(calls):6d} {found.sum():5d}/{len(sites)} {is_true.mean() if len(calls) else np.nan:6.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genome", type=Path, required=True)
    parser.add_argument("--sites", type=Path, required=True)
    parser.add_argument("--test-chroms", default="chrIV,chrX")
    parser.add_argument("--controls", type=int, default=80_000)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "seqsal-genome")
    parser.add_argument("--attributions", type=Path, help="made before")
    options = parser.parse_args()
    attr = seqsal.read_attributions(options.attributions or prepare(options), in_memory=False)
    sites = read_bed(options.sites)
    table: dict[str, dict[float, pd.DataFrame]] = {"prediction alone": {}}
    alone = by_prediction(attr)
    for rate in RATES:
        table["prediction alone"][rate] = merged(alone[alone["q_value"] <= rate])
    for statistic in ("height", "joint"):
        began = time.process_time()
        how = {"sign": "pos", "max_controls": attr.n_controls}
        peaks = seqsal.call_peaks(attr, fdr=max(RATES), statistic=statistic, **how)
        print(f"{statistic}: {time.process_time() - began:.0f} s, best q {peaks.attrs['best_q']:.2g}")
        peaks = peaks.assign(place=peaks["start"] + peaks["summit"])
        table[statistic] = {rate: peaks[peaks["q_value"] <= rate] for rate in RATES}
    held_out = options.test_chroms.split(",")
    print(f"{len(attr):,} windows, {attr.n_controls:,} controls; {len(sites)} sites within {NEAR_BP} bp")
    print(f"{'':18s}    q   all: calls  sites  precision   | {options.test_chroms}: calls  sites  precision")
    for name, of_rate in table.items():
        for rate, calls in of_rate.items():
            parts = [(calls, sites), (one[one["chrom"].isin(held_out)] for one in (calls, sites))]
            print(f"{name:18s} {rate:4g}   {'   |   '.join(judge(*part) for part in parts)}", flush=True)


if __name__ == "__main__":
    main()
