"""Attribute windows by any number of methods and targets, in memory or into a file that an interrupted run resumes.

A run is planned first: what will be computed, what will be kept, and what the file says about itself.
:mod:`seqsal.attribution.passes` then streams the windows through the methods.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from seqsal.attribution.compute import check_precision, compile_error, frozen_on_device, pearson
from seqsal.attribution.methods.base import Method
from seqsal.attribution.passes import FirstWindows, Sink, first_window, plan_for, run_pass
from seqsal.attribution.request import AttributeOptions, Result
from seqsal.attribution.spans import WindowReader, find_span
from seqsal.attribution.targets import n_targets_of, with_target
from seqsal.errors import RegionError, counted
from seqsal.io.attributions import Attributions
from seqsal.io.rounding import relative_error
from seqsal.io.store import ResultLayout, StoreLayout
from seqsal.io.store_writer import AttributionWriter, MemorySink, is_already_written
from seqsal.models import SequenceModel
from seqsal.models.contrast import Contrast, Target
from seqsal.models.ensemble import Ensemble
from seqsal.models.seen import seen_counts
from seqsal.models.state import settled
from seqsal.regions import cut_windows
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
    progress: bool | None = False,
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
        As for :func:`seqsal.attribute`.

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
    with settled(), frozen_on_device(model, device, options.precision):
        run = AttributionRun(model, source, options, device)
        run.compare_with_plain(source)
        layout = run.plan_layout(source)
        sink = MemorySink(layout)
        run.stream(source, layout, sink, progress)
    made: dict[str, Attributions] = {}
    for result in run.results:
        made[result.name] = Attributions(
            regions=layout.regions,
            rejected=layout.rejected,
            chrom_sizes=dict(layout.chrom_sizes),
            attrs={**run.describe(source), **run.describe_result(result)},
            open_result=made.__getitem__,
            run=run,
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
    keep_finished: bool = False,
    or_more_controls: bool = False,
    progress: bool | None = False,
) -> Path:
    """Attribute every window of `source` into an attribution file, going on where an interrupted run stopped.

    Parameters are those of :func:`attribute_windows`; memory does not grow with the number of windows. `resume` is
    False to start over; `keep_finished` keeps the windows of a finished file of the same model, windows and settings,
    and adds the controls if it has others or none, but for more of them where `or_more_controls`.

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
    if keep_finished and is_already_written(path, layout, run.describe(source)):
        logger.info("%s: complete already, from the same model, windows and settings; used as it is", path)
        if layout.n_controls:
            from seqsal.attribution.controls import add_controls  # which is built on this module

            add_controls(path, run, layout.n_controls, or_more=or_more_controls, progress=progress)
    else:
        run.compare_with_plain(source)
        layout = run.plan_layout(source)
        with AttributionWriter(path, layout, run.describe(source), resume=resume) as writer:
            run.stream(source, layout, writer, progress)
            writer.finish()
    return Path(path)


