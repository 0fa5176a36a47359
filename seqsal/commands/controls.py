"""`seqsal controls`: shuffled sequences for another program to attribute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seqsal.commands.arguments import PathArgument
from seqsal.interop.attributions import write_controls

__all__ = ["controls_to_file"]


def controls_to_file(out: PathArgument, **arguments: Any) -> list[Path]:
    """Do what `seqsal controls` does: write shuffled sequences and their regions; returns the files.

    `arguments` are those of :func:`seqsal.write_controls`.
    """
    return write_controls(out, **arguments)
