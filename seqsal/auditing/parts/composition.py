"""How much of a prediction is composition, repeats, unknown bases or a position in the window, rather than words.

Each finding says whether a property is there, and what it does to the prediction (`shortcut`, `present` or `clean`):

- **GC, CpG** (kind `composition`). Dinucleotide shuffles keep GC and CpG, and words only by chance. `retained` is the
  share of the difference between the classes that is left in shuffles of both::

      (mean f(shuffled positives) - mean f(shuffled negatives)) / (mean f(positives) - mean f(negatives))

  The marginal effect of GC is that of random sequence with the GC of the positives against that of the negatives; that
  of CpG is f(dinucleotide shuffle) - f(mononucleotide shuffle) of the positives, less the same of the negatives.
  Promoters and many binding sites are rich in GC, so composition is a shortcut only where it separates the classes
  (`MIN_COMPOSITION_AUROC`), much of the model's difference is composition (`MIN_COMPOSITION_SHARE`), and the marginal
  effect is large (`min_effect`) and points to the class that has more. Without classes none is called.
- **Simple repeats** (`low_complexity`) and **unknown bases** (`padding`). *Removal* draws the bases under the tracts
  anew, from a shuffle of the region (unknown bases at random, with the region's frequencies). For repeats this is
  compared with drawing as many bases anew half a window further on. *Insertion* puts the tracts of a region, where they
  were, into the shuffle of another. A shortcut is more frequent in positives than in negatives, and both have a large
  effect.
- **Window edges** (`position`). *Removal* replaces the outer twentieth at either end of regions by those of their
  shuffles, *insertion* the edges of shuffles by those of their regions. They are a shortcut where they have more than
  `MAX_EDGE_SHARE` of the attribution, and both have a large effect.
- **Fixed position** is reported where more than `MAX_BIN_SHARE` of the attribution of shuffled sequence, in
  which no site can be the reason, is in one tenth of the window; it is never a shortcut by itself, since a model that
  pools by position looks more at some of them.

Effects are means over sequences, in units of the attributed output, with Wilcoxon's signed-rank test (Mann–Whitney for
CpG). The p-value of a finding is the largest of those that it rests on, and q-values are those of Benjamini and
Hochberg (1995) over the findings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from seqsal.auditing.content import (
    EDGE_SHARE,
    Codes,
    Flags,
    Ints,
    Values,
    cpg_ratio,
    cpg_sites,
    gc_content,
    repeat_mask,
    unknown_share,
)
from seqsal.auditing.context import AuditContext
from seqsal.auditing.finding import EQUAL, MIN_REGION_SHARE, N_NEUTRAL, N_REMOVED, Effect, Finding, numbers_of
from seqsal.auditing.part import Fact, Measured, Notes, NotTested, Part, PartResult, measured, to_json
from seqsal.auditing.settings import AuditSettings
from seqsal.auditing.stats import auroc, fisher_p, mann_whitney_p, pearson, q_values_of, signed_rank_p, spearman
from seqsal.sequence.codes import N_CODE
from seqsal.sequence.draws import mononucleotide_shuffle

__all__ = ["PART", "PROPERTIES", "CompositionResult", "audit_composition", "class_evidence"]

MIN_CLASS = 10  # sequences of either class, with fewer the classes are not compared
MIN_COMPOSITION_AUROC = 0.7  # how well GC or CpG alone must tell positives from negatives to be a shortcut
MIN_COMPOSITION_SHARE = 0.3  # share of the difference between the classes that must be left in shuffles for a shortcut
MIN_SHUFFLE_CORRELATION = (
    0.3  # rank correlation with the predictions of shuffles that is reported where no class is known
)
OUTSIDE = 0.95  # quantile of the negatives beyond which a region counts as having more
ROUNDING = 1e-6  # of the largest prediction: float32
MAX_EDGE_SHARE = 0.2  # of the attribution that the outer tenth of the window may have
MAX_BIN_SHARE = 0.3  # of the attribution of shuffled sequence that any tenth of the window may have
N_BINS = 10
FILL_DRAW, NEUTRAL_DRAW = 3_000, 3_001
EDGE_DRAW, INSIDE_DRAW, PROFILE_DRAW, SHUFFLE_DRAW = 3_010, 3_011, 3_012, 3_020
NO_CLASSES = NotTested("positives and negatives are not known")
NO_MODEL = NotTested("no model was given")
ALIKE = "one of the two hardly varies"
Tested = Effect | NotTested
PROPERTIES: dict[str, tuple[str, Callable[[Codes], Values]]] = {
    "gc": ("GC content", gc_content),
    "cpg": ("CpG (observed/expected)", cpg_ratio),
}


@dataclass(frozen=True)
class Correlations:
    """Rank correlation of a property with the predictions of the regions, and of their shuffles."""

    regions: Measured
    shuffles: Measured


@dataclass(frozen=True)
class Classes:
    """What the model makes of the classes, and of what composition alone leaves of them.

    `auroc`, `shuffle_auroc`: of the predictions, and of those of the shuffles. `gap`: difference of the mean
    predictions; `retained`: share of it that is left in dinucleotide shuffles. `gc_auroc`, `cpg_auroc`,
    `unknown_auroc`: how well the property alone tells the classes apart.
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
    """How much of the predictions is composition, repeats, unknown bases or position in the window.

    Tables: `composition_regions` (a row a region) and `composition_findings`.

    `shuffle_r2`: squared correlation of the predictions of regions and of their shuffles. `gc`, `cpg`: correlations
    with the predictions. `repeat_share`, `unknown_share`: of the bases. `profile`: share of the attribution of shuffled
    sequence in each tenth of the window. `findings`: one for each property.
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


@dataclass(frozen=True, kw_only=True)
class Property:
    """A property of sequences that is no word: how much of it there is, what it does, and whether it may be a shortcut.

    `kind` is `composition`, `low_complexity`, `padding` or `position`. `presence_p`: p-value of its enrichment; 1 where
    there is nothing to compare with. `is_present`: whether there is any to speak of. `can_be_shortcut`: whether
    everything but the p-values speaks for a shortcut. The others are as in :class:`Finding`.
    """

    name: str
    kind: str
    n_regions: int | None = None
    attribution_share: float | None
    enrichment: float | None = None
    marginal: Tested
    ablation: Tested
    presence_p: float = 1.0
    is_present: bool
    can_be_shortcut: bool = False
    text: str

    @property
    def p_value(self) -> float:
        """The largest p-value that a shortcut would rest on; NaN where no effect was tested."""
        effects = [one.p_value for one in (self.marginal, self.ablation) if isinstance(one, Effect)]
        return max(self.presence_p, *effects) if effects else np.nan

    def judged(self, q_value: float, fdr: float) -> Finding:
        """Return the row of `audit.json`."""
        is_shortcut = self.can_be_shortcut and q_value <= fdr
        return Finding(
            name=self.name,
            kind=self.kind,
            n_regions=self.n_regions,
            attribution_share=measured(self.attribution_share, "the map is 0"),
            enrichment=measured(self.enrichment, "there is nothing to compare with"),
            marginal_effect=numbers_of(self.marginal)[0],
            ablation_effect=numbers_of(self.ablation)[0],
            q_value=measured(q_value, "no effect was tested"),
            verdict="shortcut" if is_shortcut else "present" if self.is_present else "clean",
            text=self.text,
        )


def judge_properties(properties: Sequence[Property], fdr: float) -> tuple[Finding, ...]:
    """Judge properties, with q-values of Benjamini and Hochberg (1995) over those whose effect was tested."""
    q_values = q_values_of([one.p_value for one in properties])
    return tuple(one.judged(float(q_value), fdr) for one, q_value in zip(properties, q_values, strict=True))


def signed_rank(differences: Values, scale: float) -> Effect | NotTested:
    """Mean of paired differences (n,) and Wilcoxon's signed-rank test; less than `EQUAL` of the scale is none."""
    if not len(differences):
        return NotTested("no region has any")
    return Effect(float(differences.mean()), None, signed_rank_p(differences, EQUAL * scale), len(differences))


