"""What an attribution file will hold, known before it is written; :mod:`seqsal.io.store` gives the file's layout."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.io.attributions import Controls
from seqsal.io.store import SCHEMA, result_prefix

__all__ = ["MemorySink", "ResultLayout", "StoreLayout", "fingerprint"]

MEASURED = ("precision_correlation", "precision_correlation_prediction")  # outcomes, not settings
Shapes = dict[str, tuple[tuple[int, ...], Any]]


class ResultLayout(NamedTuple):
    """What a further result holds beside its track and prediction.

    Attributes
    ----------
    attrs
        Attributes of its group.
    hypothetical, completeness_error
        As in :class:`StoreLayout`.
    """

    attrs: Mapping[str, Any]
    hypothetical: bool = False
    completeness_error: bool = False


@dataclass(frozen=True)
class StoreLayout:
    """What an attribution file will hold, known before the first value is.

    Attributes
    ----------
    regions, rejected
        Window table (N rows) and unusable regions.
    length
        Bases per window, L.
    chrom_sizes
        Chromosome lengths (bp).
    n_controls
        Number of shuffled controls, M; 0 leaves `/null` out.
    hypothetical, completeness_error
        Whether to keep the (N, 4, L) scores, and the (N,) error of the promised sum.
    results
        Further results by name.
    """

    regions: pd.DataFrame
    rejected: pd.DataFrame
    length: int
    chrom_sizes: Mapping[str, int]
    n_controls: int = 0
    hypothetical: bool = False
    completeness_error: bool = False
    results: Mapping[str, ResultLayout] = field(default_factory=dict)

    def datasets(self) -> Shapes:
        """Shape and type of every streamed dataset, by its path in the file."""
        n, m, length = len(self.regions), self.n_controls, self.length
        shapes: Shapes = {"codes": ((n, length), np.uint8)}
        shapes |= self._result("", self.hypothetical, self.completeness_error)
        if m:
            shapes["null/codes"] = ((m, length), np.uint8)
            shapes["null/source"] = ((m,), np.int64)
        for name, result in self.results.items():
            shapes |= self._result(result_prefix(name), result.hypothetical, result.completeness_error)
        return shapes

    def _result(self, prefix: str, hypothetical: bool, completeness_error: bool) -> Shapes:
        """Datasets that every result has for itself."""
        n, m, length = len(self.regions), self.n_controls, self.length
        shapes: Shapes = {prefix + "track": ((n, length), np.float32), prefix + "prediction": ((n,), np.float32)}
        if hypothetical:
            shapes[prefix + "hypothetical"] = ((n, 4, length), np.float32)
        if completeness_error:
            shapes[prefix + "completeness_error"] = ((n,), np.float32)
        if m:
            shapes[prefix + "null/track"] = ((m, length), np.float32)
            shapes[prefix + "null/prediction"] = ((m,), np.float32)
        return shapes

    def n_bytes(self) -> int:
        """Bytes that the streamed datasets take on disk."""
        return sum(int(np.prod(shape)) * np.dtype(kind).itemsize for shape, kind in self.datasets().values())


def fingerprint(layout: StoreLayout, attrs: Mapping[str, Any]) -> str:
    """Digest windows, datasets and settings: files of one fingerprint hold the same, apart from what is measured.

    Parameters
    ----------
    layout
        What the file will hold.
    attrs
        Its root attributes.

    Returns
    -------
    str
        SHA-256, hexadecimal.
    """
    settings = [attrs, *(result.attrs for result in layout.results.values())]
    settings = [{key: value for key, value in given.items() if key not in MEASURED} for given in settings]
    digest = hashlib.sha256(json.dumps([SCHEMA, settings], sort_keys=True, default=str).encode())
    digest.update(repr([(name, shape) for name, (shape, _) in layout.datasets().items()]).encode())
    for column in ("chrom", "start", "end", "strand", "name"):
        digest.update("\n".join(map(str, layout.regions[column])).encode())
    return digest.hexdigest()


class MemorySink:
    """Collects what :class:`seqsal.io.store_writer.AttributionWriter` would put on disk.

    Parameters
    ----------
    layout
        What there will be.
    """

    def __init__(self, layout: StoreLayout) -> None:
        self.arrays = {name: np.empty(shape, dtype=kind) for name, (shape, kind) in layout.datasets().items()}
        self.done = {"main": 0, "null": 0}

    def write(
        self,
        part: str,
        start: int,
        arrays: Mapping[str, NDArray[Any]],
        *,
        result: str | None = None,
        complete: bool = True,
    ) -> None:
        """Take rows from `start` on."""
        prefix = result_prefix(result) + ("null/" if part == "null" else "")
        for name, rows in arrays.items():
            self.arrays[prefix + name][start : start + len(rows)] = rows

    def fields(self, result: str | None) -> dict[str, Any]:
        """Return the fields of :class:`Attributions` for one result, None for the first."""
        own, prefix = ("track", "prediction", "hypothetical", "completeness_error"), result_prefix(result)
        found: dict[str, Any] = {name: self.arrays[prefix + name] for name in own if prefix + name in self.arrays}
        if prefix + "null/track" in self.arrays:
            shared = (self.arrays["null/codes"], self.arrays["null/source"])
            found["controls"] = Controls(self.arrays[prefix + "null/track"], *shared)
        return found | {"codes": self.arrays["codes"]}
