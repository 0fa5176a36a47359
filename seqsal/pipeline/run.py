"""What `seqsal run` does, start to end: attribute → scores → tracks → peaks → motifs → audit → browser → report.

The folder that it fills::

    attributions.h5   attributions.bw    what each base contributes, and as a track for genome browsers
    agreement.bw                         of an ensemble, how far its members agree on it, 0 to 1
    scores.tsv                           predictions
    peaks.narrowPeak  peaks.tsv          called peaks of both signs
    elements.bed      elements.tsv       peaks joined, the best first, with what deleting each does and the motif inside
    motifs/                              the patterns among them: motifs.meme, motifs.tsv, motifs.h5, seqlets.bed, logos
    audit.json  shortcuts.bed            whether the map can be believed, and where artifacts that the model uses stand
    browser/                             the tracks as UCSC, IGV and WashU open them, complete by itself
    report.html                          all of it on one page
    run.toml                             the parameters, as `seqsal run --config run.toml --out DIR` takes them
    run.json                             parameters, versions, input checksums, unusable regions, seconds per stage

Every file is written under a temporary name and renamed, `run.json` last: a folder that has one is complete. When a run
is interrupted, the same command goes on inside the attribution stage where it stopped; finished attributions of the
same inputs and settings are used again.
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from seqsal.attribution.api import score_table
from seqsal.attribution.engine import AttributionRun
from seqsal.attribution.methods.base import Method
from seqsal.attribution.request import ModelSpec, plan_methods
from seqsal.browser import read_instances, read_motif_instances, write_bundle
from seqsal.errors import counted
from seqsal.io.atomic import all_or_nothing, atomic_path, locked, make_folder
from seqsal.io.attributions import Attributions
from seqsal.io.bed import write_narrowpeak
from seqsal.io.config import write_config
from seqsal.io.progress import stage, whole
from seqsal.io.rounding import rounding_text
from seqsal.io.store import read_attributions
from seqsal.io.tracks import write_agreement, write_bigwig, write_scores
from seqsal.models.seen import left_out_text
from seqsal.motifs import MotifResult, discover_motifs, read_motifs, write_modisco_h5, write_motifs
from seqsal.motifs.modisco_h5 import MODISCO_FILE
from seqsal.peaks import call_peaks, merge_peaks, null_text, statistic_text, write_peaks_tsv
from seqsal.pipeline.elements import MERGE_BP, describe_calls, motifs_of, write_elements
from seqsal.pipeline.file_info import table_text
from seqsal.pipeline.info import RUN_SCHEMA
from seqsal.pipeline.preparation import WRITTEN, PreparedRun, config_of, prepare_run
from seqsal.version import VERSION

if TYPE_CHECKING:
    from seqsal.auditing.result import AuditResult

__all__ = ["RunResult", "run"]

logger = logging.getLogger(__name__)
VERSIONS_OF = (
    "torch", "numpy", "pandas", "scipy", "h5py", "pybigtools", "bioframe", "logomaker", "matplotlib", "modisco-lite",
    "memelite", "pyjaspar",
)  # fmt: skip
AGREEMENT = "agreement.bw"  # of the members of an ensemble
AUDIT_FILES = ("audit.json", "shortcuts.bed")
SEQLET_FDR = 0.2  # TF-MoDISco's own rate: false seqlets do not recur, while too few true ones hide a motif


@dataclass(frozen=True)
class RunResult:
    """What a run made.

    Attributes
    ----------
    folder
        Where the files are.
    attr
        The attributions, on disk.
    scores, peaks, elements
        Tables as written; elements by rank.
    motifs
        The patterns among the peaks.
    audit
        Whether the map can be believed; None without an audit.
    seconds
        Wall time of each stage.

    Examples
    --------
    >>> result = seqsal.run("M.safetensors", fasta="sites.fa", out="results")  # doctest: +SKIP
    >>> result.peaks.head(), result.motifs, result.audit  # doctest: +SKIP
    """

    folder: Path
    attr: Attributions
    scores: pd.DataFrame
    peaks: pd.DataFrame
    elements: pd.DataFrame
    motifs: MotifResult
    audit: AuditResult | None
    seconds: dict[str, float] = field(repr=False)

    def summary(self) -> str:
        """Say what was found, and where every file is, in two columns.

        Examples
        --------
        >>> print(result.summary())  # doctest: +SKIP
        regions       322 of 200 bp
        peaks         153 at q ≤ 0.05 (4 negative), best q 2e-05, against 1,000 shuffled windows, by joint evidence
        ...
        """
        n_negative = int((self.peaks["sign"] == "neg").sum())
        said, left_out = self.peaks.attrs, left_out_text(self.attr.rejected)
        rate, n_searched = max(said["fdr"], SEQLET_FDR), sum(self.motifs.n_peaks.values())
        weaker = "" if len(self.peaks) else self.motifs.without_peaks(said["fdr"], said["best_q"], rate)
        absent = (*(() if self.audit else AUDIT_FILES), *((AGREEMENT,) if self.attr.track_sd is None else ()))
        rows = [
            ("regions", f"{len(self.attr):,} of {self.attr.length:,} bp{f', {left_out}' * bool(left_out)}"),
            (
                "peaks",
                f"{len(self.peaks):,} at q ≤ {said['fdr']:g} ({n_negative:,} negative), best q {said['best_q']:.2g}, "
                f"against {null_text(said)}, {statistic_text(said)}",
            ),
            *([("rounding", rounding_text(self.attr.attrs["keep_bits"]))] if "keep_bits" in self.attr.attrs else []),
            ("elements", f"{len(self.elements):,}"),
            ("motifs", f"{self.motifs.summary()}; from {counted(n_searched, 'peak')} at q ≤ {rate:g}"),
            *([("", weaker)] if weaker else []),
            *([("audit", self.audit.verdict.answers)] if self.audit else []),
            ("seconds", f"{sum(self.seconds.values()):.1f}"),
            *((name, str(self.folder / file)) for name, file in WRITTEN if file not in absent),
        ]
        return table_text(rows)


def run(
    model: ModelSpec,
    *,
    out: str | os.PathLike[str],
    genome: str | os.PathLike[str] | None = None,
    regions: str | os.PathLike[str] | pd.DataFrame | None = None,
    fasta: str | os.PathLike[str] | None = None,
    method: str | Method | Sequence[str | Method] = "gradient_x_input",
    fdr: float = 0.05,
    statistic: str = "auto",
    motif_db: str | os.PathLike[str] | None = None,
    audit: bool = True,
    genome_name: str | None = None,
    url_base: str | None = None,
    device: str = "auto",
    seed: int = 0,
    resume: bool = True,
    progress: bool = False,
    scheduler: str | None = None,
    **options: Any,
) -> RunResult:
    """Do the whole analysis into one folder.

    Parameters
    ----------
    model
        A model file or ``package.module:factory``, any `nn.Module`, or a model from :func:`seqsal.load_model` or
        :func:`seqsal.wrap`. Of a module in memory, its class and the checksum of its weights are recorded.
    out
        Folder; made if it is not there.
    genome, regions, fasta
        Genome and regions, or sequences alone.
    method
        Attribution method by name, or a :class:`seqsal.attribution.Method`, or several: all are in `attributions.h5`,
        the first is what everything else is about.
    fdr
        Largest q-value of a peak. Motifs are looked for among the peaks up to `SEQLET_FDR`, when that is larger; those
        that are in `peaks.narrowPeak` too have the same names there.
    statistic
        What peaks are judged by: `height`, `joint`, or `auto`, as for :func:`seqsal.call_peaks`.
    motif_db
        What the motifs are named by, and the map is compared with: `jaspar:RELEASE:TAXGROUP` or a motif file; None
        leaves them without names.
    audit
        Test whether the map can be believed, with the sizes of `seqsal.auditing.settings.RUN_SIZES` where `settings`
        does not say otherwise.
    genome_name
        Name of the assembly at UCSC, such as hg38, for the browser bundle; None recognises some by their sizes.
    url_base
        Address at which the folder will be; None leaves the references of the bundle relative.
    device
        `auto`, `cpu` or `cuda[:i]`.
    seed
        Seeds the shuffled controls.
    resume
        Go on with an interrupted run of the same inputs and settings, or use its finished attributions; False starts
        over.
    progress
        Show one bar for the whole run, with the time that is left.
    options
        Those of :func:`seqsal.attribute`: `target`, `n_controls`, `rc_average`, how the model is read, and so on; and
        of :func:`seqsal.audit`: `positives`, `negatives`, `artifacts`, `annotations`, `strata`, `other_models`, and
        `settings` as a mapping.

    Raises
    ------
    SeqsalError
        Input that cannot be used; nothing is written then.

    Examples
    --------
    >>> import seqsal
    >>> result = seqsal.run("M.safetensors", genome="hg38.fa", regions="peaks.bed", out="results")  # doctest: +SKIP
    >>> print(result.audit.verdict.text)  # doctest: +SKIP

    What is misspelled is refused before anything is read:

    >>> seqsal.run("M.safetensors", genome="hg38.fa", regions="peaks.bed", fdrr=0.1, out="results")
    Traceback (most recent call last):
        ...
    seqsal.errors.UsageError: fdrr: no such option; did you mean 'fdr'?
    """
    clock = _Clock()
    with clock.stage("load"):
        prepared = prepare_run(
            model, out=out, genome=genome, regions=regions, fasta=fasta, method=method, fdr=fdr, statistic=statistic,
            motif_db=motif_db, audit=audit, genome_name=genome_name, url_base=url_base, device=device, seed=seed,
            **options,
        )  # fmt: skip
    shares = _shares(prepared)
    with prepared, make_folder(out) as folder, locked(folder), whole(shares, disable=not progress):
        return _fill(folder, prepared, clock, resume=resume, progress=progress, scheduler=scheduler)


def _shares(prepared: PreparedRun) -> dict[str, float]:
    """Say about how long the stages take in comparison, for the time that is left."""
    opened = prepared.opened
    n_controls = opened.request.options.n_controls
    n_windows = len(opened.source) + (n_controls if isinstance(n_controls, int) else 0)
    n_passes = sum(one.method.n_passes(opened.span.length) for one in plan_methods(opened.request.options))
    shares = {"attribute": 0.0045 * n_windows * n_passes, "scores": 0.1, "tracks": 1.0, "peaks": 1.5, "motifs": 20.0,
              "elements": 1.0, "audit": 80.0, "browser": 2.5, "report": 12.0}  # fmt: skip
    return shares if prepared.plan is not None else {**shares, "audit": 0.0}


def _attribute_on(scheduler: str, path: Path, prepared: PreparedRun, *, resume: bool, progress: bool) -> Attributions:
    """Let the workers of a scheduler attribute the windows of a run."""
    from seqsal.pipeline.schedulers import attribute_on

    if not resume:
        path.unlink(missing_ok=True)
    opened, said = prepared.opened, prepared.parameters
    as_said = {name: said[name] for name in ("method_options", "span", "flank")}
    given = {**opened.request.arguments(), **as_said}
    attribute_on(scheduler, given.pop("model"), path, progress=progress, **given)
    attr = read_attributions(path, in_memory=False)
    attr.keep(run=AttributionRun(opened.model, opened.source, opened.request.options, opened.device))
    return attr


def _fill(
    folder: Path, prepared: PreparedRun, clock: _Clock, *, resume: bool, progress: bool, scheduler: str | None
) -> RunResult:
    """Do the stages of a run, each into files that come together or not at all."""
    given, opened = prepared.parameters, prepared.opened
    fdr, motif_db, seed = given["fdr"], given["motif_db"], given["seed"]
    (folder / "run.json").unlink(missing_ok=True)  # an earlier run's: the folder is not complete now
    with clock.stage("attribute"):
        path = folder / "attributions.h5"
        if scheduler is not None:
            attr = _attribute_on(scheduler, path, prepared, resume=resume, progress=progress)
        else:
            attr = opened.attribute(
                path, resume=resume, keep_finished=resume, or_more_controls=prepared.may_grow, progress=progress
            )
    with clock.stage("scores"):
        scores = score_table(attr.regions, np.asarray(attr.prediction), opened.model, attr.prediction_sd)
        write_scores(scores, folder / "scores.tsv")
    with clock.stage("tracks"):
        write_bigwig(attr, attr.chrom_sizes, folder / "attributions.bw", progress=progress)
        with all_or_nothing(stale=[folder / AGREEMENT]):
            if attr.track_sd is not None:
                write_agreement(attr, attr.chrom_sizes, folder / AGREEMENT, progress=progress)
    with clock.stage("peaks"), all_or_nothing():
        most = None if prepared.may_grow else attr.n_controls
        how: dict[str, Any] = {"statistic": given["statistic"], "max_controls": most, "progress": progress}
        seqlets = call_peaks(attr, fdr=fdr, kept_fdr=SEQLET_FDR, **how)
        peaks = seqlets[seqlets["q_value"] <= fdr].reset_index(drop=True)
        seqlets.attrs["fdr"] = max(fdr, SEQLET_FDR)
        write_narrowpeak(peaks, folder / "peaks.narrowPeak")
        write_peaks_tsv(peaks, folder / "peaks.tsv")
    from seqsal.plot import write_logos  # matplotlib is not imported before it draws

    with clock.stage("motifs"), make_folder(folder / "motifs") as motif_folder:
        motifs = discover_motifs(attr, seqlets, motif_db=motif_db, seed=seed, progress=progress)
        with make_folder(motif_folder / "logos") as logos, all_or_nothing(stale=[motif_folder / "motif_usage.tsv"]):
            write_motifs(motifs, motif_folder)
            write_modisco_h5(motifs.patterns, motif_folder / MODISCO_FILE, attr)
            write_logos(motifs, logos, unit=attr.unit)
    with clock.stage("elements"), all_or_nothing():
        database = read_motifs(motif_db) if motif_db is not None and not len(motifs) else None
        how = {"motifs": motifs_of(motifs, database), "progress": progress}
        peaks = describe_calls(peaks, attr, **how)
        elements = describe_calls(merge_peaks(peaks, MERGE_BP, attr), attr, **how)
        write_peaks_tsv(peaks, folder / "peaks.tsv")
        write_elements(elements, folder / "elements.bed", folder / "elements.tsv", attr.output_space)
    with clock.stage("audit"), all_or_nothing(stale=[folder / name for name in AUDIT_FILES]):
        found = None
        if prepared.plan is not None:
            found = prepared.plan.run(
                attr, opened.model, other_models=prepared.other_models, peaks=peaks, patterns=motifs,
                device=opened.device, seed=seed, progress=progress,
            )  # fmt: skip
            found.to_json(folder / "audit.json")
            found.write_shortcuts_bed(folder / "shortcuts.bed")
    with clock.stage("browser"):
        _write_browser(folder, attr, peaks, audited=found is not None, prepared=prepared)
    info = _describe(prepared, attr, peaks, motifs, found, seqlet_fdr=max(fdr, SEQLET_FDR))
    with clock.stage("report"):
        tables: dict[str, Any] = {"scores": scores, "peaks": peaks, "elements": elements, "weak_peaks": seqlets}
        _write_report(folder, attr, tables, motifs, found, info)
    write_config(folder / "run.toml", config_of(given))
    with atomic_path(folder / "run.json") as temporary:
        record = {**info, "seconds": clock.seconds}
        temporary.write_text(json.dumps(record, indent=2, sort_keys=True, default=str) + "\n")
    return RunResult(folder, attr, scores, peaks, elements, motifs, found, clock.seconds)


def _write_browser(
    folder: Path, attr: Attributions, peaks: pd.DataFrame, *, audited: bool, prepared: PreparedRun
) -> None:
    """Write the bundle of the run, which shares the run's bigWig."""
    url_base = prepared.parameters["url_base"]
    write_bundle(
        folder / "browser",
        attr,
        peaks=peaks,
        motifs=read_motif_instances(folder / "motifs"),
        artifacts=read_instances(folder / "shortcuts.bed") if audited else None,
        genome_name=prepared.parameters["genome_name"],
        url_base=None if url_base is None else f"{url_base.rstrip('/')}/browser/",
        bigwig=folder / "attributions.bw",
    )


