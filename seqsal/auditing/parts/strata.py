"""Whether predictions and attributions differ between strata: GC, chromosome, and what the user names, such as a batch.

Each region gives some numbers (`FEATURES`). Of each factor and number, the Kruskal–Wallis test asks whether the strata
have one distribution, with the effect size ε² = H / (n - 1), which is 0 where they do and 1 where the strata are all
that matters (Kelley 1935, doi:10.1073/pnas.21.9.554). Of each factor and shortcut, Fisher's exact test asks whether the
regions that hold it lie in one stratum rather than in the others, for the stratum where it is most telling, times the
number of strata. Q-values are those of Benjamini and Hochberg (1995) over all tests together.

Strata with fewer than `MIN_REGIONS` regions are left out. A difference between strata of GC need be no fault, since
promoters are rich in GC; one between batches or chromosomes is what a confounder looks like.

Strata from a file, a column of a BED or of a table with a header, are joined to the regions by name where names are
unique on both sides, else by place: a region belongs to the span that its centre lies in, of several to the one whose
own centre is nearest. Where both ways are open, that which places more regions counts.
"""

from __future__ import annotations

import csv
import gzip
import io
import logging
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.auditing.content import EDGE_SHARE, Flags, Ints, Values, gc_content, spans_in_windows
from seqsal.auditing.context import AuditContext
from seqsal.auditing.part import NOT_IN_JSON, Fact, Part, PartResult, Results
from seqsal.auditing.parts.artifacts import ArtifactsResult
from seqsal.auditing.settings import AuditSettings
from seqsal.auditing.stats import fisher_p, kruskal_wallis, q_values_of, rank_correlation
from seqsal.errors import SeqsalError, UsageError, counted
from seqsal.regions import check_chroms
from seqsal.sequence.codes import N_CODE

__all__ = ["PART", "StrataResult", "audit_strata", "read_strata"]

