"""What a caller wants: a model, the windows that it is applied to, and how they are attributed.

A :class:`Request` is made by Python's `attribute` and `score`, by the command line and by `run`, and is checked when it
is made: nothing is read yet, but a name that is not known, or arguments that contradict each other, are refused here.
The engine gets its part of it, the :class:`AttributeOptions`, and plans what they come to: one instance of a method for
one or several targets (:func:`plan_methods`), and a result for each.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import operator
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from seqsal.attribution.compute import check_precision
from seqsal.attribution.methods.base import Method, ReverseComplementAverage, Scores, TargetsModel
from seqsal.attribution.methods.registry import METHODS, make_method, parameters_of
from seqsal.attribution.readouts import check_readout
from seqsal.attribution.spans import check_span
from seqsal.errors import MethodError, ModelError, UsageError, counted, did_you_mean, kind_of, shown
from seqsal.io.attributions import NULLS, Attributions
from seqsal.io.rounding import MANTISSA
from seqsal.models import SequenceModel, load_model, wrap
from seqsal.models.contrast import Contrast, Target, find_target, parse_contrast, read_target_names
from seqsal.models.ensemble import Ensemble
from seqsal.models.grid import Grid
from seqsal.models.output_space import OUTPUT_SPACES
from seqsal.regions import Span
from seqsal.sequence.draws import MAX_DRAWS

__all__ = [
    "AttributeOptions",
    "ModelSpec",
    "PlannedMethod",
    "Request",
    "Result",
    "check_null",
    "identify_model",
    "make_request",
    "model_name",
    "model_names",
    "plan_methods",
    "read_model",
    "read_model_of",
]

TARGETS_AT_ONCE = 16  # that share a forward pass: each one's scores of a chunk are in memory together
FILE_READING = ("weights", "trust_model", "trust_pickle")  # how a file is read, which a module in memory has no use for
READING = (*FILE_READING, *(name for name in inspect.signature(wrap).parameters if name not in ("module", "target")))
PathLike = str | os.PathLike[str]
ModelSpec = PathLike | nn.Module | Sequence[PathLike | nn.Module]


@dataclass(frozen=True)
class AttributeOptions:
    """How to attribute.

    Attributes
    ----------
    method
        A method's name, or a :class:`Method` of one's own, or several: the first is the file's main result.
    method_options
        Options of the methods that are named, such as `gradient_correction`. With several methods an option goes to
        those that have it; `method.option` addresses one.
    target
        Which output, or several, counted from 0 or by name; None for the one that the model was wrapped for.
    contrast
        Weighted differences of outputs, one or several, as :func:`seqsal.models.contrast.parse_contrast` reads them;
        they come after the targets, if those are given too.
    target_names
        Names of the outputs: a file or a list, as :func:`seqsal.models.contrast.read_target_names` reads it.
    rc_average
        Average over both strands.
    n_controls
        Controls made together with the windows; 0 leaves them to be made when something needs
        them (:func:`seqsal.attribution.controls.make_controls`). `auto` makes
        :func:`seqsal.sequence.draws.default_n_controls` where those are no more than the windows, else none.
    null
        What controls are: `shuffle` (dinucleotide shuffles of the windows) or `background` (windows of the genome away
        from the regions, of the same G+C, soft-masked share and Ns; :mod:`seqsal.io.background`).
    hypothetical
        Keep the (N, 4, L) scores of all four bases, of the methods that give them; None does so too, but does not mind
        where none does.
    seed
        Of everything random.
    draw
        Another number gives other controls, references and noise; see :mod:`seqsal.sequence.draws`.
    batch_size
        Windows at a time; None lets the device decide.
    precision
        Of :data:`seqsal.attribution.compute.PRECISIONS`.
    compile
        Let torch.compile fuse the model's operations for the methods that can use it.
    span, flank
        The part of the window that is kept, as :func:`seqsal.attribution.spans.check_span` reads it, None for all of
        it; and how many bp it is widened by on either side.
    keep_bits
        Round scores of each base to this many bits of mantissa, 1 to 22, as :mod:`seqsal.io.rounding` does; None for
        all that float32 has.
    control_shuffle
        What controls are shuffles of: ``span``, so that they stand where the windows' own bases stand, in the same
        surroundings, or the whole ``window``.

    Raises
    ------
    UsageError
        A number is too small, a list is empty or names something twice, or the precision is unknown.
    MethodError
        As :func:`plan_methods`.
    """

    method: str | Method | Sequence[str | Method] = "gradient_x_input"
    method_options: Mapping[str, Any] = field(default_factory=dict)
    target: Target | str | Sequence[Target | str] | None = None
    contrast: Any = None
    target_names: PathLike | Sequence[str] | None = None
    rc_average: bool = False
    n_controls: int | str = 0
    null: str = "shuffle"
    hypothetical: bool | None = False
    seed: int = 0
    draw: int = 0
    batch_size: int | None = None
    precision: str = "fp32"
    compile: bool = False
    span: int | str | Span | None = None
    flank: int = 0
    control_shuffle: str = "span"
    keep_bits: int | None = None

    def __post_init__(self) -> None:
        if not _is_whole(self.flank) or self.flank < 0:
            raise UsageError(f"flank: got {shown(self.flank)}, expected a whole number of bases, 0 or more")
        object.__setattr__(self, "span", check_span(self.span, self.flank))
        if self.control_shuffle not in ("span", "window"):
            raise UsageError(f"control_shuffle: got {shown(self.control_shuffle)}, expected 'span' or 'window'")
        if not (isinstance(self.n_controls, str) and self.n_controls == "auto") and not (
            _is_whole(self.n_controls) and int(self.n_controls) >= 0
        ):
            raise UsageError(f"n_controls: got {shown(self.n_controls)}, expected a whole number, 0 or more, or 'auto'")
        check_null(self.null)
        if self.batch_size is not None and not (_is_whole(self.batch_size) and self.batch_size >= 1):
            raise UsageError(f"batch_size: got {shown(self.batch_size)}, expected a whole number, 1 or more")
        if self.keep_bits is not None and not (_is_whole(self.keep_bits) and 1 <= self.keep_bits < MANTISSA):
            raise UsageError(
                f"keep_bits: got {shown(self.keep_bits)}, expected a whole number from 1 to {MANTISSA - 1}, bits of "
                f"mantissa that scores are rounded to; leave it out to keep all {MANTISSA}"
            )
        if not _is_whole(self.draw) or not 0 <= self.draw < MAX_DRAWS:
            raise UsageError(f"draw: got {shown(self.draw)}, expected a whole number from 0 to {MAX_DRAWS - 1}")
        if not _is_whole(self.seed) or not -(1 << 63) <= self.seed < 1 << 63:
            raise UsageError(f"seed: got {shown(self.seed)}, expected a whole number that fits into 64 bits")
        for name in ("rc_average", "compile"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"{name}: got {shown(getattr(self, name))}, expected True or False")
        self._find_targets()
        for name, values in (("method", self.methods), ("target", self.targets)):
            if not values:
                raise UsageError(f"{name}: got none, expected one or more")
            if len(set(values)) < len(values):
                raise UsageError(f"{name}: got {', '.join(map(str, values))}, expected each once")
        check_precision(self.precision)
        plan_methods(self)

    def _find_targets(self) -> None:
        """Put numbers for named targets, and contrasts for what was given as text, files or weights."""
        names = () if self.target_names is None else read_target_names(self.target_names)
        for target in _listed(self.target):
            if target is not None and not isinstance(target, (str, Contrast)) and not _is_whole(target):
                raise UsageError(f"target: got {kind_of(target)}, expected a whole number or a list of them")
        found = tuple(t if isinstance(t, Contrast | None) else find_target(t, names) for t in _listed(self.target))
        object.__setattr__(self, "target", found if len(found) != 1 else found[0])
        given = () if self.contrast is None else _listed(self.contrast)
        contrasts = given if all(isinstance(one, (str, os.PathLike, Contrast)) for one in given) else (self.contrast,)
        object.__setattr__(self, "contrast", tuple(parse_contrast(one, names) for one in contrasts) or None)

    def check_names(self, n_targets: int | None) -> None:
        """Raise `UsageError` unless there is a name for each output of the model; None where that is not known yet."""
        names = () if self.target_names is None else read_target_names(self.target_names)
        if names and n_targets not in (None, len(names)):
            raise UsageError(
                f"target_names: got {counted(len(names), 'name')}, the model has {counted(n_targets, 'output')}; "
                "give a name for each, in their order"
            )

    def name_of(self, target: Target | None) -> str | None:
        """Return the name of an output, or of a contrast; None where it has none."""
        if isinstance(target, Contrast):
            return target.text
        names = () if self.target_names is None else read_target_names(self.target_names)
        return names[target or 0] if (target or 0) < len(names) else None

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods, in order."""
        return tuple(_method_name(method) for method in _listed(self.method))

    @property
    def targets(self) -> tuple[Target | None, ...]:
        """The targets, and then the contrasts, in order; (None,) for the model's own."""
        contrasts = self.contrast or ()
        return contrasts if contrasts and self.target is None else (*_listed(self.target), *contrasts)