def audit_composition(context: AuditContext) -> CompositionResult:
    """Test how much of the predictions is composition, repeats, unknown bases or position.

    `settings.n_regions` regions, and as many sequences of each class, are looked at. With negatives but no positives,
    the audited regions are the positives.
    """
    audit, settings = _Audit(context), context.settings
    codes, predictions, notes = audit.codes, audit.predictions, Notes()
    shuffles = (
        None if context.model is None else context.predict(context.shuffled(codes, SHUFFLE_DRAW), rows=audit.rows)
    )
    evidence = None if context.model is None or audit.classes is None else class_evidence(context, *audit.classes)
    properties = {key: measure(codes) for key, (_, measure) in PROPERTIES.items()}
    against = NO_MODEL.reason if shuffles is None else ALIKE
    correlations = {
        key: Correlations(measured(spearman(values, predictions), ALIKE), measured(spearman(values, shuffles), against))
        for key, values in properties.items()
    }
    bins = profile(context)
    found = [
        *(audit.composition(key, evidence, correlations[key].shuffles) for key in PROPERTIES),
        audit.tracts("simple repeats", "low_complexity", repeat_mask),
        audit.tracts("unknown bases", "padding", lambda codes: codes == N_CODE),
        audit.edges(),
        audit.position(bins),
    ]
    findings = judge_properties(found, settings.fdr)
    explained = pearson(predictions, shuffles, min_spread=ROUNDING)
    notes.tables = {
        "composition_regions": context.region_table(audit.rows).assign(**properties, prediction=predictions),
        "composition_findings": pd.DataFrame([to_json(one) for one in findings]),
    }
    notes.warnings += [f"Shortcut: {one.text}" for one in findings if one.verdict == "shortcut"]
    if context.model is None:
        notes.untested.append(
            "Without a model, the effects of composition, repeats, unknown bases and edges were not tested."
        )
    if audit.classes is None:
        notes.untested.append(
            "Without positives and negatives, whether composition, repeats, unknown bases or edges tell the classes "
            "apart was not tested, so none of them is called a shortcut."
        )
    return CompositionResult(
        n_regions=len(codes),
        shuffle_r2=measured(None if explained is None else explained**2, against),
        gc=correlations["gc"],
        cpg=correlations["cpg"],
        repeat_share=float(repeat_mask(codes).mean()),
        unknown_share=float(unknown_share(codes).mean()),
        classes=NO_CLASSES if evidence is None else evidence.numbers,
        profile=bins,
        findings=findings,
        **notes.fields(),
    )


