"""Shortcuts in few regions of real factors: how often a true motif is called one, and whether adapters are still found.

    python benchmarks/shortcuts_few.py FOLDER [--trials 120] [--cache FOLDER] [--factors 12]

FOLDER holds sacCer3.fa.gz, Reb1.bed and Abf1.bed. Random subsets of 8 to 50 windows of 200 bp are audited for shortcuts
with JASPAR's motifs of fungi as known ones:

* of the real Reb1 and Abf1 sites, with a CNN that was trained on all of them (once, kept in the cache);
* of the best sites on chrIV of further factors of JASPAR, with a network that reads the factor's matrix: what it reads
  is known without training. RAP1, whose ACCCATAC is a piece of the HA tag, is always among them.

In half of the trials an adapter (those of `contaminated.py`) is put into 60 to 100 % of the windows, and the network
reads it as well: `found` when a shortcut shares 8 bp with it. Any other shortcut is false. Intervals are
those of Clopper and Pearson (1934, doi:10.1093/biomet/26.4.404), 95 %.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from contaminated import ADAPTERS, share_word
from numpy.typing import NDArray
from scipy import stats
from torch import nn

import seqsal
from seqsal.auditing.context import AuditContext
from seqsal.auditing.parts.artifacts import audit_artifacts
from seqsal.io.inputs import open_input
from seqsal.models import CNNConfig, load_model, wrap
from seqsal.motifs import Motif, read_motifs
from seqsal.motifs.scan import scan_codes
from seqsal.sequence.codes import encode, one_hot, reverse_complement
from seqsal.training import TrainConfig, train_model

LENGTH, SIZES = 200, (8, 10, 15, 25, 35, 50)
N_SITES = 300
CHROM = "chrIV"
Codes = NDArray[np.uint8]


class Reads(nn.Module):
    """The best match of a matrix (4, w) on either strand, above a share of the best there is, which gives `gain`."""

    def __init__(self, weights: NDArray[np.float64], least: float, gain: float) -> None:
        super().__init__()
        both = np.stack([weights, weights[::-1, ::-1]]).astype(np.float32)
        self.kernel = nn.Parameter(torch.from_numpy(both))
        self.least, self.scale = least, gain / ((1 - least) * float(weights.max(axis=0).sum()))
        self.best = float(weights.max(axis=0).sum())

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """Return (n,) for one-hot (n, 4, L)."""
        found = nn.functional.conv1d(X, self.kernel).amax(dim=(1, 2))
        return self.scale * torch.relu(found - self.least * self.best)


class Both(nn.Module):
    """The sum of two networks."""

    def __init__(self, one: nn.Module, other: nn.Module) -> None:
        super().__init__()
        self.one, self.other = one, other

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """Return (n,) for one-hot (n, 4, L)."""
        return self.one(X).reshape(len(X)) + self.other(X)


@dataclass(frozen=True)
class Factor:
    """Windows (n, 200) of a factor's sites, and a network that reads them."""

    name: str
    codes: Codes
    network: nn.Module
    gain: float


def trained(folder: Path, cache: Path, name: str) -> Factor:
    """Read real sites, and train a CNN on them unless the cache has it."""
    path, bed, genome = cache / f"{name}.safetensors", folder / f"{name}.bed", folder / "sacCer3.fa.gz"
    if not path.exists():
        train_model(bed, genome=genome, config=CNNConfig(input_length=LENGTH), training=TrainConfig(), out=path)
    with open_input(genome=genome, regions=bed, length=LENGTH) as source:
        codes = source.read(np.arange(len(source)))
    return Factor(name, codes, load_model(path), 6.0)


