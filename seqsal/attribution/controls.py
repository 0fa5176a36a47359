"""Controls, made when something needs them.

`seqsal.attribute` explains the windows that it is given and nothing else. Peaks are called against controls, shuffles
of those windows or windows of the background, attributed in the same way, which may cost a hundred times as much as the
windows. So they are made here, on the first call that needs them, from the model that attributions made in this process
remember, or from the checkpoint that their file names, or from one that is given. They are the same to the last bit as
controls that are made together with the windows, and are kept: in memory, or in the attribution file.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from seqsal.attribution.compute import frozen_on_device
from seqsal.attribution.engine import AttributionRun
from seqsal.attribution.methods.registry import METHODS
from seqsal.attribution.passes import Sink, chunk_rows, plan_for, predict_codes, run_pass
from seqsal.attribution.readouts import model_at, place_groups
from seqsal.attribution.request import (
    AttributeOptions,
    PlannedMethod,
    check_null,
    option_names,
    plan_methods,
    read_model_of,
    target_of,
)  # fmt: skip
from seqsal.attribution.spans import KeptSpans, WindowReader
from seqsal.attribution.targets import TargetView, with_target
from seqsal.errors import ModelError, StoreError
from seqsal.io.attributions import Array, Attributions, Controls
from seqsal.io.store import ResultLayout, StoreLayout, read_attributions, read_attrs, result_prefix
from seqsal.io.store_writer import ControlsWriter, MemorySink
from seqsal.models import resolve_device
from seqsal.models.ensemble import members_of
from seqsal.regions import format_region, windows_of
from seqsal.sequence.draws import ShuffledControls, control_parents, count_repeats, default_n_controls
from seqsal.sequence.tensors import one_hot_tensor, reverse_complement_tensor

__all__ = [
    "add_controls", "attributer", "control_codes", "make_controls", "most_controls", "options_of_attributions",
    "predictor", "recorded_model", "run_of_attributions",
]  # fmt: skip

MOST_GROWTH, WINDOWS_A_CONTROL = 8, 1
MOST_GROWN_BASES = 500_000_000  # that go through the model: 8,000 controls of 2 kb by one gradient are 16 million
NAMES = {"shuffle": "shuffled windows", "background": "background windows"}
N_CHECKED = 8  # windows whose predictions must be those on record
TOLERANCE = {"fp32": 1e-3, "tf32": 1e-2, "bf16": 5e-2}  # of them, relative to the largest
Maps = list[tuple[NDArray[np.float32], NDArray[np.float32] | None]]  # tracks, and hypothetical scores
Attribute = Callable[[NDArray[np.uint8]], Maps]
logger = logging.getLogger(__name__)


def make_controls(
    attr: Attributions,
    model: nn.Module | str | os.PathLike[str] | None = None,
    *,
    n_controls: int | None = None,
    null: str | None = None,
    genome: str | os.PathLike[str] | None = None,
    why: str = "",
    device: str = "auto",
    progress: bool | None = False,
) -> Controls:
    """Give attributions the controls that they lack, and keep them there: in memory, or in their file.

    Attributions that have `n_controls` or more, of the kind `null` (None is the kind that they have, or were to have),
    stay as they are; those of another kind are replaced, of every result. `genome` is what background controls are
    windows of; None is the file that the windows were read from. `n_controls` None takes as many as another result of
    the same file has, or else :func:`seqsal.sequence.draws.default_n_controls`. `model` is what made them, as for
    :func:`seqsal.attribute`; None takes the model that they remember, or else the seqsal checkpoint that their file
    names, if it is still where it was. `why` is the reason, for the message. Raises `StoreError` where no model is at
    hand, or the attributions cannot be made again, and `ModelError` where the model predicts other values for them.
    """
    null = attr.null if null is None else null
    check_null(null)
    if attr.controls is not None and attr.n_controls >= max(n_controls or 0, 1) and attr.controls.kind == null:
        return attr.controls
    if attr.method == "imported":
        raise StoreError(
            "controls: the imported attributions have no shuffled controls, expected some to compare peaks with; write "
            "sequences with `seqsal controls`, score them as the windows were, and import again with --null"
        )
    source = _Windows(attr, genome)
    run = _run_of(attr, source, model, device, null)
    _check_predictions(attr, run)
    planned = _planned(attr, run.planned)
    file = _file_of(attr)
    recorded = _recorded(attr, file, null)
    if recorded is not None and len(recorded) < (n_controls or 0):
        recorded = None  # the first of those that are drawn now are the same
    n_controls = len(recorded) if recorded else n_controls or default_n_controls(len(attr), attr.length)
    n_kept = attr.n_controls if attr.null == null else 0
    if attr.n_controls and not n_kept:
        why = f"in place of {attr.n_controls:,} {NAMES[attr.null]}, since --null is {null} now"
    _announce(n_controls - n_kept, null, attr.name, f"in {file}" if file else "with the attributions", why)
    if file is not None:
        _append(file, attr, source, run, planned, n_controls, progress)
        made = read_attributions(file, attr.name, in_memory=isinstance(attr.track, np.ndarray)).controls
        attr.keep(controls=made)
    else:
        layout = _layout(run, planned, source, n_controls)
        sink = MemorySink(layout, controls_only=True)
        found = [attr.result(one.name).controls for one in planned.results]
        before = [one if one and one.kind == null else None for one in found]
        parents = _parents(before[0], recorded, len(attr), n_controls)
        _take_over(sink, planned, before, parents)
        _stream(run, planned, source, layout, recorded, parents, sink, progress)
        for result in planned.results:
            owner = attr if result.name == attr.name else attr.result(result.name)
            owner.keep(controls=sink.controls(result.name if result.name in layout.results else None))
    assert attr.controls is not None
    return attr.controls


def add_controls(
    path: str | os.PathLike[str],
    run: AttributionRun,
    n_controls: int,
    *,
    or_more: bool = False,
    progress: bool | None = False,
) -> None:
    """Give every result of a finished file this number of controls where it has none, or others.

    `run` made the results; with `or_more` a larger number, to which they grew, will do as well. Raises `ModelError`
    where its model predicts other values than the file has, and `OutputError` where that cannot be written to.
    """
    attr = read_attributions(path, in_memory=False)
    for planned in run.planned:
        numbers = {_n_controls(Path(path), result.name, run.options.null) for result in planned.results}
        if numbers != {n_controls} and not (or_more and min(numbers) > n_controls):
            _check_predictions(attr.result(planned.results[0].name), run)
            _announce(n_controls, run.options.null, planned.results[0].name, f"in {path}")
            _append(Path(path), attr, _Windows(attr), run, planned, n_controls, progress)


def control_codes(attr: Attributions, most: int) -> NDArray[np.uint8]:
    """Return the sequences (n, L) of the first controls, those on record or those that will be made; needs no model."""
    n_controls = default_n_controls(len(attr), attr.length)
    parents = control_parents(np.arange(n_controls), len(attr), n_controls)
    if attr.controls is not None and attr.controls.codes is not None and len(attr.controls):
        return _Recorded(attr.controls.codes, parents).read(slice(0, most))
    seed, draw = int(attr.attrs.get("seed", 0)), int(attr.attrs.get("draw", 0))
    return ShuffledControls(KeptSpans(_Windows(attr), attr.span), parents, seed=seed, draw=draw).read(slice(0, most))


def options_of_attributions(attr: Attributions) -> AttributeOptions:
    """Return the options that attributions were made with, as far as they shape the numbers.

    Raises
    ------
    StoreError
        They are by a method that is not one of seqsal's.
    """
    described = _descriptions(attr)
    methods = list(dict.fromkeys(str(one.get("method")) for one in described))
    if unknown := [method for method in methods if method not in METHODS]:
        raise StoreError(
            "controls: the attributions have no shuffled controls, expected some to compare peaks with, and "
            f"{unknown[0]} is not a method of seqsal, so none can be made now; "
            "attribute again with seqsal.attribute(…, n_controls=N)"
        )
    options = {str(one.get("method")): dict(one.get("options", {})) for one in described}
    own = {
        (name if len(methods) == 1 else f"{method}.{name}"): value
        for method, given in options.items()
        for name, value in given.items()
        if name in option_names(method) and not (name == "layer" and " " in str(value))  # one that was found, no name
    }
    targets = list(dict.fromkeys(target_of(one) for one in described))
    return AttributeOptions(
        method=methods,
        method_options=own,
        target=targets,
        rc_average=bool(options[methods[0]].get("rc_average", False)),
        seed=int(attr.attrs.get("seed", 0)),
        draw=int(attr.attrs.get("draw", 0)),
        null=attr.null,
        precision=str(attr.attrs.get("precision", "fp32")),
        compile=bool(attr.attrs.get("compiled", False)),
        span=attr.span if "span" in attr.attrs else None,
        control_shuffle=str(attr.attrs.get("control_shuffle", "span")),
        keep_bits=attr.attrs.get("keep_bits"),
    )


class _Windows:
    """The windows of attributions, as a :class:`seqsal.attribution.passes.WindowReader`."""

    _windows: pd.DataFrame | None

    def __init__(self, attr: Attributions, genome: str | os.PathLike[str] | None = None) -> None:
        self._attr, self._windows, self.rejected = attr, None, attr.rejected
        self.codes: Array = attr.codes if attr.window_codes is None else attr.window_codes
        self.length, self.chrom_sizes = attr.window_length, dict(attr.chrom_sizes)
        self.provenance: dict[str, Any] = dict(attr.attrs.get("genome", {}))
        if genome is not None:
            self.provenance["genome"] = {"file": str(genome)}

    @property
    def windows(self) -> pd.DataFrame:
        """Their table, read when it is asked for."""
        return self._attr.windows if self._windows is None else self._windows

    @windows.setter
    def windows(self, table: pd.DataFrame) -> None:
        self._windows = table

    def read(self, rows: slice | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return codes of some windows, (n, L) uint8."""
        return np.asarray(self.codes[rows], dtype=np.uint8)


