"""The one road from a request to its results: Python, the command line and `run` all come this way."""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from seqsal.attribution.engine import AttributionRun, attribute_to_file, attribute_windows
from seqsal.attribution.methods.base import Method
from seqsal.attribution.passes import first_window, genome_of, predict_members
from seqsal.attribution.readouts import places_of, with_readouts
from seqsal.attribution.request import (
    AttributeOptions,
    ModelSpec,
    Request,
    as_given,
    check_reading,
    identify_model,
    make_request,
    model_name,
    read_model,
)
from seqsal.attribution.spans import find_span
from seqsal.attribution.targets import with_target
from seqsal.errors import UsageError
from seqsal.io.atomic import check_distinct
from seqsal.io.attributions import Attributions
from seqsal.io.inputs import SharedWindows, WindowSource, open_codes, open_input
from seqsal.io.store import read_attributions
from seqsal.models import SequenceModel, resolve_device
from seqsal.models.grid import find_grid
from seqsal.models.seen import SEEN_REASON, TRAINED_ON, find_seen
from seqsal.regions import Span
from seqsal.sequence.codes import codes_from_one_hot

__all__ = ["OpenRequest", "attribute", "open_request", "score", "score_table"]

_PATH = str | os.PathLike[str]
PLACING = ("readout_at", "gene", "bin_size", "crop")  # where a profile is read


def attribute(
    model: ModelSpec,
    *,
    genome: _PATH | None = None,
    regions: _PATH | pd.DataFrame | Sequence[str] | None = None,
    fasta: _PATH | None = None,
    X: Any = None,
    method: str | Method | Sequence[str | Method] = "gradient_x_input",
    target: int | str | Sequence[int | str] | None = None,
    contrast: Any = None,
    span: int | str | None = None,
    out: _PATH | None = None,
    device: str = "auto",
    seed: int = 0,
    resume: bool = True,
    progress: bool | None = None,
    **options: Any,
) -> Attributions:
    """Show which bases drive a model's prediction.

    Parameters
    ----------
    model
        A model file or ``package.module:factory``, any `nn.Module` (N, 4, L) → (N,) or (N, T), or a model from
        :func:`seqsal.load_model` or :func:`seqsal.wrap`. A list of them is an ensemble: `track` is then the mean of
        the members' maps, and `track_sd` and `prediction_sd` say how they spread.
    genome, regions
        Genome FASTA, and regions as a file, a table, or text such as ``chr8:74,086,660-74,086,860``, one or several; or
        ``genome`` or names of chromosomes (``chrI,chrII``), which overlapping windows then cover.
    fasta
        Sequences instead of genome and regions.
    X
        One-hot windows (N, 4, L) instead of files; with `regions` as a table of N rows, they keep those coordinates.
    method
        Name of the attribution method, a :class:`seqsal.attribution.Method` of one's own, or several of them.
    target
        Which output of the model, or several, from 0; None for the one that it was wrapped for, or the first. With
        `target_names`, a file or list of names, outputs may be called by these here and in `contrast`.
    contrast
        Differences of outputs to attribute, one or a list: ``"5-3"``, ``"liver - mean(others)"``, the log ratio
        ``"log(5 / 3)"``, or a weight for each output (T,), as an array or a file. They share one forward pass.
    span
        The part of each window that is kept: a number of bases, K, around its middle (the region's centre or summit);
        ``region``, the regions themselves, with the model's windows laid around them; None or ``window`` for all of it.
        The model reads whole windows in any case; `ism` mutates the span alone. `flank` widens it.
    out
        Attribution file to write; the arrays of the result then stay on disk, and memory stays flat.
    device
        `auto`, `cpu` or `cuda[:i]`.
    seed
        Seeds everything random: controls, references and noise. What is drawn for a window depends on its own bases,
        and on no other window.
    resume
        Go on with an unfinished `out` of the same model, windows and settings; False starts over.
    progress
        Show a progress bar; None shows one on a terminal, as soon as the work takes more than some seconds.
    options
        `rc_average`; `n_controls`, shuffled windows that are attributed at once for peaks to be compared with (0, the
        default, leaves them until :func:`seqsal.call_peaks` or something else needs them); `hypothetical` (keep the
        scores of all four bases, where the method gives them; by default in memory but not on disk), `draw` (another
        number: other controls, references and noise), `flank` (bp to widen the span by, on either side),
        `control_shuffle` (``window``: controls are shuffles of whole windows; by default of the span, so that their
        surroundings are those of the windows that they are compared with), `batch_size`, `precision` (`fp32`, `bf16`
        or, on CUDA, `tf32`), `keep_bits` (round scores of each base to this many bits of mantissa, which makes the file
        smaller: a value is then off by at most 2^-(`keep_bits` + 1) of itself), `compile` (let torch.compile fuse the
        model's operations), `held_out` (leave out the regions that the model was trained on, where its checkpoint says
        which), `ignore_strand`, `tile`, `blocks`, `step` and `exclude` (as for :func:`score`), `readout_at` (which
        positions of a model's profile are read: ``region``, ``summit±100``, a BED file, or ``tss:GENES.gtf`` and
        ``exons:GENES.gtf``, of `gene` or else of the gene that the region is named for, or the nearest; `bin_size` and
        `crop` in bp say where positions lie in the window, where that is not to be measured); the methods' own, such as
        `gradient_correction` (with several methods an option goes to those that have it; in a dictionary
        `method_options`, the key `"ism.n_at_once"` addresses one); and how a file or a module is read, as in
        :func:`seqsal.load_model` and :func:`seqsal.wrap`: `weights`, `layout`, `output_space` and so on.

    Returns
    -------
    Attributions
        `track` (N, K), `hypothetical` (N, 4, K), `regions`, row i ↔ track[i], and more; K is L without a `span`.
        Several methods and targets take one pass over the windows: this is the first, `results` names all, and
        `result(name)` gives each.

    Raises
    ------
    SeqsalError
        Input that cannot be used; see the message.

    Examples
    --------
    A linear model's gradient × input is its weight at the base that is there:

    >>> import numpy as np, seqsal, torch
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4 * 6, 1))
    >>> X = np.eye(4, dtype=np.float32)[[[0, 1, 2, 3, 3, 0]]].transpose(0, 2, 1)
    >>> attr = seqsal.attribute(model, X=X, gradient_correction=False, device="cpu")
    >>> attr.track.shape
    (1, 6)
    >>> weights = model[1].weight.detach().numpy().reshape(4, 6)
    >>> bool(np.allclose(attr.track, (weights * X).sum(axis=1)))
    True
    """
    request = make_request(
        model, genome=genome, regions=regions, fasta=fasta, X=X, method=method, target=target, contrast=contrast,
        span=span, device=device, seed=seed, known=("out", "resume", "progress"), **{"hypothetical": None if out is None
        else False, **options},
    )  # fmt: skip
    with open_request(request) as opened:
        return opened.attribute(out, resume=resume, progress=progress)


