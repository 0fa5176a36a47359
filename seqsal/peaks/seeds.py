"""Seeds: a coarse map says where to look, the fine track says what is there.

A map such as Grad-CAM knows the stretch that a decision rests on, to some tens of bases; the fine track knows bases
but is noisy far from that stretch. As weak labels are in image segmentation (Kolesnikov and Lampert 2016,
doi:10.1007/978-3-319-46493-0_42: seed, expand, constrain), the local maxima of the coarse map are *seeds*, each
reaching out to half of its height, and a seed grows to the segments of the fine track that have its sign and their
summits under it. The rest of the track is not tested, so fewer tests share the error rate.

The controls go the same way, with their own coarse map, so candidates under the seeds of the data are compared with
candidates under the seeds of the controls, by the same statistic.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seqsal.errors import StoreError, UsageError
from seqsal.io.attributions import Array, Attributions
from seqsal.peaks.candidates import CandidateRules, Candidates, find_candidates

__all__ = ["SEED_REACH_BP", "SEED_RULES", "check_seeds", "under_seeds"]

SEED_RULES = CandidateRules(smooth_bp=1, min_width=1, max_width=200, flank_fraction=0.5)
SEED_REACH_BP = SEED_RULES.reach_bp + SEED_RULES.max_width  # a candidate may lie that far from what its seed rests on
_CHECKED_ROWS = 4096  # read at a time


def under_seeds(
    positions: NDArray[np.int64], coarse: NDArray[np.floating], found: dict[str, Candidates]
) -> dict[str, Candidates]:
    """Keep the candidates whose summits lie under a seed of their sign.

    Parameters
    ----------
    positions
        (P,) strictly increasing positions that have a value.
    coarse
        (P,) coarse map at those positions.
    found
        Candidates of the fine track at those positions, `pos` and `neg`.

    Returns
    -------
    dict
        `pos` and `neg`.
    """
    seeds = find_candidates(positions, coarse, SEED_RULES)
    return {sign: candidates.take(_is_under(candidates, seeds[sign])) for sign, candidates in found.items()}


def _is_under(candidates: Candidates, seeds: Candidates) -> NDArray[np.bool_]:
    """Whether each summit (n,) lies in one of the spans, which are sorted and apart."""
    if not len(seeds):
        return np.zeros(len(candidates), dtype=bool)
    of = np.searchsorted(seeds.start, candidates.summit, side="right") - 1
    return (of >= 0) & (candidates.summit < seeds.end[np.maximum(of, 0)])


def check_seeds(attr: Attributions, seeds: Attributions) -> None:
    """Raise unless a coarse map is about the same windows and the same controls.

    Raises
    ------
    UsageError
        It is the fine track itself.
    StoreError
        Other regions, other sequences, or other controls.
    """
    if seeds is attr:
        raise UsageError(
            f"seeds: {seeds.name} is the track that is called, expected a coarser map of the same windows; attribute "
            "with both: `seqsal attribute … --method gradient_x_input --method grad_cam`"
        )
    same_place = [name for name in ("chrom", "start", "end", "strand") if name in attr.regions]
    if len(attr) != len(seeds) or not attr.regions[same_place].equals(seeds.regions[same_place]):
        raise StoreError(
            f"seeds: are about other windows ({len(seeds):,} of {seeds.length:,} bp) than the track ({len(attr):,} of "
            f"{attr.length:,} bp), expected the same in the same order; attribute the same regions with both methods"
        )
    if attr.n_controls != seeds.n_controls or not _same_codes(attr.null_codes, seeds.null_codes):
        raise StoreError(
            f"seeds: have other shuffled controls ({seeds.n_controls:,}) than the track ({attr.n_controls:,}), "
            "expected the same ones; attribute with the same --seed and --controls, or with both methods in one run"
        )
    if not _same_codes(attr.codes, seeds.codes):
        raise StoreError("seeds: are about other sequences than the track; attribute the same genome with both methods")


def _same_codes(a: Array | None, b: Array | None) -> bool:
    if a is None or b is None:
        return a is b
    if a is b:
        return True
    chunks = (slice(i, i + _CHECKED_ROWS) for i in range(0, len(a), _CHECKED_ROWS))
    return a.shape == b.shape and all(np.array_equal(a[rows], b[rows]) for rows in chunks)