class _Recorded:
    """Controls that another result of the same windows has, to be attributed by a further method."""

    def __init__(self, codes: Array, parents: NDArray[np.int64]) -> None:
        self._codes, self.parents = codes, parents

    def __len__(self) -> int:
        return len(self.parents)

    def read(self, rows: slice) -> NDArray[np.uint8]:
        """Return codes of some controls, (n, L) uint8."""
        return np.asarray(self._codes[rows])


def run_of_attributions(
    attr: Attributions, model: nn.Module | str | os.PathLike[str] | None = None, device: str = "auto"
) -> AttributionRun:
    """Return what made attributions, with its model; raises as :func:`make_controls` where that is not at hand."""
    run = _run_of(attr, _Windows(attr), model, device, attr.null)
    _check_predictions(attr, run)
    return run


def predictor(
    attr: Attributions, run: AttributionRun, rc_average: bool | None = None
) -> Callable[[NDArray[np.uint8]], NDArray[np.float64]]:
    """Return what predicts whole windows (n, W) as (n,), by the run of attributions and in their output space.

    Strands are averaged where they are in the attributions, unless `rc_average` says otherwise. StoreError: a sequence
    cannot be predicted by itself.
    """
    target = next(one.target for one in run.results if one.name == attr.name)
    rc_average = run.options.rc_average if rc_average is None else rc_average
    has_places = getattr(run.model, "grid", None) is not None
    places, _ = place_groups(run.model, attr.windows if has_places else attr.rows([]))
    if len(places) > 1:
        raise StoreError(
            f"readout_at: the windows were read at {len(places):,} places, so that no sequence can be predicted by "
            "itself, expected one; attribute them with the place in the middle (readout_at='summit±…')"
        )
    model = with_target(model_at(run.model, places[0]), target)
    return partial(predict_codes, model, device=run.device, rc_average=rc_average)


