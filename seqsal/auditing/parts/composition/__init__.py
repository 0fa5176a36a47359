"""How much of a prediction is composition, simple repeats, unknown bases or a place in the window, rather than words.

Each finding says whether a property is there, and what it does to the prediction (`shortcut`, `present` or `clean`):

- **GC, CpG** (kind `composition`). Dinucleotide shuffles keep GC and CpG, and words only by chance. `retained` is the
  share of the difference between the classes that is left in shuffles of both::

      (mean f(shuffled positives) - mean f(shuffled negatives)) / (mean f(positives) - mean f(negatives))

  The marginal effect of GC is that of random sequence with the GC of the positives against that of the negatives; that
  of CpG is f(dinucleotide shuffle) - f(mononucleotide shuffle) of the positives, less the same of the negatives.
  Promoters and many binding sites are rich in GC, so composition is a shortcut only where it separates the classes
  (`MIN_COMPOSITION_AUROC`), much of the model's difference is composition (`MIN_COMPOSITION_SHARE`), and the marginal
  effect is large (`min_effect`) and points to the class that has more. Without classes none is called.
- **simple repeats** (`low_complexity`), **unknown bases** (`padding`), **window edges** and **fixed position**
  (`position`): :mod:`seqsal.auditing.parts.composition.tracts`.

Effects are means over sequences, in units of the attributed output, with Wilcoxon's signed-rank test (Mann–Whitney for
CpG). The p-value of a finding is the largest of those that it rests on, and q-values are those of Benjamini and
Hochberg (1995) over the findings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.auditing.content import (
    cpg_ratio,
    cpg_sites,
    gc_content,
    repeat_mask,
    unknown_share,
)
from seqsal.auditing.context import AuditContext, Codes
from seqsal.auditing.finding import N_NEUTRAL, Effect, Finding, Property, judge_properties, signed_rank
from seqsal.auditing.part import Fact, Measured, NotTested, Part, PartResult, measured, to_json
from seqsal.auditing.parts.composition.tracts import (
    edge_property,
    padding_property,
    position_property,
    profile,
    repeat_property,
)
from seqsal.auditing.settings import AuditSettings
from seqsal.auditing.stats import auroc, mann_whitney_p, pearson, spearman
from seqsal.sequence.draws import mononucleotide_shuffle

__all__ = ["PART", "CompositionResult", "audit_composition"]

MIN_CLASS = 10  # sequences of either class, with fewer the classes are not compared
MIN_COMPOSITION_AUROC = 0.7  # how well GC or CpG alone must tell positives from negatives to be a shortcut
MIN_COMPOSITION_SHARE = 0.3  # share of the difference between the classes that must be left in shuffles for a shortcut
MIN_SHUFFLE_CORRELATION = (
    0.3  # rank correlation with the predictions of shuffles that is reported where no class is known
)
OUTSIDE = 0.95  # quantile of the negatives beyond which a region counts as having more
ROUNDING = 1e-6  # of the largest prediction: float32
SHUFFLE_DRAW = 3_020
PROPERTIES: dict[str, tuple[str, Callable[[Codes], NDArray[np.float64]]]] = {
    "gc": ("GC content", gc_content),
    "cpg": ("CpG (observed/expected)", cpg_ratio),
}
NO_MODEL, NO_CLASSES = "no model was given", "positives and negatives are not known"
ALIKE = "one of the two hardly varies"


@dataclass(frozen=True)
class Correlations:
    """Rank correlation of a property with the predictions of the regions, and of their shuffles."""

    regions: Measured
    shuffles: Measured


@dataclass(frozen=True)
class Classes:
    """What the model makes of the classes, and of what composition alone leaves of them.

    `n_positives`, `n_negatives`: sequences of each class that were looked at. `auroc`, `shuffle_auroc`: of the model's
    predictions, and of those of the shuffles. `gap`: difference of the mean predictions. `retained`: share of it that
    is left in dinucleotide shuffles. `gc_auroc`, `cpg_auroc`, `unknown_auroc`: how well the property alone tells the
    classes apart.
    """

    n_positives: int
    n_negatives: int
    auroc: float | None
    shuffle_auroc: float | None
    gap: float
    retained: Measured
    gc_auroc: float | None
    cpg_auroc: float | None
    unknown_auroc: float | None


@dataclass(frozen=True, eq=False, kw_only=True)
class CompositionResult(PartResult):
    """How much of the predictions is composition, repeats, unknown bases or place in the window.

    Tables: `composition_regions` (a row a region) and `composition_findings`.

    `n_regions`: regions looked at, and as many sequences of each class at most. `shuffle_r2`: squared correlation of
    the predictions of regions and of their shuffles. `gc`, `cpg`: their correlations with the predictions.
    `repeat_share`, `unknown_share`: of the bases. `classes`: what the model makes of the classes. `profile`: share of
    the attribution of shuffled sequence in each tenth of the window. `findings`: one for each property.
    """

    n_regions: int
    shuffle_r2: Measured
    gc: Correlations
    cpg: Correlations
    repeat_share: float
    unknown_share: float
    classes: Classes | NotTested
    profile: tuple[float, ...] | NotTested
    findings: tuple[Finding, ...]

    def facts(self, settings: AuditSettings) -> Iterator[Fact]:
        if isinstance(self.shuffle_r2, float):
            yield Fact("predictions of shuffles explain", f"{self.shuffle_r2:.0%} of those of the regions")
        for name, correlations in (("GC", self.gc), ("CpG", self.cpg)):
            if isinstance(correlations.regions, float):
                yield Fact(f"correlation with {name}", f"{correlations.regions:.2f}")


def audit_composition(context: AuditContext) -> CompositionResult:
    """Test how much of the predictions is composition, repeats, unknown bases or place.

    `context`: what is under audit. `settings.n_regions` regions, and as many sequences of each class, are looked at.
    With negatives but no positives, the audited regions are the positives.
    """
    rows = context.rows(context.settings.n_regions)
    codes = context.codes(rows)
    shuffles = None if context.model is None else context.predict(context.shuffled(codes, SHUFFLE_DRAW))
    predictions = _predictions(context, rows)
    positives, negatives = _classes(context, codes)
    evidence = None
    if context.model is not None and positives is not None and negatives is not None:
        evidence = _evidence(context, positives, negatives)
    properties = {key: measure(codes) for key, (_, measure) in PROPERTIES.items()}
    correlations = {key: _correlations(values, predictions, shuffles) for key, values in properties.items()}
    bins = profile(context)
    findings = judge_properties(
        [
            *(_composition(context, key, rows, evidence, found.shuffles) for key, found in correlations.items()),
            repeat_property(context, rows, positives, negatives),
            padding_property(context, rows, positives, negatives),
            edge_property(context, rows, negatives is not None),
            position_property(context, bins),
        ],
        context.settings.fdr,
    )
    explained = pearson(predictions, shuffles, min_spread=ROUNDING)
    return CompositionResult(
        n_regions=len(rows),
        shuffle_r2=measured(None if explained is None else explained**2, NO_MODEL if shuffles is None else ALIKE),
        **correlations,
        repeat_share=float(repeat_mask(codes).mean()),
        unknown_share=float(unknown_share(codes).mean()),
        classes=NotTested(NO_CLASSES) if evidence is None else evidence.numbers,
        profile=bins,
        findings=findings,
        tables={
            "composition_regions": context.region_table(rows).assign(**properties, prediction=predictions),
            "composition_findings": pd.DataFrame([to_json(one) for one in findings]),
        },
        warnings=tuple(f"Shortcut: {one.text}" for one in findings if one.verdict == "shortcut"),
        untested=_untested(context, negatives),
    )


def _predictions(context: AuditContext, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Predictions (n,) as they are stored, or of the model where they are not; NaN where there is neither."""
    stored = np.asarray(context.attr.prediction[rows], dtype=np.float64)
    if np.isfinite(stored).all() or context.model is None:
        return stored
    return context.predict(context.codes(rows))