@dataclass(frozen=True, eq=False)
class Request:
    """A model, the windows that it is applied to, and how they are attributed.

    Attributes
    ----------
    model
        A model file or ``package.module:factory``, as :func:`seqsal.load_model` takes it, any `nn.Module`, or one from
        :func:`seqsal.wrap`; several of these are an ensemble.
    reading
        How the model is read: arguments of :func:`seqsal.load_model` and :func:`seqsal.wrap`, as far as given.
    genome, regions, fasta, X, ignore_strand, tile, blocks
        The windows: a genome and regions (a file or a table), or a FASTA alone, or one-hot (N, 4, L), of which
        `regions` may be the table; see :func:`seqsal.io.inputs.open_input`.
    options
        How to attribute.
    readout_at, gene
        Which positions of a model's profile are read of each window, as
        :func:`seqsal.attribution.readouts.check_readout` takes it.
    bin_size, crop
        Where those positions lie in the window (bp); None measures it.
    device
        `auto`, `cpu` or `cuda[:i]`.
    held_out
        Leave out the regions that the model was trained on.
    step, exclude
        Where `regions` are whole chromosomes: the distance (bp) of windows, and a BED file of what is left out.

    Raises
    ------
    UsageError
        An argument is unknown, of the wrong kind, or contradicts another.
    ModelError
        The model is of no kind that can be read.
    """

    model: ModelSpec
    reading: Mapping[str, Any] = field(default_factory=dict)
    genome: PathLike | None = None
    regions: PathLike | pd.DataFrame | Sequence[str] | None = None
    fasta: PathLike | None = None
    X: Any = field(default=None, repr=False)
    ignore_strand: bool = False
    tile: bool = False
    blocks: bool = False
    readout_at: PathLike | None = None
    gene: str | None = None
    bin_size: int | None = None
    crop: int | None = None
    options: AttributeOptions = field(default_factory=AttributeOptions)
    device: str = "auto"
    held_out: bool = False
    step: int | None = None
    exclude: PathLike | None = None

    def __post_init__(self) -> None:
        check_reading(self.model, self.reading)
        if not isinstance(self.tile, bool):
            raise UsageError(
                f"tile: got {shown(self.tile)}, expected True or False, whether long regions are covered by several "
                "windows; a number is the width of a tile of method='tiles' (--method tiles)"
            )
        object.__setattr__(self, "readout_at", check_readout(self.readout_at, self.gene))
        for name in ("bin_size", "crop", "step"):
            value = getattr(self, name)
            if value is not None and not (_is_whole(value) and value >= (name != "crop")):
                raise UsageError(f"{name}: got {shown(value)}, expected a whole number of bp")
        for name in ("genome", "regions", "fasta", "exclude"):
            value = getattr(self, name)
            table = name == "regions" and (isinstance(value, pd.DataFrame) or _are_texts(value))
            if value is not None and not table and not isinstance(value, (str, os.PathLike)):
                kinds = "a file, a table or text such as 'chr1:100-200'" if name == "regions" else "a file"
                raise UsageError(f"{name}: got {kind_of(value)}, expected {kinds}")
        if self.X is not None:
            files = self.genome is not None or self.fasta is not None
            if files or not (self.regions is None or isinstance(self.regions, pd.DataFrame)):
                raise UsageError(
                    "X: given together with files; give either one-hot windows or files (regions may be a table)"
                )

    def arguments(self) -> dict[str, Any]:
        """Return the request by the names of :func:`make_request`'s arguments, but for arrays and tables.

        Where a model file, files of windows and methods by name were given, ``make_request`` makes the same request of
        them again; a module in memory and a method of one's own are named only.
        """
        own = {one.name: getattr(self.options, one.name) for one in fields(self.options)}
        names = self.options.methods
        return {
            "model": model_names(self.model),
            **{name: value for name, value in self.reading.items() if name != "extra_inputs"},
            **{
                name: str(value)
                for name in ("genome", "fasta", "exclude")
                if (value := getattr(self, name)) is not None
            },
            **({"regions": str(self.regions)} if isinstance(self.regions, (str, os.PathLike)) else {}),
            **({"regions": [*self.regions]} if isinstance(self.regions, (list, tuple)) else {}),
            **{name: getattr(self, name) for name in ("ignore_strand", "tile", "blocks", "held_out")},
            **{
                name: value
                for name in ("readout_at", "gene", "bin_size", "crop", "step")
                if (value := getattr(self, name)) is not None
            },
            **own,
            "method": names[0] if len(names) == 1 else list(names),
            "target": list(self.options.target) if isinstance(self.options.target, tuple) else self.options.target,
            "contrast": [str(contrast) for contrast in self.options.contrast or ()] or None,
            "span": list(span) if isinstance(span := self.options.span, Span) else span,
            "method_options": {
                name: value if isinstance(value, (bool, int, float, str)) else shown(value)
                for name, value in self.options.method_options.items()
            },
            "device": self.device,
        }