def attributer(attr: Attributions, run: AttributionRun, *, most_passes: int) -> Attribute | None:
    """Return what attributes other sequences (n, W) as the run made attributions.

    It gives tracks (n, L) and hypothetical scores (n, 4, L), of each member where the model is an ensemble; one track
    and None by a method that scores positions. None where the attributions are averaged over both strands or take more
    passes of the model than `most_passes` a window.
    """
    planned = _planned(attr, run.planned)
    if run.options.rc_average or planned.method.n_passes(attr.length) > most_passes:
        return None
    has_all = planned.method.hypothetical
    members: Sequence[nn.Module] = members_of(run.model) if has_all else []
    each = [(one, _planned(attr, plan_for(one, run.options))) for one in members] or [(run.model, planned)]

    def attribute(codes: NDArray[np.uint8]) -> Maps:
        source = _Windows(attr)
        source.windows = windows_of(attr.rows(np.zeros(len(codes), dtype=np.int64)))
        source.codes = codes
        layout = _layout(run, planned, source, 0)
        name = attr.name if attr.name in layout.results else None
        results = {name: layout.results[name]._replace(hypothetical=has_all)} if name else {}
        layout = replace(layout, hypothetical=has_all and not name, results={**layout.results, **results})
        found = []
        for model, own in each:
            sink = MemorySink(layout)
            run_pass(model, source, run.options, [own], layout, sink, device=run.device)
            fields = sink.fields(name)
            found.append((fields["track"], fields.get("hypothetical")))
        return found

    return attribute


