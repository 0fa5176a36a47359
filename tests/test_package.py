"""The source distribution: everything that one needs to test it and to read about it, and a page that stands alone."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WANTED = (
    "CHANGELOG.md", "LICENSE", "Makefile", "README.md", "constraints.txt", "docs/architecture.md",
    "docs/report.png", "docs/two_models.png", "docs/howto/own-model.md", "CITATION.cff", "CONTRIBUTING.md",
    "example_data/ctcf_sites.fa", "benchmarks/calibration.py", "notebooks/01_quickstart.ipynb",
    "tests/conftest.py", "tests/zoo.txt", "tests/peaks/test_call.py", "seqsal/py.typed",
    "seqsal/report/templates/report.html", "seqsal/example_data/ctcf_sites.fa",
)  # fmt: skip


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Files of the source distribution, built of a copy so that nothing is left in the tree."""
    folder = tmp_path_factory.mktemp("sdist")
    shutil.copytree(ROOT, folder / "tree", ignore=shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "demo_out"))
    code = "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=folder / "tree", capture_output=True, text=True, check=True
    )
    with tarfile.open(folder / done.stdout.splitlines()[-1]) as file:
        return [name.partition("/")[2] for name in file.getnames()]


def test_a_source_distribution_can_be_tested_and_read(packed: list[str]) -> None:
    assert not [name for name in WANTED if name not in packed]
    in_tree = {
        str(path.relative_to(ROOT)) for folder in ("tests", "notebooks") for path in (ROOT / folder).rglob("*.*")
    }
    kept = {name for name in in_tree if "__pycache__" not in name and not re.search(r"/\.|\.(fai|gzi|pyc)$", name)}
    assert kept <= set(packed)
    assert not [name for name in packed if "__pycache__" in name or name.endswith(".pyc")]


def test_the_description_needs_no_file_next_to_it() -> None:
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert pictures and all(address.startswith("https://") for address in pictures)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"Homepage", "Changelog", "Issues"} <= set(project["urls"])
    assert any(name.startswith("Programming Language :: Python :: 3.11") for name in project["classifiers"])
