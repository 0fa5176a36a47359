"""Stretches of a window that are no words: simple repeats, unknown bases, the edges, and any tenth of the window.

- **Simple repeats and unknown bases.** *Removal* draws the bases under the tracts anew, from a shuffle of the region
  (unknown bases at random, with the region's frequencies). For repeats this is compared with drawing as many bases anew
  half a window further on. *Insertion* puts the tracts of a region, where they were, into the shuffle of another
  region. A shortcut is more frequent in positives than in negatives, and both have a large effect.
- **Window edges.** *Removal* replaces the outer twentieth at either end of regions by those of their shuffles,
  *insertion* the edges of shuffles by those of their regions. They are a shortcut where they have more than
  `MAX_EDGE_SHARE` of the attribution, and both have a large effect.
- **Fixed position.** It is reported where more than `MAX_BIN_SHARE` of the attribution of shuffled sequence, in which
  no site can be the reason, is in one tenth of the window; it is never a shortcut by itself, since a model that pools
  by position looks more at some of them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from seqsal.auditing.content import EDGE_SHARE, repeat_mask
from seqsal.auditing.context import AuditContext, Codes
from seqsal.auditing.finding import MIN_REGION_SHARE, N_REMOVED, Effect, Property, signed_rank
from seqsal.auditing.part import NotTested
from seqsal.auditing.stats import fisher_p
from seqsal.sequence.codes import N_CODE

__all__ = ["edge_property", "padding_property", "position_property", "profile", "repeat_property"]

MAX_EDGE_SHARE = 0.2  # of the attribution that the outer tenth of the window may have
MAX_BIN_SHARE = 0.3  # of the attribution of shuffled sequence that any tenth of the window may have
N_BINS = 10
FILL_DRAW, NEUTRAL_DRAW = 3_000, 3_001
EDGE_DRAW, INSIDE_DRAW, PROFILE_DRAW = 3_010, 3_011, 3_012
NO_MODEL = NotTested("no model was given")
Mask = NDArray[np.bool_]
Tested = Effect | NotTested


def repeat_property(
    context: AuditContext, rows: NDArray[np.int64], positives: Codes | None, negatives: Codes | None
) -> Property:
    """Test whether the model uses simple repeats."""
    return _tracts(context, rows, positives, negatives, "simple repeats", "low_complexity", repeat_mask)


def padding_property(
    context: AuditContext, rows: NDArray[np.int64], positives: Codes | None, negatives: Codes | None
) -> Property:
    """Test whether the model uses runs of N and padding."""
    return _tracts(context, rows, positives, negatives, "unknown bases", "padding", lambda codes: codes == N_CODE)


def _tracts(
    context: AuditContext,
    rows: NDArray[np.int64],
    positives: Codes | None,
    negatives: Codes | None,
    name: str,
    kind: str,
    find: Callable[[Codes], Mask],
) -> Property:
    codes = context.codes(rows)
    mask = find(codes)
    with_tracts = mask.any(axis=1)
    enrichment, presence_p = _enrichment(positives, negatives, find)
    marginal: Tested = NotTested("no region has any") if context.model is not None else NO_MODEL
    ablation = marginal
    if context.model is not None and with_tracts.any():
        picked = np.flatnonzero(with_tracts)[:N_REMOVED]
        ablation = _removal(context, codes[picked], mask[picked], kind)
        marginal = _insertion(context, codes[picked], mask[picked])
    share = float(with_tracts.mean())
    return Property(
        name=name,
        kind=kind,
        n_regions=int(with_tracts.sum()),
        attribution_share=_share(context, rows, mask),
        enrichment=enrichment,
        marginal=marginal,
        ablation=ablation,
        presence_p=presence_p,
        is_present=share >= MIN_REGION_SHARE,
        can_be_shortcut=share >= MIN_REGION_SHARE
        and enrichment is not None
        and enrichment > 1
        and _are_large(context, marginal, ablation),
        text=_text(name, share, enrichment, marginal, ablation),
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


def _removal(context: AuditContext, codes: Codes, mask: Mask, kind: str) -> Tested:
    new = _filled(context, codes, f"removal {kind}")
    without = context.predict(np.where(mask, new, codes))
    if kind == "padding":
        return signed_rank(context.predict(codes) - without, context.effect_scale)
    elsewhere = np.roll(mask, mask.shape[1] // 2, axis=1) & ~mask
    return signed_rank(context.predict(np.where(elsewhere, new, codes)) - without, context.effect_scale)


def _insertion(context: AuditContext, codes: Codes, mask: Mask) -> Tested:
    neutral = context.codes(context.rows(len(codes)))
    neutral = np.resize(_filled(context, neutral, "insertion", NEUTRAL_DRAW), codes.shape)
    difference = context.predict(np.where(mask, codes, neutral)) - context.predict(neutral)
    return signed_rank(difference, context.effect_scale)


def _filled(context: AuditContext, codes: Codes, name: str, draw: int = FILL_DRAW) -> Codes:
    """Shuffle sequences (n, L), and draw unknown bases from the known ones of the sequence."""
    known = codes < N_CODE
    order = np.argsort(~known, axis=1, kind="stable")  # positions of the known bases first
    n_known = np.maximum(known.sum(axis=1, keepdims=True), 1)
    random = context.rng(name).random(codes.shape)
    positions = np.take_along_axis(order, (random * n_known).astype(np.int64), axis=1)
    drawn = np.take_along_axis(codes, positions, axis=1)
    drawn = np.where(drawn == N_CODE, (4 * random).astype(np.uint8), drawn)  # a sequence without any known base
    return np.where(known, context.shuffled(codes, draw), drawn).astype(np.uint8)


def _share(context: AuditContext, rows: NDArray[np.int64], mask: Mask) -> float | None:
    """Share of Σ|track| under a mask, (n, L) or (L,)."""
    mass = np.abs(context.track(rows).astype(np.float64))
    total = mass.sum()
    return float((mass * mask).sum() / total) if total > 0 else None


def _are_large(context: AuditContext, marginal: Tested, ablation: Tested) -> bool:
    if not isinstance(marginal, Effect) or not isinstance(ablation, Effect) or marginal.mean * ablation.mean <= 0:
        return False
    return min(abs(marginal.mean), abs(ablation.mean)) >= context.settings.min_effect * context.effect_scale


def _text(name: str, share: float, enrichment: float | None, marginal: Tested, ablation: Tested) -> str:
    if share == 0:
        return f"No region has {name}."
    text = f"{share:.0%} of the regions have {name}"
    if enrichment is not None:
        text += f" ({enrichment:.2g} times the share of the negatives)"
    if not isinstance(marginal, Effect) or not isinstance(ablation, Effect):
        return f"{text}; whether the model uses them could not be tested."
    return (
        f"{text}; putting them into neutral sequence changes the prediction by {marginal.mean:+.2g}, and they are "
        f"worth {ablation.mean:+.2g} where they stand."
    )


def edge_property(context: AuditContext, rows: NDArray[np.int64], has_classes: bool) -> Property:
    """Test whether the outer twentieth at either end drives the prediction."""
    length = context.attr.length
    is_edge = np.minimum(np.arange(length), np.arange(length)[::-1]) < max(1, round(EDGE_SHARE * length))
    share = _share(context, rows, is_edge)
    expected = float(is_edge.mean())
    marginal: Tested = NO_MODEL
    ablation: Tested = NO_MODEL
    if context.model is not None:
        codes = context.codes(rows)
        other, inside = context.shuffled(codes, EDGE_DRAW), context.shuffled(codes, INSIDE_DRAW)
        lost = context.predict(codes) - context.predict(np.where(is_edge, other, codes))
        won = context.predict(np.where(is_edge, codes, inside)) - context.predict(inside)
        ablation, marginal = signed_rank(lost, context.effect_scale), signed_rank(won, context.effect_scale)
    is_present = share is not None and share > MAX_EDGE_SHARE
    told = f"; their own bases are worth {ablation.mean:+.2g}" if isinstance(ablation, Effect) else ""
    return Property(
        name="window edges",
        kind="position",
        n_regions=len(rows) if is_present else 0,
        attribution_share=share,
        enrichment=None if share is None else share / expected,
        marginal=marginal,
        ablation=ablation,
        presence_p=0.0,
        is_present=is_present,
        can_be_shortcut=is_present and has_classes and _are_large(context, marginal, ablation),
        text=f"{'None' if share is None else f'{share:.0%}'} of the attribution is in the outer {expected:.0%} of the "
        f"window{told}.",
    )


def position_property(context: AuditContext, shares: tuple[float, ...] | NotTested) -> Property:
    """Say whether one tenth of the window draws the attribution of sequence without sites (see :func:`profile`)."""
    share, is_present = None, False
    text = "Which part of the window draws attribution by itself could not be tested."
    if not isinstance(shares, NotTested):
        top, length = int(np.argmax(shares)), context.attr.length
        share = shares[top]
        is_present = share > MAX_BIN_SHARE
        where = f"offsets {top * length // N_BINS} to {(top + 1) * length // N_BINS}"
        text = f"Of the attribution of shuffled sequence, {share:.0%} is at {where} of the window (a tenth expected)."
    untested = NotTested("a position is not a sequence that could be put in or taken out")
    return Property(
        name="fixed position",
        kind="position",
        n_regions=len(context.attr) if is_present else 0,
        attribution_share=share,
        enrichment=None if share is None else share * N_BINS,
        marginal=untested,
        ablation=untested,
        presence_p=1.0,
        is_present=is_present,
        can_be_shortcut=False,
        text=text,
    )


def profile(context: AuditContext) -> tuple[float, ...] | NotTested:
    """Share of the attribution of shuffled sequence in each tenth of the window."""
    controls = context.attr.controls
    if controls is not None and len(controls):
        track = np.asarray(controls.track[: context.settings.n_regions])
    elif context.can_attribute:
        codes = context.codes(context.rows(context.settings.n_small))
        track = context.attribute(context.shuffled(codes, PROFILE_DRAW))
    else:
        return NotTested("there are no controls, and no model to attribute shuffled sequence with")
    mass = np.abs(track.astype(np.float64)).sum(axis=0)
    if mass.sum() == 0:
        return NotTested("the map of shuffled sequence is 0")
    bins = np.arange(len(mass)) * N_BINS // len(mass)
    width = np.bincount(bins, minlength=N_BINS)
    density = np.bincount(bins, weights=mass, minlength=N_BINS) / np.maximum(width, 1)
    return tuple(float(value) for value in density / density.sum())
