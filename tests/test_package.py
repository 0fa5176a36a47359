"""The source distribution: everything that one needs to test it and to read about it, and a page that stands alone."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml

from seqsal.version import VERSION

ROOT = Path(__file__).resolve().parents[1]
WANTED = (
    "CHANGELOG.md", "LICENSE", "Makefile", "README.md", "constraints.txt", "docs/architecture.md",
    "docs/report.png", "docs/two_models.png", "docs/howto/own-model.md", "CITATION.cff", "CONTRIBUTING.md",
    "recipes/conda/recipe.yaml", "recipes/Dockerfile",
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
    spec = importlib.util.spec_from_file_location("dist", ROOT / "recipes/dist.py")
    assert spec is not None and spec.loader is not None
    dist = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(dist)
    text = dist.with_addresses((ROOT / "README.md").read_text(encoding="utf-8"))
    pictures, links = (re.findall(mark + r"\[[^\]]*\]\(([^)]*)\)", text) for mark in ("!", r"(?<!!)"))
    assert pictures and links and all(address.startswith("https://") for address in (*pictures, *links))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"Homepage", "Changelog", "Issues"} <= set(project["urls"])
    assert any(name.startswith("Programming Language :: Python :: 3.11") for name in project["classifiers"])


def test_recipes_and_citation_follow_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    recipe = (ROOT / "recipes/conda/recipe.yaml").read_text(encoding="utf-8")
    other_names = {"torch": "pytorch", "matplotlib": "matplotlib-base", "safetensors": "python-safetensors"}
    wanted = {
        re.sub(r"^[\w-]+", lambda name: other_names.get(name[0], name[0]), one) for one in project["dependencies"]
    }
    given = {line.replace(" ", "") for line in re.findall(r"^    - (\S+ >=\S+)$", recipe, re.MULTILINE)}
    assert wanted == given - {"setuptools>=77", "python>=3.11"}
    assert f'version: "{VERSION}"' in recipe
    assert f"\nversion: {VERSION}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## [{VERSION}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_image_and_the_workflow_use_what_is_there() -> None:
    image = (ROOT / "recipes/Dockerfile").read_text(encoding="utf-8")
    copied = [name for line in re.findall(r"^COPY (?!--)(.+)$", image, re.MULTILINE) for name in line.split()[:-1]]
    assert copied and all((ROOT / name).exists() for name in copied)
    extras = re.search(r"\[([a-z,]+)\]", image)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert extras is not None and set(extras[1].split(",")) == set(project["optional-dependencies"]) - {"test", "docs"}
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    steps = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    (whole,) = (
        job for job in workflow["jobs"].values() if any(".ci/run" in step.get("run", "") for step in job["steps"])
    )
    assert whole["strategy"]["matrix"]["os"] == ["ubuntu-latest", "macos-latest"]
    targets = {word for step in steps for word in re.findall(r"make (\w+)", step)}
    assert targets and all(f"\n{name}:" in (ROOT / "Makefile").read_text() for name in targets)
