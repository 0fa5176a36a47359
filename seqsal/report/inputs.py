"""What a report is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.auditing.result import AuditResult
from seqsal.errors import UsageError
from seqsal.experiments.variants import VariantMaps
from seqsal.io.attributions import Attributions
from seqsal.motifs import MotifResult

__all__ = ["ReportInputs"]

_ROWS_AT_ONCE = 4_096


@dataclass(frozen=True)
class ReportInputs:
    """Finished results, to be shown.

    Attributes
    ----------
    attr
        Attributions of N windows, in memory or on disk; only the rows of the regions shown are read.
    scores
        Region table, one row a window, with a `prediction` column on the model's own scale and, where that is another
        one, the attributed output in a column named after its space (`logit`, `log`). None takes the predictions of
        `attr`, whose table need then not be held in memory.
    peaks
        Table of `seqsal.call_peaks`: chrom, start, end, name, sign, signal, q_value, summit; may be empty.
    elements
        Elements by rank, as :func:`seqsal.pipeline.elements.describe_calls` gives them; None leaves their section out.
    weak_peaks
        Peaks up to a larger q-value, which regions without a peak are told the best of; None where none were called.
    run_info
        What `run.json` holds. Known keys, all optional: `command` (str), `parameters` (mapping), `versions` (mapping),
        `inputs` (mapping), `model` (mapping with `file`, `sha256`, `metrics` and `history`). Times are left out,
        so that the same results give the same page.
    rejected
        Regions that could not be used, with a `reason`; None takes those of `attr`.
    title
        Heading of the page.
    n_top
        How many regions to picture.
    zoom_bp
        Bases in the logo of each.
    motifs
        Patterns of `seqsal.discover_motifs`; None leaves their section out.
    audit
        Evidence and verdict of `seqsal.audit`, or None.
    genes
        Gene models for the genome browser: chrom, start, end and gene_name of exons, as `seqsal.io.gtf` reads them.
    variants
        Maps of both alleles of variants, or None.
    only_variants
        Show nothing else: `attr` holds the windows of the reference.

    Raises
    ------
    UsageError
        A table lacks a column that the report needs, or a number is below its least value.

    Examples
    --------
    >>> import numpy as np, seqsal
    >>> from seqsal.regions import make_regions
    >>> from seqsal.sequence.codes import encode
    >>> regions, codes = make_regions(["chr1"], [100], [108]), encode("ACGTACGT")[None]
    >>> track = np.float32([[0, 0.1, 0.9, 0.8, 0.7, 0, -0.3, 0]])
    >>> attr = seqsal.Attributions(regions, codes, track, prediction=np.float32([1.5]))
    >>> import pandas as pd
    >>> ReportInputs(attr, regions, pd.DataFrame())
    Traceback (most recent call last):
    seqsal.errors.UsageError: scores: no column prediction, expected chrom, start, end, prediction
    """

    attr: Attributions
    scores: pd.DataFrame | None
    peaks: pd.DataFrame
    run_info: Mapping[str, Any] = field(default_factory=dict)
    rejected: pd.DataFrame | None = None
    title: str = "Attribution report"
    n_top: int = 10
    zoom_bp: int = 60
    elements: pd.DataFrame | None = None
    weak_peaks: pd.DataFrame | None = None
    motifs: MotifResult | None = None
    audit: AuditResult | None = None
    genes: pd.DataFrame | None = None
    variants: VariantMaps | None = None
    only_variants: bool = False

    def __post_init__(self) -> None:
        needed: dict[str, tuple[str, ...]] = {}
        if self.scores is not None:
            needed["scores"] = ("chrom", "start", "end", "prediction")
        if len(self.peaks):
            needed["peaks"] = ("chrom", "start", "end", "name", "signal", "summit")
        for table, columns in needed.items():
            if missing := [column for column in columns if column not in getattr(self, table)]:
                raise UsageError(f"{table}: no column {', '.join(missing)}, expected {', '.join(columns)}")
        for name, least in (("n_top", 0), ("zoom_bp", 10)):
            if getattr(self, name) < least:
                raise UsageError(f"{name}: got {getattr(self, name)}, expected {least} or more")

    @property
    def rejected_regions(self) -> pd.DataFrame:
        """Regions that could not be used; empty when there are none."""
        return self.attr.rejected if self.rejected is None else self.rejected

    @cached_property
    def knows_predictions(self) -> bool:
        """Whether any region has a prediction; attributions made elsewhere need not say."""
        return bool(np.isfinite(np.asarray(self.attr.prediction, dtype=np.float64)).any())

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Rows of the attributions by prediction, the highest first; without predictions by Σ |track|."""
        if self.knows_predictions:
            values = np.asarray(self.attr.prediction)
        else:
            starts = range(0, len(self.attr), _ROWS_AT_ONCE)
            parts = (self.attr.track[slice(start, start + _ROWS_AT_ONCE)] for start in starts)
            values = np.concatenate([np.abs(part, dtype=np.float64).sum(axis=1) for part in parts])
        return np.argsort(-values, kind="stable")

    @cached_property
    def ranked_peaks(self) -> pd.DataFrame:
        """Peaks of the smallest q-value first, then by the number in their name, which counts from the highest."""
        peaks = self.peaks
        number = pd.to_numeric(peaks["name"].astype(str).str.extract(r"(\d+)$")[0]).fillna(np.inf).to_numpy()
        q_values = peaks["q_value"].to_numpy() if "q_value" in peaks else np.zeros(len(peaks))
        return peaks.iloc[np.lexsort((-peaks["signal"].abs().to_numpy(), number, q_values))]

    @property
    def raw_column(self) -> str:
        """Column of `scores` that holds what was attributed."""
        space = self.attr.output_space
        return space if self.scores is not None and space in self.scores else "prediction"

    @property
    def values(self) -> NDArray[np.float64]:
        """What was attributed, of every region, (N,)."""
        held = self.attr.prediction if self.scores is None else self.scores[self.raw_column]
        return np.asarray(held, dtype=np.float64)

    def highest(self, n: int) -> pd.DataFrame:
        """Return `scores` of the n regions of the highest `values`."""
        if self.scores is not None:
            return self.scores.iloc[np.argsort(-self.values, kind="stable")[:n]]
        rows = self.order[:n] if self.knows_predictions else np.arange(min(n, len(self.attr)))
        return self.attr.rows(rows).assign(prediction=np.asarray(self.attr.prediction[rows], dtype=np.float64))

    def part(self, key: str) -> dict[str, Any]:
        """Return one mapping of `run_info`, empty when it is not there."""
        value = self.run_info.get(key)
        return dict(value) if isinstance(value, Mapping) else {}
