"""The audit on the page: first the verdict with its reasons, later the curves, the artifacts, and where it fails."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes

from seqsal.auditing.finding import VERDICTS
from seqsal.auditing.part import Weight
from seqsal.auditing.parts.artifacts import ArtifactsResult
from seqsal.auditing.result import AuditResult, part_lines
from seqsal.auditing.verdict import Verdict
from seqsal.plot.curves import draw_responses, draw_sigma, plot_replacement_curves
from seqsal.plot.style import inline_svg
from seqsal.report.cards import Card, draw_cards
from seqsal.report.inputs import ReportInputs
from seqsal.report.tables import Column, Table, make_table, show, two_digits

__all__ = [
    "Answer",
    "answers",
    "artifact_table",
    "draw_curves",
    "draw_field",
    "evidence",
    "reason_rows",
    "worst_cards",
    "worst_rows",
]

N_WORST = 3
_CURVES_INCHES, _FIELD_INCHES = (6.6, 2.6), (3.6, 2.6)


@dataclass(frozen=True)
class Answer:
    """One of the three answers: what it is about, the word, how it looks, and what it means."""

    label: str
    value: str
    tone: str
    note: str


def answers(audit: AuditResult) -> list[Answer]:
    """Answer whether the map is faithful and plausible, and which shortcuts the model takes."""
    verdict = audit.verdict
    n_shortcuts = len(verdict.shortcuts)
    shortcuts = f"{n_shortcuts}" if n_shortcuts > 1 else "".join(verdict.shortcuts) or verdict.no_shortcuts
    tone = "bad" if n_shortcuts else "good" if shortcuts == "none found" else "open"
    return [
        _answer("Faithful", verdict, "does the map show what the model does"),
        _answer("Plausible", verdict, "does the map show known biology"),
        Answer("Shortcuts", shortcuts, tone, "what the model uses that is not biology"),
    ]


def _answer(label: str, verdict: Verdict, note: str) -> Answer:
    value = verdict.answer(label.lower())
    return Answer(label, str(value), {"yes": "good", "no": "bad"}.get(value, "open"), note)


def reason_rows(audit: AuditResult) -> list[tuple[str, str, str, str, str]]:
    """Criterion, what it is about, what was got, what it takes, outcome."""
    return [
        (one.name, one.about, "–" if one.got is None else show(float(f"{one.got:.3g}")), one.needed, one.outcome)
        for one in audit.verdict.reasons
        if one.weight != Weight.NOTES
    ]


def evidence(audit: AuditResult) -> list[tuple[str, str]]:
    """Name of each part of the audit, and its numbers in a line."""
    return [(name.capitalize(), line) for name, line in part_lines(audit).items()]


def draw_curves(inputs: ReportInputs, audit: AuditResult) -> list[Markup]:
    """Draw the curves of deletion and insertion, as far as they were measured."""
    figures = []
    for kind in ("deletion", "insertion"):
        table = audit.tables.get(f"faithfulness.{kind}")
        if table is None or table.empty:
            continue

        def draw(ax: Axes, table: Any = table, kind: str = kind) -> None:
            plot_replacement_curves(table, ax, kind=kind, label=f"prediction ({inputs.attr.output_space})")

        label = f"Mean prediction while bases are {'replaced' if kind == 'deletion' else 'restored'}"
        figures.append(inline_svg(draw, _CURVES_INCHES, key=f"audit-{kind}", label=label))
    return figures


def draw_field(audit: AuditResult) -> list[Markup]:
    """Draw how far the layers of the model look, and how that grows with depth."""
    table = audit.tables.get("field.field_layers")
    if table is None or "profiles" not in table.attrs or not (table["depth"] > 0).any():
        return []
    pictures = {
        "responses": (draw_responses, "Response of each layer to a change of one base, by distance"),
        "sigma": (draw_sigma, "Spread σ of the response by depth of the layer"),
    }
    return [
        inline_svg(partial(draw, table), _FIELD_INCHES, key=f"field-{key}", label=label)
        for key, (draw, label) in pictures.items()
    ]


def artifact_table(audit: AuditResult) -> Table | None:
    """List what was looked for: shortcuts first, then what is present, then the rest."""
    result = audit.of(ArtifactsResult)
    if result is None or not result.findings:
        return None
    found = sorted(result.findings, key=lambda one: (VERDICTS.index(one.verdict), -(one.n_regions or 0)))
    names = [one.name for one in found]

    def numbers(key: str) -> pd.Series:
        values = (getattr(one, key) for one in found)
        return pd.Series([float(one) if isinstance(one, (int, float)) else np.nan for one in values], dtype=np.float64)

    def measured(key: str) -> pd.Series:
        return two_digits(numbers(key))

    hint = "how much more often than in what it is compared with"
    verdicts = "shortcut: present, used, and not biology; present: there but unused"
    columns = [
        (Column("Name"), names),
        (Column("Kind"), [one.kind for one in found]),
        (Column("Verdict", "verdict", verdicts), [one.verdict for one in found]),
        (Column("Regions", "number", "regions that have it"), numbers("n_regions")),
        (Column("Enrichment", "number", hint), measured("enrichment")),
        (Column("Share of map", "number", "of the attribution that lies on it"), measured("attribution_share")),
        (
            Column("Put in", "number", "change of the prediction when it is put into neutral sequence"),
            measured("marginal_effect"),
        ),
        (
            Column("Taken out", "number", "change of the prediction when it is taken out where it stands"),
            measured("ablation_effect"),
        ),
        (Column("q-value", "number", "of its presence"), measured("q_value")),
        (Column("Sequence"), [one.sequence or "–" for one in found]),
    ]
    return make_table("artifacts-table", columns, regions=_first_hits(audit, names))


def _first_hits(audit: AuditResult, names: list[str]) -> pd.DataFrame | None:
    """Where each artifact stands first; places of length 0, in no region, for those that stand nowhere."""
    hits = audit.tables.get("artifacts.hits")
    if hits is None or hits.empty:
        return None
    first = hits.drop_duplicates("name").set_index("name")[["chrom", "start", "end"]].reindex(names)
    return first.fillna({"chrom": "", "start": -1, "end": -1}).astype({"start": np.int64, "end": np.int64})


def worst_rows(audit: AuditResult | None) -> list[int]:
    """Rows of the attributions whose map agrees least with what the model does when bases are substituted."""
    table = None if audit is None else audit.tables.get("faithfulness.ism_worst")
    return [] if table is None or table.empty else [int(row) for row in table["row"].head(N_WORST)]


def worst_cards(inputs: ReportInputs, audit: AuditResult) -> list[Card]:
    """Picture the regions of `worst_rows`."""
    if not (rows := worst_rows(audit)):
        return []
    agreement = audit.tables["faithfulness.ism_worst"]["ism_spearman"]
    notes = [f"agreement with mutagenesis {show(float(f'{value:.2f}'))}" for value in agreement.head(N_WORST)]
    cards = draw_cards(inputs, rows, key="worst")
    return [replace(card, note=note) for card, note in zip(cards, notes, strict=True)]
