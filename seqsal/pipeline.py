"""What `seqsal run` does, start to end: attribute → scores → tracks → peaks → motifs → report.

The folder that it fills::

    attributions.h5   attributions.bw    what each base contributes, and as a track for genome browsers
    scores.tsv                           predictions
    peaks.narrowPeak  peaks.tsv          called elements of both signs
    motifs/                              the patterns among them: motifs.meme, motifs.tsv, seqlets.bed, logos/*.svg
    report.html                          all of it on one page
    run.json                             parameters, versions, input checksums, unusable regions, seconds per stage

Every file is written beside its place and renamed, `run.json` last: a folder that has one is complete. When a run is
interrupted, the same command goes on inside the attribution stage where it stopped; finished attributions of the same
inputs and settings are used again.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from seqsal.api import load_from, make_options, score_table, write_motif_files
from seqsal.io.atomic import atomic_path
from seqsal.io.attributions import Attributions
from seqsal.io.bed import write_narrowpeak
from seqsal.io.folder import make_folder
from seqsal.io.inputs import WindowSource, open_input
from seqsal.io.store import read_attributions
from seqsal.io.tracks import load_bigwig_writer, write_bigwig, write_scores
from seqsal.motifs import MotifResult, discover_motifs, read_motifs
from seqsal.peaks import call_peaks, write_peaks_tsv
from seqsal.version import VERSION

if TYPE_CHECKING:
    from seqsal.attribution import AttributeOptions

__all__ = ["RunResult", "run"]

logger = logging.getLogger(__name__)
VERSIONS_OF = (
    "torch",
    "numpy",
    "pandas",
    "scipy",
    "h5py",
    "pyfaidx",
    "pyBigWig",
    "bioframe",
    "logomaker",
    "matplotlib",
    "modisco-lite",
    "memelite",
    "pyjaspar",
)
SEQLET_FDR = 0.2  # TF-MoDISco's own rate: false seqlets do not recur, while too few true ones hide a motif
HYPOTHETICAL_BYTES = 2 << 30  # more than this is not kept for the motifs, which then make do with X · track


@dataclass(frozen=True)
class RunResult:
    """What a run made.

    Attributes
    ----------
    folder
        Where the files are.
    attr
        The attributions, on disk.
    scores, peaks
        Tables as written.
    motifs
        The patterns among the peaks.
    seconds
        Wall time of each stage.
    """

    folder: Path
    attr: Attributions
    scores: pd.DataFrame
    peaks: pd.DataFrame
    motifs: MotifResult
    seconds: dict[str, float] = field(repr=False)

    def summary(self) -> str:
        """Say what was made and where, in a few lines."""
        n_negative = int((self.peaks["sign"] == "neg").sum())
        n_rejected = len(self.attr.rejected)
        rows = [
            (
                "regions",
                f"{len(self.attr):,} of {self.attr.length:,} bp" + f", {n_rejected:,} unusable" * bool(n_rejected),
            ),
            ("peaks", f"{len(self.peaks):,} ({n_negative:,} negative), best q {self.peaks.attrs['best_q']:.2g}"),
            ("motifs", self.motifs.summary()),
            ("seconds", f"{sum(self.seconds.values()):.1f}"),
            ("report", str(self.folder / "report.html")),
            ("tracks", str(self.folder / "attributions.bw")),
        ]
        return "\n".join(f"{name:<9}{value}" for name, value in rows)


def run(
    *,
    model: str,
    out: str | os.PathLike[str],
    genome: str | os.PathLike[str] | None = None,
    regions: str | os.PathLike[str] | pd.DataFrame | None = None,
    fasta: str | os.PathLike[str] | None = None,
    method: str | Sequence[str] = "gradient_x_input",
    fdr: float = 0.05,
    motif_db: str | os.PathLike[str] | None = None,
    device: str = "auto",
    seed: int = 0,
    progress: bool = False,
    **options: Any,
) -> RunResult:
    """Do the whole analysis into one folder.

    Parameters
    ----------
    model
        A model file or factory, as :func:`seqsal.load_model` takes it.
    out
        Folder; made if it is not there.
    genome, regions, fasta
        Genome and regions, or sequences alone.
    method
        Attribution method, or several: all are in `attributions.h5`, the first is what everything else is about.
    fdr
        Largest q-value of a peak. Motifs are looked for among the peaks up to `SEQLET_FDR`, when that is larger; those
        that are in `peaks.narrowPeak` too have the same names there.
    motif_db
        What the motifs are named by: `jaspar:RELEASE:TAXGROUP` or a motif file; None leaves them without names.
    device
        `auto`, `cpu` or `cuda[:i]`.
    seed
        Seeds the shuffled controls.
    progress
        Show progress bars.
    options
        Of :func:`seqsal.load_model` (`weights`, `output_space`, `input_length`, `trust_pickle`, `layout`,
        `channel_order`, `output`, `reduce`, `track_layout`) and of
        :func:`seqsal.attribute` (`target`, one or several; `rc_average`, `n_controls`, `batch_size`, `precision`,
        `ignore_strand`, `gradient_correction`).

    Raises
    ------
    SeqsalError
        Input that cannot be used; nothing is written then.
    """
    from seqsal.attribution import attribute_to_file
    from seqsal.models import resolve_device

    parameters = {"model": model, "method": method, "fdr": fdr, "motif_db": motif_db, "device": device, "seed": seed}
    parameters.update(options)
    inputs = {"genome": genome, "regions": regions, "fasta": fasta}
    clock = _Clock()
    with clock.stage("load"):
        where = resolve_device(device)
        if motif_db is not None:
            read_motifs(motif_db)  # what is wrong with it should not be found out after the attribution
        ignore_strand = bool(options.pop("ignore_strand", False))
        target = options.get("target")
        scalar = load_from(model, options)
        settings = make_options(method, seed, {"hypothetical": None, **options}, target)
        source = open_input(**inputs, length=scalar.input_length, ignore_strand=ignore_strand)  # type: ignore[arg-type]
    with source, make_folder(out) as folder, clock.stage("attribute"):
        load_bigwig_writer()
        if "hypothetical" not in options:
            settings = _with_room(settings, source)
        path = attribute_to_file(scalar, source, folder / "attributions.h5", settings, device=where, progress=progress)
        attr = read_attributions(path, in_memory=False)
    with clock.stage("scores"):
        scores = score_table(attr.regions, np.asarray(attr.prediction), scalar)
        write_scores(scores, folder / "scores.tsv")
    with clock.stage("tracks"):
        write_bigwig(attr, attr.chrom_sizes, folder / "attributions.bw", progress=progress)
    with clock.stage("peaks"):
        peaks = call_peaks(attr, fdr=fdr, progress=progress)
        write_narrowpeak(peaks, folder / "peaks.narrowPeak")
        write_peaks_tsv(peaks, folder / "peaks.tsv")
    with clock.stage("motifs"), make_folder(folder / "motifs") as motif_folder:
        seqlets = peaks if fdr >= SEQLET_FDR else call_peaks(attr, fdr=SEQLET_FDR, progress=progress)
        motifs = discover_motifs(attr, seqlets, motif_db=motif_db, seed=seed, progress=progress)
        write_motif_files(motifs, motif_folder, unit=attr.unit)
    info = {**describe_run(parameters, inputs, attr, peaks), "n_patterns": len(motifs), "warnings": motifs.warnings}
    with clock.stage("report"):
        _write_report(folder, attr, (scores, peaks), motifs, info, model)
    _write_json(folder / "run.json", {**info, "seconds": clock.seconds})
    return RunResult(folder, attr, scores, peaks, motifs, clock.seconds)


def describe_run(
    parameters: dict[str, Any], inputs: dict[str, Any], attr: Attributions, peaks: pd.DataFrame
) -> dict[str, Any]:
    """Collect what `run.json` holds besides the seconds."""
    given = {name: str(value) for name, value in inputs.items() if isinstance(value, (str, os.PathLike))}
    rejected = (
        attr.rejected[["chrom", "start", "end", "name", "reason"]].to_dict("records") if len(attr.rejected) else []
    )
    return {
        "schema": 1,
        "seqsal_version": VERSION,
        "parameters": {**parameters, **given},
        "versions": {"python": platform.python_version(), **_versions()},
        "inputs": attr.attrs.get("genome", {}),
        "model": attr.attrs.get("model", {}),
        "output_space": attr.output_space,
        "n_regions": len(attr),
        "n_controls": attr.n_controls,
        "n_peaks": len(peaks),
        "best_q": peaks.attrs["best_q"],
        "rejected": rejected,
    }


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in VERSIONS_OF}


def _with_room(settings: AttributeOptions, source: WindowSource) -> AttributeOptions:
    """Leave out the hypothetical scores where the file would grow by more than `HYPOTHETICAL_BYTES`."""
    n_bytes = 16 * len(source) * source.length * len(settings.methods)
    return settings if n_bytes <= HYPOTHETICAL_BYTES else replace(settings, hypothetical=False)


def _write_report(
    folder: Path,
    attr: Attributions,
    tables: tuple[pd.DataFrame, pd.DataFrame],
    motifs: MotifResult,
    info: dict[str, Any],
    model: str,
) -> None:
    from seqsal.report import ReportInputs, write_report

    parameters = info["parameters"]
    given = parameters.get("regions") or parameters.get("fasta") or "regions"
    details = {**info, "model": {**info["model"], **_training_facts(model)}}
    title = f"{Path(model).stem} · {Path(given).name}"
    write_report(folder / "report.html", ReportInputs(attr, *tables, details, motifs=motifs, title=title))


def _training_facts(model: str) -> dict[str, Any]:
    """Held-out metrics and history of a seqsal checkpoint; nothing for other models."""
    from seqsal.models import load_checkpoint

    if Path(model).suffix != ".safetensors":
        return {}
    _, metadata = load_checkpoint(model)
    return {key: metadata[key] for key in ("metrics", "history", "best_epoch") if key in metadata}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True, default=str) + "\n")


class _Clock:
    """Wall seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        logger.info("%s", name)
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)
