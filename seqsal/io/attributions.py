"""What an attribution file holds, in Python: regions with their arrays, in memory or left on disk.

A file may hold several results, one a method and target. Each is an :class:`Attributions` of its own, and any of them
leads to the others: `attr.results` lists the names, `attr.result("ism")` gives that one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import RegionError, StoreError, UsageError, counted, shown
from seqsal.io.hdf5 import DAMAGE
from seqsal.io.rounding import rounding_text
from seqsal.io.views import view
from seqsal.regions import Span, cut_windows, lift_span, parse_region, windows_of
from seqsal.sequence.codes import ALPHABET, N_CODE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from seqsal.regions import Region

__all__ = [
    "ARRAYS",
    "NULLS",
    "ROWS_AT_ONCE",
    "SPREADS",
    "Array",
    "Attributions",
    "Controls",
    "DiskArray",
    "DiskTable",
    "check_attributions",
    "check_result",
]

NULLS = ("shuffle", "background")  # what controls are: shuffled windows, or windows of the genome away from regions


SPREADS = {"track_sd": "track", "prediction_sd": "prediction"}  # over the members of an ensemble, of what
ROWS_AT_ONCE = 1 << 16  # of a table
MANY_ROWS = 1 << 8  # picked from a table on disk
Rows = slice | Sequence[int] | NDArray[np.integer]
ARRAYS = ("codes", "track", "prediction", "hypothetical", "completeness_error", "noise", "window_codes", *SPREADS)


class DiskArray:
    """A dataset of an open HDF5 file that indexes like a numpy array along its rows.

    Slices, one integer, and integer arrays in any order and with repeats are read from disk on demand.
    """

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._dataset = dataset
        self.shape: tuple[int, ...] = dataset.shape
        self.dtype: np.dtype[Any] = dataset.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | Rows) -> NDArray[Any]:
        if isinstance(rows, (int, np.integer, slice)):
            return np.asarray(self._dataset[rows])
        index = np.asarray(rows)
        if index.dtype == bool:
            index = np.flatnonzero(index)
        unique, inverse = np.unique(np.where(index < 0, index + len(self), index), return_inverse=True)
        return np.asarray(self._dataset[unique])[inverse]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self._dataset[...], dtype=dtype)

    def __repr__(self) -> str:
        return f"DiskArray(shape={self.shape}, dtype={self.dtype})"


class DiskTable:
    """A table of an open HDF5 file, of which as much is read as is asked for: a genome has ten million windows."""

    def __init__(self, group: h5py.Group, order: Sequence[str], damage: Callable[[Exception], Exception]) -> None:
        self.columns, self._damage = list(order), damage
        self._datasets = {name: group[name] for name in order}

    def __len__(self) -> int:
        return len(next(iter(self._datasets.values()), ()))

    def column(self, name: str, rows: Rows = slice(None)) -> NDArray[Any]:
        """Values of some rows; texts as objects."""
        dataset = self._datasets[name]
        try:
            if not isinstance(rows, slice):
                found = _picked(dataset, rows)
                return found if h5py.check_string_dtype(dataset.dtype) is None else _decoded(found, {})
            if h5py.check_string_dtype(dataset.dtype) is None:
                return DiskArray(dataset)[rows]
            found, known = np.empty(len(range(len(dataset))[rows]), dtype=object), dict[bytes, str]()
            first, stop, step = rows.indices(len(dataset))
            for i in range(0, len(found), ROWS_AT_ONCE):
                part = slice(first + i * step, min(first + (i + ROWS_AT_ONCE) * step, stop), step)
                found[i : i + ROWS_AT_ONCE] = _decoded(dataset[part], known)
            return found
        except DAMAGE as error:
            raise self._damage(error) from error

    def frame(self, rows: Rows = slice(None), columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return some rows as a DataFrame, counted from 0."""
        return pd.DataFrame({name: self.column(name, rows) for name in columns or self.columns})


