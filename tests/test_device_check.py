"""`make device-check` where there is no GPU: the script runs from end to end, and a wrong map is a failed check."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from device_check import Check, correctness

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_script_runs_on_a_cpu(tmp_path: Path) -> None:
    command = [sys.executable, "device_check.py", "--device", "cpu", "--small", "--json", str(tmp_path / "device.json")]
    sections = "machine,correctness,memory,training,speed,end to end,compile"  # not the tests: this is one of them
    done = subprocess.run([*command, "--only", sections], cwd=ROOT / "benchmarks", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    rows = json.loads((tmp_path / "device.json").read_text())
    assert {row["section"] for row in rows} == set(sections.split(","))
    assert sum(row["verdict"] == "ok" for row in rows) > 20


def test_a_wrong_map_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import seqsal

    class Wrong:
        track = np.zeros((6, 60), dtype=np.float32)

    true = seqsal.attribute
    monkeypatch.setattr("device_check.METHODS", ("saliency",))
    monkeypatch.setattr(
        "seqsal.attribute",
        lambda model, **options: Wrong() if options.pop("device") == "mine" else true(model, device="cpu", **options),
        raising=False,
    )
    check = Check("cpu", 60, small=True)
    check.device = type("Device", (), {"type": "cpu", "__str__": lambda self: "mine"})()  # type: ignore[assignment]
    correctness(check)
    assert [row.verdict for row in check.rows if "float32" in row.name] == ["FAILED"]
    assert torch.get_num_threads() >= 1
    capsys.readouterr()
