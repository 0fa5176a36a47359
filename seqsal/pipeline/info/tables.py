"""Tables, BED files, motif matrices and reports: text whose head tells what it is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd

from seqsal.errors import BedError
from seqsal.io.bed import read_bed

__all__ = ["describe_text"]

_TABLES = {  # by columns that only this table has
    "peaks of `seqsal peaks`": {"signal", "q_value", "summit", "sign"},
    "motifs of `seqsal motifs`": {"pattern", "n_seqlets", "consensus"},
    "use of known motifs": {"motif", "n_hits_in_peaks"},
    "seqlets of `seqsal motifs`": {"#chrom", "contribution", "peak", "sequence"},
    "agreement of `seqsal compare`": {"a", "b", "n_bases", "pearson", "top_overlap"},
    "scores of `seqsal score`": {"chrom", "prediction", "strand"},
}
_HEAD_BYTES = 4096
_GENERATOR = re.compile(r'<meta name="generator" content="seqsal ([^"]*)">')
Described = tuple[str, dict[str, Any]]


def describe_text(path: Path) -> Described | None:
    """Say what a text file is; None if seqsal writes none of this kind."""
    with path.open("rb") as file:
        try:
            head = file.read(_HEAD_BYTES).decode(errors="strict")
        except UnicodeDecodeError as error:
            if error.end < _HEAD_BYTES - 4:  # not a letter cut in two at the end
                return None
            head = ""
    generator = _GENERATOR.search(head)
    if generator:
        return "report", {"written_by": f"seqsal {generator.group(1)}"}
    if head.startswith("MEME version"):
        text = path.read_text(encoding="utf-8")
        return "motif matrices (MEME)", {"n_motifs": len(re.findall(r"^MOTIF ", text, re.MULTILINE))}
    if path.suffix.lower() in (".narrowpeak", ".bed"):
        found = _describe_intervals(path)
        if found is not None:
            return found
    return _describe_table(path, set(head.partition("\n")[0].split("\t")))


def _describe_intervals(path: Path) -> Described | None:
    """Count the lines of a BED file; None where it has a header of its own, or is none."""
    kind = "peaks (narrowPeak)" if path.suffix.lower() == ".narrowpeak" else "regions (BED)"
    if path.stat().st_size == 0:
        return kind, {"n_regions": 0}
    try:
        table = read_bed(path)
    except BedError:
        return None
    facts: dict[str, Any] = {"n_regions": len(table), "n_chroms": int(table["chrom"].nunique())}
    if "signal" in table:
        facts["n_negative"] = int((table["signal"] < 0).sum())
    return kind, facts


def _describe_table(path: Path, columns: set[str]) -> Described | None:
    kind = next((kind for kind, own in _TABLES.items() if own <= columns), None)
    if kind is None:
        return None
    table = pd.read_csv(path, sep="\t")
    facts: dict[str, Any] = {"n_rows": len(table), "columns": list(table.columns)}
    if "sign" in table:
        facts["n_negative"] = int((table["sign"] == "neg").sum())
    if "q_value" in table and len(table):
        facts["best_q"] = float(table["q_value"].min())
    if "output_space" in table and len(table):
        facts["output_space"] = str(table["output_space"].iloc[0])
    return kind, facts