def _picked(dataset: h5py.Dataset, rows: Sequence[int] | NDArray[np.integer]) -> NDArray[Any]:
    """Read rows by number; of many, whole blocks, as HDF5 takes long for each row."""
    index = np.asarray(rows)
    if index.dtype == bool or len(index) < MANY_ROWS:
        return DiskArray(dataset)[index]
    index = np.where(index < 0, index + len(dataset), index)
    found, of = np.empty(len(index), dataset.dtype), index // ROWS_AT_ONCE
    for block in np.unique(of).tolist():
        here, first = of == block, block * ROWS_AT_ONCE
        found[here] = dataset[first : first + ROWS_AT_ONCE][index[here] - first]
    return found


def _decoded(raw: NDArray[Any], known: dict[bytes, str]) -> NDArray[np.object_]:
    """Decode texts, of which equal ones are one object: a chromosome is named a million times."""
    if len(known) > ROWS_AT_ONCE:  # names, which do not repeat
        known.clear()
    first = np.flatnonzero(np.append(len(raw) > 0, raw[1:] != raw[:-1]))
    texts = np.array([known.setdefault(one, one.decode()) for one in raw[first].tolist()], dtype=object)
    return np.repeat(texts, np.diff(first, append=len(raw)))


class _Regions:
    """The field of the regions: a table that is on disk is read when it is asked for as a whole."""

    def __get__(self, attr: Attributions | None, owner: type) -> Any:
        if attr is None:
            return self
        held = attr.__dict__["regions"]
        if isinstance(held, DiskTable):
            held = attr.__dict__["regions"] = held.frame()
        return held

    def __set__(self, attr: Attributions, table: pd.DataFrame | DiskTable) -> None:
        attr.__dict__["regions"] = table


class Columns:
    """Some columns, the last axis from `start` to `end`, of an array that may be on disk."""

    def __init__(self, array: Array, start: int, end: int) -> None:
        self._array, self._columns = array, slice(start, end)
        self.shape: tuple[int, ...] = (*array.shape[:-1], end - start)
        self.dtype: np.dtype[Any] = array.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | slice | NDArray[np.int64]) -> NDArray[Any]:
        return np.asarray(self._array[rows])[..., self._columns]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)


Array = NDArray[Any] | DiskArray | Columns
_SPACE_NAMES = {name: name for name in ("logit", "probability", "count")} | {"log": "log output", "unknown": "output"}


@dataclass(frozen=True, eq=False)
class Controls:
    """Shuffled or other windows, attributed as the windows themselves: what a track looks like where nothing is meant.

    `kind` is one of :data:`NULLS`.
    """

    track: Array  # (M, L) float32, their attributions
    codes: Array | None = None  # (M, L) uint8, None where their sequences are not known
    source: Array | None = None  # (M,) row of the window that each is a shuffle of, or matched to
    prediction: Array | None = None  # (M,) float32, their attributed output
    kind: str = "shuffle"

    def __len__(self) -> int:
        return len(self.track)


