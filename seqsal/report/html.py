"""Putting the sections together into one HTML file that needs nothing from outside itself.

The page forbids itself any connection by its Content-Security-Policy, and runs only the scripts whose hashes it
lists, its own and igv.js: a name from an input file that slipped through the escaping would still not run.

igv.js (Robinson et al. 2023, doi:10.1093/bioinformatics/btac830, MIT licence) is in the wheel of igv-notebook, so that
no page has to fetch it.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from seqsal.experiments.variants import VariantMaps
from seqsal.io.atomic import atomic_path
from seqsal.plot.style import one_line
from seqsal.report.genome import view_genome
from seqsal.report.inputs import ReportInputs
from seqsal.report.sections import Section, sections_of
from seqsal.report.tables import PAGE_ROWS, page_json, show
from seqsal.version import VERSION

__all__ = ["environment", "igv_script", "render_page", "render_report", "write_report", "write_variant_report"]


@cache
def environment() -> Environment:
    """Return the templates of the page."""
    made = Environment(
        loader=PackageLoader("seqsal.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"page_json": page_json, "show": show, "one_line": one_line}
    return made


def render_report(results: ReportInputs) -> str:
    """Return the page as text; the same results give the same text."""
    return render_page(results.title, sections_of(results), results)


def render_page(title: str, sections: Sequence[Section], results: ReportInputs | None = None) -> str:
    """Return a page of some sections as text; with a genome browser where there are results to show in it."""
    templates = resources.files("seqsal.report") / "templates"
    script = "".join((templates / name).read_text(encoding="utf-8") for name in ("report.js", "genome.js"))
    igv = None if results is None else igv_script()
    hashes = [hashlib.sha256(one.encode()).digest() for one in (script, igv) if one is not None]
    return (
        environment()
        .get_template("report.html")
        .render(
            title=one_line(title, 200),
            sections=sections,
            version=VERSION,
            script=script,
            igv=igv,
            view=None if igv is None or results is None else view_genome(results),
            script_hashes=[f"sha256-{base64.b64encode(digest).decode()}" for digest in hashes],
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

    Examples
    --------
    >>> import numpy as np, seqsal
    >>> from seqsal.regions import make_regions
    >>> from seqsal.sequence.codes import encode
    >>> regions, codes = make_regions(["chr1"], [100], [108]), encode("ACGTACGT")[None]
    >>> track = np.float32([[0, 0.1, 0.9, 0.8, 0.7, 0, -0.3, 0]])
    >>> attr = seqsal.Attributions(regions, codes, track, prediction=np.float32([1.5]))
    >>> import pandas as pd
    >>> from seqsal.report import ReportInputs
    >>> scores = regions.assign(prediction=attr.prediction)
    >>> write_report("report.html", ReportInputs(attr, scores, peaks=pd.DataFrame(), title="One region")).name
    'report.html'
    """
    text = render_report(results)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return Path(path)


def write_variant_report(
    path: str | os.PathLike[str], maps: VariantMaps, parameters: Mapping[str, str], *, title: str = "Variants"
) -> Path:
    """Write a page of variants alone: a table, both alleles as logos, and a genome browser.

    Parameters
    ----------
    path
        File to write.
    maps
        Of :func:`seqsal.experiments.variants.read_variant_maps`.
    parameters
        What was given, for the section on the run.
    title
        Heading of the page.

    Raises
    ------
    OutputError
        The file cannot be written.

    Examples
    --------
    >>> import numpy as np, pandas as pd, seqsal
    >>> from seqsal.experiments.variants import VariantMaps
    >>> from seqsal.regions import make_regions
    >>> windows = make_regions(["chr1"] * 2, [100] * 2, [108] * 2, name=["chr1:105:A>C|ref", "chr1:105:A>C|alt"])
    >>> codes = np.uint8([[0, 1, 2, 3] * 2, [0, 1, 2, 3, 1, 1, 2, 3]])
    >>> attr = seqsal.Attributions(windows, codes, np.eye(2, 8, 4, dtype=np.float32), np.float32([1, 2]))
    >>> known = {"chrom": ["chr1"], "id": ["rs1"], "start": [104], "at": [4], "ref_bp": [1], "alt_bp": [1]}
    >>> table = pd.DataFrame(known | {"effect": [1.0], "p_value": [0.001], "q_value": [0.01]})
    >>> maps = VariantMaps(attr, table, np.diff(attr.track, axis=0))
    >>> write_variant_report("variants.html", maps, {"model": "M.safetensors"}).name
    'variants.html'
    """
    attr = maps.reference
    scores = attr.regions.assign(prediction=np.asarray(attr.prediction, dtype=np.float64))
    info = {"parameters": dict(parameters), "versions": {"seqsal": VERSION}}
    return write_report(
        path, ReportInputs(attr, scores, pd.DataFrame(), info, title=title, variants=maps, only_variants=True)
    )


_FILE = Path("js", "igv.iife.js")
_SOURCE_MAP = re.compile(r"^//# sourceMappingURL=.*$", re.MULTILINE)
_ENDS_ELEMENT = re.compile(r"<(?=/script|!--)", re.IGNORECASE)


def igv_script() -> str | None:
    """Return igv.js as text for the middle of a page, or None where igv-notebook is not installed.

    Its source map, which a browser would look for next to the page, is left out, and what would end a `<script>`
    element is spelled as an escape.
    """
    spec = find_spec("igv_notebook")
    for folder in (spec and spec.submodule_search_locations) or ():
        if (path := Path(folder) / _FILE).is_file():
            return _ENDS_ELEMENT.sub(r"<\\", _SOURCE_MAP.sub("", path.read_text(encoding="utf-8")))
    return None
