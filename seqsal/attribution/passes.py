"""One pass over windows and controls, through every method that is asked for.

A chunk is read once and goes through one method after the other; each result of it is handed to the sink as soon as it
is there, so that memory grows with the number of neither windows nor methods. The bounds of chunks depend on the
settings alone, and a chunk counts as done when its last result is: a resumed pass computes the very batches that an
uninterrupted one would.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from seqsal.attribution.compute import Batches, WriteBehind, batches_for, fast_predictions, progress_told_to, read_ahead
from seqsal.attribution.methods.base import (
    MAX_COMPLETENESS_ERROR,
    Scores,
    TargetsModel,
    check_prediction,
    mask_unknown,
    project,
)
from seqsal.attribution.methods.ensemble import MemberScores, OverMembers
from seqsal.attribution.readouts import Place, model_at, place_groups
from seqsal.attribution.request import AttributeOptions, PlannedMethod, plan_methods
from seqsal.attribution.spans import KeptSpans, WindowReader
from seqsal.attribution.targets import TargetView
from seqsal.errors import ModelError, StoreError, counted
from seqsal.io.attributions import SPREADS
from seqsal.io.background import BackgroundControls
from seqsal.io.inputs import open_codes
from seqsal.io.progress import bar as progress_bar
from seqsal.io.store import StoreLayout
from seqsal.models.ensemble import members_of
from seqsal.models.state import settled
from seqsal.regions import Span, format_region
from seqsal.sequence.codes import N_CODE, reverse_complement
from seqsal.sequence.draws import ShuffledControls, control_parents
from seqsal.sequence.tensors import one_hot_tensor

__all__ = [
    "FirstWindows", "Miss", "Sink", "WindowReader", "first_window", "open_controls", "predict_codes",
    "predict_windows", "run_pass",
]  # fmt: skip

CHUNK_BASES = 1 << 20  # bases read, and written, at a time
BAR_DELAY = 3  # seconds, until a bar appears that nobody asked for
CHEAP_PASSES = 32  # of the model, which a window of a full chunk may take
FEWEST_ROWS = 8  # of a chunk: some for each worker
MOST_PREPARED = 8  # places that methods are prepared for at a time
NOTHING = np.zeros(0)
Rows = NDArray[np.int64]
Arrays = dict[str, NDArray[Any]]


class FirstWindows:
    """The first windows of a reader, `n_windows` at most, as a reader."""

    def __init__(self, source: WindowReader, n_windows: int) -> None:
        self._source = source
        self.windows, self.rejected = source.windows[:n_windows], source.rejected
        self.length, self.chrom_sizes, self.provenance = source.length, source.chrom_sizes, source.provenance

    def read(self, rows: slice | Rows) -> NDArray[np.uint8]:
        """Return codes of some windows, (n, L) uint8."""
        return self._source.read(rows)


class PickedWindows:
    """Some windows of a reader, as a reader; where they are read is known already."""

    def __init__(self, source: WindowReader, rows: Rows) -> None:
        self._source, self._rows = source, rows
        self.windows = source.windows.iloc[rows].drop(columns="readout", errors="ignore").reset_index(drop=True)
        self.rejected, self.length = source.rejected, source.length
        self.chrom_sizes, self.provenance = source.chrom_sizes, source.provenance

    def read(self, rows: slice | Rows) -> NDArray[np.uint8]:
        """Return codes of some windows, (n, L) uint8."""
        return self._source.read(self._rows[rows])


class ControlReader(Protocol):
    """Where controls of spans come from: shuffles, the background of the genome, or sequences on record."""

    parents: Rows

    def read(self, rows: slice) -> NDArray[np.uint8]:
        """Return codes of some controls, (n, K) uint8."""
        ...


class Sink(Protocol):
    """Where results go: :class:`seqsal.io.store_writer.AttributionWriter` or memory."""

    done: dict[str, int]

    def write(
        self,
        part: str,
        start: int,
        arrays: Mapping[str, NDArray[Any]],
        *,
        result: str | None = None,
        complete: bool = True,
    ) -> None:
        """Take rows from `start` on; see :meth:`AttributionWriter.write`."""
        ...


class Miss(NamedTuple):
    """How many windows of a result miss the promised sum by more than 1 %, and what helps."""

    n_windows: int
    remedy: str


class _Chunk(NamedTuple):
    """Rows of one part: whole windows (n, L), their spans (n, K) and, for controls, the windows that they stand for."""

    part: str
    start: int
    codes: NDArray[np.uint8]
    kept: NDArray[np.uint8]
    source: Rows


def run_pass(
    model: nn.Module,
    source: WindowReader,
    options: AttributeOptions,
    families: list[PlannedMethod],
    layout: StoreLayout,
    sink: Sink,
    *,
    device: torch.device,
    controls: ControlReader | None = None,
    parents: Rows | None = None,
    n_rows: int | None = None,
    until: Mapping[str, int] | None = None,
    progress: bool | None = False,
) -> dict[str, Miss]:
    """Send every window and every control through every method, from where the sink got to.

    Returns, by result, how many windows miss their promised sum. The model is given back as it was. `controls` are
    the layout's; None draws them, of the windows `parents` or of all of them evenly. `n_rows` windows are read at a
    time, or :func:`chunk_rows`. `progress` shows a bar, None one that appears on a terminal or in a notebook when the
    work takes more than a few seconds. `until` stops before these rows of `main` and `null`.
    """
    stop = {"main": len(layout.regions), "null": layout.n_controls} if until is None else dict(until)
    windows_done, controls_done = sink.done["main"], sink.done["null"]
    n_windows = 0 if windows_done == stop["main"] else stop["main"]  # a bar of controls alone
    total, done = n_windows + stop["null"], min(windows_done, n_windows) + controls_done
    n_rows = chunk_rows(families, source.length, layout.length) if n_rows is None else n_rows
    spans = KeptSpans(source, layout.span)
    for family in families:
        family.method.keep(layout.span, source.length)
    is_one = total - done <= min(n_rows, n_windows)  # chunk, for which no thread is worth its start
    last = families[-1].results[-1]
    n_off: dict[str, int] = {}
    with (
        batches_for(
            model, source, device, len(layout.regions) + layout.n_controls, batch_size=options.batch_size,
            thread_safe=not options.compile, precision=options.precision,
        ) as batches,
        _bar(families, layout.length, n_windows, stop["null"], done, progress) as bar,
        contextlib.nullcontext() if is_one else WriteBehind[partial[None]](lambda write: write()) as writer,
    ):  # fmt: skip
        places, of = place_groups(model, source.windows)
        prepared = _Prepared(families, model, places, source, options, device, batches, layout.span)
        chunks = _chunks(spans, layout, n_rows, options, controls, parents, dict(sink.done), stop)
        for chunk in chunks if is_one else read_ahead(chunks):
            for i, family in enumerate(families):
                tables = _attribute_chunk(prepared, i, chunk, of[chunk.source], layout, device, bar)
                for result, arrays in zip(family.results, tables, strict=True):
                    _check_finite(arrays, chunk, layout.regions, getattr(result.target, "is_ratio", False))
                    errors = arrays.get("completeness_error", NOTHING)
                    n_off[result.name] = n_off.get(result.name, 0) + int((errors > MAX_COMPLETENESS_ERROR).sum())
                    place = None if result is families[0].results[0] else result.name
                    write = partial(sink.write, chunk.part, chunk.start, arrays, result=place, complete=result is last)
                    write() if writer is None else writer.put(write)
    if getattr(getattr(model, "readout", None), "weighs_logits", False):
        return {}  # of a profile whose weights are held constant no sum is promised
    remedies = {result.name: family.method.remedy for family in families for result in family.results}
    return {name: Miss(n, remedies[name]) for name, n in n_off.items() if n}


class _Prepared:
    """The methods, each with the model as it is going to see it, for every place that is read; the last are kept."""

    def __init__(
        self, families: Sequence[PlannedMethod], model: nn.Module, places: Sequence[Place], source: WindowReader,
        options: AttributeOptions, device: torch.device, batches: Batches, span: Span,
    ) -> None:  # fmt: skip
        self.families, self._places, self._span = families, places, span
        self._how = (source, options, device, batches)
        self._model = model
        self._made: dict[tuple[int, int], tuple[PlannedMethod, TargetView, Batches]] = {}
        if len(places) == 1:
            for i in range(len(families)):
                self.at(i, 0)

    def at(self, i: int, group: int) -> tuple[PlannedMethod, TargetView, Batches]:
        """Return a method and its model for one place."""
        if (i, group) not in self._made:
            if len(self._made) >= MOST_PREPARED * len(self.families):
                self._made.pop(next(iter(self._made)))
            family = self.families[i]
            if len(self._places) > 1:  # what a method learns of the model is of one place
                source, options = self._how[:2]
                family = next(one for one in plan_for(self._model, options) if one.results == family.results)
                family.method.keep(self._span, source.length)
            self._made[i, group] = _prepare(family, model_at(self._model, self._places[group]), *self._how)
        return self._made[i, group]


def plan_for(model: nn.Module, options: AttributeOptions) -> list[PlannedMethod]:
    """List what is computed from a model, as :func:`plan_methods`; from an ensemble, over its members."""
    planned, n_members = plan_methods(options), len(members_of(model))
    if n_members and options.compile:
        raise ModelError("compile: is for one model, got an ensemble; leave it out")
    if not n_members:
        return planned
    alike = zip(*(plan_methods(options) for _ in range(n_members)), strict=True)
    return [
        replace(one, method=OverMembers([same.method for same in each]))
        for one, each in zip(planned, alike, strict=True)
    ]


def _bar(
    families: Sequence[PlannedMethod], length: int, n_windows: int, n_controls: int, done: int, progress: bool | None
) -> Any:
    """Bar over windows or, where a window takes many passes, over the sequences that go through the model."""
    n_passes = sum(family.method.n_passes(length) for family in families)
    parts = [(n_windows, "window"), (n_controls, "control")]
    desc = " + ".join(counted(n, what) for n, what in parts if n)
    is_ism = all(result.method == "ism" for family in families for result in family.results)
    is_many = n_passes > len(families)
    return progress_bar(
        total=(n_windows + n_controls) * n_passes, initial=done * n_passes, desc=desc,
        unit="window" if not is_many else " mutants" if is_ism else " sequences", unit_scale=is_many,
        disable=None if progress is None else not progress, delay=BAR_DELAY if progress is None else 0,
    )  # fmt: skip


def _prepare(
    family: PlannedMethod, model: nn.Module, source: WindowReader, options: AttributeOptions, device: torch.device,
    batches: Batches,
) -> tuple[PlannedMethod, TargetView, Batches]:  # fmt: skip
    """Let a method look at the model as it is going to see it, and say how many windows it takes at once."""
    can_compile = options.compile and family.method.can_compile
    view = TargetView(model, family.targets, device, options.precision, compile=can_compile)
    batches.fit(partial(family.prepare, view, first_window(source, device)))
    return family, view, batches.resized(family.method.windows_at_once(batches.batch_size))


def first_window(source: WindowReader, device: torch.device) -> torch.Tensor:
    """One-hot codes of the first window, (1, 4, L)."""
    codes = source.read(np.zeros(1, dtype=np.int64))
    return one_hot_tensor(torch.from_numpy(codes).to(device))


def chunk_rows(families: Sequence[PlannedMethod], length: int, n_kept: int | None = None) -> int:
    """Rows of a chunk: a million bases, and fewer for slow methods, whose interrupted run should not lose an hour."""
    n_passes = sum(family.method.n_passes(length if n_kept is None else n_kept) for family in families)
    most = max(CHUNK_BASES // length, 1)
    return min(most, max(most * CHEAP_PASSES // n_passes, FEWEST_ROWS))


def _chunks(
    spans: KeptSpans,
    layout: StoreLayout,
    n_rows: int,
    options: AttributeOptions,
    controls: ControlReader | None,
    parents: Rows | None,
    done: Mapping[str, int],
    stop: Mapping[str, int],
) -> Iterator[_Chunk]:
    n_windows, n_controls = stop["main"], stop["null"]
    is_background = options.null != "shuffle"
    whole = layout.has_windows and (options.control_shuffle == "window" or is_background)
    to_draw = done["null"] < n_controls and (controls is None or whole)
    if to_draw and is_background:  # before the windows are attributed, since the genome may have no room for them
        controls = open_controls(spans.source if whole else spans, layout.n_controls, options, parents)
    for start in range(done["main"], n_windows, n_rows):
        rows = np.arange(start, min(start + n_rows, n_windows))
        codes = spans.source.read(slice(start, start + len(rows)))
        yield _Chunk("main", start, codes, spans.cut(codes, rows), rows)
    if done["null"] == n_controls:
        return
    if to_draw and not is_background:  # not before: the windows are read once for the numbers of the draws
        controls = open_controls(spans.source if whole else spans, layout.n_controls, options, parents)
    assert controls is not None
    for start in range(done["null"], n_controls, n_rows):
        here = slice(start, min(start + n_rows, n_controls))
        codes, parents = controls.read(here), controls.parents[here]
        kept = spans.cut(codes, parents) if whole else codes
        yield _Chunk("null", start, codes if whole else spans.put(kept, parents), kept, parents)


def open_controls(
    source: WindowReader, n_controls: int, options: AttributeOptions, parents: Rows | None = None
) -> ControlReader:
    """Draw the controls of some windows; `StoreError` where a background is wanted, and no genome is known."""
    if parents is None:
        parents = control_parents(np.arange(n_controls), len(source.windows), n_controls)
    if options.null == "shuffle":
        return ShuffledControls(source, parents, seed=options.seed, draw=options.draw)
    return BackgroundControls(source, parents, genome_of(source), seed=options.seed, draw=options.draw)


def genome_of(source: WindowReader) -> str:
    """Return the genome that windows were read from; `StoreError` where it is none that is known."""
    genome = (source.provenance.get("genome") or {}).get("file")
    if genome is None:
        raise StoreError(
            "null: background controls are windows of the genome, and the windows were not read from one; give it "
            "(`seqsal peaks A.h5 --null background --genome G.fa`), or take shuffles (--null shuffle)"
        )
    return str(genome)


def _attribute_chunk(
    prepared: _Prepared, i: int, chunk: _Chunk, of: Rows, layout: StoreLayout, device: torch.device, bar: Any
) -> list[Arrays]:
    """Compute a chunk's rows of the file for each result of a family; `of` are the groups of the rows by place."""
    groups = np.unique(of)
    if len(groups) == 1:
        return _attribute_rows(*prepared.at(i, int(groups[0])), chunk, layout, device, bar)
    tables = [_empty_arrays(chunk, layout, result.name) for result in prepared.families[i].results]
    for group in groups:
        rows = np.flatnonzero(of == group)
        part = chunk._replace(codes=chunk.codes[rows], kept=chunk.kept[rows], source=chunk.source[rows])
        found = _attribute_rows(*prepared.at(i, int(group)), part, layout, device, bar)
        for table, own in zip(tables, found, strict=True):
            for name in own.keys() - {"codes", "window/codes", "source"}:
                table[name][rows] = own[name]
    return tables


