"""The device named on the command line, as a `torch.device` that is known to exist."""

from __future__ import annotations

import torch

from seqsal.errors import DeviceError

__all__ = ["resolve_device"]


def resolve_device(name: str | torch.device = "auto") -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda`` or ``cuda:1`` into a device.

    Parameters
    ----------
    name
        ``auto`` is the current GPU where there is one, else the CPU.

    Raises
    ------
    DeviceError
        Another name, no GPU, or no GPU of that number.
    """
    text = str(name)
    if text == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, colon, number = text.partition(":")
    if kind not in ("cpu", "cuda") or (colon and not (kind == "cuda" and number.isdecimal())):
        raise DeviceError(f"device: {text!r} is unknown, expected auto, cpu, cuda or cuda:0, cuda:1, …")
    if kind == "cuda":
        n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if n_gpus == 0:
            raise DeviceError(
                f"device: {text!r} asked for, but torch sees no GPU here; use cpu, or a CUDA build of torch"
            )
        if colon and int(number) >= n_gpus:
            raise DeviceError(f"device: {text!r} asked for, but there are {n_gpus} GPUs (cuda:0 to cuda:{n_gpus - 1})")
    return torch.device(text)
