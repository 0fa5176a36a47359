"""`seqsal info`: what a file or folder is, if seqsal wrote it, where it comes from, and what is in it.

A file is recognised by what is in it. Neither torch nor the model or genome that it names are needed to describe it.
"""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from seqsal.errors import BedError, CheckpointError, StoreError, UsageError
from seqsal.io.bed import read_bed
from seqsal.io.bigwig import MAGICS, summarize_bigwig
from seqsal.io.hdf5 import DAMAGE
from seqsal.io.store import SCHEMA, in_use, read_attrs, result_prefix
from seqsal.pipeline.file_info import FileInfo, version_facts
from seqsal.version import CHECKPOINT_FORMAT, CHECKPOINT_VERSION

__all__ = ["RUN_SCHEMA", "describe_file"]

_HDF5 = b"\x89HDF\r\n\x1a\n"
_KINDS = (
    "a model checkpoint, attributions (.h5), a folder of `seqsal run` or `seqsal motifs`, run.json, audit.json, "
    "a report, or a table or track of results"
)
MAX_COMPLETENESS_ERROR = 0.01
_MADE_BY = ("model", "trained_on", "reading", "genome", "seed", "precision", "compiled")
_OPTIONAL = ("hypothetical", "completeness_error", "noise", "track_sd")
RUN_FILES = (
    "report.html", "scores.tsv", "attributions.h5", "attributions.bw", "peaks.narrowPeak", "peaks.tsv", "motifs",
)  # fmt: skip
_BUNDLE = "BROWSERS.txt"
RUN_SCHEMA = 1
_TABLES = {  # by columns that only this table has
    "peaks of `seqsal peaks`": {"signal", "q_value", "summit", "sign"},
    "motifs of `seqsal motifs`": {"pattern", "n_seqlets", "consensus"},
    "use of known motifs": {"motif", "n_hits_in_peaks"},
    "seqlets of `seqsal motifs`": {"#chrom", "contribution", "peak", "sequence"},
    "variants of `seqsal variants`": {"pos", "ref_score", "alt_score", "effect"},
    "hits of `seqsal hits`": {"pattern", "similarity", "contribution", "window"},
    "use of patterns by `seqsal hits`": {"pattern", "target", "n_hits", "share"},
    "elements of `seqsal run`": {"signal_pos", "signal_neg", "peaks"},
    "result of `seqsal insert` or `seqsal remove`": {"element", "effect", "low", "high", "n"},
    "result of `seqsal space`": {"a", "b", "distance", "orientation", "effect"},
    "result of `seqsal pair`": {"a", "b", "gap", "effect"},
    "result of `seqsal interactions`": {"region", "a", "b", "base_a", "base_b", "effect"},
    "result of `seqsal swap`": {"a", "b", "effect", "low", "high", "n"},
    "result of `seqsal scan`": {"region", "start", "end", "effect", "low", "high"},
    "receptive fields of `seqsal erf`": {"layer", "sigma_bp", "field_bp"},
    "overall agreement of `seqsal compare`": {"a", "b", "n_regions", "top_overlap"},
    "agreement of `seqsal compare`": {"a", "b", "n_bases", "pearson", "top_overlap"},
    "scores of `seqsal score`": {"chrom", "prediction", "strand"},
}
_HEAD_BYTES = 4096
_GENERATOR = re.compile(r'<meta name="generator" content="seqsal ([^"]*)">')
Described = tuple[str, dict[str, Any]]


def describe_file(path: str | os.PathLike[str]) -> FileInfo:
    """Say what a file or folder is that seqsal wrote, where it comes from, and what is in it.

    Nothing but the file itself is read: neither the model nor the genome that it names need be there. UsageError: there
    is no such file, it cannot be read, or it is of no kind that seqsal writes; StoreError, CheckpointError: it is, but
    damaged.
    """
    given = Path(path)
    try:
        found = _describe_folder(given) if given.is_dir() else _describe_file(given)
        n_bytes = _folder_bytes(given) if given.is_dir() else given.stat().st_size
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file or folder; check the path") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error}); expected a file of seqsal") from error
    except (*DAMAGE, RecursionError) as error:
        raise StoreError(f"{path}: damaged, its content is not what it should be ({error!r}); make it again") from error
    if found is None:
        raise UsageError(f"{path}: not recognised as something that seqsal writes; expected {_KINDS}")
    return FileInfo(given, *found, n_bytes)


def _describe_file(path: Path) -> Described | None:
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(_HDF5):
        return _describe_attributions(path)
    if head.startswith(MAGICS):
        summary = summarize_bigwig(path)
        return "bigWig track", {"n_chroms": len(summary.chrom_sizes), "n_bases": summary.n_bases}
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
        return _describe_checkpoint(path)
    if path.suffix == ".safetensors" or path.suffix in (".h5", ".hdf5"):
        raise StoreError(f"{path}: damaged or truncated, its first bytes are not those of a {path.suffix} file")
    return _describe_json(path) if head.lstrip().startswith(b"{") else _describe_text(path)


