"""`seqsal import`: attributions that another program made, as an attribution file."""

from __future__ import annotations

from typing import Any

from seqsal.commands.arguments import PathArgument
from seqsal.interop.attributions import import_attributions
from seqsal.io.atomic import check_writable
from seqsal.io.attributions import Attributions

__all__ = ["import_to_file"]


def import_to_file(
    out: PathArgument, *, scores: PathArgument, progress: bool = False, **arguments: Any
) -> Attributions:
    """Do what `seqsal import` does: make an attribution file of another program's scores.

    `arguments` are those of :func:`seqsal.import_attributions`.
    """
    check_writable(out)
    return import_attributions(scores, out=out, progress=progress, **arguments)
