"""Worker threads change the time that a run takes and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from toys import Small, Windows, random_codes

from seqsal.attribution import AttributeOptions, attribute_windows, predict_windows
from seqsal.attribution.compute.workers import batches_for, cpu_workers

CPU = torch.device("cpu")


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_same_numbers_as_one_thread(rng: np.random.Generator) -> None:
    source, options = Windows(random_codes(rng, 50, 60)), AttributeOptions(batch_size=4)
    parallel = attribute_windows(Small(), source, options, device=CPU)
    assert torch.get_num_threads() == 3
    torch.set_num_threads(1)
    serial = attribute_windows(Small(), source, options, device=CPU)
    for name in ("track", "prediction", "null_track"):
        np.testing.assert_array_equal(getattr(parallel, name), getattr(serial, name))


@pytest.mark.usefixtures("three_threads")
def test_predictions_are_the_same_too(rng: np.random.Generator) -> None:
    source = Windows(random_codes(rng, 50, 60))
    parallel = predict_windows(Small(), source, device=CPU, batch_size=4)
    torch.set_num_threads(1)
    np.testing.assert_array_equal(parallel, predict_windows(Small(), source, device=CPU, batch_size=4))


@pytest.mark.usefixtures("three_threads")
def test_workers_use_one_thread_each_and_the_caller_keeps_its_own() -> None:
    workers, n_workers = cpu_workers(CPU)
    assert workers is not None and n_workers == 3
    assert torch.get_num_threads() == 3
    assert cpu_workers(CPU)[0] is workers


@pytest.mark.usefixtures("three_threads")
def test_threads_are_given_back_after_an_error(rng: np.random.Generator) -> None:
    source = Windows(random_codes(rng, 10, 60))
    with pytest.raises(ValueError, match="stop"), batches_for(Small(), source, CPU):
        assert torch.get_num_threads() == 1
        raise ValueError("stop")
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_no_workers_where_they_would_not_help() -> None:
    assert cpu_workers(torch.device("cuda")) == (None, 1)
    torch.set_num_threads(1)
    assert cpu_workers(CPU) == (None, 1)


@pytest.mark.usefixtures("three_threads")
def test_a_method_that_is_not_thread_safe_runs_in_the_callers_thread(rng: np.random.Generator) -> None:
    source, seen = Windows(random_codes(rng, 10, 60)), set()
    with batches_for(Small(), source, CPU, batch_size=2, thread_safe=False) as batches:
        batches.run(lambda start, stop: seen.add(threading.get_ident()), 10)
    assert seen == {threading.get_ident()}