def make_request(model: ModelSpec, *, known: Iterable[str] = (), **arguments: Any) -> Request:
    """Sort arguments into the parts of a request.

    Parameters
    ----------
    model
        See :class:`Request`.
    known
        Names that the caller takes itself, to suggest where one is misspelled.
    arguments
        Fields of :class:`Request` and of :class:`AttributeOptions`, how the model is read, and options of the methods,
        by themselves or in a mapping `method_options`. None means not given.

    Raises
    ------
    SeqsalError
        As :class:`Request` and :class:`AttributeOptions`; an argument that none of them has is refused with the nearest
        that there is.
    """
    own = [one.name for one in fields(Request) if one.name not in ("model", "reading", "options")]
    engine = [one.name for one in fields(AttributeOptions)]
    parts = {name: {key: arguments.pop(key) for key in names if key in arguments} for name, names in
             (("own", own), ("engine", engine), ("reading", READING))}  # fmt: skip
    reading = as_given(parts["reading"])
    if _is_whole(parts["own"].get("tile")) and "tiles" in _listed(parts["engine"].get("method")):
        arguments["tile"] = parts["own"].pop("tile")  # an option of that method, as its width
    loose = {name: value for name, value in arguments.items() if value is not None}
    methods = (*_listed(parts["engine"].get("method", "gradient_x_input")), *METHODS)
    for name in loose:
        if "." not in name and not any(name in option_names(method) for method in methods):
            of_methods = {option for method in METHODS for option in option_names(method)}
            names = [*own, *engine, *READING, *sorted(of_methods), *known]
            hint = did_you_mean(name, names) or f"; there are {', '.join(names)}"
            raise UsageError(f"{name}: no such option{hint}")
    parts["engine"]["method_options"] = {**loose, **(parts["engine"].get("method_options") or {})}
    return Request(model, reading, options=AttributeOptions(**parts["engine"]), **parts["own"])


