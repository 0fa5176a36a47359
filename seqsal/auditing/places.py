"""Whether a place in the window matters by itself: its edges, or any tenth of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seqsal.auditing.context import AuditContext
from seqsal.auditing.features import EDGE_SHARE
from seqsal.auditing.finding import Finding, signed_rank

__all__ = ["N_BINS", "edge_finding", "place_finding", "profile"]

N_BINS = 10
EDGE_DRAW, INSIDE_DRAW, PROFILE_DRAW = 3_010, 3_011, 3_012


def edge_finding(context: AuditContext, rows: NDArray[np.int64], has_classes: bool) -> Finding:
    """Ask whether the outer twentieth at either end drives the prediction.

    Removal replaces the edges of regions by those of their shuffles, insertion the edges of shuffles by those of their
    regions.
    """
    length = context.attr.length
    is_edge = np.minimum(np.arange(length), np.arange(length)[::-1]) < max(1, round(EDGE_SHARE * length))
    share = _share(context.track(rows), is_edge)
    expected = float(is_edge.mean())
    marginal = ablation = None
    if context.model is not None:
        codes = context.codes(rows)
        other, inside = context.shuffled(codes, EDGE_DRAW), context.shuffled(codes, INSIDE_DRAW)
        lost = context.predict(codes) - context.predict(np.where(is_edge, other, codes))
        won = context.predict(np.where(is_edge, codes, inside)) - context.predict(inside)
        ablation, marginal = signed_rank(lost, context.effect_scale), signed_rank(won, context.effect_scale)
    is_present = share is not None and share > context.settings.max_edge_share
    effects = [change.mean for change in (marginal, ablation) if change is not None]
    is_used = len(effects) == 2 and effects[0] * effects[1] > 0
    if is_used:
        is_used = min(map(abs, effects)) >= context.settings.min_effect * context.effect_scale
    told = "" if len(effects) < 2 else f"; their own bases are worth {effects[1]:+.2g}"
    held = "None" if share is None else f"{share:.0%}"
    return Finding(
        name="window edges",
        kind="position",
        n_regions=len(rows) if is_present else 0,
        attribution_share=share,
        enrichment=None if share is None else share / expected,
        marginal=marginal,
        ablation=ablation,
        presence_p=0.0,
        is_present=is_present,
        can_be_shortcut=is_present and is_used and has_classes,
        text=f"{held} of the attribution is in the outer {expected:.0%} of the window{told}.",
    )


def place_finding(context: AuditContext, shares: list[float] | None) -> Finding:
    """Say whether one tenth of the window draws the attribution of sequence that has no sites.

    Parameters
    ----------
    context
        What is under audit.
    shares
        What :func:`profile` gave.
    """
    top = None if shares is None else int(np.argmax(shares))
    share = None if shares is None or top is None else shares[top]
    is_present = share is not None and share > context.settings.max_bin_share
    length = context.attr.length
    where = "" if top is None else f"offsets {top * length // N_BINS} to {(top + 1) * length // N_BINS}"
    text = (
        "Which part of the window draws attribution by itself could not be tested."
        if share is None
        else f"Of the attribution of shuffled sequence, {share:.0%} is at {where} of the window (a tenth expected)."
    )
    return Finding(
        name="fixed position",
        kind="position",
        n_regions=len(context.attr) if is_present else 0,
        attribution_share=share,
        enrichment=None if share is None else share * N_BINS,
        marginal=None,
        ablation=None,
        presence_p=1.0,
        is_present=is_present,
        can_be_shortcut=False,
        text=text,
    )


def profile(context: AuditContext) -> list[float] | None:
    """Share of the attribution of shuffled sequence in each tenth of the window; None where it cannot be had."""
    controls = context.attr.controls
    if controls is not None and len(controls):
        track = np.asarray(controls.track[: context.settings.n_regions])
    elif context.can_attribute:
        codes = context.codes(context.rows(context.settings.n_small))
        track = context.attribute(context.shuffled(codes, PROFILE_DRAW))
    else:
        return None
    mass = np.abs(track.astype(np.float64)).sum(axis=0)
    if mass.sum() == 0:
        return None
    bins = np.arange(len(mass)) * N_BINS // len(mass)
    width = np.bincount(bins, minlength=N_BINS)
    density = np.bincount(bins, weights=mass, minlength=N_BINS) / np.maximum(width, 1)
    return [float(value) for value in density / density.sum()]


def _share(track: NDArray[np.float32], inside: NDArray[np.bool_]) -> float | None:
    mass = np.abs(track.astype(np.float64)).sum(axis=0)
    return float(mass[inside].sum() / mass.sum()) if mass.sum() > 0 else None