def score(
    model: ModelSpec,
    *,
    genome: _PATH | None = None,
    regions: _PATH | pd.DataFrame | Sequence[str] | None = None,
    fasta: _PATH | None = None,
    X: Any = None,
    target: int | str | None = None,
    contrast: Any = None,
    target_names: _PATH | Sequence[str] | None = None,
    ignore_strand: bool = False,
    tile: bool = False,
    step: int | None = None,
    exclude: _PATH | None = None,
    blocks: bool = False,
    span: int | str | None = None,
    flank: int = 0,
    batch_size: int | None = None,
    device: str = "auto",
    progress: bool | None = None,
    **reading: Any,
) -> pd.DataFrame:
    """Predict each region.

    Parameters
    ----------
    model, genome, regions, fasta, X, target, contrast, target_names, device, progress
        As for :func:`attribute`.
    ignore_strand
        Read regions on "-" forward.
    tile
        Cover regions that are longer than the model's window by several windows, instead of reading their middle.
    step, exclude
        Of whole chromosomes: the distance (bp) from each window to the next, half of what is kept of it by default, and
        a BED file of regions that are left out, such as gaps or a blacklist. `step` is for `tile` too.
    blocks
        Read the blocks of BED12 (exons) spliced; each region is then a contig of its own, from 0.
    span, flank
        Where windows are laid, as for :func:`attribute`: ``region`` puts the middle of each region in the middle of a
        window, whatever its summit, and a width says what `tile` covers regions with.
    batch_size
        Windows at a time; None lets the device decide.
    reading
        How a model file or a module is read, as in :func:`seqsal.load_model` and :func:`seqsal.wrap`; and where, by
        `readout_at` and the others of :func:`attribute`.

    Returns
    -------
    DataFrame
        The region table with `prediction`, on the model's natural scale (a probability for a binary model), and the
        value that attributions are about in a column named for its space (`logit`, `log`) where that is another one.
        Of an ensemble, the standard deviation over its members follows (`logit_sd`, `log_sd` or `prediction_sd`).

    Raises
    ------
    SeqsalError
        Input that cannot be used; see the message.

    Examples
    --------
    >>> import numpy as np, seqsal, torch
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4 * 6, 1), torch.nn.Sigmoid())
    >>> X = np.eye(4, dtype=np.float32)[[[0, 1, 2, 3, 3, 0], [3, 3, 3, 3, 3, 3]]].transpose(0, 2, 1)
    >>> list(seqsal.score(model, X=X, device="cpu"))
    ['chrom', 'start', 'end', 'name', 'strand', 'padded', 'prediction', 'logit']
    """
    own = {name: value for name, value in reading.items() if name not in PLACING}
    check_reading(model, own, known=inspect.signature(score).parameters)
    options = AttributeOptions(
        target=target, contrast=contrast, target_names=target_names, batch_size=batch_size, span=span, flank=flank
    )
    where = {name: reading.pop(name, None) for name in PLACING}
    request = Request(
        model, as_given(reading), genome, regions, fasta, X, ignore_strand, tile, blocks, options=options,
        device=device, step=step, exclude=exclude, **where,
    )  # fmt: skip
    with open_request(request) as opened:
        return opened.score(progress=progress)