def _attribute_rows(
    family: PlannedMethod,
    view: TargetsModel,
    batches: Batches,
    chunk: _Chunk,
    layout: StoreLayout,
    device: torch.device,
    bar: Any,
) -> list[Arrays]:
    """Compute rows of which the same positions are read, for each result of a family."""
    tables = [_empty_arrays(chunk, layout, result.name) for result in family.results]

    def compute(start: int, stop: int) -> None:
        due, n_told = (stop - start) * family.method.n_passes(layout.length), 0

        def hear(n: int) -> None:
            nonlocal n_told
            n = min(n, due - n_told)  # unknown bases have one more
            n_told += n
            bar.update(n)

        codes, kept = chunk.codes[start:stop], chunk.kept[start:stop]
        X = one_hot_tensor(torch.from_numpy(codes).to(device))
        scores_unknown = family.method.scores_unknown or codes.max() < N_CODE
        with progress_told_to(hear):
            every = family.attribute(view, X)
        X, outside = _cut(X, layout.span), _outside(codes, kept, layout.span, device)
        for scores, arrays in zip(every, tables, strict=True):
            _fill(arrays, slice(start, stop), _cut_scores(scores, layout.span, outside), X, scores_unknown)
            if isinstance(scores, MemberScores) and "track_sd" in arrays:
                spread = _cut_scores(scores.spread, layout.span, outside)
                arrays["prediction_sd"][start:stop] = spread.prediction.cpu().numpy()
                arrays["track_sd"][start:stop] = spread.track(X).cpu().numpy()
        bar.update(due - n_told)

    batches.run(compute, len(chunk.codes))
    return tables


