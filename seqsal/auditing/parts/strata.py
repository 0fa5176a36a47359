"""Whether predictions and attributions differ between strata: GC, chromosome, and what the user names, such as a batch.

Each region gives some numbers (`FEATURES`). Of each factor and number, the Kruskal–Wallis test asks whether the strata
have one distribution, with the effect size ε² = H / (n - 1), which is 0 where they do and 1 where the strata are all
that matters (Kelley 1935, doi:10.1073/pnas.21.9.554). Of each factor and shortcut, Fisher's exact test asks whether the
regions that hold it lie in one stratum rather than in the others, for the stratum where it is most telling, times the
number of strata. Q-values are those of Benjamini and Hochberg (1995) over all tests together.

Strata with fewer than `MIN_REGIONS` regions are left out. A difference between strata of GC need be no fault, since
promoters are rich in GC; one between batches or chromosomes is what a confounder looks like.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.auditing.content import EDGE_SHARE, gc_content
from seqsal.auditing.context import AuditContext
from seqsal.auditing.part import NOT_IN_JSON, Fact, Part, PartResult, Results
from seqsal.auditing.parts.artifacts import ArtifactsResult
from seqsal.auditing.settings import AuditSettings
from seqsal.auditing.stats import fisher_p, kruskal_wallis, q_values_of, rank_correlation
from seqsal.errors import UsageError
from seqsal.sequence.codes import N_CODE

__all__ = ["MIN_REGIONS", "PART", "StrataResult", "audit_strata", "region_features"]

MIN_REGIONS = 5
MAX_LEVELS = 12  # numbers with more values are cut into thirds
MIN_EFFECT = 0.06  # ε² of a difference that is reported
FEATURES = {
    "prediction": "the prediction",
    "strength": "the summed absolute attribution",
    "focus": "the share of the attribution on a tenth of the bases",
    "gc_excess": "the share of the attribution on G and C beyond their share of the bases",
    "edge_share": "the share of the attribution in the outer tenth of the window",
    "from_centre": "the mean distance of the attribution from the centre",
    "peak_share": "the share of the attribution in peaks",
    "ism_agreement": "the agreement of the map with in-silico mutagenesis",
}
Labels = NDArray[np.object_]
Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How one feature differs between the strata of a factor: medians, effect size ε², p- and q-value."""

    factor: str = field(default="", metadata=NOT_IN_JSON)
    feature: str
    effect: float
    p_value: float
    highest: str
    highest_median: float
    lowest: str
    lowest_median: float
    q_value: float = 1.0
    differs: bool = field(default=True, metadata=NOT_IN_JSON)

    def __str__(self) -> str:
        return (
            f"By {_factor_text(self.factor)}, {FEATURES[self.feature]} differs: median {self.highest_median:.3g} "
            f"in {self.highest} against {self.lowest_median:.3g} in {self.lowest} (ε² = {self.effect:.2f}, "
            f"q = {self.q_value:.1g}); a confounder looks like this."
        )


@dataclass(frozen=True, kw_only=True)
class Concentration:
    """The stratum of a factor that holds an artifact most tellingly more often than the others."""

    artifact: str
    factor: str
    stratum: str
    n_holding: int
    share_inside: float
    share_outside: float
    p_value: float
    q_value: float = 1.0
    differs: bool = True

    def __str__(self) -> str:
        return (
            f"{self.artifact} is in {self.share_inside:.0%} of the regions of {_factor_text(self.factor)} "
            f"{self.stratum} and in {self.share_outside:.0%} of the others (q = {self.q_value:.1g})."
        )