MIN_REGIONS = 5
MAX_LEVELS = 12  # numbers with more values are cut into thirds
MIN_STRATUM_EFFECT = 0.06  # ε² of a difference that is reported
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
FACTORS = {"gc": "GC content", "chrom": "chromosome"}
Labels = NDArray[np.object_]


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
            f"By {FACTORS.get(self.factor, self.factor)}, {FEATURES[self.feature]} differs: median "
            f"{self.highest_median:.3g} in {self.highest} against {self.lowest_median:.3g} in {self.lowest} "
            f"(ε² = {self.effect:.2f}, q = {self.q_value:.1g}); a confounder looks like this."
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
            f"{self.artifact} is in {self.share_inside:.0%} of the regions of {FACTORS.get(self.factor, self.factor)} "
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

    `n_regions`, `n_tests`: regions looked at, and tests made. `factors`: their strata and differences. `artifacts`:
    those that lie in one stratum.
    """

    n_regions: int
    n_tests: int
    factors: tuple[Factor, ...]
    artifacts: tuple[Concentration, ...]

    def facts(self, settings: AuditSettings) -> Iterator[Fact]:
        for one in self.factors:
            n = len(one.differences)
            yield Fact(f"{one.factor}:", counted(n, "difference") if n else "no differences")


def audit_strata(
    context: AuditContext, strata: pd.DataFrame | None = None, *, hits: pd.DataFrame | None = None
) -> StrataResult:
    """Compare `settings.n_regions` regions between strata.

    `strata` has a row a region of the attributions and a column a factor, see :func:`read_strata`; None or NaN where a
    region belongs to no stratum. Numbers of more than `MAX_LEVELS` values are cut into thirds. `hits` says which region
    (`row` of the attributions) holds which artifact (`name`).
    """
    if strata is not None and len(strata) != len(context.attr):
        raise UsageError(
            f"strata: got {counted(len(strata), 'row')}, expected {len(context.attr)}, one for each region; see "
            "read_strata"
        )
    rows = context.rows(context.settings.n_regions)
    features = region_features(context, rows)
    factors, untested = _factors(context, rows, strata)
    tests = [test for name, labels in factors.items() for test in _feature_tests(name, labels, features)]
    held = [] if hits is None or hits.empty else list(_artifact_tests(factors, rows, hits))
    p_values = [*(test.p_value for test in tests), *(test.p_value for test in held)]
    fdr, q_values = context.settings.fdr, q_values_of(p_values).tolist()
    tests = [
        replace(test, q_value=q, differs=q <= fdr and test.effect >= MIN_STRATUM_EFFECT)
        for test, q in zip(tests, q_values, strict=False)
    ]
    held = [replace(test, q_value=q, differs=q <= fdr) for test, q in zip(held, q_values[len(tests) :], strict=True)]
    strata_of = {name: list(_summaries(labels, features)) for name, labels in factors.items()}
    found = [str(test) for test in tests if test.differs and test.factor != "gc"]
    labels = {f"stratum_{name}": labels for name, labels in factors.items()}
    return StrataResult(
        n_regions=len(rows),
        n_tests=len(tests) + len(held),
        factors=tuple(
            Factor(name, tuple(rows), tuple(test for test in tests if test.factor == name and test.differs))
            for name, rows in strata_of.items()
        ),
        artifacts=tuple(test for test in held if test.differs),
        tables={
            "strata_regions": context.region_table(rows).assign(**labels, **features),
            "strata": pd.DataFrame([{"factor": name, **row} for name, rows in strata_of.items() for row in rows]),
            "strata_tests": pd.DataFrame([asdict(test) for test in tests]),
            "strata_artifacts": pd.DataFrame([asdict(test) for test in held]),
        },
        warnings=(*found, *(str(test) for test in held if test.differs)),
        untested=tuple(untested),
    )


def _factors(context: AuditContext, rows: Ints, strata: pd.DataFrame | None) -> tuple[dict[str, Labels], list[str]]:
    """Name the stratum (n,) of every region by factor, None where it has none or too few share it."""
    known: dict[str, Any] = {
        "gc": _thirds(gc_content(context.codes(rows))),
        "chrom": context.attr.column("chrom", rows),
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
                f"Differences by {FACTORS.get(name, name)} were not tested: fewer than two strata have at least "
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
        every = {name: values[(labels == name) & np.isfinite(values)] for name in _names(labels)}
        groups = {name: group for name, group in every.items() if len(group) >= MIN_REGIONS}
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


def _artifact_tests(factors: Mapping[str, Labels], rows: Ints, hits: pd.DataFrame) -> Iterator[Concentration]:
    for artifact, part in hits.groupby("name", sort=True):
        holds = np.isin(rows, part["row"].to_numpy())
        for factor, labels in factors.items():
            found = [_concentration(str(artifact), factor, name, labels, holds) for name in _names(labels)]
            best = min(found, key=lambda one: one.p_value)
            yield replace(best, p_value=min(1.0, len(found) * best.p_value))


def _concentration(artifact: str, factor: str, name: str, labels: Labels, holds: Flags) -> Concentration:
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


def _summaries(labels: Labels, features: Mapping[str, Values]) -> Iterator[dict[str, Any]]:
    """Count the regions of each stratum, and take the medians of their features."""
    for name in _names(labels):
        row: dict[str, Any] = {"stratum": name, "n_regions": int((labels == name).sum())}
        for feature, values in features.items():
            inside = values[(labels == name) & np.isfinite(values)]
            row[feature] = float(np.median(inside)) if len(inside) else None
        yield row


def region_features(context: AuditContext, rows: Ints) -> dict[str, Values]:
    """Measure regions (ascending rows) by `FEATURES`, (n,) each; NaN where a region has no such number.

    Such is a share of no attribution, or agreement with in-silico mutagenesis where that was not done. Without peaks or
    without a model what needs them is left out.
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


