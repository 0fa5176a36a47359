"""What the documents name is there."""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("document", ["README.md", "docs/architecture.md"])
def test_files_that_are_named_exist(document: str) -> None:
    text = (ROOT / document).read_text()
    named = set(re.findall(r"`((?:seqsal|benchmarks|tests|docs|notebooks)/[\w./-]+)`", text))
    assert named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_every_room_is_in_the_architecture() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    rooms = {path.name for path in (ROOT / "seqsal").iterdir() if (path / "__init__.py").exists()} - {"example_data"}
    assert [room for room in sorted(rooms) if f"`{room}/`" not in text] == []


def test_what_the_makefile_runs_is_there() -> None:
    text = (ROOT / "Makefile").read_text()
    names = re.findall(r"from (seqsal[\w.]*) import (\w+)", text)
    assert names
    assert all(hasattr(importlib.import_module(module), name) for module, name in names)
    assert [name for name in re.findall(r"-m (seqsal[\w.]*)", text) if importlib.util.find_spec(name) is None] == []
