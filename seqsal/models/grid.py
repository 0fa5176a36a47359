"""Where a model's output positions lie in its window: the size of a bin in bp, and how many bp are cropped before it.

Told, or measured: blocks of bases are replaced one at a time, and the bins whose values change say where the block is.
The centre of the change is a straight line in the place of the block, whose slope is the size of a bin. A model of L bp
that gives B bins of s bp in the middle crops (L - B s) / 2 bp on either side.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from seqsal.errors import ModelError
from seqsal.models.probe import random_sequences
from seqsal.models.sequence_model import SequenceModel, facts_about

__all__ = ["Grid", "find_grid"]

N_BLOCKS = 24
MIN_BINS = 2
TOLERANCE = 0.05  # of the slope between its estimate and a whole number of bp


class Grid(NamedTuple):
    """Bins of `size` bp, `n_bins` of them from base `crop` of the window on; `at` is which of them somebody reads."""

    size: int
    crop: int
    n_bins: int
    at: str = ""

    def bins(self, start: int, end: int) -> tuple[float, float] | None:
        """Return a half-open span of the window in units of bins, within the output; None where it is outside."""
        first, last = (start - self.crop) / self.size, (end - self.crop) / self.size
        first, last = max(first, 0.0), min(last, float(self.n_bins))
        return (first, last) if first < last else None


def find_grid(model: SequenceModel, length: int, *, bin_size: int | None = None, crop: int | None = None) -> Grid:
    """Say where the bins of a model's profile are in windows of `length` bp.

    What is not told is measured.

    Raises
    ------
    ModelError
        The model gives no profile, what is told contradicts it, or its bins cannot be placed.
    """
    if not isinstance(model, SequenceModel):
        raise ModelError("readout_at: the model is not wrapped; give a module to seqsal.wrap, with its reduce")
    known, key = facts_about(model), ("grid", length, bin_size, crop)
    if key not in known:
        with model.frozen(), torch.no_grad():
            known[key] = _find(model, length, bin_size, crop)
    grid: Grid = known[key]
    return grid


def _find(model: SequenceModel, length: int, bin_size: int | None, crop: int | None) -> Grid:
    X = random_sequences(length, torch.zeros(0, device=model.device))
    n_bins = model.positions(X[:1]).shape[2]
    if bin_size is None and crop is None and model.known_bin_size:
        bin_size = model.known_bin_size
    if bin_size is None and crop is not None:
        bin_size = (length - 2 * crop) // n_bins
    if bin_size is None:
        bin_size = 1 if n_bins == length else _measured(model, X, n_bins)
    crop = (length - n_bins * bin_size) // 2 if crop is None else crop
    if bin_size < 1 or crop < 0 or crop + n_bins * bin_size > length:
        raise ModelError(
            f"model: {n_bins:,} bins of {bin_size} bp from base {crop:,} on do not fit into its window of {length:,} "
            "bp; give bin_size and crop (--bin-size, --crop) as its authors say"
        )
    return Grid(bin_size, crop, n_bins)


def _measured(model: SequenceModel, X: torch.Tensor, n_bins: int) -> int:
    """Size of a bin, from where the profile changes as blocks of a window are replaced by those of another."""
    length = X.shape[2]
    if n_bins < MIN_BINS:
        raise _unplaced(n_bins, length)
    width = max(length // (2 * N_BLOCKS), 1)
    starts = torch.linspace(length // 8, length - length // 8 - width, N_BLOCKS).long().tolist()
    before, places, centres = model.positions(X[:1]), [], []
    for start in starts:
        changed = X[:1].clone()
        changed[..., start : start + width] = X[1:, :, start : start + width]
        size = (model.positions(changed) - before).abs().sum(dim=1)[0].double()
        size = (size - size.median()).clamp_min(0)  # what looks at everything changes all bins alike
        if size.sum() > 0:
            peak = int(size.argmax())
            near = slice(max(peak - 2, 0), peak + 3)
            places.append(start + width / 2)
            centres.append(
                float((size[near] * torch.arange(n_bins, device=size.device)[near]).sum() / size[near].sum())
            )
    if len(places) < 4:
        raise _unplaced(n_bins, length)
    x, y = torch.tensor(places, dtype=torch.float64), torch.tensor(centres, dtype=torch.float64)
    gaps = (y[None] - y[:, None])[torch.triu(torch.ones(len(x), len(x)), diagonal=1).bool()]
    widths = (x[None] - x[:, None])[torch.triu(torch.ones(len(x), len(x)), diagonal=1).bool()]
    slope = float((gaps / widths).median())  # of all pairs: a few blocks may change what is far away most
    if slope <= 0:
        raise _unplaced(n_bins, length)
    most = length // n_bins
    sizes = [size for size in range(1, most + 1) if abs(size * slope - 1) < TOLERANCE]
    if not sizes:
        raise _unplaced(n_bins, length)
    return min(sizes, key=lambda size: (size & (size - 1) != 0, abs(size * slope - 1)))  # most pool by powers of two


def _unplaced(n_bins: int, length: int) -> ModelError:
    places = f"{n_bins:,} output positions lie" if n_bins > 1 else "one output position lies"
    return ModelError(
        f"model: where its {places} in the window of {length:,} bp cannot be "
        "measured; give bin_size and crop (--bin-size, --crop), in bp, as its authors say"
    )
