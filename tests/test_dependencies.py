"""What is declared is imported, and what is imported is declared."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IMPORTED_AS = {
    "biopython": "Bio",
    "modisco_lite": "modiscolite",
    "pyyaml": "yaml",
}  # where it is not the name of the distribution
TOOLS = {"ipykernel", "mypy", "pandas_stubs", "pytest_timeout", "pytest_xdist", "ruff"}  # used without an import
ZOO = {"borzoi_pytorch", "bpnetlite", "enformer_pytorch", "rdata"}  # what single benchmarks take where it is
BROUGHT_BY = {
    "nbformat": "nbclient",
    "psutil": "distributed",
    "sklearn": "modisco_lite",
}  # the tests' own, and always there with these


def modules(requirements: Iterable[str]) -> set[str]:
    names = (re.split(r"[\s\[<>=!;~]", requirement)[0].replace("-", "_") for requirement in requirements)
    return {IMPORTED_AS.get(name, name) for name in names}


def imported(*folders: str) -> set[str]:
    """Top-level modules that the Python files of some folders import anywhere."""
    found = set()
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    found |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    found.add((node.module or "").partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"seqsal"}


def declared() -> tuple[set[str], dict[str, set[str]]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return modules(project["dependencies"]), {
        extra: modules(names) for extra, names in project["optional-dependencies"].items()
    }


def test_the_package_imports_what_it_declares_and_nothing_else() -> None:
    core, extras = declared()
    optional = set().union(*(names for extra, names in extras.items() if extra != "test"))
    used = imported("seqsal")
    assert core <= used
    assert used <= core | optional


def test_the_tests_import_what_they_declare() -> None:
    core, extras = declared()
    used = imported("tests", "benchmarks")
    files = [path for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    own = {path.stem for path in files} | {path.parent.name for path in files}
    assert extras["test"] - {"seqsal"} <= used | TOOLS | {"promoterai_torch", "spliceai_pytorch"}  # zoo, by name
    assert used - own - ZOO <= core | set().union(*extras.values()) | BROUGHT_BY.keys()
