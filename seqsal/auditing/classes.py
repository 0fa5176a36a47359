"""GC and CpG: whether they tell the classes apart, and whether the model tells them apart by these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqsal.auditing.content import cpg_ratio, cpg_sites, gc_content, unknown_share
from seqsal.auditing.context import AuditContext, Codes
from seqsal.auditing.finding import Change, Finding, signed_rank
from seqsal.auditing.stats import auroc, mann_whitney_p
from seqsal.sequence.draws import mononucleotide_shuffle

__all__ = ["ClassEvidence", "composition_evidence", "composition_finding"]

SHUFFLE_DRAW = 3_020
PROPERTIES: dict[str, tuple[str, Callable[[Codes], NDArray[np.float64]]]] = {
    "gc": ("GC content", gc_content),
    "cpg": ("CpG (observed/expected)", cpg_ratio),
}
OUTSIDE = 0.95  # quantile of the negatives beyond which a region is told as having more


@dataclass(frozen=True)
class ClassEvidence:
    """What the model makes of the classes, and of what composition alone leaves of them.

    Attributes
    ----------
    positives, negatives
        Codes of the classes, as many as are looked at.
    gap
        Difference of the mean predictions.
    retained
        Share of it that is left in dinucleotide shuffles; None where there is no difference.
    auroc, shuffle_auroc
        Of the model's predictions, and of those of the shuffles.
    effects
        Marginal effect of each of `PROPERTIES`, from negatives to positives.
    """

    positives: Codes
    negatives: Codes
    gap: float
    retained: float | None
    auroc: float | None
    shuffle_auroc: float | None
    effects: dict[str, Change | None]

    def as_dict(self) -> dict[str, Any]:
        """Return numbers for `audit.json`, with how well each property alone tells the classes apart."""
        alone = {f"{key}_auroc": auroc(f(self.positives), f(self.negatives)) for key, (_, f) in PROPERTIES.items()}
        return {
            "n_positives": len(self.positives),
            "n_negatives": len(self.negatives),
            "auroc": self.auroc,
            "shuffle_auroc": self.shuffle_auroc,
            "gap": self.gap,
            "retained": self.retained,
            **alone,
            "unknown_auroc": auroc(unknown_share(self.positives), unknown_share(self.negatives)),
        }


def composition_evidence(context: AuditContext, positives: Codes, negatives: Codes) -> ClassEvidence:
    """Predict both classes, their dinucleotide shuffles and their mononucleotide shuffles."""
    values, pairs, singles = [], [], []
    for codes in (positives, negatives):
        values.append(context.predict(codes))
        pairs.append(context.predict(context.shuffled(codes, SHUFFLE_DRAW)))
        singles.append(context.predict(mononucleotide_shuffle(codes, seed=context.seed)))
    gap = float(values[0].mean() - values[1].mean())
    kept = float(pairs[0].mean() - pairs[1].mean())
    effects = {
        "gc": _gc_effect(context, float(gc_content(positives).mean()), float(gc_content(negatives).mean())),
        "cpg": _difference(pairs[0] - singles[0], pairs[1] - singles[1]),
    }
    return ClassEvidence(
        positives,
        negatives,
        gap,
        kept / gap if abs(gap) > 1e-6 * max(context.effect_scale, 1e-12) else None,
        auroc(values[0], values[1]),
        auroc(pairs[0], pairs[1]),
        effects,
    )


def composition_finding(
    context: AuditContext, key: str, rows: NDArray[np.int64], evidence: ClassEvidence | None, rho: float | None
) -> Finding:
    """Say whether the model lives on GC or CpG.

    Parameters
    ----------
    context
        What is under audit.
    key
        `gc` or `cpg`.
    rows
        Audited rows.
    evidence
        None where no classes are known, or no model.
    rho
        Rank correlation of the predictions of shuffled regions with the property; None without a model.
    """
    name, measure = PROPERTIES[key]
    settings, values = context.settings, measure(context.codes(rows))
    share = _attribution_share(context, key, rows)
    if evidence is None:
        is_present = rho is not None and abs(rho) >= settings.min_shuffle_correlation
        told = "untested" if rho is None else f"rank correlation {rho:.2f} with the predictions of shuffled regions"
        text = f"{name}: {told}; whether it tells the classes apart is not known."
        return Finding(name, "composition", None, share, None, None, None, 1.0, is_present, False, text)
    ours, theirs = measure(evidence.positives), measure(evidence.negatives)
    alone = auroc(ours, theirs)
    assert alone is not None
    separates = abs(alone - 0.5) >= settings.min_composition_auroc - 0.5
    effect = evidence.effects[key]
    return Finding(
        name=name,
        kind="composition",
        n_regions=_n_outside(values, theirs, alone > 0.5),
        attribution_share=share,
        enrichment=float(ours.mean() / theirs.mean()) if theirs.mean() > 0 else None,
        marginal=effect,
        ablation=None,
        presence_p=mann_whitney_p(ours, theirs),
        is_present=separates,
        can_be_shortcut=separates and _is_used(context, evidence, effect),
        text=_text(name, alone, evidence, effect),
    )


def _is_used(context: AuditContext, evidence: ClassEvidence, effect: Change | None) -> bool:
    settings = context.settings
    return (
        effect is not None
        and evidence.retained is not None
        and evidence.retained >= settings.min_composition_share
        and effect.mean * evidence.gap > 0
        and abs(effect.mean) >= settings.min_effect * context.effect_scale
    )


def _gc_effect(context: AuditContext, high: float, low: float) -> Change | None:
    """Effect of random bases with one GC content against another, from the same random numbers."""
    shape = (context.settings.n_neutral, context.attr.length)
    rng = context.rng("random sequence")
    draw, side = rng.random(shape), rng.random(shape) < 0.5

    def sequences(gc: float) -> Codes:
        return np.where(draw < gc, np.where(side, 1, 2), np.where(side, 0, 3)).astype(np.uint8)

    return signed_rank(context.predict(sequences(high)) - context.predict(sequences(low)), context.effect_scale)


def _difference(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> Change:
    return Change(float(ours.mean() - theirs.mean()), mann_whitney_p(ours, theirs))


def _n_outside(values: NDArray[np.float64], negatives: NDArray[np.float64], upper: bool) -> int:
    limit = np.quantile(negatives, OUTSIDE if upper else 1 - OUTSIDE)
    return int((values > limit).sum() if upper else (values < limit).sum())


def _attribution_share(context: AuditContext, key: str, rows: NDArray[np.int64]) -> float | None:
    codes = context.codes(rows)
    mass = np.abs(context.track(rows).astype(np.float64))
    mask = cpg_sites(codes) if key == "cpg" else (codes == 1) | (codes == 2)
    return float(mass[mask].sum() / mass.sum()) if mass.sum() > 0 else None


def _text(name: str, alone: float, evidence: ClassEvidence, effect: Change | None) -> str:
    kept = "an unknown share" if evidence.retained is None else f"{evidence.retained:.0%}"
    worth = "" if effect is None else f"; the difference in it alone is worth {effect.mean:+.2g}"
    return (
        f"{name} alone tells positives from negatives with AUROC {alone:.2f}, and shuffles, which keep composition "
        f"only, keep {kept} of the model's difference between the classes{worth}."
    )
