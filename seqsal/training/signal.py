"""Signal as the target: tracks from bigWig files over the windows, and how well a predicted profile follows them.

A base without a value in a bigWig has a count of 0, as programs that count reads leave it out. Each track is a target;
two of them may be the strands of one experiment, which change places where a window is shown from its other strand.

With y the counts of one track in a window and p the predicted distribution over its bases, a profile is learnt by the
multinomial log-likelihood log n! − Σ log y! + Σ y log p, of which training needs the last term alone (Avsec et al.
2021, doi:10.1038/s41588-021-00782-6). For the held-out parts there are also the Jensen-Shannon divergence of y / n and
p (in nats, 0 to 0.693), and Pearson's correlation of p with y smoothed by a Gaussian of 7 bp, as bpnet-lite has them.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.nn import functional

from seqsal.errors import RegionError, TrainingError, counted
from seqsal.io.bigwig import is_bigwig, read_bigwig, summarize_bigwig
from seqsal.regions import check_chroms
from seqsal.training.stretches import Stretches, is_many

__all__ = ["PROFILE_METRICS", "Paths", "Signal", "find_strand_pairs", "profile_scores", "read_tracks"]

logger = logging.getLogger(__name__)

PROFILE_METRICS = ("profile_log_likelihood", "profile_jsd", "profile_pearson")
SMOOTH_BP, SMOOTH_WIDTH = 7.0, 81  # standard deviation and width of the Gaussian
_STEP_BP = 1 << 22  # values read at a time
_SIGNS = {
    **dict.fromkeys(("plus", "pos", "positive", "forward", "fwd", "for", "+"), "+"),
    **dict.fromkeys(("minus", "neg", "negative", "reverse", "rev", "-"), "-"),
}

Paths = Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class Signal:
    """The tracks to learn: bigWig files, one a target, `controls` that the profile is given, and which are strands.

    `stranded` says that tracks come in pairs, plus and minus; None goes by the names of the files.
    """

    paths: Paths
    controls: Paths = ()
    stranded: bool | None = None

    def swap(self, which: str = "signal") -> tuple[int, ...]:
        """Return for each track the one that takes its place on the other strand."""
        paths = self.controls if which == "control" else self.paths
        if self.stranded and len(paths) % 2:
            raise TrainingError(
                f"{which}: got {counted(len(paths), 'track')}, expected an even number, as they come in pairs of "
                "strands; give plus and minus of each, or --unstranded"
            )
        if self.stranded:
            return tuple(i ^ 1 for i in range(len(paths)))
        return tuple(range(len(paths))) if self.stranded is False else find_strand_pairs(paths)

    @property
    def names(self) -> list[str]:
        """Names of the targets: those of the files without their ending, where these differ."""
        stems = [Path(path).stem for path in self.paths]
        return stems if len(set(stems)) == len(stems) else [str(path) for path in self.paths]


def find_strand_pairs(paths: Paths) -> tuple[int, ...]:
    """Return for each file the one that holds its other strand, by name, or itself.

    Examples
    --------
    >>> find_strand_pairs(["Reb1.plus.bw", "atac.bw", "Reb1.minus.bw"])
    (2, 1, 0)
    """
    known: dict[tuple[str, ...], int] = {}
    partner = list(range(len(paths)))
    for i, path in enumerate(paths):
        words = re.findall(r"[^\W_]+|[+-]$", Path(path).stem.lower())
        for at, word in enumerate(words):
            if word not in _SIGNS:
                continue
            other = (*words[:at], "-+"[_SIGNS[word] == "-"], *words[at + 1 :])
            if other in known:
                partner[i], partner[known[other]] = known[other], i
            known[(*words[:at], _SIGNS[word], *words[at + 1 :])] = i
    return tuple(partner)


def read_tracks(
    paths: Paths, windows: pd.DataFrame, length: int, chrom_sizes: Mapping[str, int], *, swap: Sequence[int],
    name: str = "signal", signed: bool = False, reduce: str = "", lean: bool = False,
) -> Any:  # fmt: skip
    """Read the middle `length` bases of windows (N,) from bigWig files, as the model sees them: "-" is turned.

    Returns float32 (N, T, length), of many windows where `lean` as `Stretches`, or (N, T) where `reduce` is ``sum`` or
    ``mean``. TrainingError: a file is no bigWig, has no
    value where windows lie, values that are no counts (unless `signed`), or none at all; RegionError: it is of another
    genome.
    """
    starts = (windows["start"] + windows["end"] - length).to_numpy(np.int64) // 2
    is_minus = (windows["strand"] == "-").to_numpy()
    shape = (len(windows), len(paths))
    found: Any = None
    if lean and not reduce and is_many(len(windows), length, 4 * len(paths)):
        turn = partial(_turned_tracks, swap=tuple(swap))
        found = Stretches.lay(windows, length, turn, n_tracks=len(paths), kind=np.float32)
    laid, columns = found, torch.arange(length)
    if laid is None:
        found = np.empty(shape if reduce else (*shape, length), dtype=np.float32)
    chroms, step = windows["chrom"].tolist(), max(1, _STEP_BP // length)
    for i, path in enumerate(paths):
        sizes = _check_track(path, windows, chrom_sizes, name)
        where = [slice(begin, begin + step) for begin in range(0, len(windows), step)]
        blocks = read_bigwig(path, chroms, starts, length, sizes, step)
        for rows, block in zip(where, blocks, strict=True):
            values = np.nan_to_num(block, nan=0.0, posinf=np.inf, neginf=-np.inf)
            bad = ~np.isfinite(values) if signed else ~(values >= 0) | np.isinf(values)
            if bad.any():
                _refuse_value(path, values, bad, windows.iloc[rows], starts[rows], name)
            if laid is not None:
                laid.values[i, laid.at[rows][:, None] + columns] = torch.from_numpy(values)
            elif reduce:
                found[rows, i] = getattr(values, reduce)(axis=1)
            else:
                found[rows, i] = np.where(is_minus[rows, None], values[:, ::-1], values)
        if not (found[:, i].any() if laid is None else laid.values[i].any()):
            raise TrainingError(
                f"{name}: {path} has no signal in any of the {len(windows):,} windows, expected reads; check that "
                "regions and track are of the same experiment"
            )
    if laid is None and is_minus.any() and list(swap) != list(range(len(paths))):
        found[is_minus] = found[is_minus][:, list(swap)]
    return found


def _turned_tracks(values: torch.Tensor, swap: tuple[int, ...]) -> torch.Tensor:
    """Return tracks (n, T, W) as seen from the other strand."""
    return values.flip(-1)[:, list(swap)]


def _check_track(
    path: str | os.PathLike[str], windows: pd.DataFrame, chrom_sizes: Mapping[str, int], name: str
) -> dict[str, int]:
    """Return the chromosome sizes of a bigWig that is of the genome of the windows, and has values on all of theirs."""
    if not is_bigwig(path):
        what = "is no bigWig" if Path(path).exists() else "no such file"
        raise TrainingError(f"{name}: {path}: {what}, expected a bigWig file; make one by bedGraphToBigWig")
    summary = summarize_bigwig(path)
    sizes = summary.chrom_sizes
    if summary.has_nan:
        raise TrainingError(f"{name}: {path}: holds values that are NaN, expected numbers; leave such bases out of it")
    check_chroms(windows, sizes, regions_name="regions", genome_name=str(path))
    counts = windows["chrom"].value_counts()
    for chrom in counts.index:
        if chrom not in sizes:
            raise RegionError(
                f"{name}: {path}: has no value on {chrom}, where {counts[chrom]:,} of {len(windows):,} windows lie; "
                "expected one on each chromosome; give the track of the same genome, or leave these regions out"
            )
        if sizes[chrom] != chrom_sizes.get(chrom, sizes[chrom]):
            raise RegionError(
                f"{name}: {path}: {chrom} has {sizes[chrom]:,} bp, but {chrom_sizes[chrom]:,} in the genome; give the "
                "track of the same genome"
            )
    return sizes


def _refuse_value(
    path: Any, values: NDArray[Any], bad: NDArray[np.bool_], windows: pd.DataFrame, starts: NDArray[Any], name: str
) -> None:
    row, column = np.argwhere(bad)[0]
    value = values[row, column]
    remedy = "give counts, such as coverage before any ratio or log, or --loss regression for any value"
    if value < 0 and not (values > 0).any():
        remedy = "a minus strand drawn below the axis has to be turned to positive values first"
    raise TrainingError(
        f"{name}: {path}: is {value:g} at {windows['chrom'].iloc[row]}:{starts[row] + column}, expected "
        f"{'a number' if np.isinf(value) else 'counts of 0 or more'}; {remedy}"
    )


def profile_scores(logits: torch.Tensor, tracks: torch.Tensor) -> dict[str, torch.Tensor]:
    """Compare predicted logits with counts, both (n, T, P): cross-entropy and `PROFILE_METRICS`, each (n, T).

    A window without any count has a cross-entropy of 0 and NaN for the others.
    """
    log_p = logits.double().log_softmax(dim=-1)
    y = tracks.double()
    n = y.sum(dim=-1)
    entropy = -(y * log_p).sum(dim=-1)
    p, q = log_p.exp(), y / n[..., None]
    middle = (p + q) / 2
    divergence = [torch.special.xlogy(one, one / middle).sum(dim=-1) for one in (p, q)]
    at = torch.arange(SMOOTH_WIDTH, dtype=torch.float64, device=y.device) - SMOOTH_WIDTH // 2
    kernel = torch.exp(-0.5 * (at / SMOOTH_BP) ** 2)
    smooth = functional.conv1d(y.flatten(0, 1)[:, None], (kernel / kernel.sum())[None, None], padding="same")[:, 0]
    a, b = (one - one.mean(dim=-1, keepdim=True) for one in (p, smooth.reshape(y.shape)))
    pearson = (a * b).sum(dim=-1) / (a.square().sum(dim=-1) * b.square().sum(dim=-1)).sqrt()
    found = {
        "profile_log_likelihood": torch.lgamma(n + 1) - torch.lgamma(y + 1).sum(dim=-1) - entropy,
        "profile_jsd": sum(divergence) / 2,
        "profile_pearson": pearson,
    }
    return {"cross_entropy": entropy} | {name: torch.where(n > 0, one, torch.nan) for name, one in found.items()}
