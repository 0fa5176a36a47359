"""Sanity: a map of a model must change when the model's weights, its input or its labels are randomised.

After Adebayo et al. 2018 (arXiv:1810.03292). A map that is much the same for random weights tells about the sequence,
or about nothing, but not about the model, however plausible it looks (:mod:`seqsal.auditing.parts.sanity.weights`).
Shuffled input is told for information: a model may respond to shuffles.

*Labels.* What a map shows of the labels is gone when a network like the model's is trained on permuted ones. A second
network of the same kind learns the true labels from the same sequences for as long, since a network that could not have
learnt anything from so few sequences would prove nothing. Only the built-in network can be trained here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from seqsal.auditing.content import Codes, Maps
from seqsal.auditing.context import AuditContext
from seqsal.auditing.part import (
    FAILED,
    PASSED,
    Fact,
    Interval,
    Measured,
    Notes,
    NotTested,
    Part,
    PartResult,
    Reason,
    Weight,
    measured,
)
from seqsal.auditing.parts.sanity.weights import Comparison, RandomWeights, WeightTest, without_random_weights
from seqsal.auditing.settings import AuditSettings
from seqsal.models import CNN, SequenceModel, wrap
from seqsal.models.state import seeded
from seqsal.sequence.codes import N_CODE
from seqsal.training import TrainConfig
from seqsal.training.examples import Examples
from seqsal.training.fit import fit

__all__ = ["PART", "InputSizes", "LabelTest", "Retrained", "SanityResult", "audit_sanity"]

MIN_REPRODUCED = 0.9  # correlation of the map with the one that the method gives now: below, they are not the same map
MIN_OF_CLASS = 50
VALID_FRACTION = 0.15
N_RETRAIN_EXAMPLES = 2_000  # that the networks are trained on, at most
N_RETRAIN_EPOCHS = 8
_NOT_REPRODUCED = "Random weights were not tried, because the maps could not be made again."


@dataclass(frozen=True)
class InputSizes:
    """The size of the map in the regions and in their dinucleotide shuffles, and the mean predictions.

    `total`: mean of Σ|map|. `peak`: mean of max |map|. `share_weaker`: of the regions, where the shuffle's total is
    less.
    """

    total: float
    shuffled_total: float
    peak: float
    shuffled_peak: float
    share_weaker: float
    prediction: Measured
    shuffled_prediction: Measured
    n_regions: int


@dataclass(frozen=True)
class Retrained:
    """A network trained again: how alike its map is to the model's beyond that of shuffles, and its held-out AUROC."""

    similarity: Measured
    ci: Interval | None
    auroc: float


@dataclass(frozen=True)
class LabelTest:
    """Networks trained on true and on permuted labels.

    `depends_on_labels` is not tested where the network of true labels is not nearer to the model than the other.
    """

    n_examples: int
    n_epochs: int
    true: Retrained
    permuted: Retrained
    depends_on_labels: bool | NotTested


@dataclass(frozen=True, eq=False, kw_only=True)
class SanityResult(PartResult, RandomWeights):
    """What became of the map when weights, input and labels were made random.

    Table: `randomization`, a row a random model.

    `reproduced`: correlation of the maps as they were given with those that the method gives now; where that is low, as
    a share of the correlation of two that it gives now. `input`: sizes of the map in regions and in shuffles. `label`:
    networks trained on permuted labels. The others are those of :class:`RandomWeights`.
    """

    reproduced: Measured
    input: InputSizes | NotTested
    label: LabelTest | NotTested

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
    notes = Notes()
    if not context.can_attribute:
        return _without_attributing(context, notes)
    test = WeightTest(context, notes)
    reproduced = _reproduced(context, test.codes, test.before)
    if isinstance(reproduced, float) and reproduced < MIN_REPRODUCED:
        how = "explainer" if context.explainer is not None else f"method {context.attr.method}"
        notes.warnings.append(
            f"The maps are not those that the {how} gives for this model now (correlation {reproduced:.2f}, at least "
            f"{MIN_REPRODUCED:g} expected): they were not made in the way that they say."
        )
        weights = without_random_weights(notes.not_tested(_NOT_REPRODUCED))
    else:
        weights = test.run()
    reason = why_not_retrained(context)
    label: LabelTest | NotTested
    if reason is None:
        label = compare_labels(context, test.codes, test.before)
        notes.warnings += _label_warnings(label)
    else:
        label = notes.not_tested(reason)
    notes.tables["randomization"] = test.table
    shuffled = context.shuffled(test.codes)
    predictions = [float(context.predict(part, rows=test.rows).mean()) for part in (test.codes, shuffled)]
    sizes = _sizes(test.before, context.attribute(shuffled, rows=test.rows), predictions)
    return SanityResult(**vars(weights), reproduced=reproduced, input=sizes, label=label, **notes.fields())


def _without_attributing(context: AuditContext, notes: Notes) -> SanityResult:
    """Compare only regions with the shuffles that came with the attributions."""
    reason = "Random weights and labels were not tried, because the model is not given."
    if context.model is not None:
        reason = (
            f"Random weights and labels were not tried, because these attributions (by {context.attr.method}) cannot "
            "be made again; give explainer=, the function that made them."
        )
    none, sizes = notes.not_tested(reason), _stored_input(context)
    if isinstance(sizes, NotTested):
        notes.untested.append(sizes.reason)
    weights = without_random_weights(none)
    return SanityResult(**vars(weights), reproduced=none, input=sizes, label=none, **notes.fields())


def _stored_input(context: AuditContext) -> InputSizes | NotTested:
    controls, n = context.attr.controls, context.settings.n_small
    if controls is None or controls.kind != "shuffle" or controls.source is None or not len(controls):
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