def _write_report(
    folder: Path,
    attr: Attributions,
    tables: dict[str, Any],
    motifs: MotifResult,
    audit: AuditResult | None,
    info: dict[str, Any],
) -> None:
    from seqsal.report import ReportInputs, write_report
    from seqsal.report.genome import gene_models

    parameters = info["parameters"]
    given = parameters.get("regions") or parameters.get("fasta") or "regions"
    details = {**info, "model": {**info["model"], **_training_facts(parameters["model"])}}
    models = parameters["model"] if isinstance(parameters["model"], list) else [parameters["model"]]
    title = f"{', '.join(Path(one).stem for one in models)} · {Path(given).name}"
    tables["genes"] = gene_models(attr)
    shown = ReportInputs(attr, run_info=details, motifs=motifs, audit=audit, title=title, **tables)
    write_report(folder / "report.html", shown)


def _training_facts(model: str | list[str]) -> dict[str, Any]:
    """Held-out metrics and history of a seqsal checkpoint; nothing for other models."""
    from seqsal.models import load_checkpoint

    if isinstance(model, list) or Path(model).suffix != ".safetensors":
        return {}
    _, metadata = load_checkpoint(model)
    return {key: metadata[key] for key in ("metrics", "history", "best_epoch", "curves", "stopped") if key in metadata}


