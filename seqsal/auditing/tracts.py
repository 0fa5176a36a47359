"""What simple repeats and unknown bases do to a prediction: bases of a region that are no words of their own.

*Removal* draws the bases under the tracts anew, from a shuffle of the region (unknown bases at random, with the
region's frequencies). For repeats this is compared with drawing as many bases anew half a window further on.
*Insertion* puts the tracts of a region, at their places, into the shuffle of another region.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from seqsal.auditing.content import repeat_mask
from seqsal.auditing.context import AuditContext, Codes
from seqsal.auditing.finding import Change, Finding, signed_rank
from seqsal.auditing.stats import fisher_p
from seqsal.sequence.codes import N_CODE

__all__ = ["padding_finding", "repeat_finding"]

FILL_DRAW, NEUTRAL_DRAW = 3_000, 3_001
Mask = NDArray[np.bool_]


def repeat_finding(
    context: AuditContext, rows: NDArray[np.int64], positives: Codes | None, negatives: Codes | None
) -> Finding:
    """Ask whether the model uses simple repeats."""
    return _finding(context, rows, positives, negatives, "simple repeats", "low_complexity", repeat_mask)


def padding_finding(
    context: AuditContext, rows: NDArray[np.int64], positives: Codes | None, negatives: Codes | None
) -> Finding:
    """Ask whether the model uses runs of N and padding."""
    return _finding(context, rows, positives, negatives, "unknown bases", "padding", _is_unknown)


def _is_unknown(codes: Codes) -> Mask:
    return codes == N_CODE


def _finding(
    context: AuditContext,
    rows: NDArray[np.int64],
    positives: Codes | None,
    negatives: Codes | None,
    name: str,
    kind: str,
    find: Callable[[Codes], Mask],
) -> Finding:
    codes = context.codes(rows)
    mask = find(codes)
    held = mask.any(axis=1)
    enrichment, presence_p = _enrichment(positives, negatives, find)
    marginal = ablation = None
    if context.model is not None and held.any():
        picked = np.flatnonzero(held)[: context.settings.n_removed]
        ablation = _removal(context, codes[picked], mask[picked], kind)
        marginal = _insertion(context, codes[picked], mask[picked])
    return Finding(
        name=name,
        kind=kind,
        n_regions=int(held.sum()),
        attribution_share=_share(context.track(rows), mask),
        enrichment=enrichment,
        marginal=marginal,
        ablation=ablation,
        presence_p=presence_p,
        is_present=bool(held.mean() >= context.settings.min_region_share),
        can_be_shortcut=bool(held.mean() >= context.settings.min_region_share)
        and enrichment is not None
        and enrichment > 1
        and _large(context, marginal, ablation),
        text=_text(name, float(held.mean()), enrichment, marginal, ablation),
    )


def _enrichment(
    positives: Codes | None, negatives: Codes | None, find: Callable[[Codes], Mask]
) -> tuple[float | None, float]:
    """Ratio of the shares of positives and negatives that have tracts, half a sequence added to either, and p-value."""
    if positives is None or negatives is None:
        return None, 1.0
    n, m = len(positives), len(negatives)
    a, b = int(find(positives).any(axis=1).sum()), int(find(negatives).any(axis=1).sum())
    return ((a + 0.5) / (n + 1)) / ((b + 0.5) / (m + 1)), float(fisher_p(a, n, b, m))


def _removal(context: AuditContext, codes: Codes, mask: Mask, kind: str) -> Change | None:
    new = _filled(context, codes, f"removal {kind}")
    without = context.predict(np.where(mask, new, codes))
    if kind == "padding":
        return signed_rank(context.predict(codes) - without, context.effect_scale)
    elsewhere = np.roll(mask, mask.shape[1] // 2, axis=1) & ~mask
    return signed_rank(context.predict(np.where(elsewhere, new, codes)) - without, context.effect_scale)


def _insertion(context: AuditContext, codes: Codes, mask: Mask) -> Change | None:
    neutral = context.codes(context.rows(len(codes)))
    neutral = np.resize(_filled(context, neutral, "insertion", NEUTRAL_DRAW), codes.shape)
    difference = context.predict(np.where(mask, codes, neutral)) - context.predict(neutral)
    return signed_rank(difference, context.effect_scale)


def _filled(context: AuditContext, codes: Codes, name: str, draw: int = FILL_DRAW) -> Codes:
    """Shuffle sequences (n, L), and draw unknown bases from the known ones of the sequence."""
    known = codes < N_CODE
    order = np.argsort(~known, axis=1, kind="stable")  # places of the known bases first
    n_known = np.maximum(known.sum(axis=1, keepdims=True), 1)
    random = context.rng(name).random(codes.shape)
    places = np.take_along_axis(order, (random * n_known).astype(np.int64), axis=1)
    drawn = np.take_along_axis(codes, places, axis=1)
    drawn = np.where(drawn == N_CODE, (4 * random).astype(np.uint8), drawn)  # a sequence without any known base
    return np.where(known, context.shuffled(codes, draw), drawn).astype(np.uint8)


def _share(track: NDArray[np.float32], mask: Mask) -> float | None:
    mass = np.abs(track.astype(np.float64))
    return float(mass[mask].sum() / mass.sum()) if mass.sum() > 0 else None


def _large(context: AuditContext, marginal: Change | None, ablation: Change | None) -> bool:
    least = context.settings.min_effect * context.effect_scale if context.model is not None else np.inf
    if marginal is None or ablation is None:
        return False
    return min(abs(marginal.mean), abs(ablation.mean)) >= least and marginal.mean * ablation.mean > 0


def _text(name: str, share: float, enrichment: float | None, marginal: Change | None, ablation: Change | None) -> str:
    if share == 0:
        return f"No region has {name}."
    text = f"{share:.0%} of the regions have {name}"
    if enrichment is not None:
        text += f" ({enrichment:.2g} times the share of the negatives)"
    if marginal is None or ablation is None:
        return f"{text}; whether the model uses them could not be tested."
    return (
        f"{text}; putting them into neutral sequence changes the prediction by {marginal.mean:+.2g}, and they are "
        f"worth {ablation.mean:+.2g} where they stand."
    )
