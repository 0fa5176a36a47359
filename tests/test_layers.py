"""Imports run one way: errors → regions, sequence → io → interop → models → attribution … → report → pipeline → cli."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "seqsal"
LEVELS = [
    {"errors", "guide", "version"},
    {"regions", "sequence"},
    {"io"},
    {"interop"},
    {"models"},
    {"attribution"},
    {"training"},  # above attribution: maps of the network that is trained come into it
    {"peaks", "agreement"},
    {"motifs"},
    {"experiments"},
    {"auditing"},
    {"plot"},
    {"report", "browser"},
    {"pipeline"},
    {"cli"},
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
ONLY_IN = {"matplotlib": {"plot", "report"}, "click": {"cli"}, "logomaker": {"plot"}}
ROOTS = {"__init__", "__main__"}


def unit(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def sources() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if "example_data" not in path.parts]


def imports(path: Path) -> set[str]:
    """Modules that a file imports anywhere, those for the type checker alone left out."""
    tree = ast.parse(path.read_text())
    checked_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in checked_only:
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    own = unit(path)
    if own in ROOTS:
        return
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == "seqsal" and rest:
            other = rest.split(".")[0]
            assert other == own or LEVEL[other] < LEVEL[own], f"{own} imports {other}"
        assert own in ONLY_IN.get(top, {own}), f"{top} is imported in {own}"


def test_every_unit_has_a_level() -> None:
    assert {unit(path) for path in sources()} - ROOTS <= set(LEVEL)


@pytest.mark.parametrize("statement", ["import seqsal", "import seqsal.cli", "import seqsal.io.inputs, seqsal.regions"])
def test_torch_and_matplotlib_are_not_imported_early(statement: str) -> None:
    code = f"import sys; {statement}; print(sorted({{'torch', 'matplotlib'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_drawing_loads_no_torch() -> None:
    code = "import sys, seqsal.plot, seqsal.peaks, seqsal.motifs, seqsal.browser; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