@dataclass(frozen=True)
class Factor:
    """The strata of a factor (name, number of regions, and medians of the features), and how they differ."""

    factor: str
    strata: tuple[dict[str, Any], ...]
    differences: tuple[Difference, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class StrataResult(PartResult):
    """How regions differ between strata.

    Tables: `strata_regions` (a row a region), `strata` (a row a stratum), `strata_tests` and `strata_artifacts`.

    Attributes
    ----------
    n_regions, n_tests
        Regions looked at, and tests made.
    factors
        Their strata and differences.
    artifacts
        Those that lie in one stratum.
    """

    n_regions: int
    n_tests: int
    factors: tuple[Factor, ...]
    artifacts: tuple[Concentration, ...]

    def facts(self, settings: AuditSettings) -> Iterator[Fact]:
        for one in self.factors:
            n = len(one.differences)
            yield Fact(f"{one.factor}:", f"{n or 'no'} difference{'s' * (n != 1)}")


def audit_strata(
    context: AuditContext, strata: pd.DataFrame | None = None, *, hits: pd.DataFrame | None = None
) -> StrataResult:
    """Compare regions between strata.

    Parameters
    ----------
    context
        What is under audit; `settings.n_regions` regions are looked at.
    strata
        A row a region of the attributions, a column a factor, such as
        :func:`seqsal.auditing.strata_file.read_strata` gives; None or NaN where a region belongs to no stratum. Numbers
        of more than `MAX_LEVELS` values are cut into thirds.
    hits
        Which region holds which artifact: columns `row` (index into the attributions) and `name`.

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
    held = [] if hits is None or hits.empty else _artifact_tests(factors, rows, hits)
    p_values = [*(test.p_value for test in tests), *(test.p_value for test in held)]
    fdr, q_values = context.settings.fdr, q_values_of(p_values).tolist()
    tests = [
        replace(test, q_value=q, differs=q <= fdr and test.effect >= MIN_EFFECT)
        for test, q in zip(tests, q_values, strict=False)
    ]
    held = [replace(test, q_value=q, differs=q <= fdr) for test, q in zip(held, q_values[len(tests) :], strict=True)]
    summary = [row for name, labels in factors.items() for row in _summaries(name, labels, features)]
    found = [str(test) for test in tests if test.differs and test.factor != "gc"]
    labels = {f"stratum_{name}": labels for name, labels in factors.items()}
    return StrataResult(
        n_regions=len(rows),
        n_tests=len(tests) + len(held),
        factors=tuple(_factor(name, summary, tests) for name in factors),
        artifacts=tuple(test for test in held if test.differs),
        tables={
            "strata_regions": context.region_table(rows).assign(**labels, **features),
            "strata": pd.DataFrame(summary),
            "strata_tests": pd.DataFrame([asdict(test) for test in tests]),
            "strata_artifacts": pd.DataFrame([asdict(test) for test in held]),
        },
        warnings=(*found, *(str(test) for test in held if test.differs)),
        untested=tuple(untested),
    )


def _factors(
    context: AuditContext, rows: NDArray[np.int64], strata: pd.DataFrame | None
) -> tuple[dict[str, Labels], list[str]]:
    """Stratum (n,) of every region by factor, None where it has none or too few share it."""
    known: dict[str, Any] = {
        "gc": _thirds(gc_content(context.codes(rows))),
        "chrom": context.attr.regions["chrom"].to_numpy(dtype=object)[rows],
    }
    if strata is not None:
        known |= {str(name): _levels(strata[name].iloc[rows]) for name in strata}
    factors, untested = {}, []
    for name, labels in known.items():
        counts = pd.Series(labels).value_counts()
        large = set(counts.index[counts >= MIN_REGIONS])
        kept = np.array([label if label in large else None for label in labels], dtype=object)
        if len({label for label in kept if label is not None}) > 1:
            factors[name] = kept
        else:
            untested.append(
                f"Differences by {_factor_text(name)} were not tested: fewer than two strata have at least "
                f"{MIN_REGIONS} regions."
            )
    return factors, untested


def _levels(values: pd.Series) -> Labels:
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.nunique() > MAX_LEVELS and (numbers.notna() | values.isna()).all():
        return _thirds(numbers.to_numpy(np.float64))
    return np.array([None if pd.isna(value) else str(value) for value in values], dtype=object)


def _thirds(values: Values) -> Labels:
    """Cut at the tertiles; equal values are in one stratum."""
    known = np.isfinite(values)
    if not known.any():
        return np.full(len(values), None, dtype=object)
    low, high = np.quantile(values[known], [1 / 3, 2 / 3])
    labels = np.array(("low", "middle", "high"), dtype=object)[(values > low).astype(int) + (values > high)]
    labels[~known] = None
    return labels


def _names(labels: Labels) -> list[str]:
    found = {str(label) for label in labels if label is not None}
    order = {name: i for i, name in enumerate(("low", "middle", "high"))}
    return sorted(found, key=lambda name: (order.get(name, len(order)), name))


def _feature_tests(factor: str, labels: Labels, features: Mapping[str, Values]) -> Iterator[Difference]:
    for feature, values in features.items():
        groups = {name: values[(labels == name) & np.isfinite(values)] for name in _names(labels)}
        groups = {name: group for name, group in groups.items() if len(group) >= MIN_REGIONS}
        if len(groups) < 2:
            continue
        effect, p_value = kruskal_wallis(list(groups.values()))
        medians = {name: float(np.median(group)) for name, group in groups.items()}
        highest, lowest = max(medians, key=medians.__getitem__), min(medians, key=medians.__getitem__)
        yield Difference(
            factor=factor,
            feature=feature,
            effect=effect,
            p_value=p_value,
            highest=highest,
            highest_median=medians[highest],
            lowest=lowest,
            lowest_median=medians[lowest],
        )


def _artifact_tests(factors: Mapping[str, Labels], rows: NDArray[np.int64], hits: pd.DataFrame) -> list[Concentration]:
    tests = []
    for artifact, part in hits.groupby("name", sort=True):
        holds = np.isin(rows, part["row"].to_numpy())
        for factor, labels in factors.items():
            found = [_concentration(str(artifact), factor, name, labels, holds) for name in _names(labels)]
            best = min(found, key=lambda one: one.p_value)
            tests.append(replace(best, p_value=min(1.0, len(found) * best.p_value)))
    return tests


def _concentration(artifact: str, factor: str, name: str, labels: Labels, holds: NDArray[np.bool_]) -> Concentration:
    inside, outside = labels == name, np.array([label not in (None, name) for label in labels])
    a, n, b, m = int(holds[inside].sum()), int(inside.sum()), int(holds[outside].sum()), int(outside.sum())
    return Concentration(
        artifact=artifact,
        factor=factor,
        stratum=name,
        n_holding=a,
        share_inside=a / n,
        share_outside=b / m,
        p_value=float(fisher_p(a, n, b, m)),
    )


def _summaries(factor: str, labels: Labels, features: Mapping[str, Values]) -> Iterator[dict[str, Any]]:
    """Count the regions of each stratum, and take the medians of their features."""
    for name in _names(labels):
        row: dict[str, Any] = {"factor": factor, "stratum": name, "n_regions": int((labels == name).sum())}
        for feature, values in features.items():
            inside = values[(labels == name) & np.isfinite(values)]
            row[feature] = float(np.median(inside)) if len(inside) else None
        yield row


def _factor(name: str, summary: list[dict[str, Any]], tests: list[Difference]) -> Factor:
    strata = [{key: value for key, value in row.items() if key != "factor"} for row in summary if row["factor"] == name]
    return Factor(name, tuple(strata), tuple(test for test in tests if test.factor == name and test.differs))


def _factor_text(factor: str) -> str:
    return {"gc": "GC content", "chrom": "chromosome"}.get(factor, factor)


def region_features(context: AuditContext, rows: NDArray[np.int64]) -> dict[str, Values]:
    """Measure regions by `FEATURES`.

    Parameters
    ----------
    context
        What is under audit.
    rows
        (n,) rows of the attributions, ascending.

    Returns
    -------
    dict of str to ndarray, shape (n,)
        NaN where a region has no such number, such as a share of no attribution, or agreement with in-silico
        mutagenesis outside the `n_ism_regions` regions in which that was done. Without peaks or without a model what
        needs them is left out.
    """
    codes = context.codes(rows)
    size = np.abs(context.track(rows).astype(np.float64))
    total = size.sum(axis=1)
    share = np.divide(size, total[:, None], out=np.full(size.shape, np.nan), where=total[:, None] > 0)
    length = size.shape[1]
    edge, top = max(1, round(EDGE_SHARE * length)), max(1, length // 10)
    distance = np.abs(np.arange(length) - (length - 1) / 2)
    is_gc = (codes == 1) | (codes == 2)
    features = {
        "prediction": np.asarray(context.attr.prediction[rows], dtype=np.float64),
        "strength": total,
        "focus": np.sort(share, axis=1)[:, -top:].sum(axis=1),
        "gc_excess": np.where(is_gc, share, 0 * share).sum(axis=1) - gc_content(codes),
        "edge_share": share[:, :edge].sum(axis=1) + share[:, -edge:].sum(axis=1),
        "from_centre": share @ distance,
    }
    if len(context.peaks):
        features["peak_share"] = np.where(context.in_peaks(rows), share, 0 * share).sum(axis=1)
    if context.model is not None:
        features["ism_agreement"] = _ism_agreement(context, rows)
    return features


def _ism_agreement(context: AuditContext, rows: NDArray[np.int64]) -> Values:
    """Spearman correlation (n,) of the map with the loss of each base, NaN where no substitutions were tried."""
    tried = context.rows(context.settings.n_ism_regions)
    loss = context.losses(context.settings.n_ism_regions)
    if not context.signed:
        loss = np.abs(loss)
    agreement = np.full(len(rows), np.nan)
    found = rank_correlation(context.track(tried), loss, context.codes(tried) < N_CODE)
    agreement[np.searchsorted(rows, tried)] = found
    return agreement


def _run(context: AuditContext, done: Results) -> StrataResult:
    artifacts = done.of(ArtifactsResult)
    return audit_strata(context, context.strata, hits=None if artifacts is None else artifacts.tables.get("hits"))


PART = Part(StrataResult, _run)
