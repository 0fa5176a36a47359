"""Tile perturbation: what the model says when a stretch of the sequence is shuffled, tile by tile.

A window is cut into tiles of W bases, laid out from its middle so that both strands have the same. With s_1 … s_K
dinucleotide shuffles of tile t, each put back into the window as it stands (as CREME does; Toneyan and Koo 2024,
doi:10.1038/s41588-024-01923-3),

    effect[t] = f(X) − mean_k f(X with s_k in tile t),

and each known base of the tile gets an equal share of it, so that the track over a tile adds up to its effect. A window
of L bases takes K · L / W forward passes and no gradient: a map of a long context for the price of a few hundred
predictions, where mutagenesis takes 3 L.

*Noise.* The shuffles are the tile's own controls. Were the tile itself but one more of them, its effect would have the
standard deviation σ · √(1 + 1/K), with σ that of f over the K shuffles; `noise` is this number, shared out as the
effect is. Track over noise is then Student's t with K − 1 degrees of freedom, for a tile without grammar of its own.
"""

from __future__ import annotations

import itertools
from typing import cast

import numpy as np
import torch

from seqsal.attribution.compute import Batches, tell_progress
from seqsal.attribution.methods.base import Model, OneTarget, Scores, SharedForward, TargetsModel, check_option
from seqsal.errors import MethodError
from seqsal.sequence.codes import N_CODE
from seqsal.sequence.draws import dinucleotide_shuffle, draw_number
from seqsal.sequence.tensors import nearest_codes, one_hot_tensor

__all__ = ["Tiles", "tiles"]

N_WINDOWS = 8  # that suit the device, where nobody said how many do


def tiles(
    f: Model,
    X: torch.Tensor,
    *,
    tile: int = 500,
    n_shuffles: int = 5,
    seed: int = 0,
    draw: int = 0,
    create_graph: bool = False,
) -> Scores:
    """Tile perturbation, h = (f(X) − mean of f over shuffles of the tile) / known bases of the tile, at the base there.

    Parameters
    ----------
    f
        (N, 4, L) → (N,), or a model of T targets, in evaluation mode.
    X
        One-hot windows (N, 4, L).
    tile
        Width of a tile in bp; those at the ends of a window may be narrower.
    n_shuffles
        Shuffles of each tile, two or more.
    seed, draw
        Of the shuffles, which depend on these and on the tile's own bases alone.
    create_graph
        Keep the graph, so that a loss can be built on the scores and differentiated by the parameters of `f`.

    Returns
    -------
    Scores
        `hypothetical` (N, 4, L), 0 but at the base that is there, and `noise` (N, L).

    Raises
    ------
    MethodError
        The tile is wider than the windows.

    Examples
    --------
    >>> X = torch.eye(4)[torch.tensor([[0, 1, 0, 1, 0, 1, 2, 2, 3, 2, 3, 3]])].mT  # ACACACGGTGTT
    >>> scores = tiles(lambda X: (X[:, 0, :-1] * X[:, 1, 1:]).sum(1) + X[:, 3, 8], X, tile=6)
    >>> scores.track(X)[0, ::6]  # each shuffle has as many AC; some have another base than T at position 8
    tensor([0.0000, 0.0667])
    """
    method = Tiles(tile=tile, n_shuffles=n_shuffles, seed=seed, draw=draw)
    if hasattr(f, "single"):
        return method.score(cast(TargetsModel, f), X, create_graph=create_graph)
    scores = method.score(OneTarget(f), X, create_graph=create_graph)
    assert scores.noise is not None
    return Scores(scores.prediction[:, 0], scores.hypothetical[:, 0], noise=scores.noise[:, 0])


