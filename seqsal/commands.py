"""What the verbs of the command line do: arguments as files and options, results written to files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from seqsal.agreement import Agreement
from seqsal.api import attribute, compare_attributions, score
from seqsal.audit import audit
from seqsal.browser import Bundle, read_instances, read_motif_instances, write_bundle
from seqsal.errors import OutputError, UsageError
from seqsal.exchange import import_attributions, write_controls
from seqsal.io.atomic import atomic_path, check_writable
from seqsal.io.attributions import Attributions
from seqsal.io.bed import write_narrowpeak
from seqsal.io.exchange import write_chrombpnet_h5, write_modisco_npz
from seqsal.io.folder import make_folder
from seqsal.io.store import read_attributions
from seqsal.io.tracks import SCORE_FORMATS, load_bigwig_writer, write_bedgraph, write_bigwig, write_scores
from seqsal.motifs import MotifResult, discover_motifs, write_motifs
from seqsal.peaks import PEAK_COLUMNS, call_peaks, read_peaks, write_peaks_tsv
from seqsal.regions import parse_region

if TYPE_CHECKING:
    from seqsal.audit.result import AuditResult
    from seqsal.models import SequenceModel, TrainResult

__all__ = [
    "attribute_to_file",
    "audit_to_file",
    "compare_to_file",
    "controls_to_file",
    "export_to_file",
    "export_to_hub",
    "import_to_file",
    "load_from",
    "logo_to_file",
    "motifs_to_file",
    "peaks_to_file",
    "report_to_file",
    "score_to_file",
    "train_to_file",
    "write_motif_files",
]

LOGO_ROW_BP = 100  # longer logos are wrapped
READING = {
    "weights": None, "output_space": "auto", "input_length": None, "trust_pickle": False, "layout": "NCL",
    "channel_order": "ACGT", "output": None, "reduce": None, "track_layout": "NTL",
}  # fmt: skip
EXPORTS = ("bigwig", "bedgraph", "bed", "chrombpnet-h5", "npz")
_PATH = str | os.PathLike[str]


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


def audit_to_file(
    attributions: _PATH,
    out: _PATH,
    *,
    model: str | None = None,
    other_models: Sequence[str] = (),
    result: str | None = None,
    fail_on: Sequence[str] = (),
    **arguments: Any,
) -> AuditResult:
    """Do what `seqsal audit` does: audit attributions, write `audit.json` and where the shortcuts are beside it.

    Parameters
    ----------
    attributions
        Attribution file.
    out
        `audit.json`; `audit.shortcuts.bed` goes beside it.
    model, other_models
        As :func:`seqsal.load_model` takes them; read as the attributions say, unless `arguments` say otherwise.
    result
        Which result of the attribution file; None is the first.
    fail_on
        Checked here for unknown names; what follows from them is for the caller.
    arguments
        Those of :func:`seqsal.audit`, and of how to read the model.
    """
    from seqsal.audit.given import load_audited
    from seqsal.audit.verdict import check_failures

    if Path(out).suffix != ".json":
        raise UsageError(f"{out}: unknown extension, expected a name that ends in .json")
    bed = Path(out).with_suffix(".shortcuts.bed")
    for path in (out, bed):
        check_writable(path)
    check_failures(fail_on)
    reading = {name: arguments.pop(name) for name in READING if name in arguments}
    changed = {name: value for name, value in reading.items() if value != READING[name]}
    attr = read_attributions(attributions, result, in_memory=False)
    first, *others = [None if one is None else load_audited(one, attr, **changed) for one in (model, *other_models)]
    found = audit(first, attr, other_models=[one for one in others if one is not None], **arguments)
    found.to_json(out)
    found.write_shortcuts_bed(bed)
    return found


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
    table = read_peaks(peaks)
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


def report_to_file(
    attributions: _PATH,
    out: _PATH,
    *,
    model: str | None = None,
    peaks: _PATH | None = None,
    motif_db: _PATH | None = None,
    result: str | None = None,
    device: str = "auto",
    seed: int = 0,
    progress: bool = False,
    **reading: Any,
) -> AuditResult:
    """Do what `seqsal report` does: peaks, motifs, audit and page for any attributions; returns the audit.

    Parameters
    ----------
    attributions
        Attribution file, of seqsal or imported.
    out
        The page.
    model
        What the attributions are about; None leaves out every test that asks a model.
    peaks
        narrowPeak file; called when None, as far as there are controls.
    motif_db
        What motifs are named by, and the map is compared with.
    result
        Which result of the attribution file; None is the first.
    device, seed
        As for :func:`seqsal.audit`.
    reading
        How to read the model, where the attributions do not say.
    """
    from seqsal.audit.given import load_audited
    from seqsal.audit.settings import RUN_SIZES
    from seqsal.report import ReportInputs, write_report

    if Path(out).suffix != ".html":
        raise UsageError(f"{out}: unknown extension, expected a name that ends in .html")
    check_writable(out)
    attr = read_attributions(attributions, result, in_memory=False)
    changed = {name: value for name, value in reading.items() if value != READING[name]}
    loaded = None if model is None else load_audited(model, attr, **changed)
    table = _peaks_of(attr, peaks)
    motifs = discover_motifs(attr, table, motif_db=motif_db, seed=seed, progress=progress)
    found = audit(
        loaded, attr, peaks=table, patterns=motifs, motif_db=motif_db, settings=RUN_SIZES, device=device, seed=seed,
        progress=progress,
    )  # fmt: skip
    scores = attr.regions.assign(prediction=np.asarray(attr.prediction, dtype=np.float64))
    given = {"attributions": attributions, "model": model, "peaks": peaks, "motif_db": motif_db, "seed": seed}
    info = {"parameters": {name: str(value) for name, value in given.items() if value is not None}}
    title = f"{attr.method} · {Path(attributions).name}"
    write_report(out, ReportInputs(attr, scores, table, info, motifs=motifs, audit=found, title=title))
    return found


def _peaks_of(attr: Attributions, peaks: _PATH | None) -> pd.DataFrame:
    """Peaks as given, or called; none where there is nothing to compare with."""
    if peaks is not None:
        return read_peaks(peaks)
    if attr.n_controls:
        return call_peaks(attr)
    return pd.DataFrame({key: pd.Series(dtype=kind) for key, kind in PEAK_COLUMNS.items()})


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


def export_to_hub(
    attributions: _PATH,
    out: _PATH,
    *,
    result: str | None = None,
    peaks: _PATH | None = None,
    motifs: _PATH | None = None,
    artifacts: _PATH | None = None,
    progress: bool = False,
    **settings: Any,
) -> Bundle:
    """Do what `seqsal export --format hub` does: write a folder that genome browsers open.

    Parameters
    ----------
    attributions
        Attribution file.
    out
        Folder; made if it is not there.
    result
        Which result of the attribution file; None is the first.
    peaks
        narrowPeak file.
    motifs
        Folder of `seqsal motifs`, or a BED file of instances.
    artifacts
        BED file, such as `shortcuts.bed` of `seqsal run`.
    progress
        Show a progress bar.
    settings
        `genome_name`, `genome`, `url_base` and `email` of :func:`seqsal.browser.write_bundle`.
    """
    load_bigwig_writer()
    attr = read_attributions(attributions, result, in_memory=False)
    tables: dict[str, Any] = {
        "peaks": None if peaks is None else read_peaks(peaks),
        "motifs": None if motifs is None else read_motif_instances(motifs),
        "artifacts": None if artifacts is None else read_instances(artifacts),
    }
    return write_bundle(out, attr, **tables, progress=progress, **settings)


def export_to_file(
    attributions: _PATH,
    kind: str,
    out: _PATH,
    *,
    result: str | None = None,
    approximate: bool = False,
    progress: bool = False,
) -> list[Path]:
    """Do what `seqsal export` does: write attributions in another format; returns the files.

    Parameters
    ----------
    attributions
        Attribution file.
    kind
        One of `EXPORTS`.
    out
        File to write; of `npz`, the stem of three.
    result
        Which result of the attribution file; None is the first.
    approximate
        Write X · track where there are no hypothetical scores and the format needs them.
    progress
        Show a progress bar.
    """
    check_writable(out)
    attr = read_attributions(attributions, result, in_memory=False)
    if kind == "chrombpnet-h5":
        return write_chrombpnet_h5(attr, out, approximate=approximate, progress=progress)
    if kind == "npz":
        return write_modisco_npz(attr, out, approximate=approximate, progress=progress)
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
    return [Path(out)]


def import_to_file(out: _PATH, *, scores: _PATH, progress: bool = False, **arguments: Any) -> Attributions:
    """Do what `seqsal import` does: make an attribution file of another program's scores.

    `arguments` are those of :func:`seqsal.import_attributions`.
    """
    check_writable(out)
    return import_attributions(scores, out=out, progress=progress, **arguments)


def controls_to_file(out: _PATH, **arguments: Any) -> list[Path]:
    """Do what `seqsal controls` does: write shuffled sequences and their regions; returns the files.

    `arguments` are those of :func:`seqsal.write_controls`.
    """
    return write_controls(out, **arguments)