def _classes(context: AuditContext, codes: Codes) -> tuple[Codes | None, Codes | None]:
    """Sequences of either class, as many as regions are audited; None where a class is not known or too small."""
    negatives = _sample(context, context.negatives, "negatives")
    positives = _sample(context, context.positives, "positives")
    if positives is None and negatives is not None and len(codes) >= MIN_CLASS:
        positives = codes
    return (None, None) if positives is None or negatives is None else (positives, negatives)


def _sample(context: AuditContext, codes: Codes | None, name: str) -> Codes | None:
    if codes is None or len(codes) < MIN_CLASS:
        return None
    n = context.settings.n_regions
    picked = np.sort(context.rng(f"composition {name}").permutation(len(codes))[:n])
    return np.asarray(codes[picked])


def _correlations(
    values: NDArray[np.float64], predictions: NDArray[np.float64], shuffles: NDArray[np.float64] | None
) -> Correlations:
    return Correlations(
        measured(spearman(values, predictions), ALIKE),
        measured(spearman(values, shuffles), NO_MODEL if shuffles is None else ALIKE),
    )


def _untested(context: AuditContext, negatives: Codes | None) -> tuple[str, ...]:
    sentences = []
    if context.model is None:
        sentences.append(
            "Without a model, the effects of composition, repeats, unknown bases and edges were not tested."
        )
    if negatives is None:
        sentences.append(
            "Without positives and negatives, whether composition, repeats, unknown bases or edges tell the classes "
            "apart was not tested, so none of them is called a shortcut."
        )
    return tuple(sentences)


@dataclass(frozen=True)
class _Evidence:
    """Codes of both classes, the effect of each of `PROPERTIES` from negatives to positives, and numbers."""

    positives: Codes
    negatives: Codes
    effects: dict[str, Effect | NotTested]
    numbers: Classes


