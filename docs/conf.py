"""The documentation site: `make docs` builds it into build/site without a network; warnings are errors.

What is made from the code (commands, Python reference, settings, notebooks, changelog) is written into
`docs/generated/` before Sphinx reads the pages, so that a new command, public name or notebook has its page by itself.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import generate  # noqa: E402

from seqsal.version import VERSION  # noqa: E402

project = "seqsal"
author = "The seqsal developers"
copyright = author
release = version = VERSION

extensions = [
    "sphinx.ext.autodoc",
    "numpydoc",
    "myst_nb",
    "sphinx_copybutton",
]
generate.write_pages(HERE / "generated")
exclude_patterns = ["generated/notebooks/save_outputs.py"]
suppress_warnings = ["mystnb.unknown_mime_type"]

# Markdown and notebooks: stored outputs are shown, nothing is run
nb_execution_mode = "off"
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # else pages fetch scripts of a network
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_links_external_new_tab = False

# Python reference
autodoc_typehints = "none"  # numpydoc lists the parameters
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
add_module_names = False

# Appearance
html_theme = "furo"
html_title = f"seqsal {VERSION}"
html_static_path: list[str] = []
html_show_sourcelink = False
html_theme_options = {
    "source_repository": "https://github.com/seqsal/seqsal/",
    "source_branch": "main",
    "source_directory": "docs/",
}
pygments_style = "friendly"
smartquotes = False  # --model stays as it is typed
copybutton_prompt_text = "$ "


def escape_bars(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Show |x| of a docstring as it is; reStructuredText takes it for a substitution."""
    lines[:] = [re.sub(r"(?<!`)\|(?=\S)([^|`]*\S)\|", r"\\|\1\\|", line) for line in lines]


def setup(app: Any) -> None:
    """Let docstrings hold absolute values."""
    app.connect("autodoc-process-docstring", escape_bars, priority=900)
