"""Sanity: a map of a model must change when the model's weights, its input or its labels are randomised.

After Adebayo et al. 2018 (arXiv:1810.03292). A map that is much the same for random weights tells about the sequence,
or about nothing, but not about the model, however plausible it looks (:mod:`seqsal.auditing.parts.sanity.weights`).
Permuted labels need training (:mod:`seqsal.auditing.parts.sanity.labels`). Shuffled input is told for information: a
model may respond to shuffles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqsal.auditing.context import AuditContext
from seqsal.auditing.part import (
    FAILED,
    PASSED,
    Fact,
    Interval,
    Measured,
    NotTested,
    Part,
    PartResult,
    Reason,
    Weight,
    measured,
)
from seqsal.auditing.parts.sanity.labels import LabelTest, compare_labels, why_not_retrained
from seqsal.auditing.parts.sanity.weights import LayerSimilarity, RandomWeights, WeightTest
from seqsal.auditing.settings import AuditSettings

__all__ = ["PART", "InputSizes", "SanityResult", "audit_sanity"]

MIN_REPRODUCED = 0.9  # correlation of the map with the one that the method gives now: below, they are not the same map
Maps = NDArray[np.float32]
_NOT_REPRODUCED = "Random weights were not tried, because the maps could not be made again."


@dataclass(frozen=True)
class InputSizes:
    """The size of the map in the regions and in their dinucleotide shuffles.

    `total`, `shuffled_total`: mean of Σ|map|. `peak`, `shuffled_peak`: mean of max |map|. `share_weaker`: share of the
    regions that the shuffle stays below in total. `prediction`, `shuffled_prediction`: means. `n_regions`: regions
    compared.
    """

    total: float
    shuffled_total: float
    peak: float
    shuffled_peak: float
    share_weaker: float
    prediction: Measured
    shuffled_prediction: Measured
    n_regions: int


@dataclass(frozen=True, eq=False, kw_only=True)
class SanityResult(PartResult):
    """What became of the map when weights, input and labels were made random.

    Table: `randomization`, a row a random model.

    `depends_on_model`: whether the map of the model with random weights is another one. `randomized_similarity`,
    `randomized_ci`, `measure`, `raw_similarity`, `baseline_similarity`, `between_randomized`, `cascade`, `layers`:
    those of :class:`RandomWeights`. `reproduced`: correlation of the maps as they were given with those that the method
    gives now; where that is low, as a share of the correlation of two that it gives now. `input`: sizes of the map in
    regions and in shuffles. `label`: networks trained on permuted labels. `n_regions`: with how many regions random
    weights were tried.
    """

    depends_on_model: bool | NotTested
    randomized_similarity: Measured
    randomized_ci: Interval | None = None
    measure: str | None = None
    raw_similarity: Measured
    baseline_similarity: Measured
    between_randomized: Measured
    cascade: tuple[LayerSimilarity, ...] = ()
    layers: tuple[LayerSimilarity, ...] = ()
    reproduced: Measured
    input: InputSizes | NotTested
    label: LabelTest | NotTested
    n_regions: int = 0

    def facts(self, settings: AuditSettings) -> Iterator[Fact]:
        if isinstance(self.randomized_similarity, float):
            yield Fact("depends on the model" if self.depends_on_model else "does not depend on the model", "")
            similarity, most = self.randomized_similarity, settings.max_randomized_similarity
            yield Fact("similarity to the map of random weights", f"{similarity:.2f}", f"{most:g} or less")

    def reasons(self, settings: AuditSettings) -> Iterator[Reason]:
        similarity, most = self.randomized_similarity, settings.max_randomized_similarity
        said = ""
        if isinstance(similarity, float):
            said = f"it barely changes when the model's weights are made random (similarity {similarity:.2f})"
        yield Reason.at_most("faithful", "randomization", similarity, most, sentence=said)
        if isinstance(self.label, LabelTest) and isinstance(self.label.depends_on_labels, bool):
            outcome = PASSED if self.label.depends_on_labels else FAILED
            said = "a network trained on permuted labels has much the same map"
            yield Reason("faithful", "labels", None, "another map", outcome, Weight.LOWERS, said)


def audit_sanity(context: AuditContext) -> SanityResult:
    """Randomise weights, input and labels, and see what becomes of the map."""
    if not context.can_attribute:
        return _without_attributing(context)
    test = WeightTest(context)
    reproduced = _reproduced(context, test.codes, test.before)
    warnings: list[str] = []
    if isinstance(reproduced, float) and reproduced < MIN_REPRODUCED:
        warnings.append(_not_the_same(context, reproduced))
        weights: RandomWeights | NotTested = NotTested(_NOT_REPRODUCED)
    else:
        weights = test.run()
        warnings += test.warnings
    reason = why_not_retrained(context)
    label = compare_labels(context, test.codes, test.before) if reason is None else NotTested(reason)
    untested = tuple(one.reason for one in (weights, label) if isinstance(one, NotTested))
    sizes = _input(context, test.codes, test.before)
    more = {"tables": {"randomization": test.table}, "warnings": (*warnings, *_label_warnings(label))}
    if isinstance(weights, NotTested):
        return SanityResult(
            depends_on_model=weights, randomized_similarity=weights, raw_similarity=weights,
            baseline_similarity=weights, between_randomized=weights, reproduced=reproduced, input=sizes, label=label,
            untested=untested, **more,  # type: ignore[arg-type]
        )  # fmt: skip
    return SanityResult(
        depends_on_model=weights.similarity <= context.settings.max_randomized_similarity,
        randomized_similarity=weights.similarity,
        randomized_ci=weights.ci,
        measure=weights.measure,
        raw_similarity=weights.raw,
        baseline_similarity=weights.baseline,
        between_randomized=weights.between,
        cascade=weights.cascade,
        layers=weights.layers,
        reproduced=reproduced,
        input=sizes,
        label=label,
        n_regions=len(test.codes),
        untested=untested,
        **more,  # type: ignore[arg-type]
    )


def _without_attributing(context: AuditContext) -> SanityResult:
    """Compare only regions with the shuffles that came with the attributions."""
    reason = "Random weights and labels were not tried, because the model is not given."
    if context.model is not None:
        reason = (
            f"Random weights and labels were not tried, because these attributions (by {context.attr.method}) cannot "
            "be made again; give explainer=, the function that made them."
        )
    none, sizes = NotTested(reason), _stored_input(context)
    untested = (reason,) if isinstance(sizes, InputSizes) else (reason, sizes.reason)
    return SanityResult(
        depends_on_model=none, randomized_similarity=none, raw_similarity=none, baseline_similarity=none,
        between_randomized=none, reproduced=none, input=sizes, label=none, untested=untested,
    )  # fmt: skip


def _input(context: AuditContext, codes: NDArray[np.uint8], before: Maps) -> InputSizes:
    shuffled = context.shuffled(codes)
    predictions = [float(context.predict(part).mean()) for part in (codes, shuffled)]
    return _sizes(before, context.attribute(shuffled), predictions)


def _stored_input(context: AuditContext) -> InputSizes | NotTested:
    controls, n = context.attr.controls, context.settings.n_small
    if controls is None or controls.source is None or not len(controls):
        return NotTested("The map was not compared with that of shuffles: none are stored.")
    picked = np.sort(context.rng("stored shuffles").permutation(len(controls))[:n])
    source = np.asarray(controls.source[picked]).astype(np.int64)
    none = NotTested("no model was given")
    return _sizes(context.track(source), np.asarray(controls.track[picked]), [none, none])


def _sizes(real: Maps, shuffled: Maps, predictions: Sequence[Measured]) -> InputSizes:
    totals = [np.abs(maps).sum(axis=1, dtype=np.float64) for maps in (real, shuffled)]
    peaks = [float(np.abs(maps).max(axis=1).mean()) for maps in (real, shuffled)]
    weaker = float((totals[1] < totals[0]).mean())
    means = [float(total.mean()) for total in totals]
    return InputSizes(means[0], means[1], peaks[0], peaks[1], weaker, predictions[0], predictions[1], len(real))


def _reproduced(context: AuditContext, codes: NDArray[np.uint8], now: Maps) -> Measured:
    """Correlate the maps that were given with those made now, relative to two made now: methods may draw at random."""
    correlation = _correlation(context.track(context.rows(len(codes))), now)
    if isinstance(correlation, NotTested) or correlation >= MIN_REPRODUCED or len(codes) < 2:
        return correlation
    repeated = _correlation(now, context.attribute(codes, draw=1))
    return min(correlation / repeated, 1.0) if isinstance(repeated, float) and repeated > 0 else correlation


def _correlation(a: Maps, b: Maps) -> Measured:
    """Pearson's r of all values together."""
    x, y = (maps.astype(np.float64).ravel() - maps.mean(dtype=np.float64) for maps in (a, b))
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    if scale <= 0:
        return NotTested("a map is flat")
    return 1.0 if np.array_equal(a, b) else measured(float((x * y).sum() / scale), "a map is not finite")


def _not_the_same(context: AuditContext, correlation: float) -> str:
    how = "explainer" if context.explainer is not None else f"method {context.attr.method}"
    return (
        f"The maps are not those that the {how} gives for this model now (correlation {correlation:.2f}, at least "
        f"{MIN_REPRODUCED:g} expected): they were made in another way than they say."
    )


def _label_warnings(label: LabelTest | NotTested) -> tuple[str, ...]:
    if isinstance(label, NotTested) or label.depends_on_labels is True:
        return ()
    if isinstance(label.depends_on_labels, NotTested):
        return (
            f"The test by permuted labels says nothing: {label.n_examples} sequences did not teach a network the "
            "model's map with their true labels either.",
        )
    return (f"A network trained on permuted labels has much the same map ({label.permuted.similarity:.2f} alike).",)


PART = Part(SanityResult, lambda context, _: audit_sanity(context))