def _planned(attr: Attributions, planned: Sequence[PlannedMethod]) -> PlannedMethod:
    """Return what makes the result that attributions are."""
    return next(one for one in planned if attr.name in [result.name for result in one.results])


def _announce(n_controls: int, null: str, name: str, where: str, why: str = "") -> None:
    logger.info(
        "controls: attributing %s %s by %s, %s; they are kept %s",
        f"{n_controls:,}", NAMES[null], name, why or "to compare peaks with", where,
    )  # fmt: skip


def _run_of(
    attr: Attributions, source: WindowReader, model: nn.Module | str | os.PathLike[str] | None, device: str, null: str
) -> AttributionRun:
    """Return the run that makes these attributions again: the one remembered, or one made from their attributes."""
    remembered: AttributionRun | None = attr.run
    if model is None and remembered is not None:
        options = replace(remembered.options, null=null, span=attr.span)
        return AttributionRun(remembered.model, source, options, remembered.device)
    given, reason = recorded_model(attr) if model is None else (model, "")
    if given is None:
        raise StoreError(
            f"controls: the attributions have no shuffled controls, expected some to compare peaks with, and {reason}; "
            "give it, model=… or `seqsal peaks A.h5 --model M`, or make them with `seqsal attribute … --controls N`"
        )
    options = options_of_attributions(attr) if remembered is None else replace(remembered.options, span=attr.span)
    where = resolve_device(device)
    again = read_model_of(given, attr, device=where)
    return AttributionRun(again, source, replace(options, null=null), where)


def recorded_model(attr: Attributions) -> tuple[Path | list[Path] | None, str]:
    """Return the checkpoint that attributions name, or those of an ensemble: data, which run no code.

    None, and the reason, where it is of another kind, is not found, or has changed.
    """
    model = dict(attr.attrs.get("model", {}))
    if "ensemble" not in model:
        return _recorded_file(attr, model, attr.attrs.get("model_path"))
    paths = attr.attrs.get("model_path") or [None] * len(model["ensemble"])
    found = [_recorded_file(attr, one, path) for one, path in zip(model["ensemble"], paths, strict=True)]
    reason = next((reason for _, reason in found if reason), "")
    return None if reason else [path for path, _ in found if path is not None], reason


def _recorded_file(attr: Attributions, model: Mapping[str, Any], path: Any) -> tuple[Path | None, str]:
    """Return the checkpoint that a model was read from, as :func:`recorded_model`."""
    name, digest = str(model.get("file", "")), model.get("sha256")
    if "factory" in model:
        return None, f"their model, {model['factory']}, is code, which is not run because a file names it"
    if not name:
        return None, "the file does not say which model made them"
    if not name.endswith(".safetensors"):
        return None, f"their model, {name}, is not loaded unless you give it"
    folders = [] if attr.path is None else [attr.path.parent]
    named = Path(str(path or name))
    places = [named, *(folder / one for folder in folders for one in (named, name)), Path(name)]
    found = [place for place in places if place.is_file()]
    for place in found:
        with place.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == digest:
                return place, ""
    return None, f"their model, {named}, " + ("has changed since" if found else "is not where it was")


