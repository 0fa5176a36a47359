"""Attribute a few windows, to foresee how long all take and how large the file becomes."""

from __future__ import annotations

import time
from typing import NamedTuple

import torch
from torch import nn

from seqsal.attribution.engine import AttributionRun
from seqsal.attribution.passes import FirstWindows, MemorySink, WindowReader, run_pass
from seqsal.attribution.request import AttributeOptions
from seqsal.io.store_layout import StoreLayout

__all__ = ["Trial", "try_windows"]

MOST_WINDOWS, FEWEST_WINDOWS = 32, 4
LONG_SECONDS, MOST_SECONDS = 4.0, 30.0


class Trial(NamedTuple):
    """What a few windows tell about all.

    Attributes
    ----------
    layout
        What the file will hold.
    results
        Names of the results in it.
    n_passes
        Sequences through the model for each window, all methods together.
    n_windows, seconds
        How many windows were tried last, and how long they took.
    expected_seconds
        For all windows and controls.
    """

    layout: StoreLayout
    results: tuple[str, ...]
    n_passes: int
    n_windows: int
    seconds: float
    expected_seconds: float


def try_windows(model: nn.Module, source: WindowReader, options: AttributeOptions, *, device: torch.device) -> Trial:
    """Attribute a few windows, and say what that tells about all.

    Parameters are those of :func:`seqsal.attribution.engine.attribute_windows`. The first
    window warms up. The time of a further one is the difference of two trials, so that what a run does once is not
    counted for each; where few windows take longer than `LONG_SECONDS`, it is their mean.

    Raises
    ------
    ModelError, DeviceError
        As there, where the first windows show it.
    """
    run = AttributionRun(model, source, options, device)
    n_passes = sum(family.method.n_passes(source.length) for family in run.families)
    planned = run.plan_layout(source)
    n_windows, seconds = _time(run, source, 1)
    if seconds < MOST_SECONDS:
        n_windows, seconds = _time(run, source, 2)
    slope = seconds / n_windows
    if seconds < LONG_SECONDS:
        n_larger = min(max(int(2 * LONG_SECONDS / slope), FEWEST_WINDOWS), MOST_WINDOWS)
        n_smaller, smaller_seconds = _time(run, source, n_larger // 4)
        n_windows, seconds = _time(run, source, n_larger)
        is_longer = n_windows > n_smaller and seconds > smaller_seconds
        slope = (seconds - smaller_seconds) / (n_windows - n_smaller) if is_longer else seconds / n_windows
    n_more = len(planned.regions) + planned.n_controls - n_windows
    names = tuple(result.name for result in run.results)
    return Trial(planned, names, n_passes, n_windows, seconds, seconds + max(n_more, 0) * slope)


def _time(run: AttributionRun, source: WindowReader, n_windows: int) -> tuple[int, float]:
    """Attribute the first windows, and say how many those were and how many seconds it took."""
    head = FirstWindows(source, n_windows)
    layout = run.plan_layout(head, n_controls=0)
    start = time.perf_counter()
    run_pass(run.model, head, run.options, run.families, layout, MemorySink(layout), device=run.device)
    return len(head.windows), time.perf_counter() - start
