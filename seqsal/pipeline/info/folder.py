"""Folders: of `seqsal run`, finished or not, of `seqsal motifs`, and the browser bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from seqsal.pipeline.info.json_files import read_run_json

__all__ = ["RUN_FILES", "describe_folder", "folder_bytes"]

RUN_FILES = (
    "report.html", "scores.tsv", "attributions.h5", "attributions.bw", "peaks.narrowPeak", "peaks.tsv", "motifs",
)  # fmt: skip
_BUNDLE = "BROWSERS.txt"
Described = tuple[str, dict[str, Any]]


def describe_folder(path: Path) -> Described | None:
    """Say what a folder holds; None if it is no folder that seqsal fills."""
    if (path / "run.json").is_file():
        return "folder of `seqsal run`", {**read_run_json(path / "run.json"), **_file_facts(path)}
    if (path / "attributions.h5").is_file() or (path / ".attributions.h5.partial").is_file():
        finish = "it has no run.json; run the command that makes it again, which goes on where it stopped"
        return "unfinished folder of `seqsal run`", {"finish": finish, **_file_facts(path)}
    if (path / "motifs.tsv").is_file() and (path / "motifs.meme").is_file():
        return "folder of `seqsal motifs`", _motif_facts(path)
    if (path / _BUNDLE).is_file():
        return "browser bundle", {"files": _sizes(path)}
    return None


def folder_bytes(path: Path) -> int:
    """Bytes of all files in a folder and its folders."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _file_facts(path: Path) -> dict[str, Any]:
    missing = [name for name in RUN_FILES if not (path / name).exists()]
    return {"files": _sizes(path)} | ({"missing": missing} if missing else {})


def _sizes(path: Path) -> list[dict[str, Any]]:
    files = [entry for entry in sorted(path.iterdir()) if not entry.name.startswith(".")]
    return [
        {"file": f"{entry.name}/", "n_bytes": folder_bytes(entry)}
        if entry.is_dir()
        else {"file": entry.name, "n_bytes": entry.stat().st_size}
        for entry in files
    ]


def _motif_facts(path: Path) -> dict[str, Any]:
    table = pd.read_csv(path / "motifs.tsv", sep="\t")
    known = [name for name in ("pattern", "sign", "n_seqlets", "match", "q_value") if name in table]
    patterns = table[known].astype(object).where(table[known].notna(), None).to_dict("records")
    return {"n_patterns": len(table), "motifs": patterns, "files": _sizes(path)}
