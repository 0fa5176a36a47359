"""What maps are expected to be, whatever the data say: losses on the maps of the network in training.

With t the map of a window (gradient × input, corrected) by the network as it predicts:

* ``fourier`` (Tseng, Shrikumar and Kundaje 2020, doi:10.1101/2020.06.11.147272): what drives a prediction is
  motifs of several bases, not single ones. |t|, smoothed by a Gaussian of `SMOOTHING_BP`, has Fourier magnitudes a_k
  whose share at periods below `LEAST_PERIOD_BP` is penalised, with w_k = 1 up to that frequency and 1 / (1 + x^0.2) at
  x frequencies beyond: 1 − Σ w_k a_k / Σ a_k, the constant k = 0 left out.
* ``consistency``: the same bases have the same map after a change that means nothing, one kind in each step by turns:
  the window is read from the other strand; or moved by up to `MOST_MOVED_BP`, what leaves at one end coming in at the
  other; or a twentieth of its bases are others, of those half that its map is smallest at. The term is 1 − the cosine
  of the map before and after, at the bases that are there in both.

And of predictions, :func:`composition_term`: sequences without sites have the same prediction on average, whatever
their composition. Each is the mean over windows, of positives where there are classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from seqsal.sequence.tensors import reverse_complement_tensor

__all__ = ["CHANGES", "changed", "composition_term", "consistency_term", "fourier_term", "map_distance"]

SMOOTHING_BP, LEAST_PERIOD_BP, SOFTNESS = 3, 20 / 3, 0.2  # of the authors: 150 of 1,000 bp, 200 of 1,346
MOST_MOVED_BP, SHARE_MUTATED = 10, 0.05
CHANGES = ("strand", "shift", "mutations")
TINY = 1e-12
Map = Callable[[torch.Tensor], torch.Tensor]


def fourier_term(track: torch.Tensor) -> torch.Tensor:
    """Return the share of high frequencies in maps (n, L), the mean over windows."""
    n_bp = track.shape[1]
    at = torch.arange(-4 * SMOOTHING_BP, 4 * SMOOTHING_BP + 1, dtype=track.dtype, device=track.device)
    kernel = torch.exp(-0.5 * (at / SMOOTHING_BP) ** 2)
    mass = torch.nn.functional.conv1d(track.abs()[:, None], (kernel / kernel.sum())[None, None], padding="same")[:, 0]
    size = torch.fft.rfft(mass).abs()[:, 1:]
    beyond = torch.arange(1, size.shape[1] + 1, device=track.device) - round(n_bp / LEAST_PERIOD_BP)
    weight = torch.where(beyond > 0, 1 / (1 + beyond.clamp_min(1).to(track.dtype) ** SOFTNESS), 1.0)
    return 1 - ((size * weight).sum(dim=1) / (size.sum(dim=1) + TINY)).mean()


def map_distance(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return 1 − the cosine of two maps (n, L), the mean over windows; both may lead to parameters."""
    return 1 - torch.nn.functional.cosine_similarity(one, other, dim=1, eps=TINY).mean()


def changed(
    X: torch.Tensor, track: torch.Tensor, kind: str, generator: torch.Generator
) -> tuple[torch.Tensor, Map, torch.Tensor]:
    """Change one-hot windows (n, 4, L) in one of `CHANGES`, so that their maps (n, L) should not.

    Returns the windows, what takes their maps back to the bases of before, and which of these (n, L) are unchanged.
    """
    n, _, length = X.shape
    same = torch.ones(n, length, dtype=torch.bool, device=X.device)
    if kind == "strand":
        return reverse_complement_tensor(X), lambda track: track.flip(1), same
    if kind == "shift":
        most = min(MOST_MOVED_BP, length // 2)
        by = int(torch.randint(1, most + 1, (), generator=generator))
        if torch.rand((), generator=generator) < 0.5:
            same[:, length - by :] = False
        else:
            same[:, :by] = False
            by = -by
        return X.roll(by, dims=2), lambda track: track.roll(-by, dims=1), same
    order = torch.rand(n, length, generator=generator).to(X.device)
    order = order.masked_fill(track.detach().abs().argsort(dim=1).argsort(dim=1) >= length // 2, 2.0)
    at = order.argsort(dim=1)[:, : max(1, round(SHARE_MUTATED * length))]
    same = same.scatter(1, at, False)
    step = torch.randint(1, 4, (n, 1, length), generator=generator).to(X.device)
    base = (torch.arange(4, device=X.device)[:, None] + step) % 4  # (n, 4, L)
    return torch.where(same[:, None], X, X.gather(1, base)), lambda track: track, same


def consistency_term(
    mapped: Map, X: torch.Tensor, track: torch.Tensor, kind: str, generator: torch.Generator
) -> torch.Tensor:
    """Return how far maps (n, L) of windows are from those after a change; `mapped` makes maps of windows."""
    other, back, same = changed(X, track, kind, generator)
    return map_distance(track * same, back(mapped(other)) * same)


def composition_term(raw: torch.Tensor) -> torch.Tensor:
    """Return the variance of the mean predictions of kinds of sequences (kinds, n), without what sampling adds to it.

    Means of n sequences differ by chance alone, by the variance within kinds over n. Left in, that would penalise
    whatever a network says of single sequences.
    """
    n_kinds, n = raw.shape
    return raw.mean(dim=1).var(unbiased=False) - (1 - 1 / n_kinds) / n * raw.var(dim=1).mean()
