"""Label randomisation: a network like the model's, trained on permuted labels, must not have the model's map.

After Adebayo et al. 2018 (arXiv:1810.03292): what a map shows of the labels is gone when they are permuted. A second
network of the same kind learns the true labels from the same sequences for as long, since a network that could not have
learnt anything from so few sequences would prove nothing. Only the built-in network can be trained here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from seqsal.auditing.context import AuditContext
from seqsal.auditing.part import Interval, Measured, NotTested, measured
from seqsal.auditing.parts.sanity.weights import Comparison
from seqsal.models import CNN, CNNConfig, SequenceModel, wrap
from seqsal.models.state import seeded
from seqsal.sequence.codes import N_CODE
from seqsal.training import TrainConfig
from seqsal.training.examples import Examples
from seqsal.training.fit import fit

__all__ = ["LabelTest", "Retrained", "compare_labels", "why_not_retrained"]

MIN_OF_CLASS = 50
VALID_FRACTION = 0.15
N_RETRAIN_EXAMPLES = 2_000  # that the networks are trained on, at most
N_RETRAIN_EPOCHS = 8


@dataclass(frozen=True)
class Retrained:
    """A network trained again: how alike its map is to the model's beyond that of shuffles, and its held-out AUROC."""

    similarity: Measured
    ci: Interval | None
    auroc: float


@dataclass(frozen=True)
class LabelTest:
    """Networks trained on true and on permuted labels.

    `n_examples`, `n_epochs`: what they were trained on, and for how long. `true`, `permuted`: what they came to.
    `depends_on_labels`: not tested where the network of true labels is not nearer to the model than that of permuted
    ones.
    """

    n_examples: int
    n_epochs: int
    true: Retrained
    permuted: Retrained
    depends_on_labels: bool | NotTested


def why_not_retrained(context: AuditContext) -> str | None:
    """Say in a sentence why no network is trained on permuted labels, None where one can be."""
    config = None if context.model is None else trained_config(context.model.module)
    if config is None:
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


def trained_config(module: nn.Module) -> CNNConfig | None:
    """Return the settings of a network that can be trained again: seqsal's own, with one binary target."""
    config = module.config if isinstance(module, CNN) else None
    return config if config is not None and config.loss == "binary" and config.n_targets == 1 else None


def compare_labels(context: AuditContext, codes: NDArray[np.uint8], before: NDArray[np.float32]) -> LabelTest:
    """Train on true and on permuted labels, and compare the maps with those of the model.

    `context`: one that `why_not_retrained` has nothing against. `codes`, `before`: regions (n, L) and the model's maps
    of them.
    """
    examples = _examples(context)
    true = _retrained(context, examples, codes, before)
    order = context.rng("permuted labels").permutation(len(examples.targets))
    permuted = Examples(
        examples.codes, examples.targets[order], examples.parts, examples.is_positive[order], examples.chroms
    )
    other = _retrained(context, permuted, codes, before)
    depends = _depends(true.similarity, other.similarity, context.settings.max_randomized_similarity)
    return LabelTest(len(examples.codes), N_RETRAIN_EPOCHS, true, other, depends)


def _depends(true: Measured, permuted: Measured, threshold: float) -> bool | NotTested:
    if isinstance(true, NotTested) or isinstance(permuted, NotTested):
        return NotTested("a map is flat")
    if permuted > threshold:
        return False
    return True if true > permuted else NotTested("true labels did not teach a network the model's map either")


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


def _retrained(
    context: AuditContext, examples: Examples, codes: NDArray[np.uint8], before: NDArray[np.float32]
) -> Retrained:
    model, auroc = _train(context, examples)
    maps = context.attribute(np.concatenate([codes, context.shuffled(codes)]), model=model, draw=1)
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
    n_epochs = N_RETRAIN_EPOCHS
    seed = int(context.rng("retrained weights").integers(2**31))
    with seeded(seed):
        network = CNN(context.model.module.config).to(context.device)
    state = fit(
        network,
        examples,
        TrainConfig(epochs=n_epochs, patience=n_epochs, max_shift=0),
        seed=seed,
        device=context.device,
        state_file=None,
        resume=False,
        progress=context.progress,
    )
    trained = state.averaged.cpu().eval()  # the last: permuted labels have no best epoch, only a first one
    model = wrap(trained, output_space=context.model.output_space)
    return model, float(state.history[-1]["valid_auroc"])
