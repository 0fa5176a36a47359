"""Outputs: what may be written to, what is left behind, and what is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from seqsal.errors import OutputError
from seqsal.io.atomic import atomic_path, check_writable


def test_devices_and_pipes_are_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    for path in (Path("/dev/null"), tmp_path / "pipe", tmp_path / "null"):
        with pytest.raises(OutputError, match="is a device or a pipe"), atomic_path(path) as temporary:
            temporary.write_text("x")
        assert not path.is_file()


@pytest.mark.parametrize("name", ["a\0b", "x" * 300])
def test_impossible_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError):
        check_writable(tmp_path / name)


def test_leftovers_of_the_dead_are_removed_and_those_of_the_living_stay(tmp_path: Path) -> None:
    script = (
        "import sys, os\nfrom seqsal.io.atomic import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary:\n temporary.write_text('x'); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.bed")], check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.endswith(".partial.bed")
    with atomic_path(tmp_path / "b.bed") as temporary:  # another file
        temporary.write_text("b")
    assert left.exists()
    with atomic_path(tmp_path / "a.bed") as temporary:
        temporary.write_text("outer")
        with atomic_path(tmp_path / "a.bed.gz") as other:
            other.write_text("gz")
        assert temporary.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bed", "a.bed.gz", "b.bed"]
