"""Sanity: a map of a model must change when the model's weights, its input or its labels are randomised.

After Adebayo et al. 2018 (arXiv:1810.03292). A map that is much the same for random weights tells about the sequence,
or about nothing, but not about the model, however plausible it looks (:mod:`seqsal.auditing.weights`). Permuted labels
need training (:mod:`seqsal.auditing.relabel`). Shuffled input is told for information: a model may respond to shuffles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqsal.auditing.before_after import attribute_afresh
from seqsal.auditing.context import AuditContext
from seqsal.auditing.relabel import compare_labels, why_not_retrained
from seqsal.auditing.section import AuditSection
from seqsal.auditing.weights import WeightTest

__all__ = ["audit_sanity"]

Maps = NDArray[np.float32]
_NOT_REPRODUCED = "Random weights were not tried, because the maps could not be made again."


def audit_sanity(context: AuditContext) -> AuditSection:
    """Randomise weights, input and labels, and see what becomes of the map.

    Parameters
    ----------
    context
        What is under audit.

    Returns
    -------
    AuditSection
        ``sanity``, with a table ``randomization`` (a row a random model) and the values

        * ``depends_on_model``: whether the map of the model with random weights is another one; None if untested.
        * ``randomized_similarity``: how alike the two are beyond what the random model's map of shuffles is (1: the
          same), by the ``measure`` by which they are most alike; with ``randomized_ci``. It is made of
          ``raw_similarity`` and ``baseline_similarity``; ``between_randomized`` is the raw one of two random models.
        * ``cascade``, ``layers``: for each layer, mean over regions of the correlations of
          :data:`seqsal.auditing.before_after.MEASURES`; empty where that would take too many passes.
        * ``reproduced``: correlation of the maps as they were given with those that the method gives now; where that
          is low, as a share of the correlation of two that it gives now.
        * ``input``: the map in the regions and in their dinucleotide shuffles; see below.
        * ``label``: what :func:`seqsal.auditing.relabel.compare_labels` gives; None where it was not done.
        * ``n_regions``: with how many regions random weights were tried.

        ``input`` has ``total`` and ``shuffled_total`` (mean of Σ|map|), ``peak`` and ``shuffled_peak`` (mean of max
        |map|), the share of regions that the shuffle stays below in total (``share_weaker``), ``prediction`` and
        ``shuffled_prediction`` (means) and ``n_regions``.
    """
    values: dict[str, Any] = {
        "depends_on_model": None, "randomized_similarity": None, "randomized_ci": None, "measure": None,
        "raw_similarity": None, "baseline_similarity": None, "between_randomized": None, "cascade": [], "layers": [],
        "reproduced": None, "input": None, "label": None, "n_regions": 0,
    }  # fmt: skip
    if not context.can_attribute:
        values["input"] = _stored_input(context)
        return AuditSection("sanity", values, untested=_without_attributing(context, values["input"]))
    test = WeightTest(context)
    values["input"] = _input(context, test.codes, test.before)
    values["reproduced"] = _reproduced(context, test.codes, test.before)
    if values["reproduced"] is not None and values["reproduced"] < context.settings.min_reproduced:
        test.untested.append(_NOT_REPRODUCED)
        test.warnings.append(_not_the_same(context, values["reproduced"]))
    else:
        test.run()
    reason = why_not_retrained(context)
    if reason is None:
        values["label"] = compare_labels(context, test.codes, test.before)
    warnings = (*test.warnings, *_label_warnings(values["label"]))
    untested = tuple(test.untested) if reason is None else (*test.untested, reason)
    return AuditSection("sanity", values | test.values, {"randomization": test.table}, warnings, untested)


def _without_attributing(context: AuditContext, shuffles: dict[str, Any] | None) -> tuple[str, ...]:
    if context.model is None:
        first = "Random weights and labels were not tried, because the model is not given."
    else:
        first = (
            f"Random weights and labels were not tried, because these attributions (by {context.attr.method}) cannot "
            "be made again; give explainer=, the function that made them."
        )
    return (first,) if shuffles else (first, "The map was not compared with that of shuffles: none are stored.")


def _input(context: AuditContext, codes: NDArray[np.uint8], before: Maps) -> dict[str, Any]:
    shuffled = context.shuffled(codes)
    predictions = [float(context.predict(part).mean()) for part in (codes, shuffled)]
    return _sizes(before, context.attribute(shuffled), predictions)


def _stored_input(context: AuditContext) -> dict[str, Any] | None:
    """Compare regions with the shuffles that came with the attributions, None where none did."""
    controls, n = context.attr.controls, context.settings.n_small
    if controls is None or controls.source is None or not len(controls):
        return None
    picked = np.sort(context.rng("stored shuffles").permutation(len(controls))[:n])
    source = np.asarray(controls.source[picked]).astype(np.int64)
    return _sizes(context.track(source), np.asarray(controls.track[picked]), [None, None])


def _sizes(real: Maps, shuffled: Maps, predictions: Sequence[float | None]) -> dict[str, Any]:
    totals = [np.abs(maps).sum(axis=1, dtype=np.float64) for maps in (real, shuffled)]
    peaks = [float(np.abs(maps).max(axis=1).mean()) for maps in (real, shuffled)]
    return {
        "total": float(totals[0].mean()),
        "shuffled_total": float(totals[1].mean()),
        "peak": peaks[0],
        "shuffled_peak": peaks[1],
        "share_weaker": float((totals[1] < totals[0]).mean()),
        "prediction": predictions[0],
        "shuffled_prediction": predictions[1],
        "n_regions": len(real),
    }


def _reproduced(context: AuditContext, codes: NDArray[np.uint8], now: Maps) -> float | None:
    """Correlate the maps that were given with those made now, relative to two made now: methods may draw at random."""
    correlation = _correlation(context.track(context.rows(len(codes))), now)
    if correlation is None or correlation >= context.settings.min_reproduced or len(codes) < 2:
        return correlation
    repeated = _correlation(now, attribute_afresh(context, codes))
    return correlation if repeated is None or repeated <= 0 else min(correlation / repeated, 1.0)


def _correlation(a: Maps, b: Maps) -> float | None:
    """Pearson's r of all values together; None where either is flat."""
    x, y = (maps.astype(np.float64).ravel() - maps.mean(dtype=np.float64) for maps in (a, b))
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    if np.array_equal(a, b):
        return 1.0 if scale > 0 else None
    return float((x * y).sum() / scale) if scale > 0 else None


def _not_the_same(context: AuditContext, correlation: float) -> str:
    how = "explainer" if context.explainer is not None else f"method {context.attr.method}"
    return (
        f"The maps are not those that the {how} gives for this model now (correlation {correlation:.2f}, at least "
        f"{context.settings.min_reproduced:g} expected): they were made in another way than they say."
    )


def _label_warnings(label: dict[str, Any] | None) -> tuple[str, ...]:
    if label is None or label["depends_on_labels"] is True:
        return ()
    if label["depends_on_labels"] is None:
        return (
            f"The test by permuted labels says nothing: {label['n_examples']} sequences did not teach a network the "
            "model's map either with their true labels.",
        )
    similarity = label["permuted"]["similarity"]
    return (f"A network trained on permuted labels has much the same map ({similarity:.2f} alike).",)
