"""Putting the sections together into one HTML file that needs nothing from outside itself.

The page forbids itself any connection by its Content-Security-Policy, and runs only the one script whose hash stands in
it: a name from an input file that slipped through the escaping would still not run.
"""

from __future__ import annotations

import base64
import hashlib
import os
from functools import cache
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from seqsal.io.atomic import atomic_path
from seqsal.plot.style import one_line
from seqsal.report.inputs import ReportInputs
from seqsal.report.sections import SECTIONS
from seqsal.report.tables import PAGE_ROWS
from seqsal.version import VERSION

__all__ = ["render_report", "write_report"]


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("seqsal.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_report(results: ReportInputs) -> str:
    """Return the page as text; the same results give the same text."""
    sections = [section for build in SECTIONS if (section := build(results)) is not None]
    script = (resources.files("seqsal.report") / "templates" / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template("report.html")
        .render(
            title=one_line(results.title, 200),
            sections=sections,
            version=VERSION,
            script=script,
            script_hash=f"sha256-{digest}",
            page_rows=PAGE_ROWS,
        )
    )


def write_report(path: str | os.PathLike[str], results: ReportInputs) -> Path:
    """Write a report of finished results as one self-contained HTML file.

    Parameters
    ----------
    path
        File to write; what was there is replaced only when the new one is complete.
    results
        What to show.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    text = render_report(results)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return Path(path)