def of_matrix(motif: Motif, chrom: Codes) -> Factor:
    """Take the best sites of a matrix on a chromosome, and a network that reads the matrix."""
    hits = scan_codes(chrom[None], [motif]).sort_values("score", ascending=False, kind="stable").head(N_SITES)
    middle = ((hits["start"] + hits["end"]) // 2 - LENGTH // 2).to_numpy()
    starts = middle[(middle >= 0) & (middle + LENGTH <= len(chrom))]
    weights = np.log2((motif.frequencies + 0.01) / 0.26)
    return Factor(motif.name, chrom[starts[:, None] + np.arange(LENGTH)], Reads(weights, 0.3, 6.0), 6.0)


@dataclass(frozen=True)
class Outcome:
    """What the audit said of one subset."""

    factor: str
    n: int
    adapter: str
    is_found: bool
    false: tuple[str, ...]


def run_trial(factor: Factor, number: int, motifs: list[Motif]) -> Outcome:
    """Audit a random subset, with or without an adapter."""
    rng = np.random.default_rng([number, 7])
    n = int(rng.choice(SIZES))
    codes = factor.codes[rng.permutation(len(factor.codes))[:n]].copy()
    network, name, word = factor.network, "", ""
    if number % 2:
        name = str(rng.choice(list(ADAPTERS["test"])))
        word = ADAPTERS["test"][name]
        for row in np.flatnonzero(rng.random(len(codes)) < rng.uniform(0.6, 1.0)):
            copy = encode(word) if rng.random() < 0.5 else reverse_complement(encode(word))
            start = int(rng.choice([0, LENGTH - len(copy)]))
            codes[row, start : start + len(copy)] = copy
        network = Both(network, Reads(np.eye(4)[encode(word)].T, 0.6, factor.gain))
    model = wrap(network.eval(), input_length=LENGTH)
    attr = seqsal.attribute(model, X=one_hot(codes), n_controls=0, device="cpu")
    nothing = pd.DataFrame({"chrom": pd.Series(dtype=str), "start": pd.Series(dtype=int), "end": pd.Series(dtype=int)})
    context = AuditContext(attr, model, seed=number, motifs=motifs, peaks=nothing)
    shortcuts = [one for one in audit_artifacts(context).findings if one.verdict == "shortcut"]
    planted = [one for one in shortcuts if word and share_word(one.sequence, word, 8)]
    false = tuple(f"{one.name} ({one.sequence})" for one in shortcuts if one not in planted)
    return Outcome(factor.name, len(codes), name, bool(planted), false)


def print_rates(outcomes: list[Outcome]) -> None:
    """Print the rates with their intervals, by the number of regions."""
    for title, part in [("8 to 24 regions", (0, 24)), ("25 to 50 regions", (25, 50)), ("all", (0, 50))]:
        own = [one for one in outcomes if part[0] <= one.n <= part[1]]
        planted = [one for one in own if one.adapter]
        for what, k, m in (
            ("false", sum(bool(one.false) for one in own), len(own)),
            ("adapter found", sum(one.is_found for one in planted), len(planted)),
        ):
            low, high = stats.binomtest(k, m).proportion_ci(method="exact") if m else (0.0, 1.0)
            print(f"{title:18s} {what:14s} {k:4d} / {m:<4d} {k / max(m, 1):6.1%}  {low:6.1%} – {high:6.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int, default=120)
    parser.add_argument("--factors", type=int, default=12, help="further factors of JASPAR")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "seqsal-shortcuts")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    motifs, rng, began = list(read_motifs("jaspar:2026:fungi")), np.random.default_rng(0), time.perf_counter()
    with open_input(genome=options.folder / "sacCer3.fa.gz", regions=pd.DataFrame(
        {"chrom": [CHROM], "start": [0], "end": [1_500_000], "strand": ["+"], "name": [CHROM]}
    )) as source:  # fmt: skip
        chrom = source.read(np.array([0]))[0]
    chosen = [motifs[i] for i in rng.permutation(len(motifs)) if motifs[i].width >= 8][: options.factors]
    chosen += [motif for motif in motifs if motif.name.upper() == "RAP1"]
    factors = [trained(options.folder, options.cache, name) for name in ("Reb1", "Abf1")]
    factors += [one for one in (of_matrix(motif, chrom) for motif in chosen) if len(one.codes) >= max(SIZES)]
    print(", ".join(f"{one.name} ({len(one.codes)})" for one in factors), flush=True)
    outcomes = []
    for number in range(options.trials):
        outcomes.append(run_trial(factors[number // 2 % len(factors)], number, motifs))
        one = outcomes[-1]
        if one.false or (one.adapter and not one.is_found):
            said = f"false: {', '.join(one.false)}" if one.false else "not found"
            print(f"{number:4d} {one.factor}, {one.n} regions, {one.adapter or 'no adapter'}: {said}", flush=True)
    print_rates(outcomes)
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
