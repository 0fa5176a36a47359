"""`make device-check` where there is no GPU: the script runs from end to end, and a wrong map is a failed check."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from device_check import Check, correctness

import seqsal

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_script_runs_on_a_cpu(tmp_path: Path) -> None:
    command = [sys.executable, "device_check.py", "--device", "cpu", "--small", "--json", str(tmp_path / "device.json")]
    sections = "machine,correctness,memory,training,speed,end to end,long,compile"  # not the tests: this is one
    done = subprocess.run([*command, "--only", sections], cwd=ROOT / "benchmarks", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    rows = json.loads((tmp_path / "device.json").read_text())
    assert {row["section"] for row in rows} == set(sections.split(","))
    assert sum(row["verdict"] == "ok" for row in rows) > 20


def test_a_wrong_map_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    true = seqsal.attribute

    def wrong_on_the_device(model: torch.nn.Module, X: torch.Tensor, device: str, **options: object) -> object:
        found = true(model, X=X, device="cpu", **options)
        return SimpleNamespace(track=found.track[:, ::-1]) if device == "mine" else found

    monkeypatch.setattr("device_check.METHODS", ("saliency",))
    monkeypatch.setattr(seqsal, "attribute", wrong_on_the_device, raising=False)
    check = Check("cpu", 60, small=True)
    monkeypatch.setattr("device_check.str", lambda device: "mine", raising=False)
    correctness(check)
    verdicts = {row.name: row.verdict for row in check.rows}
    assert verdicts["saliency, pooled CNN: float32"] == "FAILED"
    assert verdicts["saliency, pooled CNN: subset, other batch"] == "ok"
