"""How results look in a notebook: small HTML that takes the page's own colours, light or dark.

Names come from input files: every text is escaped and shortened. Nothing points outside the page, there is no script,
and the same result gives the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from markupsafe import Markup

from seqsal.errors import counted
from seqsal.io.attributions import Attributions
from seqsal.models.seen import left_out_text
from seqsal.motifs import MotifResult
from seqsal.motifs.patterns import Pattern
from seqsal.peaks import null_text
from seqsal.plot.motifs import plot_cwm
from seqsal.plot.style import gallery_svg, one_line
from seqsal.regions import format_region
from seqsal.report.html import environment

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from seqsal.agreement import Agreement

__all__ = ["agreement_html", "attributions_html", "motifs_html"]

N_REGIONS, N_PATTERNS, N_PAIRS = 5, 12, 30
LEAST_LETTER = 0.03  # of the highest; lower ones would only be a line, of some kilobytes
_LOGO_INCHES, _LOGO_MARGINS = (2.6, 0.75), (0.05, 0.05, 0.05, 0.05)
Cell = str | int | float | Markup


def attributions_html(attr: Attributions) -> str:
    """Show what attributions are about, and the regions with the highest predictions."""
    rejected = f", {left_out_text(attr.rejected)} (see .rejected)" if len(attr.rejected) else ""
    facts = [
        ("regions", f"{len(attr):,} of {attr.length:,} bp{rejected}"),
        ("method", f"{attr.method}, target {attr.attrs.get('target_name', attr.target)}"),
        ("values", attr.unit),
        (
            "controls",
            null_text({"n_controls": attr.n_controls, "null": attr.null})
            if attr.n_controls
            else "none, so no peak can be called",
        ),
        *((key, files) for key in ("model", "genome") if (files := _file_names(attr.attrs.get(key)))),
        *([("results", ", ".join(attr.results))] if len(attr.results) > 1 else []),
    ]
    predictions = np.asarray(attr.prediction, dtype=np.float64)
    top = np.argsort(-predictions, kind="stable")[:N_REGIONS]
    rows = [(*_region_cells(attr.rows([int(row)]).iloc[0]), float(predictions[row])) for row in top]
    columns = ("highest predictions", "name", f"prediction ({attr.output_space})")
    return _page("Attributions", [(facts, ()), (rows, columns)])


def _file_names(stored: object) -> str:
    """Names of the files in a provenance record, without their folders."""
    if not isinstance(stored, Mapping):
        return str(stored or "").replace("\\", "/").rpartition("/")[2]
    if "file" in stored:
        return _file_names(stored["file"])
    return ", ".join(_file_names(one) for one in stored.values() if isinstance(one, Mapping))


def _region_cells(window: pd.Series) -> tuple[str, str]:
    place = format_region(one_line(window["chrom"]), int(window["start"]), int(window["end"]), str(window["strand"]))
    name = str(window.get("name", "."))
    return place, "–" if name in (place, ".") else name


def motifs_html(result: MotifResult) -> str:
    """Show patterns with their logos, most frequent first."""
    peaks = " and ".join(f"{n:,} {sign}" for sign, n in result.n_peaks.items())
    shown: list[tuple[Cell, ...]] = []
    for one in result.patterns[:N_PATTERNS]:
        match = one.named_match or {"match": "–", "q_value": np.nan}
        q_value = f"{match['q_value']:.1g}" if np.isfinite(match["q_value"]) else "–"
        shown.append((_logo(one), one.name, one.n_seqlets, str(match["match"]), q_value, one.motif.consensus))
    columns = ("mean contribution", "pattern", "instances", "best match", "q-value", "consensus")
    more = len(result) - N_PATTERNS
    notes = ["no pattern"] * (not shown) + [f"… and {counted(more, 'more pattern')}, see .table"] * (more > 0)
    title = f"{counted(len(result), 'pattern')} from the peaks: {peaks}"
    return _page(title, [(shown, columns)] if shown else [], [*notes, *result.warnings])


def _logo(pattern: Pattern) -> Markup:
    """Draw the CWM without axes; ids on the page begin with a digest, as a page may show the same pattern twice."""
    least = LEAST_LETTER * np.abs(pattern.cwm).max(initial=0.0)
    digest = hashlib.sha256(np.ascontiguousarray(pattern.cwm).tobytes()).hexdigest()[:12]

    def draw(ax: Axes) -> None:
        plot_cwm(np.where(np.abs(pattern.cwm) < least, 0.0, pattern.cwm), ax)
        ax.set_axis_off()

    label = f"Logo of {pattern.name}, {pattern.motif.consensus}"
    return gallery_svg(draw, _LOGO_INCHES, _LOGO_MARGINS, key=f"m{digest}", label=label)


def agreement_html(agreement: Agreement) -> str:
    """Show how alike results are, a line a pair."""
    overall = agreement.overall
    names = ("pearson", "spearman", "top_overlap", "top_expected", "sign_agreement")
    rows: list[tuple[Cell, ...]] = [
        (one_line(row["a"], 30), one_line(row["b"], 30), *(float(row[name]) for name in names))
        for row in overall.head(N_PAIRS).to_dict("records")
    ]
    columns = ("", "", "Pearson", "Spearman", f"overlap of the top {agreement.top}", "by chance", "same sign there")
    n_regions = int(overall["n_regions"].iloc[0])
    title = f"{counted(len(agreement.names), 'result')} on {counted(n_regions, 'region')} of {agreement.length:,} bp"
    more = len(overall) - N_PAIRS
    return _page(title, [(rows, columns)], [f"… and {counted(more, 'more pair')}, see .overall"] * (more > 0))


def _page(
    title: str, tables: Iterable[tuple[Sequence[Sequence[Cell]], Sequence[str]]], notes: Iterable[str] = ()
) -> str:
    """Put tables, each rows with the names of their columns, and notes below a title.

    Without columns the first cell of a row is its head.
    """
    page = environment().get_template("notebook.html")
    shown = [([[_cell(cell) for cell in row] for row in rows], columns) for rows, columns in tables]
    return page.render(title=one_line(title, 200), tables=shown, notes=[one_line(note, 400) for note in notes])


def _cell(value: Cell) -> tuple[bool, str]:
    """Whether a cell is a number, and its text."""
    if isinstance(value, float):
        return True, f"{value:.3f}" if np.isfinite(value) else "–"
    if isinstance(value, int):
        return True, f"{value:,}"
    return False, value if isinstance(value, Markup) else one_line(value)
