"""One page of several runs: what each was, what it found, whether it can be believed, and whether they agree."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seqsal.agreement import compare_attributions
from seqsal.auditing.result import AuditResult, read_audit
from seqsal.errors import RegionError, StoreError, UsageError, counted, one_line
from seqsal.io.atomic import atomic_path
from seqsal.report.html import render_page
from seqsal.report.sections import METHODS, Section
from seqsal.report.tables import Column, Table, make_table, two_digits

__all__ = ["MATCH_FDR", "FinishedRun", "read_run", "write_comparison"]

MATCH_FDR = 0.1


@dataclass(frozen=True)
class FinishedRun:
    """What the folder of a run says of it."""

    name: str
    folder: Path
    info: dict[str, Any]
    peaks: pd.DataFrame
    motifs: pd.DataFrame
    audit: AuditResult | None


def read_run(folder: str | os.PathLike[str]) -> FinishedRun:
    """Read what `seqsal run` left in a folder; StoreError where it did not, or not to the end."""
    path = Path(folder)
    try:
        info = json.loads((path / "run.json").read_text(encoding="utf-8"))
        peaks = pd.read_csv(path / "peaks.tsv", sep="\t")
        motifs = pd.read_csv(path / "motifs" / "motifs.tsv", sep="\t")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise StoreError(
            f"{path}: is not the folder of a finished `seqsal run` ({reason}); run it to its end"
        ) from error
    audit = read_audit(path / "audit.json") if (path / "audit.json").exists() else None
    return FinishedRun(one_line(path.resolve().name), path, info, peaks, motifs, audit)


def write_comparison(path: str | os.PathLike[str], folders: Sequence[str | os.PathLike[str]]) -> Path:
    """Write a page that puts several runs next to each other.

    Parameters
    ----------
    path
        File to write; what was there is replaced only when the new one is complete.
    folders
        Of `seqsal run`, two or more. They may be of several models, methods, seeds or sets of regions; where all have
        regions in common, their attributions are compared as by `seqsal compare`.

    Raises
    ------
    UsageError
        Fewer than two folders, or one is given twice.
    StoreError
        A folder is none of a finished run.
    OutputError
        The file cannot be written.

    Examples
    --------
    >>> from seqsal.report import write_comparison
    >>> write_comparison("comparison.html", ["results"])
    Traceback (most recent call last):
    seqsal.errors.UsageError: report: got 1 folder, expected two or more runs to compare, or one attribution file
    """
    if len(folders) < 2:
        raise UsageError(
            f"report: got {counted(len(folders), 'folder')}, expected two or more runs to compare, or "
            "one attribution file"
        )
    if len({Path(one).resolve() for one in folders}) < len(folders):
        raise UsageError("report: a folder is given twice, expected each run once; leave one out")
    runs = _named_apart([read_run(one) for one in folders])
    sections = [_overview(runs), _peaks_in_common(runs), _agreement(runs), _motifs(runs)]
    text = render_page("Comparison of " + ", ".join(run.name for run in runs), [one for one in sections if one])
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return Path(path)


def _named_apart(runs: list[FinishedRun]) -> list[FinishedRun]:
    """Call runs by their whole paths where folders have the same name."""
    names = [run.name for run in runs]
    if len(set(names)) == len(names):
        return runs
    return [FinishedRun(str(run.folder), run.folder, run.info, run.peaks, run.motifs, run.audit) for run in runs]


def _table(key: str, title: str, lead: str, columns: list[tuple[Column, Any]]) -> Section:
    made: Table = make_table(f"{key}-table", columns)
    return Section(key, title, lead, "section_table.html", {"table": made, "file": "", "empty": ""})


def _overview(runs: list[FinishedRun]) -> Section:
    """Build the first table: a row for each run."""

    def count(run: FinishedRun, sign: str) -> int:
        return int((run.peaks["sign"] == sign).sum())

    def answer(run: FinishedRun, about: str) -> str:
        return "not audited" if run.audit is None else str(run.audit.verdict.answer(about))

    shortcuts = [
        "not audited" if run.audit is None else ", ".join(run.audit.verdict.shortcuts) or run.audit.verdict.no_shortcuts
        for run in runs
    ]
    methods = [str(run.info["parameters"].get("method", "")) for run in runs]
    columns: list[tuple[Column, Any]] = [
        (Column("Run"), [run.name for run in runs]),
        (Column("Model"), [_model_name(run.info.get("model")) for run in runs]),
        (Column("Method", hint="; ".join(METHODS[one] for one in dict.fromkeys(methods) if one in METHODS)), methods),
        (Column("Regions", "number"), [run.info["n_regions"] for run in runs]),
        (Column("Faithful", hint="does the map show what the model does"), [answer(run, "faithful") for run in runs]),
        (Column("Plausible", hint="does the map show known biology"), [answer(run, "plausible") for run in runs]),
        (Column("Shortcuts", hint="what the model uses that is not biology"), shortcuts),
        (Column("q ≤", "number", "q-value up to which peaks were called"), [_rate(run) for run in runs]),
        (Column("Activating", "number", "peaks that raise the prediction"), [count(run, "pos") for run in runs]),
        (Column("Repressing", "number", "peaks that lower the prediction"), [count(run, "neg") for run in runs]),
        (Column("Patterns", "number", "recurrent motifs"), [len(run.motifs) for run in runs]),
    ]
    return _table(
        "overview", "Runs", "What each run was about, what it found, and whether it can be believed.", columns
    )


def _model_name(model: Any) -> str:
    """File name of a model, or of each of an ensemble."""
    models = model if isinstance(model, list) else [model]
    return (
        ", ".join(
            Path(str(one.get("file", ""))).name.removesuffix(".safetensors") for one in models if isinstance(one, dict)
        )
        or "–"
    )


def _rate(run: FinishedRun) -> float:
    return float(run.info["parameters"].get("fdr", np.nan))


def _peaks_in_common(runs: list[FinishedRun]) -> Section:
    """Say for each pair of runs how many peaks of one share a base with a peak of the other, of the same sign."""
    rows = [
        (one.name, other.name, len(one.peaks), int(_shared(one.peaks, other.peaks).sum()))
        for one in runs for other in runs if one is not other
    ]  # fmt: skip
    names, others, totals, shared = (list(column) for column in zip(*rows, strict=True))
    share = [n / total if total else np.nan for n, total in zip(shared, totals, strict=True)]
    columns: list[tuple[Column, Any]] = [
        (Column("Peaks of"), names),
        (Column("found by"), others),
        (Column("Peaks", "number"), totals),
        (Column("Found", "number", "share a base with a peak of the same sign"), shared),
        (Column("Share", "number"), two_digits(pd.Series(share, dtype=np.float64))),
    ]
    lead = "How many peaks of one run the other has too: a base in common, and the same sign. Each at its own rate."
    return _table("common", "Peaks in common", lead, columns)


def _shared(peaks: pd.DataFrame, others: pd.DataFrame) -> pd.Series:
    """Whether each peak shares a base with another run's peak of its sign."""
    found = pd.Series(False, index=peaks.index)
    for key, mine in peaks.groupby(["chrom", "sign"]):
        theirs = others[(others["chrom"] == key[0]) & (others["sign"] == key[1])].sort_values("start")
        if len(theirs):
            reach = theirs["end"].cummax().to_numpy()  # of all that begin no later
            last = np.searchsorted(theirs["start"].to_numpy(), mine["end"].to_numpy()) - 1
            found[mine.index] = (last >= 0) & (reach[np.maximum(last, 0)] > mine["start"].to_numpy())
    return found