def _evidence(context: AuditContext, positives: Codes, negatives: Codes) -> _Evidence:
    """Predict both classes, their dinucleotide shuffles and their mononucleotide shuffles."""
    values, pairs, singles = [], [], []
    for codes in (positives, negatives):
        values.append(context.predict(codes))
        pairs.append(context.predict(context.shuffled(codes, SHUFFLE_DRAW)))
        singles.append(context.predict(mononucleotide_shuffle(codes, seed=context.seed)))
    gap = float(values[0].mean() - values[1].mean())
    kept = float(pairs[0].mean() - pairs[1].mean())
    is_gap = abs(gap) > 1e-6 * max(context.effect_scale, 1e-12)
    cpg = [both - one for both, one in zip(pairs, singles, strict=True)]
    numbers = Classes(
        n_positives=len(positives),
        n_negatives=len(negatives),
        auroc=auroc(*values),
        shuffle_auroc=auroc(*pairs),
        gap=gap,
        retained=kept / gap if is_gap else NotTested("the model gives both classes the same"),
        gc_auroc=auroc(gc_content(positives), gc_content(negatives)),
        cpg_auroc=auroc(cpg_ratio(positives), cpg_ratio(negatives)),
        unknown_auroc=auroc(unknown_share(positives), unknown_share(negatives)),
    )
    effects = {
        "gc": _gc_effect(context, float(gc_content(positives).mean()), float(gc_content(negatives).mean())),
        "cpg": Effect(float(cpg[0].mean() - cpg[1].mean()), None, mann_whitney_p(*cpg), len(positives)),
    }
    return _Evidence(positives, negatives, effects, numbers)


def _composition(
    context: AuditContext, key: str, rows: NDArray[np.int64], evidence: _Evidence | None, rho: Measured
) -> Property:
    """Say whether the model lives on GC or CpG (`key`), which correlates by rho with the predictions of shuffles."""
    name, measure = PROPERTIES[key]
    codes, untested = context.codes(rows), NotTested(NO_CLASSES)
    mass = np.abs(context.track(rows).astype(np.float64))
    mask = cpg_sites(codes) if key == "cpg" else (codes == 1) | (codes == 2)
    share = float(mass[mask].sum() / mass.sum()) if mass.sum() > 0 else None
    if evidence is None:
        is_present, told = False, "untested"
        if isinstance(rho, float):
            is_present = abs(rho) >= MIN_SHUFFLE_CORRELATION
            told = f"rank correlation {rho:.2f} with the predictions of shuffled regions"
        return Property(
            name=name,
            kind="composition",
            n_regions=None,
            attribution_share=share,
            enrichment=None,
            marginal=untested,
            ablation=untested,
            presence_p=1.0,
            is_present=is_present,
            can_be_shortcut=False,
            text=f"{name}: {told}; whether it tells the classes apart is not known.",
        )
    ours, theirs = measure(evidence.positives), measure(evidence.negatives)
    alone = auroc(ours, theirs) or 0.0
    separates = abs(alone - 0.5) >= MIN_COMPOSITION_AUROC - 0.5
    effect = evidence.effects[key]
    limit = np.quantile(theirs, OUTSIDE if alone > 0.5 else 1 - OUTSIDE)
    values = measure(codes)
    return Property(
        name=name,
        kind="composition",
        n_regions=int((values > limit).sum() if alone > 0.5 else (values < limit).sum()),
        attribution_share=share,
        enrichment=float(ours.mean() / theirs.mean()) if theirs.mean() > 0 else None,
        marginal=effect,
        ablation=NotTested("composition cannot be taken out of a sequence"),
        presence_p=mann_whitney_p(ours, theirs),
        is_present=separates,
        can_be_shortcut=separates and _is_used(context, evidence.numbers, effect),
        text=_text(name, alone, evidence.numbers.retained, effect),
    )


def _is_used(context: AuditContext, classes: Classes, effect: Effect | NotTested) -> bool:
    return (
        isinstance(effect, Effect)
        and isinstance(classes.retained, float)
        and classes.retained >= MIN_COMPOSITION_SHARE
        and effect.mean * classes.gap > 0
        and abs(effect.mean) >= context.settings.min_effect * context.effect_scale
    )


def _gc_effect(context: AuditContext, high: float, low: float) -> Effect | NotTested:
    """Effect of random bases with one GC content against another, from the same random numbers."""
    shape = (N_NEUTRAL, context.attr.length)
    rng = context.rng("random sequence")
    draw, side = rng.random(shape), rng.random(shape) < 0.5

    def sequences(gc: float) -> Codes:
        return np.where(draw < gc, np.where(side, 1, 2), np.where(side, 0, 3)).astype(np.uint8)

    return signed_rank(context.predict(sequences(high)) - context.predict(sequences(low)), context.effect_scale)


def _text(name: str, alone: float, retained: Measured, effect: Effect | NotTested) -> str:
    kept = f"{retained:.0%}" if isinstance(retained, float) else "an unknown share"
    worth = f"; the difference in it alone is worth {effect.mean:+.2g}" if isinstance(effect, Effect) else ""
    return (
        f"{name} alone tells positives from negatives with AUROC {alone:.2f}, and shuffles, which keep composition "
        f"only, keep {kept} of the model's difference between the classes{worth}."
    )


PART = Part(CompositionResult, lambda context, _: audit_composition(context))
