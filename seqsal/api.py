"""The public functions: each reads its inputs, makes one call into the package, and gives back what it made.

The `…_to_file` functions are what the command line calls; the others are for Python.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from seqsal.agreement import AGREEMENT_BP, Agreement, Comparable, check_width, open_results, write_agreement_bigwig
from seqsal.agreement import compare_attributions as compare_results
from seqsal.errors import BedError, OutputError, UsageError
from seqsal.io.atomic import atomic_path, check_writable
from seqsal.io.attributions import Attributions
from seqsal.io.bed import read_bed, write_narrowpeak
from seqsal.io.folder import make_folder
from seqsal.io.inputs import WindowSource, open_codes, open_input
from seqsal.io.store import read_attributions
from seqsal.io.tracks import SCORE_FORMATS, load_bigwig_writer, write_bedgraph, write_bigwig, write_scores
from seqsal.motifs import MotifResult, discover_motifs, write_motifs
from seqsal.peaks import PEAK_COLUMNS, call_peaks, write_peaks_tsv
from seqsal.regions import parse_region
from seqsal.sequence.codes import codes_from_one_hot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import nn

    from seqsal.attribution.engine import AttributeOptions
    from seqsal.models import SequenceModel, TrainResult

__all__ = [
    "attribute",
    "attribute_to_file",
    "call_peaks",
    "compare_attributions",
    "compare_to_file",
    "discover_motifs",
    "export_to_file",
    "logo_to_file",
    "motifs_to_file",
    "peaks_to_file",
    "plot_logo",
    "score",
    "score_table",
    "score_to_file",
    "train_to_file",
    "write_motif_files",
]

LOGO_ROW_BP = 100  # longer logos are wrapped
EXPORTS = ("bigwig", "bedgraph", "bed")
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
    progress
        Show a progress bar.
    options
        `rc_average`, `n_controls`, `hypothetical` (keep the scores of all four bases, where the method gives them; by
        default in memory but not on disk), `batch_size`, `precision` (`fp32`, `bf16` or, on CUDA, `tf32`),
        `ignore_strand`, and the methods' own, such as `gradient_correction`. With several methods an option goes to
        those that have it; in a dictionary `method_options`, the key `"ism.n_at_once"` addresses one.

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
    scalar = as_sequence_model(model)
    source = _open_any(scalar, genome, regions, fasta, X, options)
    with source:
        if out is None:
            return attribute_windows(scalar, source, settings, device=where, progress=progress)
        path = stream_to_file(scalar, source, out, settings, device=where, progress=progress)
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

    scalar = as_sequence_model(model)
    where = resolve_device(device)
    with _open_any(scalar, genome, regions, fasta, X, options) as source:
        values = predict_windows(scalar, source, device=where, batch_size=options.get("batch_size"), progress=progress)
        return score_table(source.windows, values, scalar)


def plot_logo(attr: Attributions, region: str, ax: Axes | None = None) -> Axes:
    """Draw the bases of `chrom:start-end` at the height of their attributions.

    Parameters
    ----------
    attr
        Attributions that cover the region.
    region
        0-based half-open, on the forward strand.
    ax
        Where to draw; a new figure when None.

    Raises
    ------
    RegionError
        The region is malformed or outside the data.
    """
    from seqsal.plot import plot_region_logo

    return plot_region_logo(attr, region, ax=ax)


def compare_attributions(
    attributions: Comparable | Sequence[_PATH] | Mapping[str, Comparable],
    *,
    top: int | None = None,
    bigwig: _PATH | None = None,
    width: int = AGREEMENT_BP,
    progress: bool = False,
) -> Agreement:
    """Say how alike the attributions of several methods, seeds, folds or strands are, pair by pair.

    Parameters
    ----------
    attributions
        Results or files by name, `{"seed 0": attr, "seed 1": "B.h5"}`; or a list of files; or one result or file that
        was made with others, which are then all compared. `A.h5:ism` is that result of a file.
    top
        How many positions of largest magnitude a region's top overlap is about; None is 5 % of the window.
    bigwig
        Also write the local agreement of the tracks, from −1 to 1.
    width
        Bases that the local agreement at a base is about, odd.
    progress
        Show a progress bar.

    Returns
    -------
    Agreement
        `overall`, one row a pair; `regions`, one row a region and pair; `unmatched`, what not all results have.

    Raises
    ------
    UsageError, RegionError, StoreError, OutputError
        Fewer than two results, other window lengths, no common region, or a file that cannot be read or written.
    """
    results = open_results(attributions)
    if bigwig is not None:
        check_width(width)
        check_writable(bigwig)
    agreement = compare_results(results, top=top, progress=progress)
    if bigwig is not None:
        write_agreement_bigwig(results, bigwig, width=width, progress=progress)
    return agreement


def compare_to_file(attributions: Sequence[str], out: _PATH, **settings: Any) -> Agreement:
    """Do what `seqsal compare` does: write the table of all regions, and the overall one beside it."""
    overall = Path(out).with_suffix(".overall.tsv")
    if Path(out).suffix != ".tsv":
        raise UsageError(f"{out}: unknown extension, expected a name that ends in .tsv")
    check_writable(out)
    agreement = compare_attributions(attributions, **settings)
    for table, path in ((agreement.regions, Path(out)), (agreement.overall, overall)):
        with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as handle:
            table.to_csv(handle, sep="\t", index=False, na_rep="NA", float_format="%.6g", lineterminator="\n")
    return agreement


def as_sequence_model(model: nn.Module | _PATH) -> SequenceModel:
    """Take a model, module or file as one scalar per sequence."""
    from seqsal.models import SequenceModel, load_model, wrap

    if isinstance(model, SequenceModel):
        return model
    return load_model(model) if isinstance(model, (str, os.PathLike)) else wrap(model)


def make_options(
    method: str | Sequence[str], seed: int, options: dict[str, Any], target: int | Sequence[int] | None = None
) -> AttributeOptions:
    """Sort keyword options into the engine's and the methods' own."""
    from seqsal.attribution import AttributeOptions

    options = {**options, **(options.get("method_options") or {})}
    options.pop("method_options", None)
    names = ("rc_average", "n_controls", "hypothetical", "batch_size", "precision")
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


def score_to_file(out: _PATH, *, model: str, progress: bool = False, **arguments: Any) -> pd.DataFrame:
    """Do what `seqsal score` does: predict regions and write them; returns the table."""
    check_score_format(out)
    check_writable(out)
    scalar = load_from(model, arguments)
    arguments.pop("seed", None)
    inputs = {key: arguments[key] for key in ("genome", "regions", "fasta")}
    table = score(
        scalar, **inputs, device=arguments["device"], progress=progress, ignore_strand=arguments["ignore_strand"]
    )
    write_scores(table, out)
    return table


def train_to_file(out: _PATH, *, progress: bool = False, **arguments: Any) -> TrainResult:
    """Do what `seqsal train` does: train the built-in CNN into a checkpoint.

    Parameters
    ----------
    out
        Checkpoint to write (`.safetensors`).
    progress
        Show a progress bar.
    arguments
        Those of :func:`seqsal.train_model`, with the fields of `CNNConfig` and `TrainConfig` among them.
    """
    from seqsal.models import CNNConfig, TrainConfig, train_model
    from seqsal.models.sources import common_length

    if Path(out).suffix != ".safetensors":
        raise UsageError(f"{out}: unknown extension, expected a checkpoint name that ends in .safetensors")
    check_writable(out)
    training = {key: arguments.pop(key) for key in TrainConfig.__dataclass_fields__ if key in arguments}
    sizes = {key: arguments.pop(key) for key in CNNConfig.__dataclass_fields__ if key in arguments}
    columns = training.setdefault("target_columns", ["score"])
    sizes["input_length"] = sizes.get("input_length") or common_length(arguments["positives"])
    sizes.setdefault("n_targets", 1 if sizes.get("loss", "binary") == "binary" else len(columns))
    return train_model(
        config=CNNConfig(**sizes), training=TrainConfig(**training), out=out, progress=progress, **arguments
    )


def check_score_format(out: _PATH) -> None:
    """Raise unless the extension of `out` is one that scores are written in."""
    if Path(out).suffix.lower() not in SCORE_FORMATS:
        raise UsageError(f"{out}: unknown extension, expected one of {', '.join(SCORE_FORMATS)}")


def attribute_to_file(
    out: _PATH, *, model: str, bigwig: _PATH | None = None, progress: bool = False, **arguments: Any
) -> Attributions:
    """Do what `seqsal attribute` does: attribute regions into a file, and a bigWig when asked."""
    for path in (out, bigwig):
        if path is not None:
            check_writable(path)
    target = arguments.get("target")
    scalar = load_from(model, arguments)
    if bigwig is not None:
        load_bigwig_writer()
    attr = attribute(scalar, out=out, progress=progress, target=target, **arguments)
    if bigwig is not None:
        write_bigwig(attr, attr.chrom_sizes, bigwig, progress=progress)
    return attr


def load_from(model: str, arguments: dict[str, Any]) -> SequenceModel:
    """Load the model that command-line arguments name, taking those that say how out of `arguments`.

    Of several targets it is loaded for the first.
    """
    from seqsal.models import load_model

    if isinstance(arguments.get("target"), Sequence):
        arguments["target"] = arguments["target"][0]
    names = (
        "weights", "target", "output_space", "input_length", "trust_pickle",
        "layout", "channel_order", "output", "reduce", "track_layout",
    )  # fmt: skip
    return load_model(model, **{name: arguments.pop(name) for name in names if name in arguments})


def peaks_to_file(
    attributions: _PATH,
    out: _PATH,
    *,
    result: str | None = None,
    seeds: str | None = None,
    progress: bool = False,
    **settings: Any,
) -> pd.DataFrame:
    """Do what `seqsal peaks` does: call peaks, write narrowPeak and the table beside it; returns the table.

    Parameters
    ----------
    attributions
        Attribution file.
    out
        narrowPeak file; the table goes beside it, as `.tsv`.
    result
        Which result of the attribution file; None is the first.
    seeds
        Grow peaks from the maxima of a coarse map: another result of the file, or another file, `B.h5` or `B.h5:NAME`.
    settings
        Those of :func:`seqsal.call_peaks`.
    """
    table_path = Path(out).with_suffix(".tsv")
    if table_path == Path(out):
        raise UsageError(f"{out}: ends in .tsv, which the table beside it is named; give a name ending in .narrowPeak")
    check_writable(out)
    attr = read_attributions(attributions, result, in_memory=False)
    coarse = None if seeds is None else _open_seeds(attr, seeds)
    peaks = call_peaks(attr, seeds=coarse, progress=progress, **settings)
    write_narrowpeak(peaks, out)
    write_peaks_tsv(peaks, table_path)
    return peaks


def _open_seeds(attr: Attributions, seeds: str) -> Attributions:
    """Open the coarse map that `--from` names: a result of the same file, or another file and perhaps its result."""
    if seeds in attr.results:
        return attr.result(seeds)
    path, _, name = (seeds, "", "") if Path(seeds).exists() else seeds.rpartition(":")
    if path and Path(path).exists():
        return read_attributions(path, name or None, in_memory=False)
    raise UsageError(
        f"--from: got {seeds!r}, expected another result of the file (it has {', '.join(attr.results)}) or an "
        "attribution file; to make one: `seqsal attribute … --method gradient_x_input --method grad_cam`"
    )


def motifs_to_file(
    attributions: _PATH,
    out: _PATH,
    *,
    peaks: _PATH,
    result: str | None = None,
    progress: bool = False,
    **settings: Any,
) -> MotifResult:
    """Do what `seqsal motifs` does: find patterns among peaks and write them into a folder; returns them.

    Parameters
    ----------
    attributions
        Attribution file.
    out
        Folder; made if it is not there.
    peaks
        narrowPeak file of peaks called on them; an empty one is a result too.
    result
        Which result of the attribution file; None is the first.
    settings
        `motif_db`, `algorithm` and `seed` of :func:`seqsal.discover_motifs`.
    """
    attr = read_attributions(attributions, result, in_memory=False)
    table = _read_peaks(peaks)
    with make_folder(out) as folder:
        motifs = discover_motifs(attr, table, progress=progress, **settings)
        write_motif_files(motifs, folder, unit=attr.unit)
    return motifs


def write_motif_files(motifs: MotifResult, folder: _PATH, *, unit: str) -> None:
    """Write the tables, matrices and logos of motif discovery into a folder that is there.

    Parameters
    ----------
    motifs
        Of :func:`seqsal.discover_motifs`.
    folder
        Gets `motifs.meme`, `motifs.tsv`, `seqlets.bed`, `logos/NAME.svg` and perhaps `motif_usage.tsv`.
    unit
        Of the contributions, for the axes of the logos.
    """
    from seqsal.plot import write_logos

    write_motifs(motifs, folder)
    with make_folder(Path(folder) / "logos") as logos:
        write_logos(motifs, logos, unit=unit)


def _read_peaks(path: _PATH) -> pd.DataFrame:
    """Read a narrowPeak file; an empty one, as `seqsal peaks` writes when none is called, is a table without rows."""
    if Path(path).is_file() and Path(path).stat().st_size == 0:
        return pd.DataFrame({key: pd.Series(dtype=kind) for key, kind in PEAK_COLUMNS.items()})
    table = read_bed(path)
    if "signal" not in table:
        raise BedError(f"{path}: has no summits, expected a narrowPeak file of 10 columns as `seqsal peaks` writes it")
    return table


def logo_to_file(attributions: _PATH, region: str, out: _PATH, *, result: str | None = None) -> Path:
    """Do what `seqsal logo` does: draw one region into a picture."""
    from seqsal.plot import plot_region_logo, plot_region_rows, save_figure

    check_writable(out)
    attr = read_attributions(attributions, result, in_memory=False)
    span = parse_region(region)
    title = f"{attr.method}, target {attr.target}"
    if span.end - span.start > LOGO_ROW_BP * 1.2:
        return save_figure(plot_region_rows(attr, region, row_bp=LOGO_ROW_BP, title=title)[0], out)
    return save_figure(plot_region_logo(attr, region, title=title), out)


def export_to_file(
    attributions: _PATH, kind: str, out: _PATH, *, result: str | None = None, progress: bool = False
) -> None:
    """Do what `seqsal export` does: write attributions in another format."""
    check_writable(out)
    attr = read_attributions(attributions, result, in_memory=False)
    if not attr.chrom_sizes:
        raise OutputError(f"{attributions}: holds no chromosome sizes, which tracks need; make it again")
    if kind == "bigwig":
        write_bigwig(attr, attr.chrom_sizes, out, progress=progress)
    elif kind == "bedgraph":
        write_bedgraph(attr, attr.chrom_sizes, out, progress=progress)
    elif kind == "bed":
        table = attr.regions.assign(prediction=np.asarray(attr.prediction, dtype=np.float64))
        write_scores(table, out, chrom_sizes=attr.chrom_sizes)
    else:
        raise UsageError(f"format: got {kind!r}, expected one of {', '.join(EXPORTS)}")


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
