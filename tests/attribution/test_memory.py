"""Freed memory is kept while batches run: without that, every batch faults its pages in again."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from seqsal.attribution.compute import memory
from seqsal.attribution.compute.memory import KEEP, USUAL, freed_memory_kept

CPU = torch.device("cpu")
FAULTS = """
import resource, sys, torch
from contextlib import nullcontext
from seqsal.attribution.compute.memory import freed_memory_kept
torch.set_num_threads(1)
def batch():
    h = torch.zeros(4, 64, 2114)
    kept = [h := h + 1 for _ in range(12)]
with freed_memory_kept(torch.device("cpu")) if sys.argv[1] == "kept" else nullcontext():
    for _ in range(10):
        batch()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(40):
        batch()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """What mallopt is told, instead of telling it."""
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(memory, "_mallopt", lambda: lambda parameter, value: told.append((parameter, value)))
    yield told


def test_thresholds_are_raised_and_given_back(calls: list[tuple[int, int]]) -> None:
    with freed_memory_kept(CPU):
        assert dict(calls) == KEEP
        calls.clear()
    assert dict(calls) == USUAL


def test_only_the_outermost_context_changes_anything(calls: list[tuple[int, int]]) -> None:
    with freed_memory_kept(CPU):
        calls.clear()
        with freed_memory_kept(CPU):
            pass
        assert calls == []


def test_thresholds_are_given_back_after_an_exception(calls: list[tuple[int, int]]) -> None:
    with pytest.raises(ZeroDivisionError), freed_memory_kept(CPU):
        1 / 0  # noqa: B018
    assert dict(calls[len(KEEP) :]) == USUAL


def test_another_device_leaves_the_heap_alone(calls: list[tuple[int, int]]) -> None:
    with freed_memory_kept(torch.device("meta")):
        pass
    assert calls == []


def test_thresholds_of_the_environment_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    assert memory._mallopt.__wrapped__() is None


@pytest.mark.skipif(memory._mallopt() is None, reason="needs glibc, with the thresholds of its own")
def test_batches_after_the_first_fault_no_pages() -> None:
    n_pages = 40 * 12 * 4 * 64 * 2114 * 4 // resource.getpagesize()  # written by the batches
    environment = {name: value for name, value in os.environ.items() if name not in memory.SETTINGS}
    done = subprocess.run([sys.executable, "-c", FAULTS, "kept"], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < n_pages / 50  # about a thirteenth of them without the context
