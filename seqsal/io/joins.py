"""Attributions joined, and written as tables that other programs read.

Parquet holds a row a base: `region` (the window's name), `chrom`, `start` (0-based), `strand`, `base` and
`contribution`, unknown bases left out. AnnData holds windows as observations, with their region table and prediction,
offsets in the window as variables, the track as X, and each further result as a layer of its name.

An attribution file is HDF5 that R reads as it is: ``rhdf5::h5read("A.h5", "track")`` gives the track with its axes the
other way round (bases, windows), ``h5read("A.h5", "regions/chrom")`` a column of the region table; all datasets are in
:mod:`seqsal.io.store`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seqsal.errors import StoreError, UsageError
from seqsal.io.atomic import atomic_path
from seqsal.io.attributions import ARRAYS, Attributions, Controls

__all__ = ["concat", "write_anndata", "write_parquet"]

SAME = (
    "method", "target", "contrast", "output_space", "options", "model", "reading", "span", "readout_at", "seed", "draw",
    "null", "control_shuffle", "keep_bits",
)  # fmt: skip


def concat(parts: Sequence[Attributions]) -> Attributions:
    """Join attributions of other windows, made by one model in one way.

    Parameters
    ----------
    parts
        In the order of the result's rows; in memory, or on disk, from where they are read.

    Returns
    -------
    Attributions
        In memory. What only some of them have (scores of all four bases, controls) is left out.

    Raises
    ------
    UsageError
        There are none, or they differ in how they were made.

    Examples
    --------
    >>> import seqsal, torch
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(40, 1))
    >>> attr = seqsal.attribute(model, X=torch.eye(4)[torch.arange(10) % 4].T[None], device="cpu")
    >>> len(seqsal.concat([attr, attr]))
    2
    """
    if not parts:
        raise UsageError("concat: got no attributions, expected one or more")
    first = parts[0]
    for other in parts[1:]:
        differ = [name for name in SAME if first.attrs.get(name) != other.attrs.get(name)]
        if other.length != first.length or differ:
            what = f"{differ[0]} {other.attrs.get(differ[0])!r}" if differ else f"{other.length} bp"
            than = f"{first.attrs.get(differ[0])!r}" if differ else f"{first.length} bp"
            raise UsageError(f"concat: got {what} where the first have {than}; join what was made in one way")
    arrays: dict[str, Any] = {}
    for name in ARRAYS:
        each = [getattr(part, name) for part in parts]
        arrays[name] = None if any(one is None for one in each) else np.concatenate([np.asarray(one) for one in each])
    results = [name for name in first.results if all(name in part.results for part in parts)]
    sizes: dict[str, int] = {}
    for part in parts:
        sizes |= {chrom: max(size, sizes.get(chrom, 0)) for chrom, size in part.chrom_sizes.items()}
    return replace(
        first,
        regions=pd.concat([part.regions for part in parts], ignore_index=True),
        rejected=pd.concat([part.rejected for part in parts], ignore_index=True),
        chrom_sizes=sizes,
        controls=_joined_controls(parts),
        attrs={**first.attrs, "results": results},
        path=None,
        open_result=lambda name: concat([part.result(name) for part in parts]),
        **arrays,
    )


def _joined_controls(parts: Sequence[Attributions]) -> Controls | None:
    """Join the controls of all parts, whose windows are counted on; None where some part has none."""
    before = np.cumsum([0, *(len(part) for part in parts[:-1])])
    found = [part.controls for part in parts]
    if any(one is None for one in found) or len({one.kind for one in found if one is not None}) > 1:
        return None
    joined: dict[str, Any] = {}
    for name in (one.name for one in fields(Controls)):
        each = [getattr(one, name) for one in found]
        if name == "kind":
            joined[name] = each[0]
        elif all(one is not None for one in each):
            shift = before if name == "source" else np.zeros(len(parts), dtype=np.int64)
            joined[name] = np.concatenate([np.asarray(one) + n if n else np.asarray(one)
                                           for one, n in zip(each, shift, strict=True)])  # fmt: skip
    return Controls(**joined)


def write_parquet(attr: Attributions, path: str | os.PathLike[str]) -> Path:
    """Write a row a base; see the module. StoreError: pyarrow is not installed."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise StoreError("parquet: needs pyarrow, which is not installed; pip install pyarrow") from error
    with atomic_path(path) as temporary:
        attr.to_frame(bases=True).to_parquet(temporary, engine="pyarrow", index=False)
    return Path(path)


def write_anndata(attr: Attributions, path: str | os.PathLike[str]) -> Path:
    """Write windows as observations (.h5ad); see the module. StoreError: anndata is not installed."""
    try:
        import anndata
    except ImportError as error:
        raise StoreError("anndata: is not installed, expected it to write .h5ad; pip install anndata") from error
    frame = attr.to_frame()
    texts = [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]
    frame = frame.astype(dict.fromkeys(texts, "category"))  # which every version of anndata writes
    frame.index = pd.Index(attr.regions["name"].to_numpy(dtype=object), dtype=object, name=None)
    offsets = pd.DataFrame({"offset": np.arange(attr.length)})
    offsets.index = pd.Index([str(offset) for offset in range(attr.length)], dtype=object)
    layers = {name: np.asarray(attr.result(name).track) for name in attr.results if name != attr.name}
    made = anndata.AnnData(
        np.asarray(attr.track), obs=frame, var=offsets, layers={k: v for k, v in layers.items() if v is not None},
        uns={"method": attr.method, "output_space": attr.output_space, "result": attr.name},
    )  # fmt: skip
    with atomic_path(path) as temporary:
        made.write_h5ad(temporary)
    return Path(path)