def _agreement(runs: list[FinishedRun]) -> Section:
    """Compare the attributions, where the runs have regions in common."""
    try:
        overall = compare_attributions({run.name: run.folder / "attributions.h5" for run in runs}).overall
    except (RegionError, StoreError, UsageError) as error:
        context = {"table": None, "empty": f"The attributions cannot be compared: {error}."}
        return Section("agreement", "Agreement of the maps", "Base by base.", "section_table.html", context)
    hints = {
        "a": ("Run", "text", ""),
        "b": ("and", "text", ""),
        "n_regions": ("Regions", "number", "in common"),
        "pearson": ("Pearson r", "number", "of all positions together"),
        "median_spearman": ("Median Spearman ρ", "number", "of the regions"),
        "top_overlap": ("Top overlap", "number", "share of the strongest 5 % of positions that both have"),
        "top_expected": ("by chance", "number", "the same for maps that have nothing to do with each other"),
        "sign_agreement": ("Same sign", "number", "of the strongest positions that both have"),
    }
    columns = [
        (Column(*about), two_digits(overall[name]) if overall[name].dtype == np.float64 else overall[name])
        for name, about in hints.items()
    ]
    return _table("agreement", "Agreement of the maps", "Base by base, over the regions that all runs have.", columns)


def _motifs(runs: list[FinishedRun]) -> Section | None:
    """List the patterns of all runs."""
    tables = [run.motifs.assign(run=run.name) for run in runs if len(run.motifs)]
    if not tables:
        return None
    table = pd.concat(tables, ignore_index=True)
    known = table["match"].where(table["q_value"] <= MATCH_FDR, "–")
    columns: list[tuple[Column, Any]] = [
        (Column("Run"), table["run"]),
        (Column("Pattern"), table["pattern"]),
        (Column("Instances", "number"), table["n_seqlets"]),
        (Column("Known as", hint=f"best match by TOMTOM, if its q-value is {MATCH_FDR:g} or less"), known),
        (Column("q-value", "number", "of the match, by TOMTOM"), two_digits(table["q_value"])),
        (Column("Consensus"), table["consensus"]),
        (Column("Contribution", "number", "mean over the instances, in the run's output space"), table["contribution"]),
    ]
    return _table("patterns", "Motifs", "Patterns that recur under the peaks of each run.", columns)
