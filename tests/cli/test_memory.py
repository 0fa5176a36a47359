"""The command line keeps freed memory while it computes: without that, every batch faults its pages in again."""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys
from types import SimpleNamespace

import pytest

from seqsal import cli

HAS_GLIBC = hasattr(ctypes.CDLL(None), "gnu_get_libc_version")
FAULTS = """
import resource, torch
from seqsal.cli import keep_freed_memory
torch.set_num_threads(1)
keep_freed_memory()
def batch():
    h = torch.zeros(4, 64, 2114)
    kept = [h := h + 1 for _ in range(12)]
for _ in range(10):
    batch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(40):
    batch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What mallopt is called with, instead of calling it."""
    seen: list[tuple[int, int]] = []
    library = SimpleNamespace(gnu_get_libc_version=None, mallopt=lambda *call: seen.append(call))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    for name in cli.MALLOC_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return seen


def test_thresholds_are_raised(calls: list[tuple[int, int]]) -> None:
    cli.keep_freed_memory()
    assert calls == [cli.MMAP_THRESHOLD, cli.TRIM_THRESHOLD, cli.TOP_PAD]


def test_thresholds_of_the_environment_stay(calls: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    cli.keep_freed_memory()
    assert calls == []


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    cli.keep_freed_memory()


@pytest.mark.skipif(not HAS_GLIBC, reason="needs glibc")
def test_batches_after_the_first_fault_no_pages() -> None:
    n_pages = 40 * 12 * 4 * 64 * 2114 * 4 // resource.getpagesize()  # written by the batches
    environment = {name: value for name, value in os.environ.items() if name not in cli.MALLOC_VARIABLES}
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < n_pages / 50  # about a thirteenth of them without it