def _ism_agreement(context: AuditContext, rows: Ints) -> Values:
    """Spearman correlation (n,) of the map with the loss of each base, NaN where no substitutions were tried."""
    tried = context.rows(context.settings.n_ism_regions)
    loss = context.losses(context.settings.n_ism_regions)
    if not context.signed:
        loss = np.abs(loss)
    agreement = np.full(len(rows), np.nan)
    known = context.codes(tried) < N_CODE
    is_here = np.isin(tried, rows)  # not all, where a user sets n_regions below n_ism_regions
    agreement[np.searchsorted(rows, tried[is_here])] = rank_correlation(context.track(tried), loss, known)[is_here]
    return agreement


def _run(context: AuditContext, done: Results) -> StrataResult:
    artifacts = done.of(ArtifactsResult)
    return audit_strata(context, context.strata, hits=None if artifacts is None else artifacts.tables.get("hits"))


_log = logging.getLogger(__name__)
_KNOWN = {
    "chrom": ("chrom", "chr", "chromosome", "seqnames", "contig"),
    "start": ("start", "chromstart", "chrom_start", "begin"),
    "end": ("end", "chromend", "chrom_end", "stop"),
    "name": ("name", "id", "region", "region_name", "peak"),
}
_BED = {"chrom": 0, "start": 1, "end": 2, "name": 3}
_MISSING = ("", ".", "NA", "NaN", "nan")


def read_strata(spec: str, regions: pd.DataFrame) -> pd.DataFrame:
    """Read which stratum each of N regions belongs to, by `FILE:COLUMN`.

    The file is a BED without a header, with the column by its number from 1, or a table with a header (tabs, or commas
    in a `.csv`), with the column by name or number; plain or gzip. It has chrom, start and end, or names, or both. The
    result has one column, named as in the file, and N rows: text, None where the file says nothing of a region. `attrs`
    has `source` (the spec), `n_unmatched` and `joined_by` (`name` or `place`).
    """
    file, _, column = spec.rpartition(":")
    if not file or not column:
        raise UsageError(f"strata: got {spec!r}, expected FILE:COLUMN, for example samples.tsv:batch or peaks.bed:5")
    path = Path(file)
    table = _read(path)
    values = table.column(column)
    rows, joined_by = _join(table, regions)
    if not (rows >= 0).any():
        raise UsageError(
            f"{path}: none of its {len(values)} rows belongs to one of the {len(regions)} regions, neither by name nor "
            "by place; give strata of the same regions and assembly"
        )
    found = np.array([None if row < 0 or values[row] in _MISSING else values[row] for row in rows], dtype=object)
    n_unmatched = int(sum(value is None for value in found))
    if n_unmatched:
        _log.warning("%s: has no entry for %d of the %d regions; they are left out", spec, n_unmatched, len(regions))
    strata = pd.DataFrame({table.label(column): pd.Series(found, dtype=object)})
    strata.attrs.update(source=spec, n_unmatched=n_unmatched, joined_by=joined_by)
    return strata


@dataclass(frozen=True)
class _Table:
    """Cells of a file as text, with the names of its columns where it has any."""

    path: Path
    header: list[str] | None
    cells: list[list[str]]

    def column(self, name: str) -> list[str]:
        idx = self._find(name)
        if idx is None:
            known = ", ".join(self.header or [f"1 to {len(self.cells[0])}"])
            what = "columns" if self.header else "no header, so columns are numbers:"
            raise UsageError(f"{self.path}: has no column {name!r}, expected one of its {what} {known}")
        return self._at(idx)

    def label(self, name: str) -> str:
        idx = self._find(name)
        return self.header[idx] if self.header and idx is not None else f"column {name}"

    def known(self, what: str) -> list[str] | None:
        """Column of chrom, start, end or name, or None."""
        if self.header is None:
            idx = _BED[what] if len(self.cells[0]) > _BED[what] else None
        else:
            lower = [name.lower() for name in self.header]
            idx = next((lower.index(name) for name in _KNOWN[what] if name in lower), None)
        return None if idx is None else self._at(idx)

    def _at(self, idx: int) -> list[str]:
        return [row[idx].strip() if idx < len(row) else "" for row in self.cells]

    def spans(self) -> pd.DataFrame | None:
        columns = {what: self.known(what) for what in ("chrom", "start", "end")}
        if any(column is None for column in columns.values()):
            return None
        table = pd.DataFrame(columns)
        for what in ("start", "end"):
            table[what] = pd.to_numeric(table[what], errors="coerce")
        return table if table["start"].notna().all() and table["end"].notna().all() else None

    def _find(self, name: str) -> int | None:
        if self.header is not None and name in self.header:
            return self.header.index(name)
        width = len(self.header if self.header is not None else self.cells[0])
        return int(name) - 1 if name.isdecimal() and 1 <= int(name) <= width else None


