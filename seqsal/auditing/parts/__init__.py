"""The parts of the audit, in their order: one line each, with nothing loaded until a part is needed.

A new part is a file or folder here, which has ``PART``, and a line in `PARTS`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqsal.auditing.part import Part

__all__ = ["PARTS", "load_part"]

PARTS = {
    "faithfulness": "do the bases that the map names change the prediction, and does it agree with mutagenesis",
    "sanity": "does the map change when the model's weights, its input or its labels are made random",
    "stability": "does the map stay as it is where it should, and how far from the sequence does it hold",
    "saturation": "is the model saturated, is the map blind, and would another method do better",
    "draws": "does the map change with the random numbers that its method draws",
    "field": "how far does the model look, and over what distance can bases interact",
    "plausibility": "does the map lie in known motifs or annotated regions more than by chance",
    "composition": "does the model rely on GC content, repeats, padding or the edges of the window",
    "artifacts": "does the model use adapters, primers, vectors or other words that are not biology",
    "strata": "do predictions and maps differ between batches or other groups of regions",
}


def load_part(name: str) -> Part[Any]:
    """Import a part by its name in :data:`PARTS`."""
    part: Part[Any] = import_module(f"seqsal.auditing.parts.{name}").PART
    return part