def _empty_arrays(chunk: _Chunk, layout: StoreLayout, result: str) -> Arrays:
    """Room for what a chunk's rows of a result hold; the first result brings along what all share."""
    n_rows, length = chunk.kept.shape
    own = layout.results.get(result, layout)  # the first result's settings are the layout's own
    arrays: Arrays = {
        "track": np.empty((n_rows, length), dtype=np.float32),
        "prediction": np.empty(n_rows, dtype=np.float32),
    }
    if own is layout:
        arrays["codes"] = chunk.kept
        if chunk.part == "main" and layout.has_windows:
            arrays["window/codes"] = chunk.codes
    if chunk.part == "null":
        return arrays | ({"source": chunk.source} if own is layout else {})
    if own.hypothetical:
        arrays["hypothetical"] = np.empty((n_rows, 4, length), dtype=np.float32)
    if own.completeness_error:
        arrays["completeness_error"] = np.empty(n_rows, dtype=np.float32)
    if own.noise:
        arrays["noise"] = np.empty((n_rows, length), dtype=np.float32)
    if layout.spread:
        arrays |= {name: np.empty_like(arrays[of]) for name, of in SPREADS.items()}
    return arrays


def _cut(values: torch.Tensor, span: Span) -> torch.Tensor:
    """Keep a span of the last axis."""
    return values if span.length == values.shape[-1] else values[..., span.start : span.end]