def _read(path: Path) -> _Table:
    lines = [line for line in _text(path).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(("track", "browser", "##"))]
    separator = "," if ".csv" in [suffix.lower() for suffix in path.suffixes] else "\t"
    if lines and separator == "\t" and "\t" not in lines[0]:
        rows = [line.split() for line in lines]
    else:
        rows = list(csv.reader(io.StringIO("\n".join(lines)), delimiter=separator))
    has_header = bool(rows) and not (len(rows[0]) >= 3 and all(cell.strip().isdecimal() for cell in rows[0][1:3]))
    cells = [row for row in rows[has_header:] if not row[0].startswith("#")]
    if not cells:
        raise UsageError(f"{path}: holds no rows, expected a BED, or a table with a header; check how it was made")
    return _Table(path, [name.strip().lstrip("#") for name in rows[0]] if has_header else None, cells)


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read as text ({error})"
        raise UsageError(f"{path}: {what}, expected strata as a BED or a table with a header; check the path") from None


def _join(table: _Table, regions: pd.DataFrame) -> tuple[Ints, str]:
    """Row of the table (N,) of each region, -1 where it has none, and the way that found them."""
    by_name = np.full(len(regions), -1, dtype=np.int64)
    names, given = table.known("name"), pd.Index(regions["name"].astype(str))
    if names is not None and len(set(names)) == len(names) and given.is_unique:
        by_name = pd.Index(names).get_indexer(given).astype(np.int64)
    spans = None if (by_name >= 0).all() else table.spans()
    if spans is None:
        return by_name, "name"
    by_place = _by_place(spans, regions)
    if not (by_name >= 0).any() and not (by_place >= 0).any():
        _check_same_names(spans, regions, table.path)
    return (by_place, "place") if (by_place >= 0).sum() > (by_name >= 0).sum() else (by_name, "name")


def _by_place(spans: pd.DataFrame, regions: pd.DataFrame) -> Ints:
    """Index (N,) of the span with each region's centre in it, the one whose own centre is nearest, or -1."""
    centres = (regions["start"] + regions["end"]) // 2
    points = pd.DataFrame({"chrom": regions["chrom"], "start": centres, "end": centres + 1, "strand": "."})
    ordered = spans.sort_values("start", kind="stable")
    inside, which = spans_in_windows(points, ordered)
    off = np.abs(inside.start + inside.end) / 2  # of the span's own centre from the point, which is at 0
    found = np.full(len(regions), -1, dtype=np.int64)
    nearest = np.lexsort((which, off, inside.row))[::-1]  # the last that is written counts
    found[inside.row[nearest]] = ordered.index.to_numpy()[which[nearest]]
    return found


def _check_same_names(spans: pd.DataFrame, regions: pd.DataFrame, path: Path) -> None:
    sizes = {str(chrom): int(end) for chrom, end in regions.groupby("chrom", sort=False)["end"].max().items()}
    try:
        check_chroms(spans, sizes, regions_name=str(path), genome_name="the attributed regions")
    except SeqsalError as error:
        if set(spans["chrom"]) & set(sizes):
            return
        raise error from None


PART = Part(StrataResult, _run)
