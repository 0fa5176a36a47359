"""The picture of README: one held-out site, explained for two models. `python docs/two_models.py demo_out`."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import seqsal
from seqsal.models import load_checkpoint
from seqsal.plot import plot_letters

WIDTH = 48  # bases drawn
OUT = Path(__file__).resolve().parent / "two_models.png"
TITLES = ("Trained on trimmed reads", "Trained on reads with adapters")


def draw(folder: Path) -> None:
    """Draw the strongest part of one site for both models of a demo, with what their audits say."""
    runs = [folder, folder / "contaminated"]
    maps = [seqsal.read_attributions(run / "attributions.h5") for run in runs]
    hits = pd.read_csv(
        runs[1] / "shortcuts.bed", sep="\t", header=None, names=["chrom", "start", "end"], usecols=[0, 1, 2]
    )
    hit = max(inside(maps[1], hits), key=lambda one: float(maps[1].track[one[0], one[1] : one[2]].sum()))
    name = maps[1].regions["name"].iloc[hit[0]]
    rows = [int(np.flatnonzero(maps[0].regions["name"] == name)[0]), hit[0]]
    figure, axes = plt.subplots(1, 2, figsize=(11, 2.9), dpi=130)
    for axis, run, attr, row, title in zip(axes, runs, maps, rows, TITLES, strict=True):
        track, codes = np.asarray(attr.track[row]), np.asarray(attr.codes[row])
        middle = int(np.argmax(np.convolve(np.abs(track), np.ones(20), "same")))
        if run != folder:
            middle = (hit[1] + hit[2]) // 2
        first = max(0, min(middle - WIDTH // 2, len(track) - WIDTH))
        part = slice(first, first + WIDTH)
        plot_letters(track[part], codes[part], axis, start=first, unit="contribution to the logit")
        auroc = load_checkpoint(run / "model.safetensors")[1]["metrics"]["test"]["auroc"]
        axis.set_title(f"{title}: AUROC {auroc:.3f}", loc="left", fontsize=12, weight="bold")
        axis.set_xlabel(
            "\n".join(textwrap.wrap(seqsal.read_audit(run / "audit.json").verdict.answers, 70)), fontsize=11
        )
        axis.set_xticks([])
    figure.tight_layout(w_pad=3)
    figure.savefig(OUT)


def inside(attr: seqsal.Attributions, hits: pd.DataFrame) -> Iterator[tuple[int, int, int]]:
    """Row of the window and first and last index in it, of each position of a shortcut."""
    for chrom, start, end in hits[["chrom", "start", "end"]].itertuples(index=False):
        regions = attr.regions
        holds = (regions["chrom"] == chrom) & (regions["start"] <= start) & (regions["end"] >= end)
        for row in np.flatnonzero(holds):
            shift = start - int(regions["start"].iloc[row])
            yield int(row), shift, shift + end - start


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