def _outside(
    codes: NDArray[np.uint8], kept: NDArray[np.uint8], span: Span, device: torch.device
) -> torch.Tensor | None:
    """Which bases of the spans (n, 1, K) are outside of narrower regions; None where none is."""
    differ = codes[:, span.start : span.end] != kept
    return torch.from_numpy(differ[:, None]).to(device) if differ.any() else None


def _cut_scores(scores: Scores, span: Span, outside: torch.Tensor | None) -> Scores:
    hypothetical = _cut(scores.hypothetical, span)
    noise = None if scores.noise is None else _cut(scores.noise, span)
    if outside is not None:
        hypothetical = hypothetical.masked_fill(outside, 0)
        noise = None if noise is None else noise.masked_fill(outside[:, 0], 0)
    return scores._replace(hypothetical=hypothetical, noise=noise)


def _fill(arrays: Arrays, rows: slice, scores: Scores, X: torch.Tensor, scores_unknown: bool) -> None:
    """Put the scores of a batch into the arrays of its chunk, as far as they are kept."""
    arrays["track"][rows] = project(scores.hypothetical, X).cpu().numpy()
    arrays["prediction"][rows] = scores.prediction.cpu().numpy()
    if "hypothetical" in arrays:
        hypothetical = scores.hypothetical if scores_unknown else mask_unknown(scores.hypothetical, X)
        arrays["hypothetical"][rows] = hypothetical.cpu().numpy()
    if "completeness_error" in arrays and scores.completeness_error is not None:
        arrays["completeness_error"][rows] = scores.completeness_error.cpu().numpy()
    if "noise" in arrays and scores.noise is not None:
        arrays["noise"][rows] = scores.noise.cpu().numpy()