@dataclass(frozen=True, repr=False, eq=False)
class Attributions:
    """Attributions of N windows of L bases, with the regions that they are about.

    All but `controls`, which may be made later, stays as it was made.

    Attributes
    ----------
    regions
        Window table; row i describes row i of every array. That of a file which is left on disk is read when it is
        first asked for; :meth:`rows` and :meth:`column` read less.
    codes
        (N, L) uint8, what the model saw.
    track
        (N, L) float32, attribution of the base that is there, in units of the attributed output.
    prediction
        (N,) float32, the attributed output in `output_space`.
    hypothetical
        (N, 4, L) float32, scores of all four bases, or None when they were not kept.
    completeness_error
        (N,) float32, relative error of the promised sum, or None when the method promises none.
    noise
        (N, L) float32, standard deviation that `track` has where nothing of the sequence matters, or None where the
        method does not measure it.
    controls
        The controls, dinucleotide shuffles or windows of the background; None while there are none.
    rejected
        Regions of the input that could not be used, with a `reason` each.
    chrom_sizes
        Chromosome lengths (bp).
    attrs
        What made the file: method, target, output_space, model, genome, seed, options, …
    path
        The file that holds them, None in memory.
    open_result
        Gives another result by its name; :meth:`result` is what to call.
    window_codes
        (N, W) uint8, the whole windows as the model saw them, where only a span of each is kept; L is then its length.
    track_sd, prediction_sd
        (N, L) and (N,) float32, standard deviations over the members of an ensemble; None of one model.
    run
        The :class:`seqsal.attribution.engine.AttributionRun` that made them in this process, with its model: what
        controls are made with later. Not pickled.

    Examples
    --------
    >>> import numpy as np, seqsal, torch
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4 * 6, 1))
    >>> X = np.eye(4, dtype=np.float32)[[[0, 1, 2, 3, 3, 0]]].transpose(0, 2, 1)
    >>> attr = seqsal.attribute(model, X=X, device="cpu")
    >>> attr
    Attributions(1 region × 6 bp, method=gradient_x_input, output_space=linear, 0 controls, with hypothetical)
    >>> attr.track.shape, attr.hypothetical.shape, attr.controls is None
    ((1, 6), (1, 4, 6), True)
    """

    regions: pd.DataFrame
    codes: Array
    track: Array
    prediction: Array
    hypothetical: Array | None = None
    completeness_error: Array | None = None
    controls: Controls | None = None
    rejected: pd.DataFrame = field(default_factory=lambda: pd.DataFrame())
    chrom_sizes: dict[str, int] = field(default_factory=dict)
    attrs: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None
    open_result: Callable[[str], Attributions] | None = field(default=None, repr=False)
    run: Any = field(default=None, repr=False)
    window_codes: Array | None = field(default=None, repr=False)
    noise: Array | None = None
    track_sd: Array | None = field(default=None, repr=False)
    prediction_sd: Array | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        n_regions = len(self)
        for name in ARRAYS:
            array = getattr(self, name)
            if array is not None and len(array) != n_regions:
                raise StoreError(f"{name}: got {len(array)} rows, expected one for each of the {n_regions} regions")

    def __len__(self) -> int:
        return len(self.__dict__["regions"])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "run": None}

    def keep(self, **made: Any) -> None:
        """Set what was made after the result itself: `controls`, or the `run` that can make them.

        Raises
        ------
        AttributeError
            Another name: what the attributions are about cannot be set.

        Examples
        --------
        >>> import seqsal, torch
        >>> model = seqsal.wrap(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(40, 1)))
        >>> attr = seqsal.attribute(model, X=torch.eye(4)[torch.arange(10) % 4].T[None])
        >>> attr.keep(run=None)  # its model is forgotten: no controls can be made without another
        """
        for name, value in made.items():
            if name not in ("controls", "run"):
                raise AttributeError(f"{name}: is what the attributions are about, and cannot be set")
            object.__setattr__(self, name, value)

    @property
    def columns(self) -> list[str]:
        """Names of the columns of the regions, which are not read for them.

        Examples
        --------
        >>> import seqsal, torch
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(40, 1))
        >>> attr = seqsal.attribute(model, X=torch.eye(4)[torch.arange(10) % 4].T[None], device="cpu")
        >>> attr.columns[:3]
        ['chrom', 'start', 'end']
        """
        return list(map(str, self.__dict__["regions"].columns))

    def column(self, name: str, rows: Rows = slice(None)) -> NDArray[Any]:
        """Return a column of the regions, or some rows of it, without reading the others; texts as objects.

        Parameters
        ----------
        name
            Of the column.
        rows
            A slice or row numbers.

        Examples
        --------
        >>> import seqsal, torch
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(40, 1))
        >>> attr = seqsal.attribute(model, X=torch.eye(4)[torch.arange(10) % 4].T[None], device="cpu")
        >>> attr.column("end")
        array([10])
        """
        held = self.__dict__["regions"]
        if isinstance(held, DiskTable):
            return held.column(name, rows)
        values = held[name].iloc[rows]
        return np.asarray(values.to_numpy(object if isinstance(values.dtype, pd.StringDtype) else None))

    def rows(self, rows: Rows, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return some rows of the regions, counted from 0, without reading the others; some columns, or all.

        Examples
        --------
        >>> import seqsal, torch
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(40, 1))
        >>> attr = seqsal.attribute(model, X=torch.eye(4)[torch.arange(10) % 4].T[None], device="cpu")
        >>> attr.rows([0], ["chrom", "end"])
                chrom  end
        0  sequence_1   10
        """
        held = self.__dict__["regions"]
        if isinstance(held, DiskTable):
            return held.frame(rows, columns)
        table = held if columns is None else held[list(columns)]
        return table.iloc[rows].reset_index(drop=True)

    def row_blocks(self) -> Iterator[slice]:
        """Yield the rows in blocks of `ROWS_AT_ONCE`.

        Examples
        --------
        >>> import seqsal, torch
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(40, 1))
        >>> attr = seqsal.attribute(model, X=torch.eye(4)[torch.arange(10) % 4].T[None], device="cpu")
        >>> list(attr.row_blocks())
        [slice(0, 1, None)]
        """
        yield from (slice(i, min(i + ROWS_AT_ONCE, len(self))) for i in range(0, len(self), ROWS_AT_ONCE))

    @cached_property
    def is_reverse(self) -> NDArray[np.bool_]:
        """Whether each window lies on the reverse strand, (N,)."""
        found = np.broadcast_to(np.False_, len(self))  # takes no memory
        for rows in self.row_blocks():
            reverse = self.column("strand", rows) == "-"
            if reverse.any():
                found = found if found.flags.writeable else found.copy()
                found[rows] = reverse
        return found

    @property
    def length(self) -> int:
        """Bases per window, or of the span that is kept of each."""
        return int(self.track.shape[1])

    @property
    def window_length(self) -> int:
        """Bases that the model read at a time."""
        return self.length if self.window_codes is None else int(self.window_codes.shape[1])

    @property
    def span(self) -> Span:
        """What is kept of each window, as the model reads it; all of it if nothing else was asked for."""
        return Span(*self.attrs.get("span", (0, self.length)))

    @property
    def windows(self) -> pd.DataFrame:
        """Table of the whole windows, row i ↔ regions[i]; `regions` itself unless a span was kept."""
        return windows_of(self.regions)

    @property
    def n_controls(self) -> int:
        """Number of controls."""
        return 0 if self.controls is None else len(self.controls)

    @property
    def null(self) -> str:
        """What the controls are, or will be when they are made: `shuffle` or `background`."""
        return str(self.attrs.get("null", "shuffle")) if self.controls is None else self.controls.kind

    @property
    def output_space(self) -> str:
        """What the attributions are about: `logit`, `probability`, `log`, `linear`, …."""
        return str(self.attrs.get("output_space", "unknown"))

    @property
    def method(self) -> str:
        """Name of the method that made the track."""
        return str(self.attrs.get("method", "unknown"))

    @property
    def unit(self) -> str:
        """What the values of the track are, for axes and table heads: ``contribution to the logit``."""
        effect = "contribution to" if self.attrs.get("signed", True) else "influence on"
        return f"{effect} the {_SPACE_NAMES.get(self.output_space, f'output ({self.output_space})')}"

    @property
    def target(self) -> int:
        """Output of the model that was attributed, from 0."""
        return int(self.attrs.get("target", 0))

    @property
    def name(self) -> str:
        """Name of this result: that of the method, with `.targetK` where there are several targets."""
        return str(self.attrs.get("result", self.method))

    @property
    def results(self) -> tuple[str, ...]:
        """Names of all results that were made together, this one among them, in the order of the file."""
        return tuple(self.attrs.get("results", (self.name,)))

    def result(self, name: str) -> Attributions:
        """Return one of the results that were made together with this one.

        Parameters
        ----------
        name
            One of :attr:`results`.

        Raises
        ------
        StoreError
            There is no such result.

        Examples
        --------
        >>> import numpy as np, seqsal, torch
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4 * 6, 2))
        >>> X = np.eye(4, dtype=np.float32)[[[0, 1, 2, 3, 3, 0]]].transpose(0, 2, 1)
        >>> attr = seqsal.attribute(model, X=X, target=[0, 1], device="cpu")
        >>> attr.result("gradient_x_input.target1").target
        1
        """
        if name == self.name:
            return self
        check_result("attributions", name, self.results)
        if self.open_result is None:
            raise StoreError(f"attributions: result {name!r} was left behind; read the file again")
        return self.open_result(name)

    def __getitem__(self, rows: Any) -> Attributions:
        """Return some of the windows, in memory: by numbers, a slice or a mask, or those that overlap a region.

        A place is text such as ``chr8:74,086,660-74,086,860``; the name of a region is one too. Controls of windows
        that are left out are left out. IndexError: there is no such row; RegionError: no window is there.
        """
        if isinstance(rows, str):
            rows = self._rows_at(rows)
        index = np.atleast_1d(np.arange(len(self))[rows])
        arrays = {name: None if (array := getattr(self, name)) is None else np.asarray(array[index]) for name in ARRAYS}
        return replace(
            self,
            regions=self.regions.iloc[index].reset_index(drop=True),
            controls=_controls_of(self.controls, index, len(self)),
            path=None,
            open_result=lambda name: self.result(name)[index],
            **arrays,  # type: ignore[arg-type]
        )

    def _rows_at(self, place: str) -> NDArray[np.int64]:
        """Rows of the region of this name, or of all that share a base with a place."""
        named = np.flatnonzero((self.regions["name"] == place).to_numpy())
        if len(named):
            return named
        chrom, start, end, _ = parse_region(place)
        here = (self.regions["chrom"] == chrom) & (self.regions["end"] > start) & (self.regions["start"] < end)
        if not here.any():
            raise RegionError(
                f"attributions: none of {len(self):,} regions shares a base with {place}, expected one; give a place "
                "that was attributed"
            )
        return np.flatnonzero(here.to_numpy())

    def to_frame(self, bases: bool = False) -> pd.DataFrame:
        """Return a table with a row a window: its region, the prediction, and sums of its map.

        Parameters
        ----------
        bases
            A row a base instead: region, chrom, start, strand, base and contribution, unknown bases left out; on the
            chromosome's forward strand.

        Examples
        --------
        >>> import seqsal, torch
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(40, 1))
        >>> attr = seqsal.attribute(model, X=torch.eye(4)[torch.arange(10) % 4].T[None], device="cpu")
        >>> list(attr.to_frame())[-4:]
        ['prediction', 'sum', 'positive', 'negative']
        >>> len(attr.to_frame(bases=True))
        10
        """
        track, codes = np.asarray(self.track), np.asarray(self.codes)
        if not bases:
            up, down = (np.where(sign * track > 0, track, 0).sum(axis=1, dtype=np.float64) for sign in (1, -1))
            return self.regions.assign(
                prediction=np.asarray(self.prediction), sum=up + down, positive=up, negative=down
            )
        row, offset = np.nonzero(codes < N_CODE)
        windows = self.regions.iloc[row]
        strand = windows["strand"].to_numpy()
        start, _ = lift_span(windows["start"], windows["end"], strand, offset, offset + 1)
        base = np.where(strand == "-", 3 - codes[row, offset], codes[row, offset])
        return pd.DataFrame(
            {"region": windows["name"].to_numpy(), "chrom": windows["chrom"].to_numpy(), "start": start,
             "strand": strand, "base": np.array(list(ALPHABET))[base], "contribution": track[row, offset]}
        )  # fmt: skip

    def cut(self, span: Span) -> Attributions:
        """Return the same of a span of the windows alone, which keeps whole windows for the model to read.

        Parameters
        ----------
        span
            From where to where in the window, as the model reads it; within what is kept now.

        Raises
        ------
        StoreError
            It is not within.

        Examples
        --------
        >>> import seqsal, torch
        >>> from seqsal.regions import Span
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(40, 1))
        >>> attr = seqsal.attribute(model, X=torch.eye(4)[torch.arange(10) % 4].T[None], device="cpu")
        >>> attr.cut(Span(3, 7)).track.shape
        (1, 4)
        """
        first, last = span.start - self.span.start, span.end - self.span.start
        if not 0 <= first < last <= self.length:
            raise StoreError(
                f"span: got bases {span.start} to {span.end} of the window, expected some within {self.span.start} to "
                f"{self.span.end}, which the attributions hold"
            )

        def part(array: Array | None) -> Any:
            return None if array is None else Columns(array, first, last)

        controls = self.controls
        if controls is not None:
            controls = replace(controls, track=part(controls.track), codes=part(controls.codes))
        return replace(
            self,
            regions=cut_windows(self.windows, span),
            codes=part(self.codes),
            track=part(self.track),
            hypothetical=part(self.hypothetical),
            window_codes=self.codes if self.window_codes is None else self.window_codes,
            controls=controls,
            attrs={**self.attrs, "span": list(span), "control_shuffle": "window"},
            path=None,
            open_result=lambda name: self.result(name).cut(span),
        )

    def plot(self, region: str | int | Region | None = None, **settings: Any) -> list[Axes]:
        """Draw a region of the genome: the track with peaks and motifs beneath, its strongest part as letters.

        Parameters
        ----------
        region
            ``chrom:start-end``, 0-based half-open; the name of a region or its row; None for the region with the
            highest prediction.
        settings
            `peaks`, `motifs`, `colors`, `title` and the others of :func:`seqsal.plot.plot_attributions`.

        Raises
        ------
        RegionError
            `region` is malformed, or outside the data.

        Examples
        --------
        >>> axes = attr.plot("chr11:190100-190160", peaks=peaks)  # doctest: +SKIP
        """
        axes: list[Axes] = view("plot")(self, region, **settings)
        return axes

    def browser(self, region: str | int | Region | None = None, **settings: Any) -> Any:
        """Show the track in a genome browser inside a Jupyter notebook, without network.

        Parameters
        ----------
        region
            Where to begin, as for :meth:`plot`.
        settings
            `peaks`, `motifs` and the others of :func:`seqsal.browser.show_browser`.

        Returns
        -------
        igv_notebook.Browser
            Of which `search("chr1:100-200")` goes elsewhere, and `load_track({...})` adds a track.

        Raises
        ------
        UsageError
            There is no notebook, or the `jupyter` extra is not installed.
        RegionError
            `region` is malformed, or outside the data.

        Examples
        --------
        >>> attr.browser("chr11:190100-190160", peaks=peaks)  # doctest: +SKIP
        """
        return view("browser")(self, region, **settings)

    def _repr_html_(self) -> str:
        return str(view("attributions_html")(self))

    def __repr__(self) -> str:
        optional = ("hypothetical", "completeness_error", "noise", "track_sd")
        kept = [name for name in optional if getattr(self, name) is not None]
        extra = f", with {' and '.join(kept)}" if kept else ""
        if "keep_bits" in self.attrs:
            extra += f", {rounding_text(self.attrs['keep_bits'])}"
        if len(self.results) > 1:
            extra += f"; results: {', '.join(self.results)}"
        return (
            f"Attributions({counted(len(self), 'region')} × {self.length:,} bp, method={self.method}, "
            f"output_space={self.output_space}, {counted(self.n_controls, 'control')}{extra})"
        )


setattr(Attributions, "regions", _Regions())  # noqa: B010  # when the class is made it would be a default


def _controls_of(controls: Controls | None, rows: NDArray[np.int64], n_windows: int) -> Controls | None:
    """Return the controls of some rows, which are counted again; None where there are none, or it is not known."""
    if controls is None or controls.source is None:
        return None
    new = np.full(n_windows, -1, dtype=np.int64)
    new[rows] = np.arange(len(rows))
    source = new[np.asarray(controls.source)]
    kept = np.flatnonzero(source >= 0)
    if not len(kept):
        return None
    arrays = {
        name: None if (array := getattr(controls, name)) is None else np.asarray(array[kept])
        for name in ("track", "codes", "prediction")
    }
    return replace(controls, source=source[kept], **arrays)  # type: ignore[arg-type]


def check_attributions(attr: object) -> None:
    """Raise UsageError for what is given in the place of :class:`Attributions`: their file, an array, the model."""
    if not isinstance(attr, Attributions):
        is_path = isinstance(attr, (str, os.PathLike))
        cure = f"open the file with seqsal.read_attributions({str(attr)!r})" if is_path else "give those of attribute()"
        raise UsageError(f"attr: got {shown(attr)}, expected seqsal.Attributions; {cure}")


def check_result(where: str, name: str, available: Sequence[str]) -> None:
    """Raise StoreError unless a result is there."""
    if name not in available:
        raise StoreError(f"{where}: has no result {name!r}, expected one of {', '.join(available)}")
