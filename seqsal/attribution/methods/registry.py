"""The attribution methods by name. To add one, add its line to `METHODS`.

A class is imported when it is first asked for, so that the names are at hand without torch.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections import UserDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from seqsal.errors import MethodError, did_you_mean, shown

if TYPE_CHECKING:
    from seqsal.attribution.methods.base import Method

__all__ = ["METHODS", "make_method", "parameters_of"]


class _Methods(UserDict[str, "type[Method]"]):
    """Classes by name; a value "module:Class" is replaced by the class when it is asked for."""

    data: dict[str, Any]

    def __getitem__(self, name: str) -> type[Method]:
        found = self.data[name]
        if isinstance(found, str):
            module, _, cls = found.partition(":")
            found = self.data[name] = getattr(importlib.import_module(f"{__package__}.{module}"), cls)
        method: type[Method] = found
        return method


METHODS = _Methods()
METHODS.data |= {
    "gradient_x_input": "gradients:GradientXInput",
    "saliency": "gradients:Saliency",
    "smoothgrad": "paths:SmoothGrad",
    "integrated_gradients": "paths:IntegratedGradients",
    "expected_gradients": "paths:ExpectedGradients",
    "deeplift_shap": "contributions:DeepLiftShap",
    "ism": "mutagenesis:InSilicoMutagenesis",
    "tiles": "perturbation:Tiles",
    "cam": "activation_maps:CAM",
    "grad_cam": "activation_maps:GradCAM",
}


@functools.cache
def parameters_of(method: type[Method]) -> Mapping[str, inspect.Parameter]:
    """Parameters of a method's class, by name: its options, `seed` and `draw`."""
    return inspect.signature(method).parameters


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
    known = parameters_of(METHODS[name])
    unknown = sorted(set(options) - set(known))
    if unknown:
        allowed = ", ".join(name for name in known if name not in ("seed", "draw")) or "none"
        raise MethodError(
            f"method {name}: unknown option {', '.join(unknown)}; its options are: {allowed}"
            f"{did_you_mean(unknown[0], known)}"
        )
    for option, value in options.items():
        if option != "references":  # which say themselves what they may be
            _check_kind(name, option, value, known[option].default)
    if "seed" in known:
        options |= {"seed": seed, "draw": draw}
    method = METHODS[name](**options)
    if not rc_average:
        return method
    from seqsal.attribution.methods.base import ReverseComplementAverage

    return ReverseComplementAverage(method)


def _check_kind(method: str, option: str, value: Any, default: Any) -> None:
    """Raise unless an option's value is of the kind of its default; a whole number will do for any number."""
    kinds = (int, float) if isinstance(default, float) else (type(default),)
    if not isinstance(value, kinds) or isinstance(value, bool) != isinstance(default, bool):
        expected = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}[type(default)]
        raise MethodError(
            f"method {method}: option {option} is {shown(value)}, expected {expected}, such as {default!r}"
        )
