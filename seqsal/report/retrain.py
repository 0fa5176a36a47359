"""The page of a retrained model: a table of before and after, what was tried, and the verdicts of both audits."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from seqsal.auditing.result import AuditResult
from seqsal.plot.style import NEGATIVE, POSITIVE, inline_svg, one_line
from seqsal.report.audit import answers, reason_rows
from seqsal.report.html import environment
from seqsal.report.sections import Section
from seqsal.report.tables import PAGE_ROWS
from seqsal.version import VERSION

__all__ = ["render_retrain"]

LEAD = (
    "The audit found that the first model uses what is not biology. It was trained again without that, and both were "
    "measured on regions that neither was trained on and that played no part in any choice."
)


def render_retrain(
    title: str,
    rows: Sequence[tuple[str, str, str]],
    *,
    reliance: Mapping[str, tuple[float | None, float | None]],
    facts: Sequence[tuple[str, str]],
    tried: Sequence[tuple[str, ...]],
    warnings: Sequence[str],
    audits: Sequence[AuditResult],
) -> str:
    """Return the page: `rows` name what is compared, before and after; `reliance` by shortcut; `tried` by remedy."""
    sections = [
        Section(
            "before-after", "Before and after", LEAD, "section_retrain.html",
            {"rows": rows, "figure": _bars(reliance), "facts": facts, "tried": tried, "warnings": warnings},
        ),
        *(
            Section(
                key, f"Audit {key}", audit.verdict.text, "section_verdict.html",
                {"answers": answers(audit), "reasons": reason_rows(audit), "warnings": audit.warnings,
                 "untested": audit.untested},
            )
            for key, audit in zip(("before", "after"), audits, strict=False)
        ),
    ]  # fmt: skip
    script = (resources.files("seqsal.report") / "templates" / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        environment()
        .get_template("report.html")
        .render(
            title=one_line(title, 200), sections=sections, version=VERSION, script=script, igv=None, view=None,
            script_hashes=[f"sha256-{digest}"], page_rows=PAGE_ROWS,
        )
    )  # fmt: skip


def _bars(reliance: Mapping[str, tuple[float | None, float | None]]) -> Markup | None:
    """Draw what each shortcut does to the output, before and after."""
    known = {name: pair for name, pair in reliance.items() if None not in pair}
    if not known:
        return None

    def draw(ax: Axes) -> None:
        at, values = np.arange(len(known)), np.array(list(known.values()), dtype=np.float64)
        for i, (label, colour) in enumerate((("before", NEGATIVE), ("after", POSITIVE))):
            ax.barh(at + (i - 0.5) * 0.36, values[:, i], height=0.32, color=colour, label=label)
        ax.set_yticks(at, [one_line(name, 40) for name in known])
        ax.invert_yaxis()
        ax.axvline(0, color="#7f7f7f", linewidth=0.8)
        ax.set_xlabel("change of the output (logit) by putting it in")
        ax.legend(loc="lower right")

    label = "What each shortcut does to the output, before and after"
    return inline_svg(draw, (6.6, 1.0 + 0.5 * len(known)), key="reliance", label=label)
