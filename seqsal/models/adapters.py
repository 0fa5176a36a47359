"""What is known of a model before it runs.

Models of published families (`docs/models.md` has the table) are read without being told how. They are known by the
class that wrote their `forward`, without importing its package; what the caller says goes before what is known.

The built-in network with a profile, and bpnet-lite's `BPNet`, `BasePairNet` and `ChromBPNet`, take control tracks next
to the sequence and give (profile logits, log counts): ``output="counts"``, the default, reads the log count;
``output="profile"`` the softmax-weighted profile (`seqsal.models.readout`), of bpnet-lite's with strands added up, of
the built-in network's each track by itself. The control tracks, where the model has any, are zeros, as BPNet's authors
explain it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import torch
from torch import nn

from seqsal.errors import ModelError, shown
from seqsal.models.cnn import CNN
from seqsal.models.readout import Readout

__all__ = ["FAMILIES", "LOW_PRECISION", "Adapter", "find_adapter", "known_dtype", "known_length"]

LOW_PRECISION = (torch.bfloat16, torch.float16)
_BPNET_CLASSES = frozenset({"BPNet", "BasePairNet", "ChromBPNet", "ControlWrapper"})
_BPNET_OUTPUTS = {"profile": "0", "counts": "1"}
_BY_BASES = {"layout": "NLC", "track_layout": "NLT", "reduce": "sum"}  # positions before channels, in and out
_SPLICE = ("neither", "acceptor", "donor")
Arguments = Callable[[torch.Tensor], tuple[Any, ...]]


class Family(NamedTuple):
    """How a family of models is read: parts of :class:`Readout`, bp of a bin, names of outputs, further arguments."""

    readout: Mapping[str, Any]
    bin_size: int | None = None
    names: tuple[str, ...] = ()
    arguments: tuple[Any, ...] = ()


FAMILIES: dict[tuple[str, str], Family] = {  # by package and class; * stands for what follows
    ("enformer_pytorch", "Enformer"): Family({**_BY_BASES, "output": "human"}, 128),
    ("borzoi_pytorch", "*"): Family({"reduce": "sum"}, 32),  # Borzoi and Flashzoi, which is one with `flashed`
    ("spliceai_pytorch", "SpliceAI_*"): Family({"reduce": "sum", "track_layout": "NLT"}, 1, _SPLICE),
    ("promoterai_torch", "PromoterAI"): Family({**_BY_BASES, "output": "0"}, 1),
    ("grelu", "*"): Family({"reduce": "sum"}),
    ("alphagenome_pytorch", "AlphaGenome"): Family(
        {"layout": "NL", "track_layout": "NLT", "reduce": "sum", "output": "human.1bp_tracks"}, None, (), (0,)
    ),
    ("keras", "*"): Family({"layout": "NLC"}),  # CREsted's are Keras models
}


@dataclass(frozen=True)
class Adapter:
    """What is known of a family of models.

    Attributes
    ----------
    readout
        The caller's wishes, completed.
    raw_space
        The space of the value that is read, when the model ends in no squashing function.
    arguments
        Gives what the model is called with after X (N, 4, L).
    bin_size
        bp of an output position, where that is known.
    names
        Of the outputs.
    """

    readout: Readout
    raw_space: str
    arguments: Arguments
    bin_size: int | None = None
    names: tuple[str, ...] = ()


def find_adapter(module: nn.Module, readout: Readout) -> Adapter | None:
    """Recognise a model; None for one of no known family.

    `readout.output` may be one of the names that the family's outputs go by.
    """
    # The class that wrote forward(): the family's, also for a subclass that does not change it.
    owner = next((cls for cls in type(module).__mro__ if "forward" in vars(cls)), nn.Module)
    package = owner.__module__.split(".")[0]
    if isinstance(module, CNN):
        return None if module.config.loss != "profile" else _profile(module, readout)
    if package == "bpnetlite" and owner.__name__ in _BPNET_CLASSES:
        return _bpnet(module, owner, readout)
    found = (of for (name, pattern), of in FAMILIES.items() if name == package and fnmatchcase(owner.__name__, pattern))
    family = next(found, None)
    if family is None:
        return None
    own = {key: value for key, value in family.readout.items() if getattr(readout, key) == getattr(Readout, key)}
    return Adapter(replace(readout, **own), "linear", lambda X: family.arguments, family.bin_size, family.names)


def _profile(module: CNN, readout: Readout) -> Adapter:
    """Read the built-in network with a profile: each of its tracks is a target, by counts or by profile."""
    output = _BPNET_OUTPUTS.get(readout.output or "counts", readout.output)
    is_profile = output == _BPNET_OUTPUTS["profile"]
    reduce = readout.reduce or ("profile_strand" if is_profile else None)
    names = tuple(getattr(module, "metadata", {}).get("target_names", ())) if reduce != "profile" else ()
    return Adapter(
        replace(readout, output=output, reduce=reduce), "logit" if is_profile else "log", lambda X: (), 1, names
    )


def _bpnet(module: nn.Module, owner: type, readout: Readout) -> Adapter:
    """Read a model of bpnet-lite."""
    output = _BPNET_OUTPUTS.get(readout.output or "counts", readout.output)
    is_profile = output == _BPNET_OUTPUTS["profile"]
    reduce = readout.reduce or ("profile" if is_profile else None)
    n_controls = getattr(module, "n_control_tracks", 0) if owner.__name__ in ("BPNet", "BasePairNet") else 0

    def controls(X: torch.Tensor) -> tuple[torch.Tensor, ...]:
        # not X.new_zeros: to whoever traces the model, X has no part in it
        return (torch.zeros(len(X), n_controls, X.shape[2], device=X.device, dtype=X.dtype),) if n_controls else ()

    return Adapter(
        readout=replace(readout, output=output, reduce=reduce),
        raw_space="logit" if is_profile else "log",
        arguments=controls,
        bin_size=1,
    )


def known_length(module: nn.Module, given: int | None) -> int | None:
    """Return the window length (bp) that a model is made for, or None; `given` is what the caller says it is.

    Raises
    ------
    ModelError
        `given` is no length, or another than the model's.
    """
    known = module.config.input_length if isinstance(module, CNN) else getattr(module, "input_length", None)
    if not isinstance(known, int):
        known = None
    if given is not None and not (isinstance(given, int) and given >= 1):
        raise ModelError(f"input_length: got {shown(given)}, expected a length in bp above 0")
    if given is not None and isinstance(module, CNN) and given != known:
        raise ModelError(f"input_length: {given} bp asked of a model made for {known} bp; use windows of {known} bp")
    return known if given is None else given


def known_dtype(module: nn.Module, default: torch.dtype) -> torch.dtype:
    """Return the floating-point type of a model's first parameter, which it reads sequences in; or else `default`."""
    return next((p.dtype for p in module.parameters() if p.is_floating_point()), default)
