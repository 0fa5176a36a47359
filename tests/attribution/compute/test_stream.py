"""Threads that read ahead and write behind: order, errors, early stops."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
import weakref
from collections.abc import Iterator

import pytest
import torch

from seqsal.attribution.compute import WriteBehind, read_ahead


def test_order_is_kept() -> None:
    assert list(read_ahead(range(50), depth=3)) == list(range(50))


def test_reading_runs_ahead_but_not_far() -> None:
    pulled = []

    def items() -> Iterator[int]:
        for item in range(100):
            pulled.append(item)
            yield item

    reader = read_ahead(items(), depth=2)
    assert next(reader) == 0
    time.sleep(0.3)
    assert 2 <= len(pulled) <= 5
    reader.close()
    assert threading.active_count() == 1 or "seqsal-reader" not in {t.name for t in threading.enumerate()}


def test_error_of_the_reader_reaches_the_caller() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("bad line")

    seen = []
    with pytest.raises(ValueError, match="bad line"):
        for item in read_ahead(items()):
            seen.append(item)
    assert seen == [1]


def test_writes_everything_in_order() -> None:
    written: list[int] = []
    with WriteBehind(written.append) as writer:
        for item in range(50):
            writer.put(item)
    assert written == list(range(50))


def test_error_of_the_writer_reaches_the_caller_without_blocking() -> None:
    def write(item: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"), WriteBehind(write, depth=1) as writer:
        for item in range(50):
            writer.put(item)


def test_late_error_of_the_writer_is_raised_on_leaving() -> None:
    def write(item: int) -> None:
        time.sleep(0.1)
        raise OSError("late")

    with pytest.raises(OSError, match="late"), WriteBehind(write) as writer:
        writer.put(1)


def test_an_error_keeps_nothing_alive() -> None:
    """After a GPU ran out of memory, the tensors of what failed have to be gone before it is tried with less."""

    class Tensor:
        pass

    def items() -> Iterator[int]:
        yield 1
        raise torch.OutOfMemoryError

    def work() -> weakref.ref[Tensor]:
        tensor = Tensor()
        kept.append(weakref.ref(tensor))
        for _ in read_ahead(items()):
            pass
        return kept[0]

    kept: list[weakref.ref[Tensor]] = []
    gc.disable()
    try:
        with contextlib.suppress(torch.OutOfMemoryError):
            work()
        assert kept[0]() is None
    finally:
        gc.enable()