def _check_predictions(attr: Attributions, run: AttributionRun) -> None:
    """Raise unless the model predicts what is on record for a few of the windows."""
    result = next(one for one in run.results if one.name == attr.name)
    rows, source = np.unique(np.linspace(0, len(attr) - 1, min(len(attr), N_CHECKED)).astype(np.int64)), _Windows(attr)
    places, of = place_groups(run.model, windows_of(attr.rows(rows)))
    expected = np.asarray(attr.prediction[rows], dtype=np.float64)
    found = np.empty(len(rows))
    precision = run.options.precision
    with frozen_on_device(run.model, run.device, precision), torch.no_grad():
        for i, row in enumerate(rows):
            place = model_at(run.model, places[of[i]])
            model = TargetView(place, (result.target,), run.device, precision).single[0]
            X = one_hot_tensor(torch.from_numpy(source.read(slice(row, row + 1))).to(run.device))
            strands = (X, reverse_complement_tensor(X)) if run.options.rc_average else (X,)
            found[i] = float(torch.stack([model(strand).float() for strand in strands]).mean())
    off = ~np.isclose(found, expected, rtol=0, atol=TOLERANCE[precision] * max(float(np.abs(expected).max()), 1e-6))
    if off.any():
        i = int(np.argmax(off))
        row = attr.rows([int(rows[i])]).iloc[0]
        raise ModelError(
            f"model: predicts {found[i]:.4g} for {format_region(row['chrom'], row['start'], row['end'])}, where the "
            f"attributions have {expected[i]:.4g}, so it is another model or is read in another way; give the one that "
            "made them, or attribute again"
        )


def _file_of(attr: Attributions) -> Path | None:
    """Return the file that attributions stand in, if controls can be added to it."""
    if attr.path is None or not attr.path.is_file():
        return None
    with h5py.File(attr.path, "r") as file:
        same = len(file["prediction"]) == len(attr) and file["track"].shape == attr.track.shape
        prefix = _prefix(file, attr.name)
        same = same and prefix is not None
        same = same and np.array_equal(file[f"{prefix}prediction"][...], np.asarray(attr.prediction), equal_nan=True)
    if not same:  # a part of them
        return None
    if not os.access(attr.path.resolve().parent, os.W_OK | os.X_OK):
        logger.warning("%s: its folder cannot be written to, so the controls are kept in memory only", attr.path)
        return None
    return attr.path


def _prefix(file: h5py.File, name: str) -> str | None:
    """Path of a result in a file, None where there is no such result."""
    if name == str(file.attrs.get("result", file.attrs.get("method", ""))):
        return ""
    return result_prefix(name) if result_prefix(name) in file else None


def _n_controls(path: Path, name: str, null: str) -> int:
    """Count the controls of a result that are of a kind."""
    with h5py.File(path, "r") as file:
        track = f"{_prefix(file, name)}null/track"
        return len(file[track]) if track in file and file.attrs.get("null", "shuffle") == null else 0


def _recorded(attr: Attributions, path: Path | None, null: str) -> _Recorded | None:
    """Sequences of controls of a kind that another result has."""
    if path is not None:
        with h5py.File(path, "r") as file:
            is_other = file.attrs.get("null", "shuffle") != null
            if is_other or "null/codes" not in file or "null/source" not in file:
                return None
            return _Recorded(file["null/codes"][...], file["null/source"][...])
    if attr.open_result is None:
        return None
    for other in (attr.result(name).controls for name in attr.results if name != attr.name):
        if other and other.kind == null and other.codes is not None and other.source is not None:
            return _Recorded(other.codes, np.asarray(other.source))
    return None


def _append(
    path: Path, attr: Attributions, source: _Windows, run: AttributionRun, planned: PlannedMethod, n_controls: int,
    progress: bool | None,
) -> None:  # fmt: skip
    """Add controls of the results of one planned method to their file, unless somebody else has meanwhile."""
    names, null = [result.name for result in planned.results], run.options.null
    with ControlsWriter(path, names, n_controls, null=null) as writer:
        if all(_n_controls(path, name, null) == n_controls for name in names):
            writer.discard()
            return
        recorded = _recorded(attr, path, null)
        recorded = recorded if recorded is not None and len(recorded) == n_controls else None
        made = [_controls_in(path, name, null) for name in names]
        parents = _parents(made[0], recorded, len(attr), n_controls)
        n_done = writer.done["null"]
        if not n_done or not np.array_equal(writer.file["null/source"][:n_done], parents[:n_done]):
            writer.done["null"] = 0
            _take_over(writer, planned, made, parents)
        layout = _layout(run, planned, source, n_controls)
        _stream(run, planned, source, layout, recorded, parents, writer, progress)
        writer.finish()


