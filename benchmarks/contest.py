"""Contenders timed against each other on a noisy machine: each in its own process, taking turns in random order."""

from __future__ import annotations

import multiprocessing
import random
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["Times", "contest", "fastest", "random_codes", "ratios", "seconds"]

Times = dict[str, list[float]]
Make = Callable[..., Callable[[], object]]


def contest(
    make: Make, names: Sequence[str], arguments: tuple[Any, ...], n_rounds: int, *, warm: bool = True,
    processor: bool = False,
) -> Times:  # fmt: skip
    """Time contenders for some rounds.

    Parameters
    ----------
    make
        `make(name, *arguments)` gives what one contender does; a function of a module, as other processes call it.
    names
        The contenders.
    arguments
        What they work on.
    n_rounds
        How often each is timed.
    warm
        Let each do its work once before, which is not timed.
    processor
        Count seconds of the processor, not of the clock.

    Returns
    -------
    dict
        Seconds of every round by contender, in the order of the rounds.
    """
    context = multiprocessing.get_context("spawn")
    pipes = {}
    for name in names:
        pipes[name], child = context.Pipe()
        context.Process(target=_serve, args=(make, name, arguments, warm, processor, child), daemon=True).start()
        pipes[name].recv()
    times: Times = {name: [] for name in names}
    order = list(names)
    for _ in range(n_rounds):
        random.shuffle(order)
        for name in order:
            pipes[name].send(True)
            times[name].append(pipes[name].recv())
    for pipe in pipes.values():
        pipe.send(False)
    return times


def _serve(make: Make, name: str, arguments: tuple[Any, ...], warm: bool, processor: bool, pipe: Connection) -> None:
    """Do one contender's work once for every message, and send back the seconds."""
    warnings.simplefilter("ignore")
    work = make(name, *arguments)
    if warm:
        work()
    pipe.send(0.0)
    while pipe.recv():
        pipe.send(seconds(work, time.process_time if processor else time.perf_counter))


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Time of some work by a clock, on whatever device it is."""
    start = clock()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - start


def fastest(times: Times, names: Sequence[str]) -> str:
    """Name of the contender with the smallest median."""
    return min(names, key=lambda name: statistics.median(times[name]))


def ratios(times: Times, peer: str, ours: str) -> tuple[float, float, float]:
    """Median, least and most of the peer's time over ours, round by round: above 1 where ours is faster."""
    values = [theirs / own for theirs, own in zip(times[peer], times[ours], strict=True)]
    return statistics.median(values), min(values), max(values)


def random_codes(n_windows: int, length: int) -> NDArray[np.uint8]:
    """Codes (n_windows, length) of random windows, always the same."""
    return np.random.default_rng(0).integers(0, 4, (n_windows, length), dtype=np.uint8)
