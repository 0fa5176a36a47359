"""The attribution file (HDF5): its layout, and reading it; :mod:`seqsal.io.store_writer` writes it.

Layout, for N windows of L bases and M controls, which may be added later. Bases are chunked and compressed, 3 bits
each, and so are rounded scores, and rows of 32,768 values or more once all are there (gzip after shuffling bytes, which
all readers of HDF5 know, see :mod:`seqsal.io.packing`). All else is contiguous and uncompressed: float tracks hardly
compress, and a contiguous dataset keeps the file sound if the writer is killed::

    /regions/{chrom,start,end,name,score,strand,summit,padded,input_row}   (N,)
    /codes                uint8   (N, L)     A C G T N = 0 1 2 3 4, as the model saw them
    /window/codes         uint8   (N, W)     the whole windows, where only a span of them is kept
    /track                float32 (N, L)     attribution of the base that is there
    /prediction           float32 (N,)       the attributed output, in `output_space`
    /hypothetical         float32 (N, 4, L)  optional
    /completeness_error   float32 (N,)       optional, where the method promises a sum
    /noise                float32 (N, L)     optional, standard deviation of /track, where the method measures it
    /track_sd             float32 (N, L)     of an ensemble: standard deviation of its members' tracks
    /prediction_sd        float32 (N,)       and of their predictions
    /null/track           float32 (M, L)     the same for the controls, shuffles or background (root attribute `null`)
    /null/codes           uint8   (M, L)
    /null/prediction      float32 (M,)
    /null/source          int64   (M,)       row of /regions that each control is a shuffle of, or matched to
    /rejected/{chrom,start,end,name,reason}  regions of the input that could not be used
    /chrom_sizes/{chrom,size}
    /results/NAME/{track,prediction,hypothetical,completeness_error,noise,track_sd,prediction_sd,
                   null/track,null/prediction}
                                             the same for each further method and target; all else is shared. Each
                                             result has its own `null/track`, or none yet

Root attributes: seqsal_version, schema, method, target, output_space, model (JSON), genome (JSON), gradient_correction,
signed, seed, options (JSON), precision, `null` (`background` where controls are no shuffles), `reading` (JSON: how the
model was fed and what was read from it), and `result` and `results`: the name of what the root holds, and the names of
all results in order (JSON). A name is that of the method, followed by `.targetK` where there are several targets. A run
in another precision than fp32 adds `precision_correlation` and `precision_correlation_prediction`: Pearson correlation
of tracks and of predictions with fp32 over the first windows; so does one with a compiled model, which has `compiled`
(true) as well. The group of a further result has the attributes in which it differs: method, target, output_space,
options, gradient_correction, signed and the correlations. Where values of each base are rounded (track, hypothetical,
noise, track_sd and null/track), `keep_bits` says to how many bits of mantissa, and `rounding_error` how far a value is
off by that at most, relative to it (:mod:`seqsal.io.rounding`).

Where a span of each window is kept, L above is its length, /regions are the spans, with `window_start` and
`window_end` next to them, and the attribute `span` (JSON) says from where to where in the window, as the model reads
it, they are. Of regions of several widths (`region_start`, `region_end`) the spans are as wide as the widest; bases
outside the region are N in /codes and 0 in /track.

Windows may start before 0 or end beyond the chromosome (`padded`), or, of those that cover whole chromosomes, lie next
to an end, a run of N or an excluded region (`edge`); rows of strand "-" hold the reverse complement,
first base first, and `seqsal.regions.lift_span` lifts their positions to the chromosome.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd

from seqsal.errors import SeqsalError, StoreError
from seqsal.io.attributions import SPREADS, Array, Attributions, Controls, DiskArray, DiskTable, check_result
from seqsal.io.hdf5 import DAMAGE
from seqsal.io.rounding import is_score, kept_bytes
from seqsal.regions import Span
from seqsal.version import VERSION

__all__ = [
    "REGION_TYPES", "SCHEMA", "ResultLayout", "StoreLayout", "n_bytes_of", "read_attributions", "read_attrs",
    "result_prefix",
]  # fmt: skip

SCHEMA = 1

REGION_TYPES: dict[str, Any] = {
    "chrom": str, "start": np.int64, "end": np.int64, "name": str, "score": np.float64, "strand": str,
    "summit": np.int64, "padded": np.bool_, "edge": np.bool_, "input_row": np.int64, "reason": str, "size": np.int64,
    "window_start": np.int64, "window_end": np.int64, "region_start": np.int64, "region_end": np.int64,
}  # fmt: skip


Shapes = dict[str, tuple[tuple[int, ...], Any]]


class ResultLayout(NamedTuple):
    """What a further result holds: its attributes, and which optional datasets besides its track and prediction."""

    attrs: Mapping[str, Any]
    hypothetical: bool = False
    completeness_error: bool = False
    noise: bool = False


@dataclass(frozen=True)
class StoreLayout:
    """What an attribution file will hold, known before the first value is.

    N windows of `length` bases and unusable regions, `n_controls` controls of kind `null` (0 leaves `/null` out),
    whether the scores of all four bases, the error of the promised sum and the noise are kept, and further results by
    name. Where these are spans of longer windows, `window` is how long those are, and where in them the spans begin.
    With `spread`, every result has the standard deviations over the members of an ensemble. Scores are rounded to
    `keep_bits` bits of mantissa, None for all.
    """

    regions: pd.DataFrame
    rejected: pd.DataFrame
    length: int
    chrom_sizes: Mapping[str, int]
    n_controls: int = 0
    hypothetical: bool = False
    completeness_error: bool = False
    noise: bool = False
    results: Mapping[str, ResultLayout] = field(default_factory=dict)
    null: str = "shuffle"
    window: tuple[int, int] | None = None
    spread: bool = False
    keep_bits: int | None = None

    @property
    def span(self) -> Span:
        """What is kept of each window: all of it, or `length` bases in it."""
        start = 0 if self.window is None else self.window[1]
        return Span(start, start + self.length)

    @property
    def has_windows(self) -> bool:
        """Whether whole windows are kept next to their spans."""
        return self.window is not None

    def datasets(self) -> Shapes:
        """Shape and type of every streamed dataset, by its path in the file."""
        shapes: Shapes = {"codes": ((len(self.regions), self.length), np.uint8)}
        if self.window is not None:
            shapes["window/codes"] = ((len(self.regions), self.window[0]), np.uint8)
        shapes |= self._result("", self)
        if self.n_controls:
            shapes["null/codes"] = ((self.n_controls, self.length), np.uint8)
            shapes["null/source"] = ((self.n_controls,), np.int64)
        for name, result in self.results.items():
            shapes |= self._result(result_prefix(name), result)
        return shapes

    def _result(self, prefix: str, own: StoreLayout | ResultLayout) -> Shapes:
        """Datasets that every result has for itself."""
        n, m, length = len(self.regions), self.n_controls, self.length
        shapes: Shapes = {prefix + "track": ((n, length), np.float32), prefix + "prediction": ((n,), np.float32)}
        if own.hypothetical:
            shapes[prefix + "hypothetical"] = ((n, 4, length), np.float32)
        if own.completeness_error:
            shapes[prefix + "completeness_error"] = ((n,), np.float32)
        if own.noise:
            shapes[prefix + "noise"] = ((n, length), np.float32)
        if self.spread:
            shapes |= {prefix + name: shapes[prefix + of] for name, of in SPREADS.items()}
        if m:
            shapes[prefix + "null/track"] = ((m, length), np.float32)
            shapes[prefix + "null/prediction"] = ((m,), np.float32)
        return shapes

    def n_bytes(self) -> int:
        """Bytes that the streamed datasets take on disk."""
        return n_bytes_of(self.datasets(), self.keep_bits)


def n_bytes_of(shapes: Shapes, keep_bits: int | None = None) -> int:
    """Bytes that datasets take on disk, their scores rounded to `keep_bits`."""
    return sum(
        int(np.prod(shape)) * (kept_bytes(keep_bits) if is_score(name) else np.dtype(kind).itemsize)
        for name, (shape, kind) in shapes.items()
    )


def read_attributions(
    path: str | os.PathLike[str], result: str | None = None, *, in_memory: bool = True
) -> Attributions:
    """Read an attribution file.

    Parameters
    ----------
    path
        An HDF5 file made by `seqsal attribute`.
    result
        Which of its results (`Attributions.results` lists them); None for the first.
    in_memory
        False leaves the (N, …) arrays on disk, to be read row by row through :class:`DiskArray`.

    Returns
    -------
    Attributions
        `track` (N, L), `regions`, row i ↔ track[i], and more; `controls` is None while the file has none.

    Raises
    ------
    StoreError
        The file is missing, not HDF5, damaged, unfinished, or of another schema; or it holds no such result.

    Examples
    --------
    >>> import seqsal
    >>> import numpy as np, tempfile, torch
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4 * 6, 1))
    >>> X = np.eye(4, dtype=np.float32)[[[0, 1, 2, 3, 3, 0]]].transpose(0, 2, 1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = seqsal.attribute(model, X=X, device="cpu", out=f"{folder}/A.h5")
    ...     read = seqsal.read_attributions(f"{folder}/A.h5")
    >>> read.track.shape, read.regions["chrom"].tolist()
    ((1, 6), ['sequence_1'])
    """
    file = _open_store(Path(path))
    try:
        _check_layout(file, Path(path))
        if "progress" in file:
            raise StoreError(
                f"{path}: unfinished, only some of the rows are there; run the command that makes it again"
            )
        attrs, prefix = _choose_result(file, path, result)
        _check_arrays(file, prefix)
        arrays = {name: _load(file, prefix + name, in_memory) for name in _ARRAYS}
        damaged = partial(_damaged, path)
        rejected, sizes = (_table(file[name], damaged).frame() if name in file else pd.DataFrame() for name in _EXTRA)
        regions = _table(file["regions"], damaged)
        attributions = Attributions(
            regions=regions.frame() if in_memory else regions,  # type: ignore[arg-type]
            rejected=rejected,
            chrom_sizes=dict(zip(sizes["chrom"], map(int, sizes["size"]), strict=True)) if len(sizes) else {},
            attrs=attrs,
            path=Path(path),
            open_result=partial(read_attributions, path, in_memory=in_memory),
            codes=_load(file, "codes", in_memory),  # type: ignore[arg-type]
            window_codes=_load(file, "window/codes", in_memory),
            controls=_load_controls(file, prefix, in_memory, str(attrs.get("null", "shuffle"))),
            **arrays,  # type: ignore[arg-type]
        )
    except SeqsalError:
        file.close()
        raise
    except DAMAGE as error:
        file.close()
        raise _damaged(path, error) from error
    if in_memory:
        file.close()
    return attributions


def _damaged(path: str | os.PathLike[str], error: Exception) -> StoreError:
    """Make the error for a file that HDF5 cannot read."""
    why = next(iter(str(error).splitlines()), type(error).__name__)
    return StoreError(f"{path}: damaged or not an attribution file ({why}); make it again")


_EXTRA = ("rejected", "chrom_sizes")
_ARRAYS = ("track", "prediction", "hypothetical", "completeness_error", "noise", *SPREADS)
_REQUIRED = ("regions", "codes", "track", "prediction")
_FOREIGN = "shap/seq"  # of chrombpnet


def result_prefix(result: str | None) -> str:
    """Path of a further result in the file, with its slash; the empty one for the first result, at the root."""
    return "" if result is None else f"results/{result}/"


def _choose_result(file: h5py.File, path: str | os.PathLike[str], result: str | None) -> tuple[dict[str, Any], str]:
    """Return a result's attributes, and the prefix of its datasets."""
    attrs = read_attrs(file)
    for name, kind in (
        ("readout_at", dict),
        ("contrast", dict),
        ("span", list),
        ("results", list),
        ("options", dict),
        ("model", dict),
        ("genome", dict),
        ("reading", dict),
    ):
        if not isinstance(attrs.get(name, kind()), kind):
            raise ValueError(f"attribute {name} is no {kind.__name__}")
    attrs.setdefault("result", str(attrs.get("method", "unknown")))
    attrs.setdefault("results", [attrs["result"]])
    if result is None or result == attrs["result"]:
        return attrs, ""
    check_result(str(path), result, attrs["results"])
    prefix = result_prefix(result)
    return {**attrs, **read_attrs(file[prefix]), "result": result}, prefix


def read_attrs(group: h5py.Group) -> dict[str, Any]:
    """Attributes of the file or of one result, those that were written as JSON parsed."""
    return {key: _read_attr(value) for key, value in group.attrs.items() if key != "fingerprint"}


def in_use(path: str | os.PathLike[str]) -> StoreError:
    """Make the error for a file that HDF5 finds locked."""
    return StoreError(f"{path}: in use by another process, which has it open for writing; wait, or close it there")


def _open_store(path: Path) -> h5py.File:
    if not path.exists():
        raise StoreError(f"{path}: no such file; make it with `seqsal attribute … --out {path.name}`")
    if path.is_dir():
        raise StoreError(f"{path}: is a folder, expected an attribution file (.h5)")
    try:
        return h5py.File(path, "r")
    except BlockingIOError as error:
        raise in_use(path) from error
    except PermissionError as error:
        raise StoreError(f"{path}: cannot be read (Permission denied); expected a readable attribution file") from error
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be read as HDF5, it is of another kind, damaged or truncated; "
            "expected a file made by `seqsal attribute`"
        ) from error


