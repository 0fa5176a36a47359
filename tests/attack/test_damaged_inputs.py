"""Damaged inputs: exit code 0 or 2, one line, nothing left behind; `damaged_inputs.py` by itself tries thousands."""

from __future__ import annotations

from pathlib import Path

import pytest
from attack.damaged_inputs import KINDS, attack, make_good_files


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_good_files(tmp_path_factory.mktemp("good"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "attributions"])
def test_one_line_whatever_the_damage(kind: str, good: dict[str, Path]) -> None:
    assert [failure for seed in range(8) for failure in attack(kind, good, seed)] == []