def _reproduced(context: AuditContext, codes: Codes, now: Maps) -> Measured:
    """Correlate the maps that were given with those made now, relative to two made now: methods may draw at random."""
    rows = context.rows(len(codes))
    correlation = _correlation(context.track(rows), now)
    if isinstance(correlation, NotTested) or correlation >= MIN_REPRODUCED or len(codes) < 2:
        return correlation
    repeated = _correlation(now, context.attribute(codes, draw=1, rows=rows))
    return min(correlation / repeated, 1.0) if isinstance(repeated, float) and repeated > 0 else correlation


def _correlation(a: Maps, b: Maps) -> Measured:
    """Pearson's r of all values together."""
    x, y = (maps.astype(np.float64).ravel() - maps.mean(dtype=np.float64) for maps in (a, b))
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    if scale <= 0:
        return NotTested("a map is flat")
    return 1.0 if np.array_equal(a, b) else measured(float((x * y).sum() / scale), "a map is not finite")


def _label_warnings(label: LabelTest) -> Iterator[str]:
    if isinstance(label.depends_on_labels, NotTested):
        yield (
            f"The test by permuted labels says nothing: {label.n_examples} sequences did not teach a network the "
            "model's map with their true labels either."
        )
    elif not label.depends_on_labels:
        alike = label.permuted.similarity
        yield f"A network trained on permuted labels has much the same map ({alike:.2f} alike)."


def why_not_retrained(context: AuditContext) -> str | None:
    """Say in a sentence why no network is trained on permuted labels, None where one can be."""
    module = None if context.model is None else context.model.module
    config = module.config if isinstance(module, CNN) else None
    if config is None or config.loss != "binary" or config.n_targets != 1:
        return (
            "Label randomisation needs a network that can be trained again: only that of `seqsal train` with one "
            "binary target can; train yours on permuted labels and compare the two maps."
        )
    classes = (context.positives, context.negatives)
    if any(codes is None or len(codes) < MIN_OF_CLASS or codes.shape[1] != config.input_length for codes in classes):
        return (
            f"Label randomisation needs the training data: {MIN_OF_CLASS} positives and negatives or more, "
            f"of {config.input_length} bp."
        )
    if not context.settings.retrain:
        return "Label randomisation was not requested, because it trains two networks; `retrain` turns it on."
    return None


def compare_labels(context: AuditContext, codes: Codes, before: Maps) -> LabelTest:
    """Train on true and on permuted labels, and compare the maps of regions (n, L) with those of the model."""
    examples = _examples(context)
    true = _retrained(context, examples, codes, before)
    order = context.rng("permuted labels").permutation(len(examples.targets))
    permuted = Examples(
        examples.codes, examples.targets[order], examples.parts, examples.is_positive[order], examples.chroms
    )
    other = _retrained(context, permuted, codes, before)
    a, b = true.similarity, other.similarity
    depends: bool | NotTested = NotTested("a map is flat")
    if isinstance(a, float) and isinstance(b, float):
        taught = a > b or NotTested("true labels did not teach a network the model's map either")
        depends = False if b > context.settings.max_randomized_similarity else taught
    return LabelTest(len(examples.codes), N_RETRAIN_EPOCHS, true, other, depends)


def _examples(context: AuditContext) -> Examples:
    rng, codes, targets, parts = context.rng("retrained on"), [], [], []
    for label, given in ((1, context.positives), (0, context.negatives)):
        assert given is not None
        rows = np.sort(rng.permutation(len(given))[: max(N_RETRAIN_EXAMPLES // 2, MIN_OF_CLASS)])
        n_valid = int(np.ceil(VALID_FRACTION * len(rows)))
        part = np.array(["train"] * (len(rows) - n_valid) + ["valid"] * n_valid)
        codes.append(np.asarray(given)[rows])
        targets.append(np.full((len(rows), 1), label, dtype=np.float32))
        parts.append(part[rng.permutation(len(rows))])
    labels = np.concatenate(targets)
    return Examples(
        np.concatenate(codes), labels, np.concatenate(parts), labels[:, 0] == 1, np.full(len(labels), ".", dtype=str)
    )


def _retrained(context: AuditContext, examples: Examples, codes: Codes, before: Maps) -> Retrained:
    model, auroc = _train(context, examples)
    both, rows = np.concatenate([codes, context.shuffled(codes)]), context.rows(len(codes))
    maps = context.attribute(both, model=model, draw=1, rows=rows)
    after, of_shuffles = np.split(maps, 2)
    comparison = Comparison(before, [after], [of_shuffles], codes != N_CODE)
    measure = comparison.strongest
    return Retrained(
        measured(comparison.excess(measure), "a map is flat"),
        comparison.interval(measure, context.rng("retrained"), context.settings),
        auroc,
    )


def _train(context: AuditContext, examples: Examples) -> tuple[SequenceModel, float]:
    assert context.model is not None
    assert isinstance(context.model.module, CNN)
    seed = int(context.rng("retrained weights").integers(2**31))
    with seeded(seed):
        network = CNN(context.model.module.config).to(context.device)
    state = fit(
        network,
        examples,
        TrainConfig(epochs=N_RETRAIN_EPOCHS, patience=N_RETRAIN_EPOCHS, max_shift=0),
        seed=seed,
        device=context.device,
        state_file=None,
        resume=False,
        progress=context.progress,
    )
    trained = state.averaged.cpu().eval()  # the last: permuted labels have no best epoch, only a first one
    model = wrap(trained, output_space=context.model.output_space)
    return model, float(state.history[-1]["valid_auroc"])


PART = Part(SanityResult, lambda context, _: audit_sanity(context))
