"""Attributions of sequences with planted motifs, whose places on the genome are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from toys import random_codes

from seqsal.io.attributions import Attributions, Controls
from seqsal.regions import make_regions
from seqsal.sequence.codes import encode, one_hot, reverse_complement

CHROM_BP = 200_000
REB1, CTCF = "TTACCCGG", "CCACCAGGGGGC"


@dataclass(frozen=True)
class Planted:
    """Attributions, the peaks on the planted sites, and the sites: chrom, start, end, strand, motif."""

    attr: Attributions
    peaks: pd.DataFrame
    sites: pd.DataFrame


def plant(
    rng: np.random.Generator,
    motifs: dict[str, tuple[int, float]],
    *,
    length: int = 150,
    window_strands: str = "+-.",
    noise: float = 0.02,
    hypothetical: bool = True,
    seed_controls: bool = True,
) -> Planted:
    """Plant each word in as many windows as asked, at its contribution a base, on either strand of the genome.

    The windows are 400 bp apart and read on the strands given in turn. Hypothetical scores are contribution × one-hot
    of the word, so that the track is the contribution where a base is that of the word.
    """
    words = [(word, value) for word, (count, value) in motifs.items() for _ in range(count)]
    n = len(words)
    codes, scores = random_codes(rng, n, length), rng.normal(0, noise, size=(n, 4, length))
    starts, strands = 100 + np.arange(n) * 400, np.array(list(window_strands))[np.arange(n) % len(window_strands)]
    sites = []
    for row, (word, value) in enumerate(words):  # on the chromosome's forward strand
        strand = "-" if rng.random() < 0.5 else "+"
        planted = encode(word) if strand == "+" else reverse_complement(encode(word))
        at = int(rng.integers(50, length - 50 - len(word)))
        codes[row, at : at + len(word)] = planted
        scores[row][:, at : at + len(word)] += value * one_hot(planted)
        sites.append(("chr1", starts[row] + at, starts[row] + at + len(word), strand, word, value))
    table = pd.DataFrame(sites, columns=["chrom", "start", "end", "strand", "motif", "value"])
    reverse = strands == "-"
    codes[reverse] = reverse_complement(codes[reverse])
    scores[reverse] = scores[reverse, ::-1, ::-1]
    track = (scores * one_hot(codes)).sum(axis=1)
    controls = None
    if seed_controls:
        shuffles = random_codes(rng, 200, length)
        controls = Controls(rng.normal(0, noise, size=shuffles.shape).astype(np.float32), shuffles)
    attr = Attributions(
        regions=make_regions(["chr1"] * n, starts, starts + length, strand=strands),
        codes=codes,
        track=track.astype(np.float32),
        prediction=np.zeros(n, np.float32),
        hypothetical=scores.astype(np.float32) if hypothetical else None,
        controls=controls,
        chrom_sizes={"chr1": CHROM_BP},
        attrs={"method": "gradient_x_input", "output_space": "logit"},
    )
    return Planted(attr, make_peaks(table), table)


def make_peaks(sites: pd.DataFrame) -> pd.DataFrame:
    """A peak on every site, its summit in the middle."""
    signal = sites["value"].to_numpy() * (sites["end"] - sites["start"]).to_numpy()
    return pd.DataFrame(
        {
            "chrom": sites["chrom"],
            "start": sites["start"],
            "end": sites["end"],
            "name": [f"{'neg' if value < 0 else 'pos'}_{i + 1}" for i, value in enumerate(signal)],
            "score": 500,
            "strand": ".",
            "signal": signal,
            "p_value": 1e-4,
            "q_value": 1e-3,
            "summit": (sites["end"] - sites["start"]) // 2,
            "sign": np.where(signal < 0, "neg", "pos"),
        }
    )


def letters_of(codes: NDArray[np.uint8]) -> str:
    """Codes as text."""
    return "".join("ACGTN"[code] for code in codes)
