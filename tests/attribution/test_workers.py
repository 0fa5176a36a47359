"""Worker threads change the time that a run takes and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from toys import Small, Windows, random_codes

from seqsal.attribution import AttributeOptions, attribute_windows, predict_windows
from seqsal.attribution.workers import cpu_workers

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
def test_threads_are_given_back_after_an_error() -> None:
    with pytest.raises(ValueError, match="stop"), cpu_workers(CPU) as (workers, n_workers):
        assert n_workers == 3 and workers is not None and torch.get_num_threads() == 1
        raise ValueError("stop")
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_no_workers_where_they_would_not_help() -> None:
    with cpu_workers(CPU, thread_safe=False) as (workers, n_workers):
        assert (workers, n_workers) == (None, 1)
    with cpu_workers(torch.device("cuda")) as (workers, n_workers):
        assert (workers, n_workers) == (None, 1)
