"""How much of a prediction is composition, simple repeats, unknown bases or a place in the window, rather than words.

Each finding says whether a property is there, and what it does to the prediction (`shortcut`, `present` or `clean`):

- **GC, CpG** (kind `composition`, :mod:`seqsal.auditing.classes`). Dinucleotide shuffles keep GC and CpG, and words
  only
  by chance. `retained` is the share of the difference between the classes that is left in shuffles of both::

      (mean f(shuffled positives) - mean f(shuffled negatives)) / (mean f(positives) - mean f(negatives))

  The marginal effect of GC is that of random sequence with the GC of the positives against that of the negatives; that
  of CpG is f(dinucleotide shuffle) - f(mononucleotide shuffle) of the positives, less the same of the negatives.
  Promoters and many binding sites are rich in GC, so composition is a shortcut only where it separates the classes
  (`min_composition_auroc`), much of the model's difference is composition (`min_composition_share`), and the
  marginal effect is large (`min_effect`) and points to the class that has more. Without classes none is called.
- **simple repeats** (`low_complexity`) and **unknown bases** (`padding`, :mod:`seqsal.auditing.tracts`). A shortcut is
  more frequent in positives than in negatives, and putting it in and taking it out have both a large effect.
- **window edges** and **fixed position** (`position`, :mod:`seqsal.auditing.places`). Edges are a shortcut where they
  have more than `max_edge_share` of the attribution, and putting them in and taking them out have both a large effect.
  A fixed position is told where `max_bin_share` of the attribution of shuffled sequence, in which no site can be the
  reason, is in one tenth of the window; it is never a shortcut by itself, since a model that pools by place looks
  more at some places.

Effects are means over sequences, in units of the attributed output, with Wilcoxon's signed-rank test (Mann–Whitney for
CpG). The p-value of a finding is the largest of those that it rests on, and q-values are those of Benjamini and
Hochberg (1995) over the findings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.auditing.classes import PROPERTIES, SHUFFLE_DRAW, composition_evidence, composition_finding
from seqsal.auditing.content import repeat_mask, unknown_share
from seqsal.auditing.context import AuditContext, Codes
from seqsal.auditing.finding import judge_findings
from seqsal.auditing.places import edge_finding, place_finding, profile
from seqsal.auditing.section import AuditSection
from seqsal.auditing.stats import pearson, spearman
from seqsal.auditing.tracts import padding_finding, repeat_finding

__all__ = ["audit_composition", "composition_findings"]

MIN_CLASS = 10  # sequences of either class, with fewer the classes are not compared
ROUNDING = 1e-6  # of the largest prediction: float32


def audit_composition(context: AuditContext) -> AuditSection:
    """Ask how much of the predictions is composition, repeats, unknown bases or place.

    Parameters
    ----------
    context
        What is under audit. `settings.n_regions` regions, and as many sequences of each class, are looked at. With
        negatives but no positives, the audited regions are the positives.

    Returns
    -------
    AuditSection
        Values: `n_regions`; `shuffle_r2`, the squared correlation of the predictions of regions and of their shuffles;
        `gc` and `cpg`, each with its rank correlation with the predictions of the regions and of their shuffles;
        `repeat_share` and `unknown_share` of the bases; `classes` (None where they are not known) with `retained` and
        the AUROC of GC, CpG and unknown bases alone; `profile`, the share of the attribution of shuffled sequence in
        each tenth of the window; and `findings`, rows as those of `artifacts`. Tables: `composition_regions` (a row a
        region) and `composition_findings`.
    """
    rows = context.rows(context.settings.n_regions)
    codes = context.codes(rows)
    shuffles = None if context.model is None else context.predict(context.shuffled(codes, SHUFFLE_DRAW))
    predictions = _predictions(context, rows)
    positives, negatives = _classes(context, codes)
    evidence = None
    if context.model is not None and positives is not None and negatives is not None:
        evidence = composition_evidence(context, positives, negatives)
    properties = {key: measure(codes) for key, (_, measure) in PROPERTIES.items()}
    correlations = {key: _correlations(values, predictions, shuffles) for key, values in properties.items()}
    bins = profile(context)
    findings = [
        *(composition_finding(context, key, rows, evidence, found["shuffles"]) for key, found in correlations.items()),
        repeat_finding(context, rows, positives, negatives),
        padding_finding(context, rows, positives, negatives),
        edge_finding(context, rows, negatives is not None),
        place_finding(context, bins),
    ]
    judged = judge_findings(findings, context.settings.fdr)
    values = {
        "n_regions": len(rows),
        "shuffle_r2": _squared(pearson(predictions, shuffles, min_spread=ROUNDING)),
        **correlations,
        "repeat_share": float(repeat_mask(codes).mean()),
        "unknown_share": float(unknown_share(codes).mean()),
        "classes": None if evidence is None else evidence.as_dict(),
        "profile": bins,
        "findings": judged,
    }
    tables = {
        "composition_regions": _region_table(context, rows, {**properties, "prediction": predictions}),
        "composition_findings": pd.DataFrame(judged),
    }
    warnings = tuple(f"Shortcut: {row['text']}" for row in judged if row["verdict"] == "shortcut")
    return AuditSection("composition", values, tables, warnings, _untested(context, negatives))


def composition_findings(section: AuditSection) -> list[dict[str, Any]]:
    """Return the findings of :func:`audit_composition` as rows with the keys of `artifacts` in `audit.json`."""
    return list(section.values["findings"])


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
) -> dict[str, float | None]:
    return {"regions": spearman(values, predictions), "shuffles": spearman(values, shuffles)}


def _squared(value: float | None) -> float | None:
    return None if value is None else value**2


def _region_table(
    context: AuditContext, rows: NDArray[np.int64], columns: Mapping[str, NDArray[np.float64]]
) -> pd.DataFrame:
    regions = context.attr.regions.iloc[rows][["chrom", "start", "end", "name"]].reset_index(drop=True)
    return pd.DataFrame({"row": rows}).join(regions).assign(**columns)


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
