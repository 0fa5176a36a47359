"""The attribution methods by name."""

from __future__ import annotations

import inspect
from typing import Any

from seqsal.attribution.base import Method, ReverseComplementAverage
from seqsal.attribution.gradients import GradientXInput, Saliency
from seqsal.errors import MethodError

__all__ = ["METHODS", "make_method"]

METHODS: dict[str, type[Method]] = {method.name: method for method in (GradientXInput, Saliency)}


def make_method(name: str, *, rc_average: bool = False, **options: Any) -> Method:
    """Make a method from its name and options.

    Parameters
    ----------
    name
        One of :data:`METHODS`.
    rc_average
        Average over both strands.
    options
        Options of the method; `gradient_correction` for the gradient methods.

    Raises
    ------
    MethodError
        The name or an option is unknown.
    """
    if name not in METHODS:
        raise MethodError(f"method: got {name!r}, expected one of {', '.join(sorted(METHODS))}")
    known = inspect.signature(METHODS[name]).parameters
    unknown = sorted(set(options) - set(known))
    if unknown:
        allowed = ", ".join(known) or "none"
        raise MethodError(f"method {name}: unknown option {', '.join(unknown)}; its options are: {allowed}")
    method = METHODS[name](**options)
    return ReverseComplementAverage(method) if rc_average else method