def _check_finite(
    arrays: Mapping[str, NDArray[Any]], chunk: _Chunk, regions: pd.DataFrame, is_ratio: bool = False
) -> None:
    for name in ("prediction", "track"):
        values = arrays[name]
        bad = ~np.isfinite(values if values.ndim == 1 else values.sum(axis=1))
        if bad.any():
            row = regions.iloc[int(chunk.source[int(np.argmax(bad))])]
            where = format_region(row["chrom"], row["start"], row["end"])
            kind = "a control of " if chunk.part == "null" else ""
            raise ModelError(
                f"model: its {name} for {kind}{where} is not finite, expected numbers; "
                + (
                    "a log ratio is one of outputs above 0: give the difference"
                    if is_ratio
                    else "check the weights and the model's input scale"
                )
            )


def predict_codes(
    model: nn.Module, codes: NDArray[np.uint8], *, device: torch.device, rc_average: bool = False
) -> NDArray[np.float64]:
    """Predict sequences (n, L) in memory, (n,) in the model's output space, averaged over strands if so."""
    if not len(codes):
        return np.zeros(0)
    strands = (codes, reverse_complement(codes)) if rc_average else (codes,)
    values = [predict_windows(model, open_codes(strand), device=device).astype(np.float64) for strand in strands]
    return np.mean(values, axis=0)


