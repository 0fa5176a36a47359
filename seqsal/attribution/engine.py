"""Stream windows through one method: read ahead, attribute on the device, write behind.

Codes travel as one byte a base and become one-hot on the device; only the track (and what else is kept) comes back. The
same path serves the shuffled controls and the result in memory. Work is cut into chunks whose bounds depend on the
settings alone, so a resumed run computes the very batches that an uninterrupted one would.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm.auto import tqdm

from seqsal.attribution.base import Method, Scores, project
from seqsal.attribution.methods import make_method
from seqsal.attribution.stream import WriteBehind, read_ahead
from seqsal.attribution.workers import batches_for
from seqsal.errors import ModelError, RegionError, UsageError
from seqsal.io.attributions import Attributions
from seqsal.io.store_writer import AttributionWriter, StoreLayout
from seqsal.regions import format_region
from seqsal.sequence.shuffle import dinucleotide_shuffle
from seqsal.sequence.tensors import one_hot_tensor
from seqsal.version import VERSION

__all__ = ["AttributeOptions", "WindowReader", "attribute_to_file", "attribute_windows", "default_n_controls"]

CHUNK_BASES = 1 << 20  # bases read, and written, at a time
CONTROL_BASES = 200_000
MAX_COMPLETENESS_ERROR = 0.01
NOTHING = np.zeros(0)
logger = logging.getLogger(__name__)
Rows = NDArray[np.int64]
Arrays = dict[str, NDArray[Any]]


class WindowReader(Protocol):
    """Where windows come from: :class:`seqsal.io.inputs.WindowSource` or codes in memory."""

    windows: pd.DataFrame
    rejected: pd.DataFrame
    length: int
    chrom_sizes: dict[str, int]
    provenance: dict[str, Any]

    def read(self, rows: slice | Rows) -> NDArray[np.uint8]:
        """Return codes of some windows, (n, L) uint8."""
        ...


@dataclass(frozen=True)
class AttributeOptions:
    """How to attribute.

    Attributes
    ----------
    method
        Name of the method.
    method_options
        Its own options, such as `gradient_correction`.
    rc_average
        Average over both strands.
    n_controls
        Dinucleotide-shuffled controls; None for :func:`default_n_controls`, 0 for none.
    hypothetical
        Keep the (N, 4, L) scores of all four bases.
    seed
        Seeds the shuffles.
    batch_size
        Windows at a time; None lets the device decide.
    """

    method: str = "gradient_x_input"
    method_options: Mapping[str, Any] = field(default_factory=dict)
    rc_average: bool = False
    n_controls: int | None = None
    hypothetical: bool = False
    seed: int = 0
    batch_size: int | None = None

    def __post_init__(self) -> None:
        if self.n_controls is not None and self.n_controls < 0:
            raise UsageError(f"n_controls: got {self.n_controls}, expected 0 or more")
        if self.batch_size is not None and self.batch_size < 1:
            raise UsageError(f"batch_size: got {self.batch_size}, expected 1 or more")


def default_n_controls(n_windows: int, length: int) -> int:
    """Choose the number of shuffled controls for N windows of L bases.

    One a window, but no fewer than hold 200 kb, which a tail of the null needs (100 windows of 2 kb, 1,000 of 200 bp),
    and between 100 and 1,000 in any case.
    """
    return min(max(n_windows, CONTROL_BASES // length, 100), 1000)


class _Chunk(NamedTuple):
    """Rows of one part, with their codes (n, L) and, for controls, the windows that they are shuffles of."""

    part: str
    start: int
    codes: NDArray[np.uint8]
    source: Rows


class _Sink(Protocol):
    done: dict[str, int]

    def write(self, part: str, start: int, arrays: Mapping[str, NDArray[Any]]) -> None: ...


class _MemorySink:
    """Collects what an :class:`AttributionWriter` would put on disk."""

    def __init__(self, layout: StoreLayout) -> None:
        self.arrays = {name: np.empty(shape, dtype=kind) for name, (shape, kind) in layout.datasets().items()}
        self.done = {"main": 0, "null": 0}

    def write(self, part: str, start: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        prefix = "null/" if part == "null" else ""
        for name, rows in arrays.items():
            self.arrays[prefix + name][start : start + len(rows)] = rows


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

    Raises
    ------
    ModelError
        The model returns another shape, NaN or infinity, or cannot be differentiated.
    """
    method = _method(options)
    layout = plan_layout(source, options, method)
    sink = _MemorySink(layout)
    _run(model, source, options, method, layout, sink, device, progress)
    return Attributions(
        regions=layout.regions,
        rejected=layout.rejected,
        chrom_sizes=dict(layout.chrom_sizes),
        attrs=describe(model, source, options, method),
        **{name.replace("/", "_"): array for name, array in sink.arrays.items() if name != "null/prediction"},
    )


