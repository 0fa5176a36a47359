"""The public functions: each reads its inputs, makes one call into the package, and gives back what it made."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from seqsal.errors import UsageError
from seqsal.io.attributions import Attributions
from seqsal.io.inputs import WindowSource, open_codes, open_input
from seqsal.io.store import read_attributions
from seqsal.sequence.codes import codes_from_one_hot

if TYPE_CHECKING:
    from torch import nn

    from seqsal.attribution.engine import AttributeOptions
    from seqsal.models import SequenceModel

__all__ = [
    "as_sequence_model",
    "attribute",
    "make_options",
    "score",
    "score_table",
]

_PATH = str | os.PathLike[str]


def attribute(
    model: nn.Module | _PATH,
    *,
    genome: _PATH | None = None,
    regions: _PATH | pd.DataFrame | None = None,
    fasta: _PATH | None = None,
    X: Any = None,
    method: str | Sequence[str] = "gradient_x_input",
    target: int | Sequence[int] | None = None,
    out: _PATH | None = None,
    device: str = "auto",
    seed: int = 0,
    resume: bool = True,
    progress: bool = False,
    **options: Any,
) -> Attributions:
    """Show which bases drive a model's prediction.

    Parameters
    ----------
    model
        A model from :func:`seqsal.load_model` or :func:`seqsal.wrap` (which tells how to read a model with another
        layout, several outputs or a profile), any `nn.Module` (N, 4, L) → (N,) or (N, T) of which output 0 is taken, or
        a model file.
    genome, regions
        Genome FASTA, and regions as a file or a table.
    fasta
        Sequences instead of genome and regions.
    X
        One-hot windows (N, 4, L) instead of files; with `regions` as a table of N rows, they keep those coordinates.
    method
        Name of the attribution method, or several.
    target
        Which output of the model, or several, from 0; None for the one that it was wrapped or loaded for.
    out
        Attribution file to write; the arrays of the result then stay on disk, and memory stays flat.
    device
        `auto`, `cpu` or `cuda[:i]`.
    seed
        Seeds the shuffled controls.
    resume
        Go on with an unfinished `out` of the same model, windows and settings; False starts over.
    progress
        Show a progress bar.
    options
        `rc_average`, `n_controls`, `hypothetical` (keep the scores of all four bases, where the method gives them; by
        default in memory but not on disk), `batch_size`, `precision` (`fp32`, `bf16` or, on CUDA, `tf32`),
        `compiled` (let torch.compile fuse the model's operations), `ignore_strand`, and the methods' own, such as
        `gradient_correction`. With several methods an option goes to those that have it; in a dictionary
        `method_options`, the key `"ism.n_at_once"` addresses one.

    Returns
    -------
    Attributions
        `track` (N, L), `hypothetical` (N, 4, L), `regions`, row i ↔ track[i], and more. Several methods and targets
        take one pass over the windows: this is the first, `results` names all, and `result(name)` gives each.

    Raises
    ------
    SeqsalError
        Input that cannot be used; see the message.
    """
    from seqsal.attribution import attribute_to_file as stream_to_file
    from seqsal.attribution import attribute_windows
    from seqsal.models import resolve_device

    where = resolve_device(device)
    settings = make_options(method, seed, {"hypothetical": None if out is None else False, **options}, target)
    scalar = as_sequence_model(model, device)
    source = _open_any(scalar, genome, regions, fasta, X, options)
    with source:
        if out is None:
            return attribute_windows(scalar, source, settings, device=where, progress=progress)
        path = stream_to_file(scalar, source, out, settings, device=where, resume=resume, progress=progress)
    return read_attributions(path, in_memory=False)


def score(
    model: nn.Module | _PATH,
    *,
    genome: _PATH | None = None,
    regions: _PATH | pd.DataFrame | None = None,
    fasta: _PATH | None = None,
    X: Any = None,
    device: str = "auto",
    progress: bool = False,
    **options: Any,
) -> pd.DataFrame:
    """Predict each region.

    Parameters are those of :func:`attribute`; of the options, `batch_size` and `ignore_strand` apply.

    Returns
    -------
    DataFrame
        The region table with `prediction`, on the model's natural scale (a probability for a binary model), and the
        value that attributions are about in a column named for its space (`logit`, `log`) where that is another one.
    """
    from seqsal.attribution import predict_windows
    from seqsal.models import resolve_device

    scalar, where = as_sequence_model(model, device), resolve_device(device)
    with _open_any(scalar, genome, regions, fasta, X, options) as source:
        values = predict_windows(scalar, source, device=where, batch_size=options.get("batch_size"), progress=progress)
        return score_table(source.windows, values, scalar)


def as_sequence_model(model: nn.Module | _PATH, device: str = "cpu") -> SequenceModel:
    """Take a model, module or file as one scalar per sequence; what is loaded goes to the device."""
    from seqsal.models import SequenceModel, load_model, wrap

    if isinstance(model, SequenceModel):
        return model
    return load_model(model, device=device) if isinstance(model, (str, os.PathLike)) else wrap(model)


def make_options(
    method: str | Sequence[str], seed: int, options: dict[str, Any], target: int | Sequence[int] | None = None
) -> AttributeOptions:
    """Sort keyword options into the engine's and the methods' own."""
    from seqsal.attribution import AttributeOptions

    options = {**options, **(options.get("method_options") or {})}
    options.pop("method_options", None)
    names = ("rc_average", "n_controls", "hypothetical", "batch_size", "precision", "compiled")
    engine = {key: options[key] for key in names if key in options}
    own = {
        key: value
        for key, value in options.items()
        if key not in engine and key != "ignore_strand" and value is not None
    }
    return AttributeOptions(method=method, target=target, method_options=own, seed=seed, **engine)


def score_table(windows: pd.DataFrame, values: Any, model: SequenceModel) -> pd.DataFrame:
    """Region table with predictions; `values` (N,) are in the model's output space."""
    columns = ["chrom", "start", "end", "name", "strand"]
    if "padded" in windows:
        columns.append("padded")
    raw = np.asarray(values, dtype=np.float64)
    table = windows[columns].assign(prediction=model.natural(raw))
    if model.output_space in ("logit", "log"):
        table[model.output_space] = raw
    return table.reset_index(drop=True)


def _open_any(
    model: SequenceModel,
    genome: _PATH | None,
    regions: _PATH | pd.DataFrame | None,
    fasta: _PATH | None,
    X: Any,
    options: dict[str, Any],
) -> WindowSource:
    if X is None:
        ignore_strand = bool(options.get("ignore_strand", False))
        return open_input(
            genome=genome, regions=regions, fasta=fasta, length=model.input_length, ignore_strand=ignore_strand
        )
    if genome is not None or fasta is not None or not (regions is None or isinstance(regions, pd.DataFrame)):
        raise UsageError("X: given together with files; give either one-hot windows or files (regions may be a table)")
    return open_codes(codes_from_one_hot(np.asarray(X)), regions)
