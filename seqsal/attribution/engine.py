"""Attribute windows by any number of methods and targets, in memory or into a file that an interrupted run resumes.

A run is planned first: what will be computed, what will be kept, and what the file says about itself.
:mod:`seqsal.attribution.passes` then streams the windows through the methods.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from seqsal.attribution.compute import check_precision, compile_error, frozen_on_device, pearson
from seqsal.attribution.methods.base import Method
from seqsal.attribution.passes import FirstWindows, Sink, WindowReader, first_window, run_pass
from seqsal.attribution.request import AttributeOptions, Result, plan_methods
from seqsal.attribution.targets import with_target
from seqsal.errors import RegionError
from seqsal.io.attributions import Attributions
from seqsal.io.store_layout import MemorySink, ResultLayout, StoreLayout
from seqsal.io.store_writer import AttributionWriter, is_finished
from seqsal.sequence.draws import default_n_controls
from seqsal.version import VERSION

__all__ = [
    "AttributeOptions",
    "AttributionRun",
    "WindowReader",
    "attribute_to_file",
    "attribute_windows",
]

N_COMPARED = 32  # windows that tell how far a lower precision is from fp32
N_UNEVEN = 23  # windows that come in batches of two sizes, or of another size than N_COMPARED
MIN_CORRELATION = 0.99
logger = logging.getLogger(__name__)


def attribute_windows(
    model: nn.Module,
    source: WindowReader,
    options: AttributeOptions,
    *,
    device: torch.device,
    progress: bool = False,
) -> Attributions:
    """Attribute every window of `source` and keep the result in memory.

    Parameters
    ----------
    model
        f: (N, 4, L) → (N,), as `seqsal.wrap` or `seqsal.load_model` give it.
    source
        The windows.
    options
        How to attribute.
    device
        Where to compute.
    progress
        Show a progress bar.

    Returns
    -------
    Attributions
        The first result; its `results` and `result(name)` lead to the others.

    Raises
    ------
    ModelError
        The model has no such target, returns another shape, NaN or infinity, or cannot be differentiated.
    DeviceError
        The device does not have the precision.
    """
    run = AttributionRun(model, source, options, device)
    layout = run.plan_layout(source)
    sink = MemorySink(layout)
    run.stream(source, layout, sink, progress)
    made: dict[str, Attributions] = {}
    for result in run.results:
        made[result.name] = Attributions(
            regions=layout.regions,
            rejected=layout.rejected,
            chrom_sizes=dict(layout.chrom_sizes),
            attrs={**run.describe(), **run.describe_result(result)},
            open_result=made.__getitem__,
            **sink.fields(result.name if result.name in layout.results else None),
        )
    return made[run.results[0].name]


def attribute_to_file(
    model: nn.Module,
    source: WindowReader,
    path: str | os.PathLike[str],
    options: AttributeOptions,
    *,
    device: torch.device,
    resume: bool = True,
    reuse: bool = False,
    progress: bool = False,
) -> Path:
    """Attribute every window of `source` into an attribution file, going on where an interrupted run stopped.

    Parameters are those of :func:`attribute_windows`; memory does not grow with the number of windows. `resume` is
    False to start over, and `reuse` True to leave a finished file of the same model, windows and settings as it is.

    Raises
    ------
    ModelError
        The model has no such target, returns another shape, NaN or infinity, or cannot be differentiated.
    DeviceError
        The device does not have the precision.
    OutputError
        `path` cannot be written.
    """
    run = AttributionRun(model, source, options, device)
    layout = run.plan_layout(source)
    if reuse and is_finished(path, layout, run.describe()):
        logger.info("%s: finished, of the same model, windows and settings: used as it is", path)
        return Path(path)
    with AttributionWriter(path, layout, run.describe(), resume=resume) as writer:
        run.stream(source, layout, writer, progress)
        return writer.finish()


class AttributionRun:
    """What is to be computed from a model, and what the results say about themselves.

    A model that has seen no window yet sees one, and learns its output space; a lower precision is compared with fp32.

    Parameters are those of :func:`attribute_windows`.

    Attributes
    ----------
    families, results
        What is computed together, and every result of it, in the order of the file.
    """

    def __init__(self, model: nn.Module, source: WindowReader, options: AttributeOptions, device: torch.device) -> None:
        check_precision(options.precision, device)
        if not len(source.windows):
            raise RegionError("regions: none left to attribute; give at least one region inside the genome")
        self.model, self.options, self.device = model, options, device
        self.length, self.provenance = source.length, source.provenance
        self.families = plan_methods(options)
        self.results = [result for family in self.families for result in family.results]
        self._methods = {result.name: family.method for family in self.families for result in family.results}
        self._look_at_model(source)
        self._correlations: dict[str, dict[str, float]] = {}
        if options.precision != "fp32" or options.compile:
            self._correlations = self._compare_with_plain(source)

    def _look_at_model(self, source: WindowReader) -> None:
        if getattr(self.model, "output_space", None) == "auto":
            with frozen_on_device(self.model, self.device), torch.no_grad():
                self.model(first_window(source, self.device))
        for target in self.options.targets:
            with_target(self.model, target)

    def describe(self) -> dict[str, Any]:
        """Root attributes of the attribution file: what was done, to what, with what."""
        return {
            "seqsal_version": VERSION,
            "model": dict(getattr(self.model, "source", {})),
            "reading": dict(getattr(self.model, "reading", {})),
            "genome": dict(self.provenance),
            "seed": self.options.seed,
            **({"draw": self.options.draw} if self.options.draw else {}),
            "precision": self.options.precision,
            **({"compiled": True} if self.options.compile else {}),
            "results": [result.name for result in self.results],
            **self.describe_result(self.results[0]),
        }

    def describe_result(self, result: Result) -> dict[str, Any]:
        """Attributes in which one result may differ from another."""
        method: Method = self._methods[result.name]
        settings = method.options
        return {
            "result": result.name,
            "method": result.method,
            "target": int(getattr(self.model, "target", 0)) if result.target is None else result.target,
            "output_space": str(getattr(self.model, "output_space", "unknown")),
            "gradient_correction": bool(settings.get("gradient_correction", False)),
            "signed": method.signed,
            "options": {**settings, "rc_average": self.options.rc_average, "input_length": self.length},
            **self._correlations.get(result.name, {}),
        }

    def plan_layout(self, source: WindowReader, n_controls: int | None = None) -> StoreLayout:
        """Say what the results of some windows will hold; `n_controls` overrules the options'."""
        wanted = self.options.n_controls if n_controls is None else n_controls
        first, *others = [self._plan_result(result) for result in self.results]
        return StoreLayout(
            regions=source.windows,
            rejected=source.rejected,
            length=source.length,
            chrom_sizes=source.chrom_sizes,
            n_controls=default_n_controls(len(source.windows), source.length) if wanted is None else wanted,
            hypothetical=first.hypothetical,
            completeness_error=first.completeness_error,
            results={result.name: layout for result, layout in zip(self.results[1:], others, strict=True)},
        )

    def _plan_result(self, result: Result) -> ResultLayout:
        method = self._methods[result.name]
        hypothetical = self.options.hypothetical is not False and method.hypothetical
        return ResultLayout(self.describe_result(result), hypothetical, method.sums_to_difference)

    def stream(self, source: WindowReader, layout: StoreLayout, sink: Sink, progress: bool) -> None:
        """Compute everything into a sink, and warn of sums that are off."""
        misses = run_pass(
            self.model, source, self.options, self.families, layout, sink, device=self.device, progress=progress
        )
        for name, miss in misses.items():
            logger.warning(
                "%s: the attributions of %d of %d windows miss the promised sum by more than 1 %% of it; %s",
                name, miss.n_windows, len(layout.regions), miss.remedy,
            )  # fmt: skip

    def _compare_with_plain(self, source: WindowReader) -> dict[str, dict[str, float]]:
        """Correlate each result with what fp32 gives for the first windows, nothing compiled."""
        head = FirstWindows(source, N_COMPARED)
        full = self._attribute_head(head, precision="fp32", compile=False)
        if self.options.compile:
            before = _seconds(lambda: self._attribute_head(head, compile=False))
            self._attribute_head(FirstWindows(source, N_UNEVEN))  # compiles for one batch size, and then for any
        lower = self._attribute_head(head)
        correlations = {}
        for name, (track, prediction) in full.items():
            r_track, r_prediction = pearson(track, lower[name][0]), pearson(prediction, lower[name][1])
            correlations[name] = {
                "precision_correlation": r_track,
                "precision_correlation_prediction": r_prediction,
            }
            self._tell(name, len(head.windows), r_track, r_prediction)
        if self.options.compile:
            after = _seconds(lambda: self._attribute_head(head))
            logger.info(
                "compiled: %.2f times the speed on %d windows%s",
                before / after, len(head.windows), "; leave --compile out" if after > before else "",
            )  # fmt: skip
        return correlations

    def _attribute_head(
        self, head: FirstWindows, **changed: Any
    ) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Tracks and predictions of the first windows by result.

        Raises
        ------
        ModelError
            The model cannot be compiled.
        """
        options = AttributeOptions(**{**vars(self.options), "hypothetical": False, **changed})
        layout = self.plan_layout(head, n_controls=0)
        sink = MemorySink(layout)
        try:
            run_pass(self.model, head, options, plan_methods(options), layout, sink, device=self.device)
        except RuntimeError as error:  # what a compiler raises, since the model has run as it is in this precision
            if not options.compile:
                raise
            raise compile_error(error, self.device) from error
        fields = {name: sink.fields(name if name in layout.results else None) for name in self._methods}
        return {name: (found["track"], found["prediction"]) for name, found in fields.items()}

    def _tell(self, name: str, n_windows: int, r_track: float, r_prediction: float) -> None:
        form = f"{self.options.precision}{', compiled,' if self.options.compile else ''}"
        logger.info(
            "%s: %s against fp32 on %d windows: Pearson r %.4f of the tracks, %.4f of the predictions",
            name, form, n_windows, r_track, r_prediction,
        )  # fmt: skip
        if not r_track >= MIN_CORRELATION or r_prediction < MIN_CORRELATION:
            logger.warning(
                "%s: %s differs from fp32 (Pearson r %.4f of the tracks, %.4f of the predictions, expected at least "
                "%g); use fp32%s",
                name, form, r_track, r_prediction, MIN_CORRELATION, " without --compile" * self.options.compile,
            )  # fmt: skip


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
