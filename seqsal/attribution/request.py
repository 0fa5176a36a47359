"""What is asked for: the options of an attribution run, and the results (method, target) that they come to."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from seqsal.attribution.compute import check_precision
from seqsal.attribution.methods.base import Method, Scores, TargetsModel
from seqsal.attribution.methods.registry import METHODS, make_method
from seqsal.errors import MethodError, UsageError

__all__ = ["AttributeOptions", "Family", "Result", "options_of", "plan_families"]

TARGETS_AT_ONCE = 16  # that share a forward pass: each one's scores of a chunk are in memory together


@dataclass(frozen=True)
class AttributeOptions:
    """How to attribute.

    Attributes
    ----------
    method
        Name of the method, or several: the first is the file's main result.
    method_options
        Options of the methods, such as `gradient_correction`. With several methods an option goes to those that have
        it; `method.option` addresses one.
    target
        Which output, or several, counted from 0; None for the one that the model was wrapped for.
    rc_average
        Average over both strands.
    n_controls
        Dinucleotide-shuffled controls; None for :func:`seqsal.attribution.engine.default_n_controls`, 0 for none.
    hypothetical
        Keep the (N, 4, L) scores of all four bases, of the methods that give them; None does so too, but does not mind
        where none does.
    seed
        Seeds the shuffles.
    batch_size
        Windows at a time; None lets the device decide.
    precision
        Of :data:`seqsal.attribution.compute.PRECISIONS`.
    compiled
        Let torch.compile fuse the model's operations for the methods that can use it.

    Raises
    ------
    UsageError
        A number is below its least value, nothing or something twice is asked for, or the precision is unknown.
    """

    method: str | Sequence[str] = "gradient_x_input"
    method_options: Mapping[str, Any] = field(default_factory=dict)
    target: int | Sequence[int] | None = None
    rc_average: bool = False
    n_controls: int | None = None
    hypothetical: bool | None = False
    seed: int = 0
    batch_size: int | None = None
    precision: str = "fp32"
    compiled: bool = False

    def __post_init__(self) -> None:
        if self.n_controls is not None and self.n_controls < 0:
            raise UsageError(f"n_controls: got {self.n_controls}, expected 0 or more")
        if self.batch_size is not None and self.batch_size < 1:
            raise UsageError(f"batch_size: got {self.batch_size}, expected 1 or more")
        for name, values in (("method", self.methods), ("target", self.targets)):
            if not values:
                raise UsageError(f"{name}: got none, expected one or more")
            if len(set(values)) < len(values):
                raise UsageError(f"{name}: got {', '.join(map(str, values))}, expected each once")
        check_precision(self.precision)

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods, in order."""
        return (self.method,) if isinstance(self.method, str) else tuple(self.method)

    @property
    def targets(self) -> tuple[int | None, ...]:
        """The targets, in order; (None,) for the model's own."""
        return tuple(self.target) if isinstance(self.target, Sequence) else (self.target,)


class Result(NamedTuple):
    """One method on one target, by the name that it has in the file."""

    name: str
    method: str
    target: int | None


@dataclass(frozen=True)
class Family:
    """Results that one instance of a method computes together.

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
    def targets(self) -> tuple[int | None, ...]:
        """Target of each result."""
        return tuple(result.target for result in self.results)

    def prepare(self, model: TargetsModel, X: torch.Tensor, batch_size: int) -> None:
        """Let the method look at the model; see :meth:`Method.prepare`."""
        if len(self.results) == 1:
            self.method.prepare(model.single[0], X, batch_size)
        else:
            self.method.prepare_targets(model, X, batch_size)

    def attribute(self, model: TargetsModel, X: torch.Tensor, rows: NDArray[np.int64]) -> list[Scores]:
        """Score one batch, one :class:`Scores` a result; see :meth:`Method.attribute_targets`."""
        if len(self.results) == 1:
            return [self.method.attribute(model.single[0], X, rows)]
        return self.method.attribute_targets(model, X, rows)


def plan_families(options: AttributeOptions) -> list[Family]:
    """List what is to be computed, in the order of the file: for each method all targets.

    Raises
    ------
    MethodError
        A method or an option is unknown; hypothetical scores are asked of methods none of which gives them, or compiled
        code of methods none of which can use it.
    """
    families: list[Family] = []
    for method in options.methods:
        results = [Result(_name(method, target, options.targets), method, target) for target in options.targets]
        own = options_of(method, options)
        at_once = TARGETS_AT_ONCE if method in METHODS and METHODS[method].shares_targets else 1
        families += [
            Family(
                make_method(method, rc_average=options.rc_average, seed=options.seed, **own),
                tuple(results[first : first + at_once]),
            )
            for first in range(0, len(results), at_once)
        ]
    if options.compiled and not any(family.method.can_compile for family in families):
        raise MethodError(
            f"compile: {', '.join(options.methods)} looks into the model, which compiled code does not allow; leave it "
            "out, or use a method that takes gradients, such as gradient_x_input"
        )
    if options.hypothetical and not any(family.method.hypothetical for family in families):
        raise MethodError(
            f"hypothetical: {', '.join(options.methods)} scores positions, not the bases that are not there; leave it "
            "out, or use a method that scores all four, such as gradient_x_input"
        )
    return families


def options_of(method: str, options: AttributeOptions) -> dict[str, Any]:
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
            if owner == method:
                addressed[option] = value
        elif len(options.methods) == 1 or key in _option_names(method):
            shared[key] = value
        elif not any(key in _option_names(name) for name in options.methods):
            raise MethodError(f"option {key}: none of the methods has it; {_options_text(options.methods)}")
    return {**shared, **addressed}


def _name(method: str, target: int | None, targets: Sequence[int | None]) -> str:
    return method if len(targets) == 1 else f"{method}.target{target}"


def _option_names(method: str) -> list[str]:
    """Options that a method takes; none for an unknown one, which `make_method` refuses."""
    return (
        [name for name in inspect.signature(METHODS[method]).parameters if name != "seed"] if method in METHODS else []
    )


def _options_text(methods: Sequence[str]) -> str:
    return "; ".join(f"{method} has {', '.join(_option_names(method)) or 'none'}" for method in methods)
