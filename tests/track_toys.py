"""Attributions with known values, for the tests of tracks and peaks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqsal.io.attributions import Attributions, Controls
from seqsal.regions import make_regions
from seqsal.sequence.codes import N_CODE


def make_attr(
    track: ArrayLike,
    *,
    start: ArrayLike | None = None,
    chrom: Any = None,
    strand: Any = None,
    codes: ArrayLike | None = None,
    controls: ArrayLike | None = None,
    control_codes: ArrayLike | None = None,
) -> Attributions:
    """Attributions of some tracks (N, L); without starts, windows lie 10 bp apart on chr1."""
    values = np.asarray(track, dtype=np.float32)
    n, length = values.shape
    first = np.arange(n) * (length + 10) if start is None else np.asarray(start)
    return Attributions(
        regions=make_regions(["chr1"] * n if chrom is None else chrom, first, first + length, strand=strand),
        codes=np.zeros((n, length), np.uint8) if codes is None else np.asarray(codes, np.uint8),
        track=values,
        prediction=np.zeros(n, np.float32),
        controls=None
        if controls is None
        else Controls(
            np.asarray(controls, np.float32), None if control_codes is None else np.asarray(control_codes, np.uint8)
        ),
    )


def noise(rng: np.random.Generator, n: int, length: int, *, window_sd: float = 0.0) -> NDArray[np.float32]:
    """Autocorrelated Laplace noise (n, length) with unit variance, times a log-normal scale per window."""
    kernel = np.array([0.2, 0.5, 0.8, 1.0, 0.8, 0.5, 0.2])
    white = rng.laplace(size=(n, length + 6)) / np.sqrt(2 * (kernel**2).sum())
    smooth = sum(weight * white[:, i : i + length] for i, weight in enumerate(kernel))
    return np.asarray(smooth * np.exp(rng.normal(0, window_sd, size=(n, 1))), dtype=np.float32)


def bump(length: int, centre: int, half_width: int, height: float) -> NDArray[np.float32]:
    """A triangle (length,) that reaches `height` at `centre` and 0 at `half_width` bases from it."""
    distance = np.abs(np.arange(length) - centre)
    return np.asarray(height * np.maximum(0, 1 - distance / half_width), dtype=np.float32)


def slow_track(attr: Attributions, chrom_sizes: dict[str, int] | None = None) -> dict[tuple[str, int], float]:
    """Blend the values of windows at every (chrom, position), weighted by nearness to the middle."""
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for i, row in attr.regions.iterrows():
        for j in range(attr.length):
            position = row["end"] - 1 - j if row["strand"] == "-" else row["start"] + j
            inside = chrom_sizes is None or 0 <= position < chrom_sizes[row["chrom"]]
            if attr.codes[i, j] != N_CODE and inside:
                weight = min(j + 1, attr.length - j) ** 2
                found.setdefault((row["chrom"], position), []).append((weight, float(attr.track[i, j])))
    return {where: sum(w * v for w, v in one) / sum(w for w, _ in one) for where, one in found.items()}