def check_null(null: str) -> None:
    """Raise UsageError unless controls can be of this kind."""
    if null not in NULLS:
        raise UsageError(f"null: got {shown(null)}, expected {' or '.join(NULLS)}{did_you_mean(str(null), NULLS)}")


def as_given(reading: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what None or False stands for as not given."""
    return {name: value for name, value in reading.items() if value is not None and value is not False}


def check_reading(model: ModelSpec, reading: Mapping[str, Any], known: Iterable[str] = ()) -> None:
    """Raise unless a model is of a kind that can be read, and in this way; `known` names may be meant instead."""
    for name in reading:
        if name not in READING:
            hint = did_you_mean(name, [*READING, *known]) or f"; a model is read by {', '.join(READING)}"
            raise UsageError(f"{name}: no such option{hint}")
    if isinstance(model, (str, os.PathLike)):
        return
    if isinstance(model, (list, tuple)) and model:
        for one in model:
            check_reading(one, reading, known)
        return
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"model: got {kind_of(model)}, expected a model file, package.module:factory, or a torch.nn.Module"
        )
    refused = reading if isinstance(model, SequenceModel) else [name for name in reading if name in FILE_READING]
    for name in refused:
        is_wrapped = isinstance(model, SequenceModel)
        what = "is wrapped already; give it to seqsal.wrap" if is_wrapped else "is a module, not a file; leave it out"
        raise UsageError(f"{name}: given for a model that {what}")


def read_model(
    model: ModelSpec, *, device: str | torch.device = "cpu", target: Target | None = None, **reading: Any
) -> SequenceModel:
    """Take a model file, a factory, a module or a wrapped model, which stays as it is, as one scalar per sequence.

    Several are an ensemble.

    What is loaded goes to `device`: an exported or traced model may have tensors of its own that do not move with it.
    Raises `SeqsalError` where the model cannot be read, or not in this way.
    """
    check_reading(model, reading)
    if isinstance(model, SequenceModel):
        return model
    if isinstance(model, (list, tuple)):
        members = [read_model(one, device=device, target=target, **reading) for one in model]
        for member in members:
            identify_model(member)
        return members[0] if len(members) == 1 else Ensemble(members)
    if isinstance(model, nn.Module):
        return wrap(model, target=target or 0, **reading)
    assert isinstance(model, (str, os.PathLike))
    return load_model(model, device=device, target=target or 0, **reading)


def read_model_of(
    model: ModelSpec, attr: Attributions, *, device: str | torch.device = "cpu", **reading: Any
) -> SequenceModel:
    """Take a model as attributions of it say: their target, output space, window and way of reading.

    `reading` goes before what they say. Raises as :func:`read_model`.
    """
    if isinstance(model, Attributions):
        raise ModelError("model: got attributions, expected a model; give seqsal.audit(model, attr), or None as model")
    if isinstance(model, SequenceModel):
        read = read_model(model, **reading)
        if "readout_at" in attr.attrs and read.grid is None:
            read.grid = Grid(**attr.attrs["readout_at"])
        return read
    stored = attr.attrs.get("reading", {})
    names = ("layout", "channel_order", "output", "reduce", "track_layout")
    known: dict[str, Any] = {name: stored[name] for name in names if stored.get(name) is not None}
    known |= {"target": target_of(attr.attrs), "input_length": attr.window_length}
    if attr.output_space in OUTPUT_SPACES:
        known["output_space"] = attr.output_space
    read = read_model(model, device=device, **known | reading)
    if "readout_at" in attr.attrs:
        read.grid = Grid(**attr.attrs["readout_at"])
    return read


def target_of(attrs: Mapping[str, Any]) -> Target:
    """Return the target, or the contrast, that attributions are about, from their attributes."""
    return Contrast.of(attrs["contrast"]) if "contrast" in attrs else int(attrs.get("target", 0))


def identify_model(model: SequenceModel) -> None:
    """Let a model that was not read from a file know its class and the checksum of its weights, for files to record."""
    if model.source and "weights_sha256" not in model.source:
        return
    digest = hashlib.sha256()
    for name, value in sorted(model.module.state_dict().items()):
        if isinstance(value, torch.Tensor):
            plain = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            digest.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
            digest.update(plain.numpy().data)
    model.source = {"class": model_name(model), "weights_sha256": digest.hexdigest()}


def model_names(model: ModelSpec) -> str | list[str]:
    """Name of a model, or of each of several."""
    return [model_name(one) for one in model] if isinstance(model, (list, tuple)) else model_name(model)


def model_name(model: ModelSpec) -> str:
    """File or factory as given, or the class of a module; of several the first, and how many more."""
    if isinstance(model, (list, tuple)):
        return f"{model_name(model[0])} and {len(model) - 1} more"
    if isinstance(model, (str, os.PathLike)):
        return str(model)
    kind = type(model.module if isinstance(model, SequenceModel) else model)
    return f"{kind.__module__}.{kind.__qualname__}"


class Result(NamedTuple):
    """One method on one target, by the name that it has in the file."""

    name: str
    method: str
    target: Target | None


@dataclass(frozen=True)
class PlannedMethod:
    """An instance of a method, with the results that it computes together.

    Attributes
    ----------
    method
        The method.
    results
        One a target.
    """

    method: Method
    results: tuple[Result, ...]

    @property
    def targets(self) -> tuple[Target | None, ...]:
        """Target of each result."""
        return tuple(result.target for result in self.results)

    def prepare(self, model: TargetsModel, X: torch.Tensor, batch_size: int) -> None:
        """Let the method look at the model; see :meth:`Method.prepare`."""
        if len(self.results) == 1:
            self.method.prepare(model.single[0], X, batch_size)
        else:
            self.method.prepare_targets(model, X, batch_size)

    def attribute(self, model: TargetsModel, X: torch.Tensor) -> list[Scores]:
        """Score one batch, one :class:`Scores` a result; see :meth:`Method.attribute_targets`."""
        if len(self.results) == 1:
            return [self.method.attribute(model.single[0], X)]
        return self.method.attribute_targets(model, X)


def plan_methods(options: AttributeOptions) -> list[PlannedMethod]:
    """List what is to be computed, in the order of the file: for each method all targets.

    Raises
    ------
    MethodError
        A method or an option is unknown; no method gives the hypothetical scores that are to be kept, or none can be
        compiled.
    """
    planned: list[PlannedMethod] = []
    for method in _listed(options.method):
        name, targets = _method_name(method), options.targets
        results = [Result(name if len(targets) == 1 else f"{name}.{_label(one)}", name, one) for one in targets]
        first = _make(method, options)
        at_once = TARGETS_AT_ONCE if first.shares_targets else 1
        planned += [
            PlannedMethod(_make(method, options) if start else first, tuple(results[start : start + at_once]))
            for start in range(0, len(results), at_once)
        ]
    if options.compile and not any(one.method.can_compile for one in planned):
        raise MethodError(
            f"compile: {', '.join(options.methods)} looks into the model, which compiled code does not allow; leave it "
            "out, or use a method that takes gradients, such as gradient_x_input"
        )
    if options.hypothetical and not any(one.method.hypothetical for one in planned):
        raise MethodError(
            f"hypothetical: {', '.join(options.methods)} scores positions, not the bases that are not there; leave it "
            "out, or use a method that scores all four, such as gradient_x_input"
        )
    return planned


def _label(target: Target | None) -> str:
    """Name a target within the name of a result, which is a part of a path in the file."""
    return re.sub(r"[^\w.,:+()-]+", "_", target.text) if isinstance(target, Contrast) else f"target{target}"


def _make(method: str | Method, options: AttributeOptions) -> Method:
    """Make an instance, which may keep what it learns about a model: the caller's own stays as it is."""
    own = options_of(method, options)
    if isinstance(method, str):
        return make_method(method, rc_average=options.rc_average, seed=options.seed, draw=options.draw, **own)
    instance = copy.copy(method)
    return ReverseComplementAverage(instance) if options.rc_average else instance


def options_of(method: str | Method, options: AttributeOptions) -> dict[str, Any]:
    """Return the options that go to one of the methods: those that it has, then those addressed to it.

    Raises
    ------
    MethodError
        An option that none of the methods has, or that is addressed to another.
    """
    shared: dict[str, Any] = {}
    addressed: dict[str, Any] = {}
    for key, value in options.method_options.items():
        owner, dot, option = key.partition(".")
        if dot:
            if owner not in options.methods:
                raise MethodError(f"option {key}: got method {owner!r}, expected one of {', '.join(options.methods)}")
            if owner == _method_name(method):
                addressed[option] = value
        elif len(options.methods) == 1 or key in option_names(method):
            shared[key] = value
        elif not any(key in option_names(one) for one in _listed(options.method)):
            has = [f"{_method_name(one)} has {', '.join(option_names(one)) or 'none'}"
                   for one in _listed(options.method)]  # fmt: skip
            raise MethodError(f"option {key}: none of the methods has it; {'; '.join(has)}")
    if isinstance(method, Method) and (shared or addressed):
        raise MethodError(
            f"option {next(iter({**shared, **addressed}))}: {_method_name(method)} was made already; give its options "
            "to its class"
        )
    return {**shared, **addressed}


def option_names(method: str | Method) -> list[str]:
    """Options that a method takes by name; none for an unknown one, which `make_method` refuses."""
    if not isinstance(method, str) or method not in METHODS:
        return []
    return [name for name in parameters_of(METHODS[method]) if name not in ("seed", "draw")]


def _method_name(method: str | Method) -> str:
    if isinstance(method, str):
        return method
    name = getattr(method, "name", None)
    if not isinstance(method, Method) or not isinstance(name, str):
        kind = method.__name__ if isinstance(method, type) else type(method).__name__
        raise MethodError(
            f"method: got {kind}, expected a name, one of {', '.join(sorted(METHODS))}, or an instance of a class "
            "derived from seqsal.attribution.Method that has a name"
        )
    return name


def _listed(value: Any) -> tuple[Any, ...]:
    """Return several as they are, and one as several."""
    if isinstance(value, np.ndarray) and value.ndim == 1:
        value = value.tolist()
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,)


def _are_texts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(text, str) for text in value)


def _is_whole(value: Any) -> bool:
    try:
        operator.index(value)
    except TypeError:
        return False
    return not isinstance(value, bool)
