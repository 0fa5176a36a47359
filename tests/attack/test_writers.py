"""Writers that are killed, stopped, out of space, or several at once; `writers.py` by itself tries hundreds."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("writers.py")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or shutil.which("cc") is None, reason="needs Linux and a C compiler")
def test_nothing_is_lost_or_half_written() -> None:
    command = [sys.executable, SCRIPT, "kill", "stop", "full", "errors", "race", "--n", "5", "--only", "quick"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert [line.split()[:4] for line in ended.stdout.splitlines() if line.endswith("s)")] == [
        [f"{what}:", "5", "of", "5"] for what in ("kill", "stop", "full", "errors", "race")
    ]
