"""Sequences with planted JASPAR motifs, and real networks trained to read them: data whose truth is known.

A design draws three activating and two repressing motifs. A sequence is a first-order Markov chain with the
dinucleotides of human DNA, and holds 0 to 5 instances on either strand: *strong* ones are the consensus, *weak* ones
are drawn from the motif's probabilities. What it does is::

    y = Σ effect · max(0, score / best score) + noise

with the log-odds score of the instance as it came out, effects of 0.7 to 1.5, positive for activators and negative for
repressors, and Gaussian noise of 0.3. A regression learns y, a binary model whether y is above its median.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.models import CNN, CNNConfig, load_checkpoint
from seqsal.motifs import Motif, read_motifs
from seqsal.regions import make_regions
from seqsal.sequence.codes import decode, reverse_complement
from seqsal.training import TrainConfig, train_model

__all__ = ["DESIGNS", "Design", "Planted", "Trained", "draw_background", "draw_sequences", "trained"]

# P(next base | base) over A C G T, as in the human genome: CpG at a fifth of what its bases would give
HUMAN = np.array([
    [0.33, 0.17, 0.24, 0.26],
    [0.35, 0.26, 0.05, 0.34],
    [0.29, 0.21, 0.26, 0.24],
    [0.22, 0.20, 0.25, 0.33],
])  # fmt: skip
POOL = {
    "MA0079.5": "SP1", "MA0035.5": "GATA1", "MA0102.5": "CEBPA", "MA0018.5": "CREB1", "MA0098.4": "ETS1",
    "MA0139.2": "CTCF", "MA0060.4": "NFYA", "MA0138.3": "REST", "MA0103.4": "ZEB1", "MA0038.3": "GFI1",
    "MA0114.5": "HNF4A", "MA0106.3": "TP53", "MA0052.5": "MEF2A", "MA0099.4": "FOS::JUN", "MA0148.5": "FOXA1",
    "MA0143.5": "SOX2", "MA1115.2": "POU5F1", "MA0090.4": "TEAD1", "MA0144.3": "STAT3", "MA0107.1": "RELA",
    "MA0093.4": "USF1", "MA0046.3": "HNF1A", "MA0083.3": "SRF", "MA0112.4": "ESR1",
}  # fmt: skip
N_ACTIVATORS, N_REPRESSORS = 3, 2
MOST_PLANTED, CLEAR_BP = 5, 4
NOISE = 0.3
N_TRAIN, N_CHROMS = 8000, 20


@dataclass(frozen=True)
class Design:
    """A network to train: what it reads and how it is built."""

    name: str
    seed: int
    length: int
    loss: str = "regression"
    pooling: str = "attention"
    activation: str = "relu"
    stem_pool: int = 2
    stem_kernel: int = 11
    n_filters: int = 32
    n_blocks: int = 3
    epochs: int = 14


DESIGNS = (
    Design("regression, attention, 300 bp", 1, 300),
    Design("regression, mean, 200 bp", 2, 200, pooling="mean", stem_pool=1),
    Design("binary, attention, 300 bp", 3, 300, loss="binary"),
    Design("regression, mean, 500 bp", 4, 500, pooling="mean", activation="gelu"),
    Design("binary, mean, 400 bp", 5, 400, loss="binary", pooling="mean"),
    Design("regression, max, 300 bp", 6, 300, pooling="max"),
)


@dataclass(frozen=True)
class Planted:
    """Sequences and what was planted in them.

    Attributes
    ----------
    codes
        (N, L) uint8.
    instances
        One row an instance: row, start, end (offsets), motif_idx, sign (`pos` or `neg`), strength (`strong`, `weak`),
        match (score over the best score).
    activity
        (N,) the sum of effects, without noise.
    """

    codes: NDArray[np.uint8]
    instances: pd.DataFrame
    activity: NDArray[np.float64]


@dataclass(frozen=True)
class Trained:
    """A design's network with its motifs and their effects."""

    design: Design
    model: CNN
    motifs: list[Motif]
    effects: NDArray[np.float64]
    metrics: dict[str, float]


def draw_motifs(seed: int) -> tuple[list[Motif], NDArray[np.float64]]:
    """Motifs of a design, and their effects: activators first, repressors last."""
    rng = np.random.default_rng([seed, 11])
    by_accession = {motif.accession: motif for motif in read_motifs("jaspar:2026:vertebrates")}
    n_motifs = N_ACTIVATORS + N_REPRESSORS
    motifs = [by_accession[key] for key in rng.choice(list(POOL), n_motifs, replace=False)]
    sign = np.repeat([1.0, -1.0], [N_ACTIVATORS, N_REPRESSORS])
    return motifs, sign * rng.uniform(0.7, 1.5, n_motifs)