class Tiles(SharedForward):
    """Tile perturbation; see :func:`tiles`, whose options these are."""

    name = "tiles"
    hypothetical = False
    needs_gradient = False
    measures_noise = True

    def __init__(self, *, tile: int = 500, n_shuffles: int = 5, seed: int = 0, draw: int = 0) -> None:
        check_option("tile", tile)
        if n_shuffles < 2:
            raise MethodError(f"n_shuffles: got {n_shuffles}, expected 2 or more, whose differences tell the noise")
        self.tile, self.n_shuffles = tile, n_shuffles
        self._seed, self._draw = seed, draw
        self._n_at_once = N_WINDOWS

    def prepare(self, model: object, X: torch.Tensor, batch_size: int) -> None:
        """Hear how many sequences suit the device; see :meth:`Method.prepare`."""
        self._check(X.shape[2])
        self._n_at_once = batch_size

    def prepare_targets(self, model: TargetsModel, X: torch.Tensor, batch_size: int) -> None:
        """Hear how many sequences suit the device; see :meth:`Method.prepare_targets`."""
        self.prepare(model, X, batch_size)

    def windows_at_once(self, batch_size: int) -> int:
        """One: its tiles are a batch by themselves; see :meth:`Method.windows_at_once`."""
        return 1

    def n_passes(self, length: int) -> int:
        """As many shuffles as tiles of `length` bases have; see :meth:`Method.n_passes`."""
        return self.n_shuffles * -(-length // self.tile)

    def score(self, f: TargetsModel, X: torch.Tensor, *, create_graph: bool = False) -> Scores:
        """Score one batch; see :meth:`SharedForward.score` and, for `create_graph`, :func:`tiles`."""
        self._check(X.shape[2])
        X = X.detach()
        with torch.set_grad_enabled(create_graph):
            prediction = f(X)  # (N, T)
            each = [self._maps(f, x[None], value) for x, value in zip(X, prediction, strict=True)]
        track, noise = (torch.stack(maps) for maps in zip(*each, strict=True))  # (N, T, L)
        return Scores(prediction, track[:, :, None] * X[:, None], noise=noise)

    def edges(self, length: int) -> list[int]:
        """Where the tiles of a window of L bases begin and end: from its middle on, both ways."""
        return sorted({0, *range(length // 2 % self.tile, length, self.tile), length})

    def _maps(self, f: TargetsModel, X: torch.Tensor, prediction: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Track and noise, (T, L) each, of a window (1, 4, L) whose prediction is (T,)."""
        codes, edges = nearest_codes(X), self.edges(X.shape[2])
        kept = (0, X.shape[2]) if self.span is None else self.span
        nothing = torch.zeros_like(prediction)
        effects, noise = [], []  # of each tile, (T,)
        for start, end in itertools.pairwise(edges):
            own = codes[:, start:end]
            n_known = int((own != N_CODE).sum())
            if start >= kept[1] or end <= kept[0] or not n_known:
                effects.append(nothing)
                noise.append(nothing)
                continue
            draws = draw_number("tiles", np.arange(self.n_shuffles), self._draw)
            shuffles = dinucleotide_shuffle(np.repeat(own, len(draws), axis=0), seed=self._seed, draw=draws)
            values = self._outputs(f, X, start, one_hot_tensor(torch.from_numpy(shuffles).to(X.device), X.dtype))
            effects.append((prediction - values.mean(0)) / n_known)
            noise.append(values.std(0) * (1 + 1 / len(draws)) ** 0.5 / n_known)
        widths = torch.from_numpy(np.diff(edges)).to(X.device)
        track, spread = (torch.stack(each, dim=1).repeat_interleave(widths, dim=1) for each in (effects, noise))
        return track, spread

    def _outputs(self, f: TargetsModel, X: torch.Tensor, start: int, shuffles: torch.Tensor) -> torch.Tensor:
        """Score a window with each shuffle (K, 4, W) of a tile in it, (K, T); fewer at once where memory runs out."""
        found: dict[int, torch.Tensor] = {}

        def compute(first: int, last: int) -> None:
            changed = X.repeat(last - first, 1, 1)
            changed[..., start : start + shuffles.shape[2]] = shuffles[first:last]
            found[first] = f(changed)
            tell_progress(last - first)

        batches = Batches(self._n_at_once)
        batches.run(compute, len(shuffles))
        self._n_at_once = batches.batch_size
        return torch.cat([found[first] for first in sorted(found)])

    def _check(self, length: int) -> None:
        if self.tile > length:
            raise MethodError(f"tile: got {self.tile:,} bp, wider than the windows of {length:,} bp; give that at most")

    @property
    def options(self) -> dict[str, bool | int | float | str]:
        """Width of a tile, and how often each is shuffled."""
        return {"tile": self.tile, "n_shuffles": self.n_shuffles}
