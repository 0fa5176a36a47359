"""What an audit asks of the model, counted before it is done: the settings bound it, whatever the number of regions.

Everything is counted in sequences of three kinds: those that are predicted, windows that are attributed by some method,
and among these, windows whose every substitution is tried (`ism`, shared by all parts). Notation: N regions of L bases,
R = min(N, `n_regions`), I = min(N, `n_ism_regions`), S = min(N, `n_small`), D = `n_draws`; averages over strands
predict everything twice. The functions below say what each part does, in the order of the audit.

*What cannot be known before* is put at its usual size: peaks of one sign in most regions; a shuffle has another base at
7 of 10 positions (:data:`DIFFERS`); simple repeats in `n_removed` regions; half of the edits that are allowed are
made, and half of the regions have spans to remove together. Artifacts and unknown words cost only where they are found,
about 35 · `n_neutral` sequences each with the usual settings; none are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from seqsal.attribution import METHODS
from seqsal.auditing.context import N_CHECKED
from seqsal.auditing.curves import CHUNK_BYTES, ORDERS, replacement_counts
from seqsal.auditing.probes import PATH_SHARES, SIZES
from seqsal.auditing.relabel import MIN_OF_CLASS
from seqsal.auditing.saturation import COMPARED
from seqsal.auditing.size import AuditSize
from seqsal.auditing.stability import SHIFTS_BP
from seqsal.auditing.weights import MIN_REGIONS, spread_evenly

__all__ = ["PREDICTION", "ModelWork", "audit_work", "total_work"]

PREDICTION = "prediction"
N_ORDERS = len(ORDERS) + 1  # of deletion: insertion by the centre is deletion from the edges
DIFFERS = 0.7  # share of bases in which a dinucleotide shuffle differs
SHARE_EDITED = 0.5  # of `max_edits`, until an order has reached its goals
SHARE_HIDDEN = 0.5  # of the regions, that have spans with credit in which no substitution matters
FIT_PASSES = 3  # a step of training takes about as long as three forward passes


@dataclass(frozen=True)
class ModelWork:
    """What is asked of a model.

    Attributes
    ----------
    windows
        Sequences by kind: `PREDICTION`, or the method that attributes them. Predictions of both strands are two.
    n_calls
        Of predictions: each call has a cost of its own beside that of its sequences. A call attributes about S windows.
    """

    windows: Mapping[str, int] = field(default_factory=dict)
    n_calls: int = 0

    def __add__(self, other: ModelWork) -> ModelWork:
        return ModelWork(dict(Counter(self.windows) + Counter(other.windows)), self.n_calls + other.n_calls)

    def n_sequences(self, size: AuditSize) -> int:
        """Sequences through the model, those of attributing counted as :meth:`AuditSize.n_passes` does."""
        return sum(n * (1 if kind == PREDICTION else size.n_passes(kind)) for kind, n in self.windows.items())


def audit_work(size: AuditSize) -> dict[str, ModelWork]:
    """Count what each part of an audit asks of the model.

    Parameters
    ----------
    size
        What it follows from.

    Returns
    -------
    dict of str to ModelWork
        By the names of :data:`seqsal.auditing.run.PARTS` that ask the model anything; those that find no artifact or no
        stratum do not.
    """
    return {
        "faithfulness": _faithfulness(size),
        "sanity": _sanity(size),
        "stability": _stability(size),
        "saturation": _saturation(size),
        "composition": _composition(size),
    }


def total_work(work: Mapping[str, ModelWork]) -> ModelWork:
    """Add up the work of all parts."""
    return sum(work.values(), ModelWork())


def _predicted(size: AuditSize, n: float, n_calls: float = 1) -> ModelWork:
    """Count predictions as `AuditContext.predict` makes them."""
    n_strands = 2 if size.rc_average else 1
    return ModelWork({PREDICTION: round(n_strands * n)}, round(n_strands * n_calls))


def _attributed(method: str, n: int) -> ModelWork:
    return ModelWork({method: n} if n else {})


def _faithfulness(size: AuditSize) -> ModelWork:
    """Count the check of the model, curves, peaks and as much beside them, mutagenesis, sets of substitutions."""
    settings, n = size.settings, size.looked_at
    step = max(1, CHUNK_BYTES // (N_ORDERS * (settings.n_steps + 1) * size.length))
    curves = _predicted(size, n) + _predicted(
        size, n * settings.n_draws * (1 + N_ORDERS * _points(size)), settings.n_draws * (1 - (-n // step))
    )
    peaks = _predicted(size, 2 * settings.n_draws * n, settings.n_draws)
    n_sets = settings.n_perturbations + 1 if size.signed else 0
    sets = _predicted(size, n_sets * size.mutated, n_sets)
    check = _predicted(size, min(size.n_regions, N_CHECKED))
    return check + curves + peaks + _attributed("ism", size.mutated) + sets


def _points(size: AuditSize) -> float:
    """Expect so many points of a curve to be new sequences, neither the region nor its whole shuffle."""
    counts = replacement_counts(np.array([size.length]), size.settings.n_steps)[0]
    return max(float((1 - (1 - DIFFERS) ** np.diff(counts)).sum()) - 1, 0.0)


def _sanity(size: AuditSize) -> ModelWork:
    """Count maps, those of shuffles, and those of models with random weights: all, in stages, layer by layer."""
    settings = size.settings
    n, n_stages = _randomised_regions(size)
    work = _attributed(size.method, 2 * n) + _predicted(size, 2 * n, 2)
    if not size.n_layers:
        return work
    n_all = settings.n_randomizations
    n_single = max(n_stages - 1, 0) + (n_stages if size.n_layers > 1 else 0)
    work += _attributed(size.method, (2 * n_all + n_single) * n)
    n_renewed = 2 * size.small * (1 + n_all + n_single) if size.has_norms else 0
    return work + ModelWork({PREDICTION: 1 + n_renewed}) + _retrained(size, n)


def _randomised_regions(size: AuditSize) -> tuple[int, int]:
    """Regions that random weights are tried on, and stages of layers, as :class:`WeightTest` bounds them."""
    settings, most = size.settings, size.settings.max_random_passes
    n_passes = size.n_passes(size.method)
    n_stages = len(spread_evenly(size.n_layers, settings.n_random_layers)) if size.n_layers else 0
    n_regions = most // (n_passes * (1 + 2 * settings.n_randomizations + 2 * n_stages))
    if n_regions < min(MIN_REGIONS, settings.n_small):
        n_stages = 0
        n_regions = most // (n_passes * (1 + 2 * settings.n_randomizations))
    return min(max(n_regions, 1), size.small), n_stages


def _retrained(size: AuditSize, n: int) -> ModelWork:
    """Count two networks of the same kind, trained on true and on permuted labels, and their maps."""
    settings, given = size.settings, (size.n_positives, size.n_negatives)
    if not settings.retrain or not size.retrainable or any((known or 0) < MIN_OF_CLASS for known in given):
        return ModelWork()
    n_examples = sum(min(known or 0, max(settings.n_retrain_examples // 2, MIN_OF_CLASS)) for known in given)
    training = ModelWork({PREDICTION: 2 * FIT_PASSES * settings.n_retrain_epochs * n_examples})
    return training + _attributed(size.method, 4 * n)


def _stability(size: AuditSize) -> ModelWork:
    """Count substitutions that change nothing, shifts, the other strand, other models; locality and minimal edits."""
    settings, n = size.settings, size.small
    n_shifts = sum(2 * bp < size.length for bp in SHIFTS_BP)
    n_maps = min(settings.n_substitutions, size.length) + n_shifts + (not size.rc_average)
    scores_again = METHODS[size.method].hypothetical and size.signed and not size.keeps_hypothetical
    work = _predicted(size, 2 * size.looked_at, 2) + _predicted(size, n)  # what counts as a large change
    work += _attributed(size.method, (n_maps + scores_again) * n)
    work += _attributed("ism", max(n - size.mutated, 0))
    work += _predicted(size, (1 + n_shifts) * n, 1 + n_shifts) + ModelWork({PREDICTION: 2 * n}, 2)
    if size.n_other_models:
        work += _attributed(size.method, size.n_other_models * n)
        work += _predicted(size, (1 + size.n_other_models) * n, 1 + size.n_other_models)
    n_probes = 2 * len(SIZES) * settings.n_combinations + len(PATH_SHARES) * settings.n_draws
    n_edits = min(settings.max_edits, size.length)
    work += _predicted(size, (1 + n_probes) * n, 2)
    return work + _predicted(size, (1 + settings.n_draws + 3 * SHARE_EDITED * n_edits) * n, n_edits)


def _saturation(size: AuditSize) -> ModelWork:
    """Count maps of other methods, active units, and spans removed one by one and together."""
    settings, n = size.settings, min(size.small, size.mutated)
    work = ModelWork({PREDICTION: n}) + _predicted(size, n)
    for method in COMPARED:
        work += _attributed(method, n if method != size.method else 0)
    n_tiles = min(size.length // min(settings.span_bp, size.length), settings.n_spans)
    work += _predicted(size, (1 + n_tiles * settings.n_draws) * n, 2)
    return work + _predicted(size, 2 * (1 + SHARE_HIDDEN * settings.n_draws) * n, 4)


def _composition(size: AuditSize) -> ModelWork:
    """Count shuffles, edges removed and put in, repeats removed and put in; the classes and their shuffles."""
    settings, n = size.settings, size.looked_at
    work = _predicted(size, 5 * n, 5) + _predicted(size, 4 * min(settings.n_removed, n), 4)
    if size.n_negatives is None:
        return work
    known = (size.looked_at if size.n_positives is None else size.n_positives, size.n_negatives)
    n_examples = sum(min(one, settings.n_regions) for one in known)
    return work + _predicted(size, 3 * n_examples + 2 * settings.n_neutral, 8)