def attribute_to_file(
    model: nn.Module,
    source: WindowReader,
    path: str | os.PathLike[str],
    options: AttributeOptions,
    *,
    device: torch.device,
    resume: bool = True,
    progress: bool = False,
) -> Path:
    """Attribute every window of `source` into an attribution file, going on where an interrupted run stopped.

    Parameters are those of :func:`attribute_windows`; memory does not grow with the number of windows.

    Raises
    ------
    ModelError
        The model returns another shape, NaN or infinity, or cannot be differentiated.
    OutputError
        `path` cannot be written.
    """
    method = _method(options)
    layout = plan_layout(source, options, method)
    attrs = describe(model, source, options, method)
    with AttributionWriter(path, layout, attrs, resume=resume) as writer:
        _run(model, source, options, method, layout, writer, device, progress)
        return writer.finish()


def _method(options: AttributeOptions) -> Method:
    return make_method(options.method, rc_average=options.rc_average, seed=options.seed, **options.method_options)


def plan_layout(source: WindowReader, options: AttributeOptions, method: Method) -> StoreLayout:
    """Say what the result will hold."""
    n_windows = len(source.windows)
    n_controls = default_n_controls(n_windows, source.length) if options.n_controls is None else options.n_controls
    return StoreLayout(
        regions=source.windows,
        rejected=source.rejected,
        length=source.length,
        chrom_sizes=source.chrom_sizes,
        n_controls=n_controls,
        hypothetical=options.hypothetical,
        completeness_error=method.sums_to_difference,
    )


def describe(model: nn.Module, source: WindowReader, options: AttributeOptions, method: Method) -> dict[str, Any]:
    """Root attributes of the attribution file: what was done, to what, with what."""
    settings = method.options
    return {
        "seqsal_version": VERSION,
        "method": options.method,
        "target": int(getattr(model, "target", 0)),
        "output_space": str(getattr(model, "output_space", "unknown")),
        "model": dict(getattr(model, "source", {})),
        "genome": dict(source.provenance),
        "gradient_correction": bool(settings.get("gradient_correction", False)),
        "seed": options.seed,
        "signed": method.signed,
        "options": {**settings, "rc_average": options.rc_average, "input_length": source.length},
    }


def _run(
    model: nn.Module,
    source: WindowReader,
    options: AttributeOptions,
    method: Method,
    layout: StoreLayout,
    sink: _Sink,
    device: torch.device,
    progress: bool,
) -> None:
    if not len(layout.regions):
        raise RegionError("regions: none left to attribute; give at least one region inside the genome")
    total = len(layout.regions) + layout.n_controls
    n_off = 0
    with (
        batches_for(model, source, device, batch_size=options.batch_size) as batches,
        tqdm(total=total, initial=sum(sink.done.values()), unit="window", disable=not progress) as bar,
        WriteBehind[tuple[str, int, Arrays]](lambda item: sink.write(*item)) as writer,
    ):
        method.prepare(model, _first_window(source, device), batches.batch_size)
        for chunk in read_ahead(_chunks(source, layout, options.seed, dict(sink.done))):
            arrays = _empty_arrays(chunk, layout)

            def compute(start: int, stop: int, chunk: _Chunk = chunk, arrays: Arrays = arrays) -> None:
                _attribute_batch(model, method, chunk, slice(start, stop), arrays, device)
                bar.update(stop - start)

            batches.run(compute, len(chunk.codes))
            _check_finite(arrays, chunk, layout.regions)
            n_off += int((arrays.get("completeness_error", NOTHING) > MAX_COMPLETENESS_ERROR).sum())
            writer.put((chunk.part, chunk.start, arrays))
    if n_off:
        logger.warning(
            "%s: the attributions of %d of %d windows miss the promised sum by more than 1 %% of it; %s",
            options.method, n_off, len(layout.regions), method.cure,
        )  # fmt: skip


