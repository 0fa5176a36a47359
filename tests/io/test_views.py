"""Methods of results that draw: named in `seqsal/__init__.py` alone, and looked up when they are called."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import seqsal
from seqsal.io.views import _HOMES, view

PACKAGE = Path(seqsal.__file__).parent


@pytest.mark.parametrize("name", sorted(_HOMES))
def test_every_view_is_there(name: str) -> None:
    assert callable(view(name)) and view(name).__doc__


def calls(path: Path, function: str) -> list[str]:
    """First arguments of the calls of a function in a file."""
    text = path.read_text()
    nodes = ast.walk(ast.parse(text)) if f"{function}(" in text else []
    nodes = [node for node in nodes if isinstance(node, ast.Call)]
    return [ast.unparse(node.args[0]) for node in nodes if ast.unparse(node.func) == function]


def test_views_are_named_in_one_place_and_all_are_used() -> None:
    sources = [path for path in PACKAGE.rglob("*.py") if "example_data" not in path.parts]
    assert [path for path in sources if calls(path, "name_views")] == [PACKAGE / "__init__.py"]
    used = {ast.literal_eval(name) for path in sources for name in calls(path, "view")}
    assert used == set(_HOMES)


def test_a_low_layer_alone_knows_the_views_and_imports_nothing() -> None:
    code = (
        "import sys, seqsal.io.attributions; from seqsal.io.views import view, _HOMES; "
        "assert 'plot' in _HOMES and 'matplotlib' not in sys.modules; view('plot'); assert 'matplotlib' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