def _describe_attributions(path: Path) -> Described | None:
    """Say what is in an attribution file, finished or not; None for another HDF5 file."""
    try:
        with h5py.File(path, "r") as file:
            return _attribution_facts(file)
    except BlockingIOError as error:
        raise in_use(path) from error
    except DAMAGE as error:
        raise StoreError(f"{path}: damaged or truncated ({error}); make it again") from error


def _attribution_facts(file: h5py.File) -> Described | None:
    attrs = read_attrs(file)
    if "shap/seq" in file:
        shape = [int(n) for n in file["shap/seq"].shape]
        return "contribution scores as chrombpnet writes them", {"read_with": "seqsal import", "shape": shape}
    if "seqsal_version" not in attrs:
        return None
    facts = version_facts(attrs["seqsal_version"], attrs.get("schema", 0), SCHEMA)
    if "unreadable" in facts:
        return "attributions", facts
    n_regions, length = file["track"].shape
    if "progress" in file:
        done = dict(zip(("n_regions", "n_controls"), map(int, file["progress"][...]), strict=True))
        facts |= {"done": done, "finish": "run the command that makes it again"}
    facts |= {"n_regions": n_regions, "length_bp": length, "n_controls": _n_rows(file, "null/track")}
    facts |= {
        "n_rejected": _n_rows(file, "rejected/chrom"),
        "n_padded": int(np.sum(file["regions/padded"][...])) if "regions/padded" in file else 0,
    }
    names = attrs.get("results", [attrs.get("result", attrs.get("method", "unknown"))])
    facts["results"] = [_result_facts(file, name, None if i == 0 else name) for i, name in enumerate(names)]
    facts |= {key: attrs[key] for key in (*_MADE_BY, "keep_bits", "rounding_error", "null") if key in attrs}
    return "unfinished attributions" if "progress" in file else "attributions", facts


def _result_facts(file: h5py.File, name: str, place: str | None) -> dict[str, Any]:
    """Facts of one result; `place` is None for the one at the root."""
    prefix = result_prefix(place)
    attrs = {**read_attrs(file), **(read_attrs(file[prefix]) if prefix else {})}
    keys = ("method", "target", "output_space", "signed", "precision_correlation")
    facts: dict[str, Any] = {"name": name} | {key: attrs[key] for key in keys if key in attrs}
    if "target_name" in attrs:  # of a contrast, which has no number
        facts["target"] = attrs["target_name"]
    facts["options"] = attrs.get("options", {})
    facts["kept"] = [kept for kept in _OPTIONAL if prefix + kept in file]
    if "completeness_error" in facts["kept"] and "progress" not in file:
        errors = file[prefix + "completeness_error"][...]
        facts["n_beyond_1_percent"] = int((errors > MAX_COMPLETENESS_ERROR).sum())
    return facts


def _n_rows(file: h5py.File, name: str) -> int:
    return len(file[name]) if name in file else 0


def _describe_checkpoint(path: Path) -> Described:
    """Say what a `.safetensors` checkpoint of `seqsal train` is, and what its training came to."""
    tensors, strings = _read_header(path)
    if {"fingerprint", "progress"} <= set(strings):
        progress = _parse(strings, "progress", path)["progress"]
        done = {"done": len(progress.get("history", [])), "best": progress.get("best_epoch")}
        return "unfinished training", {"epochs": done, "finish": "run the command that makes it again"}
    if strings.get("format") != CHECKPOINT_FORMAT:
        raise CheckpointError(
            f"{path}: a safetensors file, but not a checkpoint of seqsal; as --weights of a package.module:factory it "
            "may be usable"
        )
    text = strings.get("format_version", "")
    version = int(text) if text.isdecimal() else None
    known = CHECKPOINT_VERSION if version is None else min(version, CHECKPOINT_VERSION)  # every earlier one is read too
    facts = version_facts(strings.get("seqsal_version"), version, known)
    n_parameters = sum(math.prod(entry["shape"]) for entry in tensors.values())
    facts |= {
        "input_length_bp": int(strings.get("input_length", 0)),
        "output_space": strings.get("output_space"),
        "n_parameters": n_parameters,
        **_parse(strings, "config", path),
    }
    return "model checkpoint", facts | _training_facts(_parse(strings, "training", path).get("training", {}))