def _first_window(source: WindowReader, device: torch.device) -> torch.Tensor:
    codes = source.read(np.zeros(1, dtype=np.int64))
    return one_hot_tensor(torch.from_numpy(codes).to(device))  # (1, 4, L)


def _chunks(source: WindowReader, layout: StoreLayout, seed: int, done: Mapping[str, int]) -> Iterator[_Chunk]:
    n_rows = max(CHUNK_BASES // layout.length, 1)
    n_windows, n_controls = len(layout.regions), layout.n_controls
    for start in range(done["main"], n_windows, n_rows):
        rows = np.arange(start, min(start + n_rows, n_windows))
        yield _Chunk("main", start, source.read(slice(start, start + len(rows))), rows)
    for start in range(done["null"], n_controls, n_rows):
        controls = np.arange(start, min(start + n_rows, n_controls))
        parents = control_parents(controls, n_windows, n_controls)
        shuffled = dinucleotide_shuffle(source.read(parents), seed=seed, rows=controls)
        yield _Chunk("null", start, shuffled, parents)


def control_parents(controls: Rows, n_windows: int, n_controls: int) -> Rows:
    """Window that each control shuffles: spread evenly when controls are fewer than windows, else cycled."""
    if n_controls <= n_windows:
        return controls * n_windows // n_controls
    return controls % n_windows


def _empty_arrays(chunk: _Chunk, layout: StoreLayout) -> Arrays:
    """Room for what a chunk's rows of the file hold."""
    n_rows, length = chunk.codes.shape
    arrays: Arrays = {
        "codes": chunk.codes,
        "track": np.empty((n_rows, length), dtype=np.float32),
        "prediction": np.empty(n_rows, dtype=np.float32),
    }
    if chunk.part == "null":
        return arrays | {"source": chunk.source}
    if layout.hypothetical:
        arrays["hypothetical"] = np.empty((n_rows, 4, length), dtype=np.float32)
    if layout.completeness_error:
        arrays["completeness_error"] = np.empty(n_rows, dtype=np.float32)
    return arrays


def _attribute_batch(
    model: nn.Module, method: Method, chunk: _Chunk, rows: slice, arrays: Arrays, device: torch.device
) -> None:
    """Fill some rows of a chunk's arrays."""
    X = one_hot_tensor(torch.from_numpy(chunk.codes[rows]).to(device))
    scores = method.attribute(model, X, np.arange(chunk.start + rows.start, chunk.start + rows.stop))
    for name, values in _outputs(scores, X).items():
        if name in arrays:
            arrays[name][rows] = values.cpu().numpy()


def _outputs(scores: Scores, X: torch.Tensor) -> dict[str, torch.Tensor]:
    outputs = {
        "track": project(scores.hypothetical, X),
        "prediction": scores.prediction,
        "hypothetical": scores.hypothetical,
    }
    if scores.completeness_error is not None:
        outputs["completeness_error"] = scores.completeness_error
    return outputs


def _check_finite(arrays: Mapping[str, NDArray[Any]], chunk: _Chunk, regions: pd.DataFrame) -> None:
    for name in ("prediction", "track"):
        values = arrays[name]
        bad = ~np.isfinite(values if values.ndim == 1 else values.sum(axis=1))
        if bad.any():
            row = regions.iloc[int(chunk.source[int(np.argmax(bad))])]
            where = format_region(row["chrom"], row["start"], row["end"])
            kind = "a shuffled control of " if chunk.part == "null" else ""
            raise ModelError(
                f"model: its {name} for {kind}{where} is not finite, expected numbers; "
                "check the weights and the model's input scale"
            )