def predict_windows(
    model: nn.Module,
    source: WindowReader,
    *,
    device: torch.device,
    batch_size: int | None = None,
    progress: bool | None = False,
) -> NDArray[np.float32]:
    """Predict every window of `source`, (N,) in the model's output space.

    Raises
    ------
    ModelError
        The model returns another shape.
    """
    each = predict_members(model, source, device=device, batch_size=batch_size, progress=progress)
    return each[0] if len(each) == 1 else each.mean(axis=0, dtype=np.float64).astype(np.float32)


def predict_members(
    model: nn.Module, source: WindowReader, *, device: torch.device, batch_size: int | None = None,
    progress: bool | None = False,
) -> NDArray[np.float32]:  # fmt: skip
    """Predict every window by each member of an ensemble, (M, N), or by the one model, (1, N); they are read once."""
    members: Sequence[nn.Module] = members_of(model) or [model]
    places, of = place_groups(model, source.windows)
    n_windows, n_rows = len(source.windows), max(CHUNK_BASES // source.length, 1)
    predictions = np.empty((len(members), n_windows), dtype=np.float32)
    if places != [()]:  # windows of one place together
        for group, place in enumerate(places):
            rows, where = np.flatnonzero(of == group), model_at(model, place)
            part = PickedWindows(source, rows)
            predictions[:, rows] = predict_members(where, part, device=device, batch_size=batch_size)
        return predictions
    starts = range(0, n_windows, n_rows)
    chunks = ((start, source.read(slice(start, min(start + n_rows, n_windows)))) for start in starts)
    with (
        settled(),
        batches_for(model, source, device, n_windows, batch_size=batch_size) as batches,
        progress_bar(
            total=n_windows,
            unit="window",
            disable=None if progress is None else not progress,
            delay=BAR_DELAY if progress is None else 0,
        ) as bar,
    ):
        fast: list[nn.Module] = []
        for first, codes in read_ahead(chunks):
            if not fast:
                X = one_hot_tensor(torch.from_numpy(codes[:1]).to(device))
                fast = [fast_predictions(member, X) for member in members]

            def compute(
                start: int, stop: int, fast: Sequence[nn.Module] = fast, first: int = first,
                codes: NDArray[np.uint8] = codes,
            ) -> None:  # fmt: skip
                X = one_hot_tensor(torch.from_numpy(codes[start:stop]).to(device))
                for own, member in zip(predictions, fast, strict=True):
                    with torch.no_grad():
                        values = member(X)
                    check_prediction(values, stop - start)
                    own[first + start : first + stop] = values.cpu().numpy()
                bar.update(stop - start)

            batches.run(compute, len(codes))
    return predictions
