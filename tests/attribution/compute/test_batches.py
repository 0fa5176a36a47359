"""Batch sizes from activation bytes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from seqsal.attribution.compute import Batches, batches
from seqsal.attribution.compute.batches import choose_batch_size

CPU = torch.device("cpu")


def test_batch_fills_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "last_level_cache_bytes", lambda: 32 << 20)
    assert choose_batch_size(1 << 20, CPU) == 32  # the power of two below the half of 96
    assert choose_batch_size(1 << 20, CPU, n_workers=2) == 32
    assert choose_batch_size(1 << 20, CPU, n_workers=4) == 16  # they share the cache
    assert choose_batch_size(1 << 40, CPU) == 1
    assert choose_batch_size(1, CPU) == batches.MAX_BATCH


def test_a_gpu_is_filled_to_a_share_whatever_ran_before(monkeypatch: pytest.MonkeyPatch) -> None:
    free, reserved, allocated = 20 << 30, 0, 0
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free - reserved, 24 << 30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: reserved)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: allocated)
    cuda = torch.device("cuda")
    assert choose_batch_size(100 << 20, cuda) == 64  # of 8 GiB, which is 40 % of 20
    reserved = 16 << 30  # kept by torch for tensors that are gone
    assert choose_batch_size(100 << 20, cuda) == 64
    allocated = 12 << 30
    assert choose_batch_size(100 << 20, cuda) == 32  # of 40 % of 8 GiB


def test_every_window_is_computed_once_despite_failures() -> None:
    done: list[int] = []
    calls = []

    def compute(start: int, stop: int) -> None:
        calls.append((start, stop))
        if stop - start > 3:
            raise torch.OutOfMemoryError
        done.extend(range(start, stop))

    shrinking = Batches(16)
    shrinking.run(compute, 20)
    assert shrinking.batch_size == 2
    assert done == list(range(20))
    assert calls[:4] == [(0, 16), (0, 8), (0, 4), (0, 2)]


def test_workers_compute_every_window_once_despite_failures() -> None:
    done: list[int] = []

    def compute(start: int, stop: int) -> None:
        if stop - start > 3:
            raise torch.OutOfMemoryError
        done.extend(range(start, stop))

    with ThreadPoolExecutor(3) as pool:
        shrinking = Batches(16, pool)
        shrinking.run(compute, 50)
    assert shrinking.batch_size == 2
    assert sorted(done) == list(range(50))


@pytest.mark.parametrize(
    ("n_windows", "n_workers", "most", "n_batches"),
    [(10, 2, 2, 4), (10, 2, 4, 2), (7, 3, 4, 3), (2, 3, 8, 2), (500, 4, 64, 8), (5, 2, 9, 2)],
)
def test_workers_have_as_many_windows_each(n_windows: int, n_workers: int, most: int, n_batches: int) -> None:
    """Ten windows by twos are five batches, of which one of two workers would wait for the other's third."""
    done: list[tuple[int, int]] = []
    with ThreadPoolExecutor(1) as pool:
        Batches(most, pool, n_workers).run(lambda start, stop: done.append((start, stop)), n_windows)
    sizes = [stop - start for start, stop in done]
    assert [i for start, stop in done for i in range(start, stop)] == list(range(n_windows))
    assert max(sizes) <= 1.5 * most and max(sizes) - min(sizes) <= 1
    assert len(sizes) == n_batches


def test_errors_of_workers_reach_the_caller() -> None:
    def compute(start: int, stop: int) -> None:
        raise RuntimeError("shape mismatch")

    with ThreadPoolExecutor(3) as pool, pytest.raises(RuntimeError, match="shape mismatch"):
        Batches(16, pool).run(compute, 50)


def test_no_batch_starts_after_one_that_did_not_fit() -> None:
    """Or a shortage costs as many refused passes as there are batches; three threads may each have begun one."""
    refused: list[int] = []

    def compute(start: int, stop: int) -> None:
        if stop - start > 1:
            refused.append(start)
            raise torch.OutOfMemoryError

    with ThreadPoolExecutor(3) as pool:
        Batches(2, pool, 3).run(compute, 1000)
    assert 1 <= len(refused) <= 3
