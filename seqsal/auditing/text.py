"""An audit as text for the terminal, and as a table for a notebook: the verdict, then one line a part."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from textwrap import wrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seqsal.auditing.result import AuditResult

__all__ = ["html_summary", "part_lines", "text_summary"]

WIDTH = 120
N_LINES = 2  # of the warnings, and of what was not tested
_LABEL = 15
NOTHING = "nothing could be tested"


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
    return {name: "; ".join(map(str, part.facts(result.settings))) or NOTHING for name, part in result.results.items()}


def _row(label: str, text: str) -> str:
    first, *rest = wrap(text, WIDTH - _LABEL) or [""]
    return "\n".join([f"{label:<{_LABEL}}{first}", *(" " * _LABEL + line for line in rest)])


def _notes(label: str, lines: Sequence[str]) -> list[str]:
    shown = [_row(label, line) for line in lines[:N_LINES]]
    more = len(lines) - N_LINES
    return [*shown, *([_row(label, f"… and {more} more")] if more > 0 else [])]
