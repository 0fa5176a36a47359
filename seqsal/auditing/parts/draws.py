"""How much a map depends on the random numbers of its own making: references or noise drawn again.

Methods that draw references or noise give a map that is a mean over draws, and users take one such map for the truth.
So some regions are attributed again with other draws, and everything else as it was. With r the correlation of two maps
of a region that differ in their draws alone, the map's own share of the variance is r, and with k times as many draws
it would be k r / (1 + (k − 1) r) (Spearman 1910, doi:10.1111/j.2044-8295.1910.tb00206.x, and Brown 1910,
doi:10.1111/j.2044-8295.1910.tb00207.x); so the number that brings r to `MIN_CORRELATION` follows.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from seqsal.attribution import METHODS
from seqsal.auditing.context import AuditContext
from seqsal.auditing.part import Fact, Interval, Measured, NotTested, Part, PartResult, measured, with_interval
from seqsal.auditing.settings import AuditSettings
from seqsal.auditing.stats import compare_maps, mean_interval, mean_known, mean_rows
from seqsal.errors import counted
from seqsal.sequence.codes import N_CODE

__all__ = ["PART", "DrawsResult", "audit_draws"]

N_OTHERS = 3  # draws that the map is compared with
MIN_CORRELATION = 0.9  # of maps that differ in their draws alone
ROUNDING = 1e-9
COUNTS = ("n_references", "n_samples", "n_shuffles")  # options that say how many draws a map is the mean of


@dataclass(frozen=True, eq=False, kw_only=True)
class DrawsResult(PartResult):
    """How much a map depends on its draws. Table: `draws_regions`.

    `pearson`, `ci`, `spearman`: mean correlation over regions of the map with those of `n_draws` others.
    `relative_change`: mean ‖b − a‖ / ‖a‖. `option`, `n_samples`: the method's option that says how many references or
    samples a map is the mean of, and its value. `n_needed`: how many would bring the correlation to `MIN_CORRELATION`.
    """

    method: str
    n_regions: int
    n_draws: int
    pearson: Measured
    ci: Interval | None
    spearman: Measured
    relative_change: Measured
    option: str | None
    n_samples: int | None
    n_needed: Measured

    def facts(self, settings: AuditSettings) -> Iterator[Fact]:
        if isinstance(self.pearson, NotTested):
            yield Fact(self.pearson.reason, "")
            return
        name = f"correlation with {counted(self.n_draws, 'other draw')} of its random numbers"
        yield Fact(name, with_interval(self.pearson, self.ci, "{:.2f}"), f"{MIN_CORRELATION:g}")
        if isinstance(self.relative_change, float):
            yield Fact("relative change", f"{self.relative_change:.0%}")


def audit_draws(context: AuditContext) -> DrawsResult:
    """Attribute `n_small` regions with other draws, and compare with the map under audit."""
    method = context.attr.method
    option, n_samples = _count(context)
    reason = _reason(context)
    is_open = reason is not None and (method not in METHODS or _draws(method))  # it may draw, and cannot draw anew
    pearson = spearman = change = np.zeros(0)
    table = pd.DataFrame()
    if reason is None:
        rows = context.rows(context.settings.n_small)
        codes, track = context.codes(rows), context.track(rows)
        others = [context.attribute(codes, draw=draw, rows=rows) for draw in range(1, N_OTHERS + 1)]
        if all(np.array_equal(others[0], other) for other in others[1:]):
            reason = f"with these options and this model, {method} gives the same map whatever it draws"
        else:
            found = [compare_maps(track, other, codes != N_CODE) for other in others]
            pearson, spearman, change = (mean_rows(np.stack(values)) for values in zip(*found, strict=True))
            table = context.region_table(rows).assign(pearson=pearson, spearman=spearman, relative_change=change)
    why = reason or "the map is constant in every region"
    r = measured(mean_known(pearson), why)
    interval = mean_interval(pearson, context.rng("draws"), context.settings)
    n_needed = _n_needed(r, n_samples)
    is_low = isinstance(r, float) and (r if interval is None else interval[1]) < MIN_CORRELATION
    return DrawsResult(
        method=method,
        n_regions=int(np.isfinite(pearson).sum()),
        n_draws=0 if reason else N_OTHERS,
        pearson=r,
        ci=interval,
        spearman=measured(mean_known(spearman), why),
        relative_change=measured(mean_known(change), why),
        option=option,
        n_samples=n_samples,
        n_needed=n_needed,
        tables={"draws_regions": table} if len(table) else {},
        warnings=(_warning(r, option, n_samples, n_needed),) if is_low and isinstance(r, float) else (),
        untested=(f"How much the map depends on its random numbers: {reason}.",) if is_open else (),
    )


def _reason(context: AuditContext) -> str | None:
    """Say why nothing can be drawn again, if so."""
    method = context.attr.method
    if context.explainer is not None:
        return "the map was made by an explainer, whose random numbers are its own"
    if method not in METHODS:
        return f"the map was made by {method}, which is no method of seqsal"
    if not _draws(method):
        return f"{method} draws nothing at random"
    return "no model was given" if context.model is None else None


def _draws(method: str) -> bool:
    return method in METHODS and "seed" in inspect.signature(METHODS[method]).parameters


def _count(context: AuditContext) -> tuple[str | None, int | None]:
    method = context.attr.method
    parameters = inspect.signature(METHODS[method]).parameters if _draws(method) else {}
    option = next((name for name in COUNTS if name in parameters), None)
    if option is None:
        return None, None
    options = context.attr.attrs.get("options", {})
    return option, int(options.get(option, parameters[option].default))


def _n_needed(r: Measured, n_samples: int | None) -> Measured:
    if isinstance(r, NotTested):
        return r
    if n_samples is None:
        return NotTested("the method takes a single draw")
    if r <= 0:
        return NotTested("the draws have nothing in common")
    more = MIN_CORRELATION * (1 - r) / (r * (1 - MIN_CORRELATION))
    return float(max(n_samples, math.ceil(more * n_samples - ROUNDING)))


def _warning(r: float, option: str | None, n_samples: int | None, n_needed: Measured) -> str:
    text = (
        f"The map depends on its random numbers: with other draws of these it correlates with itself at {r:.2f} only "
        f"({MIN_CORRELATION:g} or more expected)"
    )
    if isinstance(n_needed, float) and option is not None:
        return f"{text}; {option} {n_needed:.0f} instead of {n_samples} would reach that."
    return f"{text}; average the maps of several draws, or use a method that does not draw."


PART = Part(DrawsResult, lambda context, _: audit_draws(context))
