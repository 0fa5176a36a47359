"""The attribution methods by name."""

from __future__ import annotations

import inspect
from typing import Any

from seqsal.attribution.methods.base import Method, ReverseComplementAverage
from seqsal.attribution.methods.cam import CAM, GradCAM
from seqsal.attribution.methods.deeplift_shap import DeepLiftShap
from seqsal.attribution.methods.gradients import GradientXInput, Saliency
from seqsal.attribution.methods.ism import InSilicoMutagenesis
from seqsal.attribution.methods.paths import ExpectedGradients, IntegratedGradients, SmoothGrad
from seqsal.errors import MethodError, did_you_mean

__all__ = ["METHODS", "make_method"]

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        GradientXInput,
        Saliency,
        SmoothGrad,
        IntegratedGradients,
        ExpectedGradients,
        DeepLiftShap,
        InSilicoMutagenesis,
        CAM,
        GradCAM,
    )
}


def make_method(name: str, *, rc_average: bool = False, seed: int = 0, draw: int = 0, **options: Any) -> Method:
    """Make a method from its name and options.

    Parameters
    ----------
    name
        One of :data:`METHODS`.
    rc_average
        Average over both strands.
    seed, draw
        Of what the method draws at random, if anything; another draw, other references or noise.
    options
        Options of the method, such as `gradient_correction` for the gradient methods.

    Raises
    ------
    MethodError
        The name or an option is unknown.
    """
    if name not in METHODS:
        known_names = ", ".join(sorted(METHODS))
        raise MethodError(f"method: got {name!r}, expected one of {known_names}{did_you_mean(name, METHODS)}")
    known = inspect.signature(METHODS[name]).parameters
    unknown = sorted(set(options) - set(known))
    if unknown:
        allowed = ", ".join(name for name in known if name not in ("seed", "draw")) or "none"
        raise MethodError(
            f"method {name}: unknown option {', '.join(unknown)}; its options are: {allowed}"
            f"{did_you_mean(unknown[0], known)}"
        )
    for option, value in options.items():
        _check_kind(name, option, value, known[option].default)
    if "seed" in known:
        options |= {"seed": seed, "draw": draw}
    method = METHODS[name](**options)
    return ReverseComplementAverage(method) if rc_average else method


def _check_kind(method: str, option: str, value: Any, default: Any) -> None:
    """Raise unless an option's value is of the kind of its default; a whole number will do for any number."""
    kinds = (int, float) if isinstance(default, float) else (type(default),)
    if not isinstance(value, kinds) or isinstance(value, bool) != isinstance(default, bool):
        expected = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}[type(default)]
        raise MethodError(f"method {method}: option {option} is {value!r}, expected {expected}, such as {default!r}")