def _read_header(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Read shapes of the tensors and the metadata: JSON, after its length in 8 little-endian bytes."""
    with path.open("rb") as file:
        n_header = int.from_bytes(file.read(8), "little")
        text = file.read(n_header)
    try:
        header = json.loads(text)
        end = max((entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"), default=0)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: damaged, its header cannot be read; fetch or train it again") from error
    if path.stat().st_size != 8 + n_header + end:
        raise CheckpointError(
            f"{path}: truncated, {path.stat().st_size:,} bytes, expected {8 + n_header + end:,}; fetch it again"
        )
    return header, header.pop("__metadata__", {})


def _parse(strings: dict[str, str], name: str, path: Path) -> dict[str, Any]:
    try:
        return {name: json.loads(strings.get(name, "{}"))}
    except ValueError as error:
        raise CheckpointError(f"{path}: damaged, its {name} is not JSON; fetch or train it again") from error


def _training_facts(training: dict[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if training.get("history"):
        facts["epochs"] = {"done": len(training["history"]), "best": training.get("best_epoch")}
    keys = ("stopped", "split", "metrics", "inputs", "seed", "device", "n_threads", "torch_version", "training")
    return facts | {key: training[key] for key in keys if key in training}


def _describe_folder(path: Path) -> Described | None:
    """Say what a folder holds; None if it is no folder that seqsal fills."""
    if (path / "run.json").is_file():
        return "folder of `seqsal run`", {**_run_facts(_read_json(path / "run.json")), **_file_facts(path)}
    if (path / "attributions.h5").is_file() or (path / ".attributions.h5.partial").is_file():
        finish = "it has no run.json; run the command that makes it again, which goes on where it stopped"
        return "unfinished folder of `seqsal run`", {"finish": finish, **_file_facts(path)}
    if (path / "motifs.tsv").is_file() and (path / "motifs.meme").is_file():
        table = pd.read_csv(path / "motifs.tsv", sep="\t")
        known = [name for name in ("pattern", "sign", "n_seqlets", "match", "q_value") if name in table]
        patterns = table[known].astype(object).where(table[known].notna(), None).to_dict("records")
        return "folder of `seqsal motifs`", {"n_patterns": len(table), "motifs": patterns, "files": _sizes(path)}
    if (path / _BUNDLE).is_file():
        return "browser bundle", {"files": _sizes(path)}
    return None


def _folder_bytes(path: Path) -> int:
    """Bytes of all files in a folder and its folders."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _file_facts(path: Path) -> dict[str, Any]:
    missing = [name for name in RUN_FILES if not (path / name).exists()]
    return {"files": _sizes(path)} | ({"missing": missing} if missing else {})


def _sizes(path: Path) -> list[dict[str, Any]]:
    files = [entry for entry in sorted(path.iterdir()) if not entry.name.startswith(".")]
    return [
        {"file": f"{entry.name}/", "n_bytes": _folder_bytes(entry)}
        if entry.is_dir()
        else {"file": entry.name, "n_bytes": entry.stat().st_size}
        for entry in files
    ]


def _describe_json(path: Path) -> Described | None:
    """Say what `run.json` or `audit.json` tells; None for other JSON."""
    content = _read_json(path)
    if "parameters" in content and "versions" in content:
        return "run.json of `seqsal run`", _run_facts(content)
    if "verdict" in content and "seqsal_version" in content.get("provenance", {}):
        return "audit", _audit_facts(content)
    return None


def _run_facts(content: dict[str, Any]) -> dict[str, Any]:
    """Tell what a `run.json` holds, what was made first."""
    facts = version_facts(content.get("seqsal_version"), content.get("schema", 0), RUN_SCHEMA)
    if "unreadable" in facts:
        return facts
    counts = ("n_regions", "n_controls", "null", "statistic", "n_peaks", "best_q", "n_patterns")
    facts |= {key: content[key] for key in counts if key in content}
    facts["n_rejected"] = len(content.get("rejected", []))
    if "verdict" in content:
        facts["verdict"] = _verdict_facts(content["verdict"])
    facts |= {key: content[key] for key in ("output_space", "model", "inputs", "warnings") if key in content}
    given = {key: value for key, value in content.get("parameters", {}).items() if value not in (None, "", [], {})}
    seconds = content.get("seconds", {})
    facts |= {"parameters": given, "versions": content.get("versions", {})}
    return facts | {"seconds": {"total": round(sum(seconds.values()), 3), **seconds}}


def _audit_facts(content: dict[str, Any]) -> dict[str, Any]:
    from seqsal.auditing.result import SCHEMA as AUDIT_SCHEMA

    provenance = dict(content["provenance"])
    facts = version_facts(provenance.pop("seqsal_version"), content.get("schema", 0), AUDIT_SCHEMA)
    if "unreadable" in facts:
        return facts
    facts["verdict"] = _verdict_facts(content["verdict"])
    facts |= {key: content[key] for key in ("warnings", "untested") if key in content}
    return facts | provenance | {"settings": content.get("settings", {})}


def _verdict_facts(verdict: dict[str, Any]) -> dict[str, Any]:
    """Tell the answers; what is neither true nor false in the word that the audit has for it."""
    facts = {key: verdict[key] for key in ("faithful", "plausible", "shortcuts", "text") if key in verdict}
    open_answers = {key: word for key, word in verdict.get("said", {}).items() if not facts.get(key)}
    return facts | {key: word for key, word in open_answers.items() if facts.get(key) is None or key == "shortcuts"}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StoreError(f"{path}: damaged JSON ({error}); make it again") from error
    return content if isinstance(content, dict) else {}


def _describe_text(path: Path) -> Described | None:
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