class _Audit:
    """The regions looked at, with their maps, and the properties that they may have."""

    def __init__(self, context: AuditContext) -> None:
        self.context, self.rows = context, context.rows(context.settings.n_regions)
        self.codes = context.codes(self.rows)
        self.mass = np.abs(context.track(self.rows).astype(np.float64))
        self.predictions = np.asarray(context.attr.prediction[self.rows], dtype=np.float64)
        if not np.isfinite(self.predictions).all() and context.model is not None:
            self.predictions = context.predict(self.codes, rows=self.rows)
        self.classes = self._classes()
        self.least_effect = context.settings.min_effect * context.effect_scale if context.model is not None else 0.0

    def _classes(self) -> tuple[Codes, Codes] | None:
        """Positives and negatives, as many as regions are audited; None where a class is not known or too small."""
        positives, negatives = (self._sample(name) for name in ("positives", "negatives"))
        if positives is None and len(self.codes) >= MIN_CLASS:
            positives = self.codes
        return None if positives is None or negatives is None else (positives, negatives)

    def _sample(self, name: str) -> Codes | None:
        codes = getattr(self.context, name)
        if codes is None or len(codes) < MIN_CLASS:
            return None
        order = self.context.rng(f"composition {name}").permutation(len(codes))
        return np.asarray(codes[np.sort(order[: self.context.settings.n_regions])])

    def _share(self, mask: Flags) -> float | None:
        """Share of Σ|track| under a mask, (n, L) or (L,)."""
        total = self.mass.sum()
        return float((self.mass * mask).sum() / total) if total > 0 else None

    def _compared(self, after: Values, before: Values) -> Tested:
        return signed_rank(after - before, self.context.effect_scale)

    def _are_large(self, marginal: Tested, ablation: Tested) -> bool:
        if not isinstance(marginal, Effect) or not isinstance(ablation, Effect) or marginal.mean * ablation.mean <= 0:
            return False
        return min(abs(marginal.mean), abs(ablation.mean)) >= self.least_effect

    def composition(self, key: str, evidence: _Evidence | None, rho: Measured) -> Property:
        """Say whether the model lives on GC or CpG, which correlates by rho with the predictions of shuffles."""
        name, measure = PROPERTIES[key]
        mask = cpg_sites(self.codes) if key == "cpg" else (self.codes == 1) | (self.codes == 2)
        if evidence is None:
            told = "untested"
            if isinstance(rho, float):
                told = f"rank correlation {rho:.2f} with the predictions of shuffled regions"
            return Property(
                name=name,
                kind="composition",
                attribution_share=self._share(mask),
                marginal=NO_CLASSES,
                ablation=NO_CLASSES,
                is_present=isinstance(rho, float) and abs(rho) >= MIN_SHUFFLE_CORRELATION,
                text=f"{name}: {told}; whether it tells the classes apart is not known.",
            )
        ours, theirs, values = measure(evidence.positives), measure(evidence.negatives), measure(self.codes)
        alone, effect, retained = auroc(ours, theirs) or 0.0, evidence.effects[key], evidence.numbers.retained
        separates = abs(alone - 0.5) >= MIN_COMPOSITION_AUROC - 0.5
        limit = np.quantile(theirs, OUTSIDE if alone > 0.5 else 1 - OUTSIDE)
        is_used = isinstance(effect, Effect) and isinstance(retained, float) and retained >= MIN_COMPOSITION_SHARE
        points = isinstance(effect, Effect) and effect.mean * evidence.numbers.gap > 0
        kept = f"{retained:.0%}" if isinstance(retained, float) else "an unknown share"
        worth = f"; the difference in it alone is worth {effect.mean:+.2g}" if isinstance(effect, Effect) else ""
        return Property(
            name=name,
            kind="composition",
            n_regions=int((values > limit).sum() if alone > 0.5 else (values < limit).sum()),
            attribution_share=self._share(mask),
            enrichment=float(ours.mean() / theirs.mean()) if theirs.mean() > 0 else None,
            marginal=effect,
            ablation=NotTested("composition cannot be taken out of a sequence"),
            presence_p=mann_whitney_p(ours, theirs),
            is_present=separates,
            can_be_shortcut=separates and is_used and points and self._are_large(effect, effect),
            text=f"{name} alone tells positives from negatives with AUROC {alone:.2f}, and shuffles, which keep "
            f"composition only, keep {kept} of the model's difference between the classes{worth}.",
        )

    def tracts(self, name: str, kind: str, find: Callable[[Codes], Flags]) -> Property:
        """Test whether the model uses simple repeats, or unknown bases."""
        mask = find(self.codes)
        picked = np.flatnonzero(mask.any(axis=1))
        enrichment, presence_p = None, 1.0
        if self.classes is not None:  # half a sequence added to either count
            n, m = (len(codes) for codes in self.classes)
            a, b = (int(find(codes).any(axis=1).sum()) for codes in self.classes)
            enrichment, presence_p = ((a + 0.5) / (n + 1)) / ((b + 0.5) / (m + 1)), float(fisher_p(a, n, b, m))
        marginal: Tested = NO_MODEL if self.context.model is None else NotTested("no region has any")
        ablation = marginal
        if self.context.model is not None and len(picked):
            tried = picked[:N_REMOVED]
            ablation = self._removal(self.codes[tried], mask[tried], kind, self.rows[tried])
            marginal = self._insertion(self.codes[tried], mask[tried], self.rows[tried])
        share = len(picked) / len(self.codes)
        is_enriched = share >= MIN_REGION_SHARE and enrichment is not None and enrichment > 1
        return Property(
            name=name,
            kind=kind,
            n_regions=len(picked),
            attribution_share=self._share(mask),
            enrichment=enrichment,
            marginal=marginal,
            ablation=ablation,
            presence_p=presence_p,
            is_present=share >= MIN_REGION_SHARE,
            can_be_shortcut=is_enriched and self._are_large(marginal, ablation),
            text=_tract_text(name, share, enrichment, marginal, ablation),
        )

    def _removal(self, codes: Codes, mask: Flags, kind: str, rows: Ints) -> Tested:
        predict, new = partial(self.context.predict, rows=rows), _filled(self.context, codes, f"removal {kind}")
        without, elsewhere = predict(np.where(mask, new, codes)), np.roll(mask, mask.shape[1] // 2, axis=1) & ~mask
        before = codes if kind == "padding" else np.where(elsewhere, new, codes)
        return self._compared(predict(before), without)

    def _insertion(self, codes: Codes, mask: Flags, rows: Ints) -> Tested:
        predict, neutral = partial(self.context.predict, rows=rows), self.context.codes(self.context.rows(len(codes)))
        neutral = np.resize(_filled(self.context, neutral, "insertion", NEUTRAL_DRAW), codes.shape)
        return self._compared(predict(np.where(mask, codes, neutral)), predict(neutral))

    def edges(self) -> Property:
        """Test whether the outer twentieth at either end drives the prediction."""
        context, codes, length = self.context, self.codes, self.context.attr.length
        is_edge = np.minimum(np.arange(length), np.arange(length)[::-1]) < max(1, round(EDGE_SHARE * length))
        share, expected = self._share(is_edge), float(is_edge.mean())
        marginal: Tested = NO_MODEL
        ablation: Tested = NO_MODEL
        if context.model is not None:
            other, inside = context.shuffled(codes, EDGE_DRAW), context.shuffled(codes, INSIDE_DRAW)
            predict = partial(context.predict, rows=self.rows)
            ablation = self._compared(predict(codes), predict(np.where(is_edge, other, codes)))
            marginal = self._compared(predict(np.where(is_edge, codes, inside)), predict(inside))
        is_present = share is not None and share > MAX_EDGE_SHARE
        worth = f"; their own bases are worth {ablation.mean:+.2g}" if isinstance(ablation, Effect) else ""
        return Property(
            name="window edges",
            kind="position",
            n_regions=len(codes) if is_present else 0,
            attribution_share=share,
            enrichment=None if share is None else share / expected,
            marginal=marginal,
            ablation=ablation,
            presence_p=0.0,
            is_present=is_present,
            can_be_shortcut=is_present and self.classes is not None and self._are_large(marginal, ablation),
            text=f"{'None' if share is None else f'{share:.0%}'} of the attribution is in the outer {expected:.0%} of "
            f"the window{worth}.",
        )

    def position(self, shares: tuple[float, ...] | NotTested) -> Property:
        """Say whether one tenth of the window draws the attribution of sequence without sites (see :func:`profile`)."""
        share, is_present = None, False
        text = "Which part of the window draws attribution by itself could not be tested."
        if not isinstance(shares, NotTested):
            top, length = int(np.argmax(shares)), self.context.attr.length
            share, is_present = shares[top], shares[top] > MAX_BIN_SHARE
            where = f"offsets {top * length // N_BINS} to {(top + 1) * length // N_BINS}"
            text = (
                f"Of the attribution of shuffled sequence, {share:.0%} is at {where} of the window (a tenth expected)."
            )
        untested = NotTested("a position is not a sequence that could be put in or taken out")
        return Property(
            name="fixed position",
            kind="position",
            n_regions=len(self.context.attr) if is_present else 0,
            attribution_share=share,
            enrichment=None if share is None else share * N_BINS,
            marginal=untested,
            ablation=untested,
            is_present=is_present,
            text=text,
        )


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


def _tract_text(name: str, share: float, enrichment: float | None, marginal: Tested, ablation: Tested) -> str:
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


def profile(context: AuditContext) -> tuple[float, ...] | NotTested:
    """Share of the attribution of shuffled sequence in each tenth of the window."""
    controls = context.attr.controls
    if controls is not None and len(controls) and controls.kind == "shuffle":
        track = np.asarray(controls.track[: context.settings.n_regions])
    elif context.can_attribute:
        rows = context.rows(context.settings.n_small)
        track = context.attribute(context.shuffled(context.codes(rows), PROFILE_DRAW), rows=rows)
    else:
        return NotTested("there are no controls, and no model to attribute shuffled sequence with")
    mass = np.abs(track.astype(np.float64)).sum(axis=0)
    if mass.sum() == 0:
        return NotTested("the map of shuffled sequence is 0")
    bins = np.arange(len(mass)) * N_BINS // len(mass)
    width = np.bincount(bins, minlength=N_BINS)
    density = np.bincount(bins, weights=mass, minlength=N_BINS) / np.maximum(width, 1)
    return tuple(float(value) for value in density / density.sum())


class _Evidence(NamedTuple):
    """Codes of both classes, the effect of each of `PROPERTIES` from negatives to positives, and numbers."""

    positives: Codes
    negatives: Codes
    effects: dict[str, Tested]
    numbers: Classes


def class_evidence(context: AuditContext, positives: Codes, negatives: Codes) -> _Evidence:
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
        retained=kept / gap if is_gap else NotTested("the model predicts the same for both classes"),
        gc_auroc=auroc(gc_content(positives), gc_content(negatives)),
        cpg_auroc=auroc(cpg_ratio(positives), cpg_ratio(negatives)),
        unknown_auroc=auroc(unknown_share(positives), unknown_share(negatives)),
    )
    effects = {
        "gc": _gc_effect(context, float(gc_content(positives).mean()), float(gc_content(negatives).mean())),
        "cpg": Effect(float(cpg[0].mean() - cpg[1].mean()), None, mann_whitney_p(*cpg), len(positives)),
    }
    return _Evidence(positives, negatives, effects, numbers)


def _gc_effect(context: AuditContext, high: float, low: float) -> Tested:
    """Effect of random bases with one GC content against another, from the same random numbers."""
    shape = (N_NEUTRAL, context.attr.length)
    rng = context.rng("random sequence")
    draw, side = rng.random(shape), rng.random(shape) < 0.5

    def sequences(gc: float) -> Codes:
        return np.where(draw < gc, np.where(side, 1, 2), np.where(side, 0, 3)).astype(np.uint8)

    return signed_rank(context.predict(sequences(high)) - context.predict(sequences(low)), context.effect_scale)


PART = Part(CompositionResult, lambda context, _: audit_composition(context))
