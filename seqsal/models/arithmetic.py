"""How a CUDA device computes with float32: in full or shortened (TF32), and the same way each time.

Torch lets convolutions use TF32 unless told otherwise, which is off by 1e-3, and cuDNN may choose kernels whose sums
come out differently from run to run. Both are switches of the whole process; they are set while seqsal computes and
then given back as they were.

Torch has older and newer switches for the same thing (`allow_tf32`, `fp32_precision`), whose getters raise where the
two disagree. So the older ones are set first, as far as they can be read, and the newer ones second. Afterwards all of
them read as before; a value that a switch had from the one above it (`torch.backends.fp32_precision`) is then its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

__all__ = ["cuda_arithmetic"]


@dataclass(frozen=True)
class _Switch:
    read: Callable[[], Any]
    write: Callable[[Any], None]
    fp32: Any
    tf32: Any


def _attribute(path: str, name: str, fp32: Any, tf32: Any) -> _Switch:
    """Switch that is an attribute of something in `torch.backends`, looked up when it is used."""

    def owner() -> Any:
        found: Any = torch.backends
        for part in path.split("."):
            found = getattr(found, part)
        return found

    return _Switch(lambda: getattr(owner(), name), lambda value: setattr(owner(), name, value), fp32, tf32)


_SWITCHES = (
    _Switch(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest", "high"),
    _attribute("cudnn", "allow_tf32", False, True),
    *(
        _attribute(path, "fp32_precision", "ieee", "tf32")  # from torch 2.9 on
        for path in ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul")  # the last: the first switch sets it
    ),
    _attribute("cudnn", "deterministic", True, True),
    _attribute("cudnn", "benchmark", False, False),  # chooses by timing
)


@contextlib.contextmanager
def cuda_arithmetic(precision: str, device: torch.device) -> Iterator[None]:
    """On CUDA, compute in TF32 if and only if `precision` is `tf32`, by kernels that give the same bytes each time.

    On other devices nothing is changed.
    """
    known = [(switch, value) for switch in _SWITCHES for value in _readable(switch)] if device.type == "cuda" else []
    try:
        for switch, _ in known:
            switch.write(switch.tf32 if precision == "tf32" else switch.fp32)
        yield
    finally:
        for switch, before in known:
            switch.write(before)


def _readable(switch: _Switch) -> list[Any]:
    """Return the value of a switch, or nothing where torch has no such switch or cannot tell its value."""
    try:
        return [switch.read()]
    except (AttributeError, RuntimeError):
        return []
