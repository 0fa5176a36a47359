"""An audit as text for the terminal, and as a table for a notebook: the verdict, then one line a part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from textwrap import wrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqsal.auditing.result import AuditResult

__all__ = ["PART_ORDER", "html_summary", "part_lines", "text_summary"]

PART_ORDER = (
    "faithfulness",
    "sanity",
    "stability",
    "saturation",
    "plausibility",
    "artifacts",
    "composition",
    "strata",
)
WIDTH = 120
N_LINES = 2  # of the warnings, and of what was not tested
_LABEL = 15
NOTHING = "nothing could be tested"
Values = Mapping[str, Any]


def text_summary(result: AuditResult) -> str:
    """Write the verdict, a line for each part, and the first warnings, about twenty lines in all."""
    verdict = result.verdict
    rows = [_row(part, line) for part, line in part_lines(result).items()]
    notes = [*_notes("warning", result.warnings), *_notes("not tested", result.untested)]
    return "\n".join([*wrap(verdict.text, WIDTH), verdict.answers, *rows, *notes])


def html_summary(result: AuditResult) -> str:
    """Write the same as a table that stands on its own, on light and dark pages."""
    verdict = result.verdict
    rows = [("verdict", verdict.answers), *part_lines(result).items()]
    rows += [("warning", line) for line in result.warnings] + [("not tested", line) for line in result.untested]
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(line)}</td></tr>" for name, line in rows)
    return f'<div class="seqsal-audit">{_STYLE}<p>{escape(verdict.text)}</p><table>{cells}</table></div>'


_STYLE = (
    "<style>.seqsal-audit{font:14px/1.45 system-ui,sans-serif;max-width:64em}"
    ".seqsal-audit p{border-left:4px solid #2a78d6;padding:.2em .8em;margin:.4em 0}"
    ".seqsal-audit table{border-collapse:collapse}"
    ".seqsal-audit th,.seqsal-audit td{text-align:left;vertical-align:top;padding:.15em .8em .15em 0;"
    "background:none;border-bottom:1px solid #8884}.seqsal-audit th{font-weight:600;white-space:nowrap}</style>"
)


def part_lines(result: AuditResult) -> dict[str, str]:
    """Return one line with the numbers that matter for each part that was run."""
    names = [name for name in PART_ORDER if name in result.sections]
    return {name: "; ".join(_FACTS[name](result.sections[name].values)) or NOTHING for name in names}


def _faithfulness(values: Values) -> Iterator[str]:
    for name in ("deletion", "insertion"):
        curve = values.get(name) or {}
        if curve.get("auc") is not None:
            yield f"{name} {_with_interval(curve.get('difference'), curve.get('ci'))} better than random order"
    yield from _numbers(values, ("ism_spearman", "correlation with mutagenesis {:.2f}"))
    yield from _numbers(values, ("completeness_error", "misses {:.1%} of the promised sum"))


def _sanity(values: Values) -> Iterator[str]:
    if values.get("depends_on_model") is not None:
        yield "depends on the model" if values["depends_on_model"] else "does not depend on the model"
    yield from _numbers(values, ("randomized_similarity", "similarity to the map of random weights {:.2f}"))


def _stability(values: Values) -> Iterator[str]:
    names = {"substitutions": "neutral substitutions", "reverse_complement": "the other strand", "models": "models"}
    for key, name in names.items():
        part = values.get(key) or {}
        yield from _numbers(part, ("pearson", f"correlation over {name} {{:.2f}}"))
    locality = (values.get("locality") or {}).get("substitutions") or {}
    yield from _numbers(locality, ("share_of_regions", "fails near the sequence in {:.0%} of regions"))
    halve = ((values.get("minimal_edits") or {}).get("halve") or {}).get("map") or {}
    yield from _numbers(halve, ("median", "median number of edits that halve the prediction {:g}"))


def _saturation(values: Values) -> Iterator[str]:
    yield from _numbers(
        values,
        ("saturated_share", "{:.0%} of probabilities saturated"),
        ("blind_share", "blind at {:.0%} of the bases that matter"),
    )
    if values.get("recommended_method"):
        yield f"{values['recommended_method']} would do better"


def _plausibility(values: Values) -> Iterator[str]:
    if values.get("motif_mass") is not None and values.get("expected") is not None:
        where = "annotated regions" if values.get("source") == "annotations" else "known motifs"
        gain = _with_interval(values.get("gain"), values.get("ci"), "{:.0%}")
        yield f"{values['motif_mass']:.0%} of the map in {where}, {values['expected']:.0%} by chance (gain {gain})"


def _artifacts(values: Sequence[Values]) -> Iterator[str]:
    found = {word: [str(one["name"]) for one in values if one["verdict"] == word] for word in ("shortcut", "present")}
    yield f"{len(values)} looked for"
    for word, names in found.items():
        shown = ", ".join(names[:N_LINES]) + ", …" * (len(names) > N_LINES)
        yield f"{len(names)} {word}" + f" ({shown})" * bool(names)


def _composition(values: Values) -> Iterator[str]:
    yield from _numbers(values, ("shuffle_r2", "predictions of shuffles explain {:.0%} of those of the regions"))
    for key, name in (("gc", "GC"), ("cpg", "CpG")):
        yield from _numbers(values.get(key) or {}, ("regions", f"correlation with {name} {{:.2f}}"))


def _strata(values: Values) -> Iterator[str]:
    for factor in values.get("factors", []):
        n_different = len(factor["differences"])
        yield f"{factor['factor']}: {n_different or 'no'} difference{'s' * (n_different != 1)}"


_FACTS: dict[str, Callable[[Any], Iterator[str]]] = {
    "faithfulness": _faithfulness,
    "sanity": _sanity,
    "stability": _stability,
    "saturation": _saturation,
    "plausibility": _plausibility,
    "artifacts": _artifacts,
    "composition": _composition,
    "strata": _strata,
}


def _numbers(values: Values, *formats: tuple[str, str]) -> Iterator[str]:
    """Format those of the numbers that were measured."""
    return (text.format(values[key]) for key, text in formats if values.get(key) is not None)


def _with_interval(value: float | None, interval: Sequence[float] | None, number: str = "{:.3g}") -> str:
    if value is None:
        return "not known"
    ends = "" if not interval else f" ({number.format(interval[0])} to {number.format(interval[1])})"
    return number.format(value) + ends


def _row(label: str, text: str) -> str:
    first, *rest = wrap(text, WIDTH - _LABEL) or [""]
    return "\n".join([f"{label:<{_LABEL}}{first}", *(" " * _LABEL + line for line in rest)])


def _notes(label: str, lines: Sequence[str]) -> list[str]:
    shown = [_row(label, line) for line in lines[:N_LINES]]
    more = len(lines) - N_LINES
    return [*shown, *([_row(label, f"… and {more} more")] if more > 0 else [])]
