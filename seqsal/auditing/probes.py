"""Changed sequences near a sequence and on the way from it to its shuffles, at which a map is probed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqsal.auditing.context import AuditContext
from seqsal.sequence.codes import N_CODE

__all__ = ["PATH_SHARES", "SIZES", "Probe", "make_probes"]

SIZES = {"double": 2, "triple": 3}
PATH_SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)  # of the bases in which the shuffle differs
TOP_SHARE = 0.05  # of the window: the map's top positions
MIN_TOP_BP = 10
Codes = NDArray[np.uint8]


class Probe(NamedTuple):
    """A changed sequence of each of n regions.

    Attributes
    ----------
    kind
        `double`, `triple` or `path`.
    place
        `top` or `random`; of a path, the share of the bases that is replaced.
    codes
        (n, L).
    """

    kind: str
    place: str
    codes: Codes


def make_probes(context: AuditContext, rows: NDArray[np.int64]) -> Iterator[Probe]:
    """Make the changed sequences of some windows; unknown bases stay."""
    codes, size = context.codes(rows), np.abs(context.track(rows))
    known = codes != N_CODE
    n_top = min(max(MIN_TOP_BP, round(TOP_SHARE * codes.shape[1])), codes.shape[1])
    first = np.argsort(np.where(known, -size, np.inf), axis=1, kind="stable")[:, :n_top]
    top = np.zeros_like(known)
    np.put_along_axis(top, first, True, axis=1)
    rng = context.rng("locality")
    for (kind, k), (place, mask) in itertools.product(SIZES.items(), (("top", top & known), ("random", known))):
        for _ in range(context.settings.n_combinations):
            yield Probe(kind, place, _substitute(codes, mask, k, rng))
    for draw in range(context.settings.n_draws):
        shuffled = context.shuffled(codes, draw)
        order = _random_ranks(shuffled != codes, rng)
        n_different = (shuffled != codes).sum(1, keepdims=True)
        for share in PATH_SHARES:
            replaced = order < np.ceil(share * n_different)
            yield Probe("path", f"{share:g}", np.where(replaced, shuffled, codes))


def _substitute(codes: Codes, mask: NDArray[np.bool_], k: int, rng: np.random.Generator) -> Codes:
    """Put another base at k random positions of a mask (n, L)."""
    other = (codes + rng.integers(1, 4, size=codes.shape, dtype=np.uint8)) % 4
    return np.where(_random_ranks(mask, rng) < k, other, codes)


def _random_ranks(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    """Rank the positions of a mask (n, L) in random order, from 0 in each row; L elsewhere."""
    keys = np.where(mask, rng.random(mask.shape), 2.0)
    ranks = np.empty(mask.shape, dtype=np.int64)
    np.put_along_axis(ranks, keys.argsort(axis=1), np.arange(mask.shape[1])[None], axis=1)
    return np.where(mask, ranks, mask.shape[1])
