"""Whether predictions and attributions differ between strata: GC, chromosome, and what the user names, such as a batch.

Each region gives some numbers (`seqsal.auditing.features`). Of each factor and number, the Kruskal–Wallis test asks
whether the strata have one distribution, with the effect size ε² = H / (n - 1), which is 0 where they do and 1 where
the strata are all that matters (Kelley 1935, doi:10.1073/pnas.21.9.554). Of each factor and shortcut, Fisher's exact
test asks whether the regions that hold it lie in one stratum rather than in the others, for the stratum where it is
most telling, times the number of strata. Q-values are those of Benjamini and Hochberg (1995) over all tests together.

Strata with fewer than `MIN_REGIONS` regions are left out. A difference between strata of GC need be no fault, since
promoters are rich in GC; one between batches or chromosomes is what a confounder looks like.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.auditing.content import gc_content
from seqsal.auditing.context import AuditContext
from seqsal.auditing.features import FEATURES, region_features
from seqsal.auditing.section import AuditSection
from seqsal.auditing.stats import fisher_p, kruskal_wallis, q_values_of
from seqsal.auditing.strata_file import read_strata
from seqsal.errors import UsageError

__all__ = ["MIN_REGIONS", "audit_strata", "read_strata"]

MIN_REGIONS = 5
MAX_LEVELS = 12  # numbers with more values are cut into thirds


def audit_strata(
    context: AuditContext, strata: pd.DataFrame | None = None, *, hits: pd.DataFrame | None = None
) -> AuditSection:
    """Compare regions between strata.

    Parameters
    ----------
    context
        What is under audit; `settings.n_regions` regions are looked at.
    strata
        A row a region of the attributions, a column a factor, such as :func:`read_strata` gives; None or NaN where a
        region belongs to no stratum. Numbers of more than `MAX_LEVELS` values are cut into thirds.
    hits
        Which region holds which artifact: columns `row` (index into the attributions) and `artifact`.

    Returns
    -------
    AuditSection
        Values: `n_regions`, `n_tests`, `factors` (of each its strata, with the number of regions and the medians of
        the features, and the differences between them), `artifacts` (those that lie in one stratum). Tables:
        `strata_regions` (a row a region), `strata` (a row a stratum), `strata_tests` and `strata_artifacts`.

    Raises
    ------
    UsageError
        `strata` has another number of rows than there are regions.
    """
    if strata is not None and len(strata) != len(context.attr):
        raise UsageError(
            f"strata: got {len(strata)} rows, expected one for each of the {len(context.attr)} regions; see read_strata"
        )
    rows = context.rows(context.settings.n_regions)
    features = region_features(context, rows)
    factors, untested = _factors(context, rows, strata)
    tests = [test for name, labels in factors.items() for test in _feature_tests(name, labels, features)]
    held = [] if hits is None else _artifact_tests(factors, rows, hits)
    _add_q_values([*tests, *held])
    for test in tests:
        least = context.settings.min_stratum_effect
        test["differs"] = test["q_value"] <= context.settings.fdr and test["effect"] >= least
    for test in held:
        test["differs"] = test["q_value"] <= context.settings.fdr
    summary = [row for name, labels in factors.items() for row in _summaries(name, labels, features)]
    found = [_sentence(test) for test in tests if test["differs"] and test["factor"] != "gc"]
    found += [_artifact_sentence(test) for test in held if test["differs"]]
    return AuditSection(
        "strata",
        {
            "n_regions": len(rows),
            "n_tests": len(tests) + len(held),
            "factors": [_factor_values(name, summary, tests) for name in factors],
            "artifacts": [test for test in held if test["differs"]],
        },
        {
            "strata_regions": _region_table(context, rows, features, factors),
            "strata": pd.DataFrame(summary),
            "strata_tests": pd.DataFrame(tests),
            "strata_artifacts": pd.DataFrame(held),
        },
        warnings=tuple(found),
        untested=tuple(untested),
    )


def _factors(
    context: AuditContext, rows: NDArray[np.int64], strata: pd.DataFrame | None
) -> tuple[dict[str, NDArray[np.object_]], list[str]]:
    """Stratum (n,) of every region by factor, None where it has none or too few share it."""
    given: dict[str, Any] = {
        "gc": _thirds(gc_content(context.codes(rows)), ("low", "middle", "high")),
        "chrom": context.attr.regions["chrom"].to_numpy(dtype=object)[rows],
    }
    if strata is not None:
        given |= {str(name): _levels(strata[name].iloc[rows]) for name in strata}
    factors, untested = {}, []
    for name, labels in given.items():
        kept = _large_enough(labels)
        if len({label for label in kept if label is not None}) > 1:
            factors[name] = kept
        else:
            untested.append(
                f"Differences by {_factor_text(name)} were not tested: fewer than two strata have at least "
                f"{MIN_REGIONS} regions."
            )
    return factors, untested


def _levels(values: pd.Series) -> NDArray[np.object_]:
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.nunique() > MAX_LEVELS and (numbers.notna() | values.isna()).all():
        return _thirds(numbers.to_numpy(np.float64), ("low", "middle", "high"))
    return np.array([None if pd.isna(value) else str(value) for value in values], dtype=object)


def _thirds(values: NDArray[np.float64], names: tuple[str, str, str]) -> NDArray[np.object_]:
    """Cut at the tertiles; equal values are in one stratum."""
    known = np.isfinite(values)
    if not known.any():
        return np.full(len(values), None, dtype=object)
    low, high = np.quantile(values[known], [1 / 3, 2 / 3])
    labels = np.array(names, dtype=object)[(values > low).astype(int) + (values > high)]
    labels[~known] = None
    return labels


def _large_enough(labels: NDArray[np.object_]) -> NDArray[np.object_]:
    counts = pd.Series(labels).value_counts()
    large = set(counts.index[counts >= MIN_REGIONS])
    return np.array([label if label in large else None for label in labels], dtype=object)


def _names(labels: NDArray[np.object_]) -> list[str]:
    found = {str(label) for label in labels if label is not None}
    order = {name: i for i, name in enumerate(("low", "middle", "high"))}
    return sorted(found, key=lambda name: (order.get(name, len(order)), name))


def _feature_tests(
    factor: str, labels: NDArray[np.object_], features: Mapping[str, NDArray[np.float64]]
) -> list[dict[str, Any]]:
    tests = []
    for feature, values in features.items():
        groups = {name: values[(labels == name) & np.isfinite(values)] for name in _names(labels)}
        groups = {name: group for name, group in groups.items() if len(group) >= MIN_REGIONS}
        if len(groups) < 2:
            continue
        effect, p_value = kruskal_wallis(list(groups.values()))
        medians = {name: float(np.median(group)) for name, group in groups.items()}
        highest, lowest = max(medians, key=medians.__getitem__), min(medians, key=medians.__getitem__)
        tests.append(
            {"factor": factor, "feature": feature, "effect": effect, "p_value": p_value, "highest": highest,
             "highest_median": medians[highest], "lowest": lowest, "lowest_median": medians[lowest]}
        )  # fmt: skip
    return tests


def _artifact_tests(
    factors: Mapping[str, NDArray[np.object_]], rows: NDArray[np.int64], hits: pd.DataFrame
) -> list[dict[str, Any]]:
    """Of each artifact and factor, the stratum that holds it most tellingly more often than the others."""
    tests = []
    for artifact, part in hits.groupby("artifact", sort=True):
        holds = np.isin(rows, part["row"].to_numpy())
        for factor, labels in factors.items():
            names = _names(labels)
            best: dict[str, Any] | None = None
            for name in names:
                inside, outside = labels == name, np.array([label not in (None, name) for label in labels])
                a, b = int(holds[inside].sum()), int(holds[outside].sum())
                p_value = min(1.0, len(names) * float(fisher_p(a, int(inside.sum()), b, int(outside.sum()))))
                if best is None or p_value < best["p_value"]:
                    best = {"artifact": str(artifact), "factor": factor, "stratum": name, "n_holding": a,
                            "share_inside": a / int(inside.sum()), "share_outside": b / int(outside.sum()),
                            "p_value": p_value}  # fmt: skip
            if best is not None:
                tests.append(best)
    return tests


def _add_q_values(tests: list[dict[str, Any]]) -> None:
    for test, q_value in zip(tests, q_values_of([test["p_value"] for test in tests]), strict=True):
        test["q_value"] = float(q_value)


def _summaries(
    factor: str, labels: NDArray[np.object_], features: Mapping[str, NDArray[np.float64]]
) -> list[dict[str, Any]]:
    """Count the regions of each stratum, and take the medians of their features."""
    rows = []
    for name in _names(labels):
        row: dict[str, Any] = {"factor": factor, "stratum": name, "n_regions": int((labels == name).sum())}
        for feature, values in features.items():
            inside = values[(labels == name) & np.isfinite(values)]
            row[feature] = float(np.median(inside)) if len(inside) else None
        rows.append(row)
    return rows


def _factor_values(factor: str, summary: list[dict[str, Any]], tests: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "factor": factor,
        "strata": [{k: v for k, v in row.items() if k != "factor"} for row in summary if row["factor"] == factor],
        "differences": [
            {k: v for k, v in test.items() if k not in ("factor", "differs")}
            for test in tests
            if test["factor"] == factor and test["differs"]
        ],
    }


def _region_table(
    context: AuditContext,
    rows: NDArray[np.int64],
    features: Mapping[str, NDArray[np.float64]],
    factors: Mapping[str, NDArray[np.object_]],
) -> pd.DataFrame:
    regions = context.attr.regions.iloc[rows][["chrom", "start", "end", "name"]].reset_index(drop=True)
    columns = {f"stratum_{name}": labels for name, labels in factors.items()}
    return pd.DataFrame({"row": rows}).join(regions).assign(**columns, **features)


def _factor_text(factor: str) -> str:
    return {"gc": "GC content", "chrom": "chromosome"}.get(factor, factor)


def _sentence(test: Mapping[str, Any]) -> str:
    return (
        f"By {_factor_text(test['factor'])}, {FEATURES[test['feature']]} differs: median {test['highest_median']:.3g} "
        f"in {test['highest']} against {test['lowest_median']:.3g} in {test['lowest']} (ε² = {test['effect']:.2f}, "
        f"q = {test['q_value']:.1g}); a confounder looks like this."
    )


def _artifact_sentence(test: Mapping[str, Any]) -> str:
    return (
        f"{test['artifact']} is in {test['share_inside']:.0%} of the regions of {_factor_text(test['factor'])} "
        f"{test['stratum']} and in {test['share_outside']:.0%} of the others (q = {test['q_value']:.1g})."
    )