class _Clock:
    """Wall seconds, by stage, of every stage that ended, in their order."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what happens inside; a stage that fails is not recorded."""
        start = time.perf_counter()
        logger.info("%s …", name)
        stage(name)
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)
        logger.info("%s took %.1f s", name, self.seconds[name])


def _describe(
    prepared: PreparedRun,
    attr: Attributions,
    peaks: pd.DataFrame,
    motifs: MotifResult,
    audit: AuditResult | None,
    *,
    seqlet_fdr: float,
) -> dict[str, Any]:
    """Collect what `run.json` holds besides the seconds; peaks up to `seqlet_fdr` were searched for motifs."""
    columns = ["chrom", "start", "end", "name", "reason"]
    versions = {name: importlib.metadata.version(name) for name in VERSIONS_OF}
    return {
        "schema": RUN_SCHEMA,
        "seqsal_version": VERSION,
        "parameters": prepared.parameters,
        "versions": {"python": platform.python_version(), **versions},
        "inputs": attr.attrs.get("genome", {}),
        "model": attr.attrs.get("model", {}),
        "output_space": attr.output_space,
        "n_regions": len(attr),
        "n_controls": attr.n_controls,
        "null": attr.null,
        "statistic": peaks.attrs["statistic"],
        "n_peaks": len(peaks),
        "best_q": peaks.attrs["best_q"],
        "rejected": attr.rejected[columns].to_dict("records") if len(attr.rejected) else [],
        "n_patterns": len(motifs),
        "seqlet_fdr": seqlet_fdr,
        "warnings": motifs.warnings,
        **({"verdict": audit.verdict.as_dict()} if audit else {}),
    }