@dataclass(frozen=True)
class OpenRequest:
    """A request whose model is loaded and whose windows can be read; a context manager that closes their files.

    Attributes
    ----------
    request
        The request.
    model
        Reads one number a sequence; on the device if it was loaded from a file.
    source
        The windows.
    device
        Where to compute.
    """

    request: Request
    model: SequenceModel = field(repr=False)
    source: WindowSource
    device: torch.device

    def attribute(
        self, out: _PATH | None = None, *, resume: bool = True, keep_finished: bool = False,
        or_more_controls: bool = False, progress: bool | None = False,
    ) -> Attributions:  # fmt: skip
        """Attribute the windows, in memory or into a file.

        Parameters
        ----------
        out
            Attribution file; None keeps everything in memory.
        resume
            Go on where an interrupted run of the same request stopped.
        keep_finished
            Keep the windows of a finished file of the same request; controls that it lacks are added.
        or_more_controls
            Keep also more controls than the request says.
        progress
            Show a progress bar.
        """
        options = self.request.options
        if out is None:
            return attribute_windows(self.model, self.source, options, device=self.device, progress=progress)
        identify_model(self.model)
        request = self.request
        regions = request.regions if isinstance(request.regions, (str, os.PathLike)) else None
        check_distinct([out], (request.model, request.genome, regions, request.fasta))
        path = attribute_to_file(
            self.model, self.source, out, options, device=self.device, resume=resume, keep_finished=keep_finished,
            or_more_controls=or_more_controls, progress=progress,
        )  # fmt: skip
        attr = read_attributions(path, in_memory=False)
        attr.keep(run=AttributionRun(self.model, self.source, options, self.device))
        return attr

    @property
    def span(self) -> Span:
        """What is kept of each window."""
        return find_span(self.request.options.span, self.request.options.flank, self.source)

    def score(self, *, progress: bool | None = False) -> pd.DataFrame:
        """Predict the windows; see :func:`score`."""
        return self.score_table(self.predict(0, len(self.source), progress=progress))

    def predict(self, first: int, stop: int, *, progress: bool | None = False) -> NDArray[np.float32]:
        """Predict some windows by each member of an ensemble, (M, n), or by the one model, (1, n)."""
        source, read = self.source, self.source.read
        if stop - first < len(source):
            windows = source.windows.iloc[first:stop].reset_index(drop=True)
            source = replace(source, windows=windows, _read=lambda rows: read(np.arange(first, stop)[rows]))
        batch_size = self.request.options.batch_size
        return predict_members(self._scored, source, device=self.device, batch_size=batch_size, progress=progress)

    def score_table(self, values: NDArray[np.float32]) -> pd.DataFrame:
        """Region table with predictions of all windows, (M, N)."""
        spread = values.std(axis=0, ddof=1, dtype=np.float64) if len(values) > 1 else None
        return score_table(self.source.windows, values.mean(axis=0, dtype=np.float64), self._scored, spread)

    @property
    def _scored(self) -> SequenceModel:
        """The model as it reads the target that is scored."""
        return cast(SequenceModel, with_target(self.model, self.request.options.targets[0]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.source.close()


def open_request(request: Request, windows: SharedWindows | None = None) -> OpenRequest:
    """Load the model of a request, and open its windows, or take them from `windows` if those are the same.

    Raises
    ------
    SeqsalError
        Input that cannot be used.
    """
    device, options = resolve_device(request.device), request.options
    first = options.targets[0]
    model = read_model(request.model, device=device, target=first, **request.reading)
    if request.X is not None:
        source = open_codes(codes_from_one_hot(_as_array(request.X)), request.regions)  # type: ignore[arg-type]
    else:
        source = (open_input if windows is None else windows.open)(
            genome=request.genome, regions=request.regions, fasta=request.fasta, length=model.input_length,
            ignore_strand=request.ignore_strand, tile=request.tile, blocks=request.blocks,
            span=None if isinstance(options.span, Span) else options.span, flank=options.flank,
            mark=request.readout_at == "region", step=request.step, exclude=request.exclude,
        )  # fmt: skip
    try:
        if options.target_names is not None:
            model.look_at(first_window(source, model.device))
            options.check_names(model.n_targets)
        _place_readouts(request, model, source)
        span = find_span(options.span, options.flank, source)
        settled = replace(options, span=None if span.length == source.length else span, flank=0)
        request = replace(request, options=settled)
        seen = find_seen(getattr(model.module, "metadata", {}), source.windows, source.read)
        if seen is not None:
            source.windows["seen"] = seen
        request = _with_references(request, source)
        if options.null == "background":
            genome_of(source)
        source = _held_out(source, model_name(request.model)) if request.held_out else source
        return OpenRequest(request, model, source, device)
    except BaseException:
        source.close()
        raise


def _place_readouts(request: Request, model: SequenceModel, source: WindowSource) -> None:
    """Find out where the model's profile is read of each window, and note it in their table."""
    if request.readout_at is None:
        return
    source.windows = with_readouts(source.windows, os.fspath(request.readout_at), request.gene)
    model.look_at(first_window(source, model.device))
    grid = find_grid(model, source.length, bin_size=request.bin_size, crop=request.crop)
    model.grid = grid._replace(at=os.fspath(request.readout_at))
    places = places_of(source.windows, model.grid)
    model.at(places[0])
    middle = model.grid.n_bins
    turned = all(place == tuple((middle - last, middle - first) for first, last in place[::-1]) for place in places)
    if request.options.rc_average and not turned:
        raise UsageError(
            "rc_average: the positions that are read are not centred in the model's output, so the other strand would "
            "be read elsewhere; leave it out, or read around the middle (readout_at='summit±…')"
        )


def _with_references(request: Request, source: WindowSource) -> Request:
    """Read references of the user's own, and fit them to the windows."""
    given = dict(request.options.method_options)
    names = [name for name in given if name.rpartition(".")[2] == "references"]
    if not names:
        return request
    for name in names:
        from seqsal.attribution.methods.contributions import REFERENCES
        from seqsal.attribution.methods.references import open_references

        codes = source.read(slice(None)) if getattr(given[name], "ndim", 0) == 4 else source.read(slice(1))
        given[name] = open_references(given[name], request.genome, codes, REFERENCES)
    return replace(request, options=replace(request.options, method_options=given))


def _as_array(X: Any) -> NDArray[Any]:
    """Return windows as an array, from a tensor of any type, device or graph too."""
    if isinstance(X, torch.Tensor):
        X = X.detach().cpu()
        X = X.float() if X.is_floating_point() else X
    return np.asarray(X)


def _held_out(source: WindowSource, model: str) -> WindowSource:
    """Leave out the windows that the model was trained on.

    Raises
    ------
    UsageError
        It does not say which those are, or they are all.
    """
    if "seen" not in source.windows:
        raise UsageError(
            f"held_out: {model} does not say what it was trained on, expected a checkpoint of `seqsal train`; "
            "choose the regions yourself, and leave --held-out out"
        )
    is_seen = source.windows["seen"].isin(TRAINED_ON).to_numpy()
    kept, read = np.flatnonzero(~is_seen), source.read
    if not len(kept):
        raise UsageError(
            f"held_out: the model was trained on all {len(is_seen):,} regions; give others, such as those of its test "
            "chromosomes (`seqsal info` on the model names them), or leave --held-out out"
        )
    left_out = source.windows[is_seen].assign(reason=SEEN_REASON)
    rejected = pd.concat([source.rejected, left_out[list(source.rejected)]], ignore_index=True)
    numbers = {"n_windows": len(kept), "n_rejected": len(rejected), "held_out": True}
    return replace(
        source, windows=source.windows.iloc[kept].reset_index(drop=True), rejected=rejected,
        provenance={**source.provenance, **numbers}, _read=lambda rows: read(kept[rows]),
    )  # fmt: skip


def score_table(windows: pd.DataFrame, values: Any, model: SequenceModel, spread: Any = None) -> pd.DataFrame:
    """Region table with predictions; `values` (N,) are in the model's output space, and so is their `spread`."""
    columns = ["chrom", "start", "end", "name", "strand"]
    columns += [name for name in ("padded", "edge", "seen") if name in windows]
    raw = np.asarray(values, dtype=np.float64)
    table = windows[columns].assign(prediction=model.natural(raw))
    if model.output_space in ("logit", "log"):
        table[model.output_space] = raw
    if spread is not None:
        table[f"{model.output_space if model.output_space in table else 'prediction'}_sd"] = np.asarray(spread)
    return table.reset_index(drop=True)