def _check_layout(file: h5py.File, path: Path) -> None:
    """Raise unless this is an attribution file of a schema that is known here."""
    if _FOREIGN in file:
        raise StoreError(
            f"{path}: holds contribution scores as chrombpnet writes them, expected an attribution file; make one with "
            f"`seqsal import {path.name} --regions BED --genome FASTA --out A.h5`"
        )
    schema, made_by = file.attrs.get("schema", 0), file.attrs.get("seqsal_version", "of an unknown version")
    missing = [name for name in _REQUIRED if name not in file]
    if missing and schema in (0, SCHEMA):
        raise StoreError(
            f"{path}: not an attribution file, {', '.join(missing)} missing; expected `seqsal attribute` output"
        )
    if schema != SCHEMA:
        is_newer = np.issubdtype(type(schema), np.integer) and schema > SCHEMA
        raise StoreError(
            f"{path}: schema {schema} written by seqsal {made_by}, this one ({VERSION}) reads schema {SCHEMA}; "
            + ("upgrade seqsal" if is_newer else "make the file again with this version")
        )


def _check_arrays(file: h5py.File, prefix: str) -> None:
    """Raise ValueError unless the arrays of a result are of the kinds and shapes that belong together."""
    n, length = file["track"].shape
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {
        "codes": ("iu", (n, length)),
        f"{prefix}track": ("f", (n, length)),
        f"{prefix}prediction": ("f", (n,)),
        f"{prefix}hypothetical": ("f", (n, 4, length)),
        f"{prefix}completeness_error": ("f", (n,)),
        f"{prefix}noise": ("f", (n, length)),
        f"{prefix}track_sd": ("f", (n, length)),
        f"{prefix}prediction_sd": ("f", (n,)),
    }
    if "span" in file.attrs:
        start, end = json.loads(file.attrs["span"])
        window = file["window/codes"].shape[1]
        if end - start != length or not 0 <= start < end <= window:
            raise ValueError(f"attribute span is {start} to {end}, expected {length} bases of {window}")
        shapes["window/codes"] = ("iu", (n, window))
    if f"{prefix}null/track" in file:
        m = len(file[f"{prefix}null/track"])
        shapes |= {f"{prefix}null/track": ("f", (m, length)), f"{prefix}null/prediction": ("f", (m,))}
        shapes |= {"null/codes": ("iu", (m, length)), "null/source": ("iu", (m,))}
    for name, (kinds, shape) in shapes.items():
        if name not in file:
            continue
        found = file[name]
        if not isinstance(found, h5py.Dataset) or found.dtype.kind not in kinds or found.shape != shape:
            raise ValueError(f"/{name} is {getattr(found, 'shape', 'a group')}, expected {shape} of other values")
    for name, column in file["regions"].items():
        if column.shape != (n,):
            raise ValueError(f"/regions/{name} has {column.shape}, expected one value for each of {n} windows")


def _load(file: h5py.File, name: str, in_memory: bool) -> Array | None:
    if name not in file:
        return None
    return np.asarray(file[name][...]) if in_memory else DiskArray(file[name])


def _load_controls(file: h5py.File, prefix: str, in_memory: bool, kind: str) -> Controls | None:
    track, codes, source, prediction = (
        _load(file, f"{path}null/{name}", in_memory)
        for path, name in ((prefix, "track"), ("", "codes"), ("", "source"), (prefix, "prediction"))
    )
    return None if track is None else Controls(track, codes, source, prediction, kind)


def _table(group: h5py.Group, damaged: Callable[[Exception], Exception]) -> DiskTable:
    order = [name for name in REGION_TYPES if name in group] + [name for name in group if name not in REGION_TYPES]
    return DiskTable(group, order, damaged)


def _read_attr(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in "{[":
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value.item() if isinstance(value, np.generic) else value
