"""`seqsal attribute`: attributions of regions into a file, and as a bigWig when asked."""

from __future__ import annotations

from typing import Any

from seqsal.attribution.api import attribute
from seqsal.commands.arguments import PathArgument
from seqsal.io.atomic import check_writable
from seqsal.io.attributions import Attributions
from seqsal.io.tracks import load_bigwig_writer, write_bigwig

__all__ = ["attribute_to_file"]


def attribute_to_file(
    out: PathArgument, *, model: str, bigwig: PathArgument | None = None, progress: bool = False, **arguments: Any
) -> Attributions:
    """Do what `seqsal attribute` does: attribute regions into a file, and a bigWig when asked."""
    for path in (out, bigwig):
        if path is not None:
            check_writable(path)
    if bigwig is not None:
        load_bigwig_writer()
    attr = attribute(model, out=out, progress=progress, **arguments)
    if bigwig is not None:
        write_bigwig(attr, attr.chrom_sizes, bigwig, progress=progress)
    return attr