class AttributionRun:
    """What is to be computed from a model, and what the results say about themselves.

    A model that has seen no window yet sees one, and learns its output space.

    Parameters are those of :func:`attribute_windows`.

    Attributes
    ----------
    length, span
        Of the windows, and what is kept of them.
    planned, results
        What is computed together, and every result of it, in the order of the file.
    correlations
        Of each result with what fp32 gives, where another precision was compared with it.
    """

    def __init__(self, model: nn.Module, source: WindowReader, options: AttributeOptions, device: torch.device) -> None:
        check_precision(options.precision, device)
        if not len(source.windows):
            raise RegionError("regions: none left to attribute; give at least one region inside the genome")
        self.model, self.options, self.device = model, options, device
        self.length = source.length
        self.span = find_span(options.span, options.flank, source)
        self.planned = plan_for(model, options)
        self.results = [result for one in self.planned for result in one.results]
        self._methods = {result.name: one.method for one in self.planned for result in one.results}
        self.correlations: dict[str, dict[str, float]] = {}
        if isinstance(model, SequenceModel):
            with frozen_on_device(model, device, options.precision):
                model.look_at(first_window(source, device))
            for one in self.planned:
                if one.method.needs_gradient:
                    model.require_gradient(one.method.name)
        options.check_names(n_targets_of(model))
        for target in options.targets:
            with_target(model, target)

    def describe(self, source: WindowReader) -> dict[str, Any]:
        """Root attributes of the attribution file: what was done, to what, with what."""
        return {
            "seqsal_version": VERSION,
            "model": dict(getattr(self.model, "source", {})),
            **({"model_path": path} if (path := _paths(self.model)) else {}),
            "reading": dict(getattr(self.model, "reading", {})),
            "genome": dict(source.provenance),
            **({"trained_on": seen_counts(source.windows["seen"])} if "seen" in source.windows else {}),
            "seed": self.options.seed,
            **({"draw": self.options.draw} if self.options.draw else {}),
            **({"null": self.options.null} if self.options.null != "shuffle" else {}),
            "precision": self.options.precision,
            **({"readout_at": grid._asdict()} if (grid := getattr(self.model, "grid", None)) else {}),
            **({"compiled": True} if self.options.compile else {}),
            **({"span": list(self.span)} if self.span.length < self.length else {}),
            **({"control_shuffle": "window"} if self.options.control_shuffle == "window" else {}),
            **({"keep_bits": bits, "rounding_error": relative_error(bits)} if (bits := self.options.keep_bits) else {}),
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
            **self._describe_target(result.target),
            "output_space": str(getattr(self.model, "output_space", "unknown")),
            "gradient_correction": bool(settings.get("gradient_correction", False)),
            "signed": method.signed,
            "options": {**settings, "rc_average": self.options.rc_average, "input_length": self.length},
            **self.correlations.get(result.name, {}),
        }

    def _describe_target(self, given: Target | None) -> dict[str, Any]:
        """Give the number of an output and its name if it has one; of a contrast -1, and what it is."""
        target = getattr(self.model, "target", 0) if given is None else given
        name = self.options.name_of(target)
        return {
            "target": -1 if isinstance(target, Contrast) else int(target),
            **({"contrast": target.describe()} if isinstance(target, Contrast) else {}),
            **({"target_name": name} if name is not None else {}),
        }

    def plan_layout(self, source: WindowReader, n_controls: int | None = None) -> StoreLayout:
        """Say what the results of some windows will hold; `n_controls` overrules the options'."""
        first, *others = [self._plan_result(result) for result in self.results]
        return StoreLayout(
            regions=cut_windows(source.windows, self.span),
            rejected=source.rejected,
            length=self.span.length,
            chrom_sizes=source.chrom_sizes,
            n_controls=self._n_controls(source) if n_controls is None else n_controls,
            null=self.options.null,
            hypothetical=first.hypothetical,
            completeness_error=first.completeness_error,
            noise=first.noise,
            results={result.name: layout for result, layout in zip(self.results[1:], others, strict=True)},
            window=(self.length, self.span.start) if self.span.length < self.length else None,
            spread=isinstance(self.model, Ensemble),
            keep_bits=self.options.keep_bits,
        )

    def _n_controls(self, source: WindowReader) -> int:
        """How many controls are made with the windows; `auto` makes them where they cost no more than the windows."""
        if isinstance(self.options.n_controls, int):
            return self.options.n_controls
        n_windows, wanted = len(source.windows), default_n_controls(len(source.windows), self.span.length)
        return wanted if wanted <= n_windows else 0

    def _plan_result(self, result: Result) -> ResultLayout:
        method = self._methods[result.name]
        hypothetical = self.options.hypothetical is not False and method.hypothetical
        return ResultLayout(
            self.describe_result(result), hypothetical, method.sums_to_difference, method.measures_noise
        )

    def stream(
        self, source: WindowReader, layout: StoreLayout, sink: Sink, progress: bool | None,
        until: Mapping[str, int] | None = None,
    ) -> None:  # fmt: skip
        """Compute everything, or the rows before `until`, into a sink, and warn of sums that are off."""
        misses = run_pass(
            self.model, source, self.options, self.planned, layout, sink, device=self.device, until=until,
            progress=progress,
        )  # fmt: skip
        for name, miss in misses.items():
            logger.warning(
                "%s: the attributions of %d of %d windows miss the promised sum by more than 1 %% of it; %s",
                name, miss.n_windows, len(layout.regions), miss.remedy,
            )  # fmt: skip
        if self.options.n_controls == "auto" and not layout.n_controls:
            n_windows, wanted = len(layout.regions), default_n_controls(len(layout.regions), layout.length)
            logger.info(
                "controls: none made, as the usual %s would take longer than the %s; they are made when peaks are "
                "called (`seqsal peaks A.h5 --model M`), or ask for a number now (--controls %d)",
                f"{wanted:,}", counted(n_windows, "window"), wanted,
            )  # fmt: skip

    def compare_with_plain(self, source: WindowReader) -> None:
        """Correlate each result with what fp32 gives for the first windows, nothing compiled."""
        if self.options.precision == "fp32" and not self.options.compile:
            return
        head = FirstWindows(source, N_COMPARED)
        full = self._attribute_head(head, precision="fp32", compile=False)
        if self.options.compile:
            before = _seconds(lambda: self._attribute_head(head, compile=False))
            self._attribute_head(FirstWindows(source, N_UNEVEN))  # compiles for one batch size, and then for any
        lower = self._attribute_head(head)
        for name, (track, prediction) in full.items():
            r_track, r_prediction = pearson(track, lower[name][0]), pearson(prediction, lower[name][1])
            self.correlations[name] = {
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
            run_pass(self.model, head, options, plan_for(self.model, options), layout, sink, device=self.device)
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


def _paths(model: nn.Module) -> Any:
    """Where a model was loaded from, or all members of an ensemble; nothing for one in memory."""
    if not isinstance(model, Ensemble):
        return getattr(model, "path", None)
    paths = [member.path for member in model.members]
    return paths if all(paths) else None


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
