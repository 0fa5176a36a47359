"""Where igv.js comes from: the wheel of igv-notebook carries it, so that no page has to fetch it.

igv.js is Robinson et al. 2023, doi:10.1093/bioinformatics/btac830, under the MIT licence.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

__all__ = ["igv_script"]

_FILE = Path("js", "igv.iife.js")
_SOURCE_MAP = re.compile(r"^//# sourceMappingURL=.*$", re.MULTILINE)
_ENDS_ELEMENT = re.compile(r"<(?=/script|!--)", re.IGNORECASE)


def igv_script() -> str | None:
    """Return igv.js as text for the middle of a page, or None where igv-notebook is not installed.

    Its source map, which a browser would look for beside the page, is left out, and what would end a `<script>`
    element is spelled as an escape.
    """
    spec = find_spec("igv_notebook")
    for folder in (spec and spec.submodule_search_locations) or ():
        if (path := Path(folder) / _FILE).is_file():
            return _ENDS_ELEMENT.sub(r"<\\", _SOURCE_MAP.sub("", path.read_text(encoding="utf-8")))
    return None