def _controls_in(path: Path, name: str, null: str) -> Controls | None:
    """Return the controls of a kind of a result in a file, None where it has none."""
    return read_attributions(path, name).controls if _n_controls(path, name, null) else None


def _parents(made: Controls | None, recorded: _Recorded | None, n_windows: int, n_controls: int) -> NDArray[np.int64]:
    """Windows that controls are of, (M,): those that there are first, where all of them are among the wanted."""
    if recorded is not None:
        return recorded.parents
    wanted = control_parents(np.arange(n_controls), n_windows, n_controls)
    if made is None or made.source is None:
        return wanted
    first = np.asarray(made.source)
    n_made = np.bincount(first, minlength=n_windows)
    if (n_made > np.bincount(wanted, minlength=n_windows)).any():
        return wanted
    return np.concatenate([first, wanted[count_repeats(wanted.astype(np.uint64)) >= n_made[wanted]]])


def _take_over(
    sink: MemorySink | ControlsWriter,
    planned: PlannedMethod,
    made: Sequence[Controls | None],
    parents: NDArray[np.int64],
) -> None:
    """Copy the controls that there are, where they are the first of the wanted ones."""
    first = made[0]
    complete = (one is not None and one.prediction is not None and len(one) == len(made[0] or ()) for one in made)
    if first is None or first.source is None or not all(complete):
        return
    if len(first) >= len(parents) or not np.array_equal(parents[: len(first)], np.asarray(first.source)):
        return
    for number, (result, controls) in enumerate(zip(planned.results, made, strict=True)):
        assert controls is not None
        shared = {"codes": controls.codes, "source": controls.source} if not number else {}
        own = {"track": controls.track, "prediction": controls.prediction}
        arrays = {name: np.asarray(values) for name, values in {**own, **shared}.items()}
        is_last = number == len(made) - 1
        sink.write("null", 0, arrays, result=result.name if number else None, complete=is_last)
    sink.done["null"] = len(first)


def most_controls(attr: Attributions) -> int:
    """Return the number to which controls grow by themselves: 8 times the usual one, or about one for every window.

    Fewer where a window takes long.

    Raises
    ------
    StoreError
        They are by a method that is not one of seqsal's.
    """
    options = options_of_attributions(attr) if attr.run is None else attr.run.options
    planned = _planned(attr, plan_methods(options))
    usual = most = default_n_controls(len(attr), attr.length)
    bases = attr.window_length * planned.method.n_passes(attr.length)
    while 2 * most <= max(MOST_GROWTH * usual, len(attr) // WINDOWS_A_CONTROL) and 2 * most * bases <= MOST_GROWN_BASES:
        most *= 2
    return most


def _layout(run: AttributionRun, planned: PlannedMethod, source: WindowReader, n_controls: int) -> StoreLayout:
    others = {result.name: ResultLayout({}) for result in planned.results[1:]}
    planned_layout = run.plan_layout(source, n_controls)
    return replace(planned_layout, hypothetical=False, completeness_error=False, noise=False, spread=False,
                   results=others)  # fmt: skip


def _stream(
    run: AttributionRun,
    planned: PlannedMethod,
    source: WindowReader,
    layout: StoreLayout,
    recorded: _Recorded | None,
    parents: NDArray[np.int64],
    sink: Sink,
    progress: bool | None,
) -> None:
    """Attribute controls in the very batches that they would be in together with the windows."""
    run_pass(
        run.model, source, run.options, [planned], layout, sink, device=run.device, controls=recorded,
        parents=parents, n_rows=chunk_rows(run.planned, source.length, layout.length), progress=progress,
    )  # fmt: skip


def _descriptions(attr: Attributions) -> list[dict[str, Any]]:
    """Attributes of every result, in order."""
    if attr.path is not None and attr.path.is_file():
        with h5py.File(attr.path, "r") as file:
            groups = {name: _prefix(file, name) for name in attr.results}
            return [read_attrs(file[prefix or "/"]) for prefix in groups.values() if prefix is not None]
    return [attr.attrs if name == attr.name else attr.result(name).attrs for name in attr.results]