def draw_sequences(
    rng: np.random.Generator,
    n: int,
    length: int,
    motifs: list[Motif],
    effects: NDArray[np.float64],
    *,
    fewest: int = 1,
) -> Planted:
    """Draw sequences with `fewest` to 5 instances each, half of them strong."""
    codes = draw_background(rng, n, length)
    activity = np.zeros(n)
    rows = []
    for row in range(n):
        which = rng.integers(len(motifs), size=rng.integers(fewest, MOST_PLANTED + 1))
        widths = [motifs[i].width for i in which]
        for motif_idx, start in zip(which, _places(rng, length, widths), strict=True):
            motif, strong = motifs[motif_idx], bool(rng.random() < 0.5)
            site = motif.ppm.argmax(0) if strong else _sample(rng, motif.ppm)
            pwm = motif.pwm()
            match = max(0.0, pwm[site, np.arange(motif.width)].sum() / pwm.max(0).sum())
            placed = site.astype(np.uint8)
            codes[row, start : start + motif.width] = placed if rng.random() < 0.5 else reverse_complement(placed)
            activity[row] += effects[motif_idx] * match
            sign, strength = "pos" if effects[motif_idx] > 0 else "neg", "strong" if strong else "weak"
            rows.append((row, start, start + motif.width, int(motif_idx), sign, strength, match))
    columns = ["row", "start", "end", "motif_idx", "sign", "strength", "match"]
    return Planted(codes, pd.DataFrame(rows, columns=columns), activity)


def draw_background(rng: np.random.Generator, n: int, length: int) -> NDArray[np.uint8]:
    """Draw sequences (n, length) with the dinucleotides of human DNA."""
    codes = np.empty((n, length), np.uint8)
    codes[:, 0] = rng.integers(4, size=n)
    cumulative = np.cumsum(HUMAN, axis=1)
    cumulative /= cumulative[:, -1:]
    draws = rng.random((n, length))
    for i in range(1, length):
        codes[:, i] = (draws[:, i, None] > cumulative[codes[:, i - 1]]).sum(axis=1)
    return codes


def _sample(rng: np.random.Generator, ppm: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.array([rng.choice(4, p=column) for column in ppm.T])


def _places(rng: np.random.Generator, length: int, widths: list[int]) -> NDArray[np.int64]:
    """Draw starts of spans of these widths in this order, at least `CLEAR_BP` apart and from the ends."""
    taken = sum(widths) + CLEAR_BP * (len(widths) + 1)
    slack = np.sort(rng.integers(length - taken + 1, size=len(widths)))
    before = np.concatenate([[0], np.cumsum(widths)[:-1]]).astype(np.int64) if widths else np.zeros(0, np.int64)
    return slack + before + CLEAR_BP * np.arange(1, len(widths) + 1)


def trained(design: Design, cache: Path, member: int = 0) -> Trained:
    """Train a design, or load it from the cache folder; another `member` of an ensemble starts from another seed."""
    motifs, effects = draw_motifs(design.seed)
    key = hashlib.sha256(json.dumps([asdict(design), POOL, N_TRAIN, NOISE], sort_keys=True).encode()).hexdigest()[:12]
    path = cache / f"{design.loss}-{design.pooling}-{key}{f'-{member}' * (member > 0)}.safetensors"
    if not path.exists():
        _train(design, motifs, effects, path, design.seed + 100 * member)
    model, metadata = load_checkpoint(path)
    return Trained(design, model, motifs, effects, metadata["metrics"]["test"])


def _train(design: Design, motifs: list[Motif], effects: NDArray[np.float64], path: Path, seed: int) -> None:
    rng = np.random.default_rng([design.seed, 22])
    planted = draw_sequences(rng, N_TRAIN, design.length, motifs, effects, fewest=0)
    y = planted.activity + rng.normal(0, NOISE, N_TRAIN)
    genome, regions = path.with_suffix(".fa"), _write_genome(planted.codes, path.with_suffix(".fa"))
    sizes = {k: v for k, v in asdict(design).items() if k not in ("name", "seed", "length", "epochs")}
    config = CNNConfig(input_length=design.length, **sizes)
    training = TrainConfig(epochs=design.epochs, max_shift=0, target_columns=("activity",))
    binary = design.loss == "binary"
    is_high = y > np.median(y)
    train_model(
        regions[is_high] if binary else regions.assign(activity=y),
        regions[~is_high] if binary else None,
        genome=genome,
        config=config,
        training=training,
        out=path,
        seed=seed,
        device="cpu",
    )
    for file in (genome, genome.with_suffix(".fa.fai")):
        file.unlink(missing_ok=True)


def _write_genome(codes: NDArray[np.uint8], path: Path) -> pd.DataFrame:
    """Write sequences end to end on some chromosomes; returns where each lies."""
    n, length = codes.shape
    per_chrom = -(-n // N_CHROMS)
    with open(path, "w", encoding="ascii") as file:
        for i in range(0, n, per_chrom):
            file.write(f">chr{i // per_chrom + 1}\n{decode(codes[i : i + per_chrom].ravel())}\n")
    chrom, place = np.divmod(np.arange(n), per_chrom)
    return make_regions([f"chr{i + 1}" for i in chrom], place * length, (place + 1) * length)
