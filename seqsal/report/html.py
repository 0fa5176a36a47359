"""Putting the sections together into one HTML file that needs nothing from outside itself.

The page forbids itself any connection by its Content-Security-Policy, and runs only the scripts whose hashes stand in
it, its own and igv.js: a name from an input file that slipped through the escaping would still not run.
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
from seqsal.report.genome import view_genome
from seqsal.report.igvjs import igv_script
from seqsal.report.inputs import ReportInputs
from seqsal.report.sections import SECTIONS
from seqsal.report.tables import PAGE_ROWS, page_json
from seqsal.version import VERSION

__all__ = ["render_report", "write_report"]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("seqsal.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["page_json"] = page_json
    return environment


def render_report(results: ReportInputs) -> str:
    """Return the page as text; the same results give the same text."""
    sections = [section for build in SECTIONS if (section := build(results)) is not None]
    templates = resources.files("seqsal.report") / "templates"
    script = "".join((templates / name).read_text(encoding="utf-8") for name in ("report.js", "genome.js"))
    igv = igv_script()
    view = None if igv is None else view_genome(results)
    return (
        _environment()
        .get_template("report.html")
        .render(
            title=one_line(results.title, 200),
            sections=sections,
            version=VERSION,
            script=script,
            igv=igv,
            view=view,
            script_hashes=[_digest(one) for one in (script, igv) if one is not None],
            page_rows=PAGE_ROWS,
        )
    )


def _digest(script: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


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
