"""Attribution files, checkpoints and tracks; torch is not needed to read what they say about themselves."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyBigWig

from seqsal.errors import CheckpointError, StoreError
from seqsal.io.checkpoint_format import FORMAT, FORMAT_VERSION
from seqsal.io.store import SCHEMA, read_attrs, result_prefix
from seqsal.pipeline.info.file_info import version_facts

__all__ = ["describe_attributions", "describe_bigwig", "describe_checkpoint"]

MAX_COMPLETENESS_ERROR = 0.01
_OPTIONAL = ("hypothetical", "completeness_error")
Described = tuple[str, dict[str, Any]]


def describe_attributions(path: Path) -> Described | None:
    """Say what is in an attribution file, finished or not; None for another HDF5 file."""
    try:
        with h5py.File(path, "r") as file:
            return _attribution_facts(file)
    except (OSError, KeyError, ValueError) as error:
        raise StoreError(f"{path}: damaged or truncated ({error}); make it again") from error


def _attribution_facts(file: h5py.File) -> Described | None:
    attrs = read_attrs(file)
    if "shap/seq" in file:
        return "contribution scores as chrombpnet writes them", {"read_with": "seqsal import", **_shapes(file)}
    if "seqsal_version" not in attrs:
        return None
    facts = version_facts(attrs["seqsal_version"], attrs.get("schema", 0), SCHEMA)
    if "unreadable" in facts:
        return "attributions", facts
    n_regions, length = file["track"].shape
    facts |= _progress(file)
    facts |= {"n_regions": n_regions, "length_bp": length, "n_controls": _rows(file, "null/track")}
    facts |= {
        "n_rejected": _rows(file, "rejected/chrom"),
        "n_padded": int(np.sum(file["regions/padded"][...])) if "regions/padded" in file else 0,
    }
    names = attrs.get("results", [attrs.get("result", attrs.get("method", "unknown"))])
    facts["results"] = [_result_facts(file, name, None if i == 0 else name) for i, name in enumerate(names)]
    facts |= {
        key: attrs[key] for key in ("model", "reading", "genome", "seed", "precision", "compiled") if key in attrs
    }
    return "unfinished attributions" if "progress" in file else "attributions", facts


def _progress(file: h5py.File) -> dict[str, Any]:
    if "progress" not in file:
        return {}
    done = [int(n) for n in file["progress"][...]]
    return {"done": {"n_regions": done[0], "n_controls": done[1]}, "finish": "run the command that makes it again"}


def _result_facts(file: h5py.File, name: str, place: str | None) -> dict[str, Any]:
    """Facts of one result; `place` is None for the one at the root."""
    prefix = result_prefix(place)
    attrs = {**read_attrs(file), **(read_attrs(file[prefix]) if prefix else {})}
    keys = ("method", "target", "output_space", "signed", "precision_correlation")
    facts: dict[str, Any] = {"name": name} | {key: attrs[key] for key in keys if key in attrs}
    facts["options"] = attrs.get("options", {})
    facts["kept"] = [kept for kept in _OPTIONAL if prefix + kept in file]
    if "completeness_error" in facts["kept"] and "progress" not in file:
        errors = file[prefix + "completeness_error"][...]
        facts["n_beyond_1_percent"] = int((errors > MAX_COMPLETENESS_ERROR).sum())
    return facts


def _rows(file: h5py.File, name: str) -> int:
    return len(file[name]) if name in file else 0


def _shapes(file: h5py.File) -> dict[str, Any]:
    return {"shape": [int(n) for n in file["shap/seq"].shape]}


def describe_checkpoint(path: Path) -> Described:
    """Say what a `.safetensors` checkpoint of `seqsal train` is, and what its training came to.

    Raises
    ------
    CheckpointError
        It is damaged, or no checkpoint of seqsal.
    """
    tensors, strings = _read_header(path)
    if {"fingerprint", "progress"} <= set(strings):
        progress = _parse(strings, "progress", path)["progress"]
        done = {"done": len(progress.get("history", [])), "best": progress.get("best_epoch")}
        return "unfinished training", {"epochs": done, "finish": "run the command that makes it again"}
    if strings.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: a safetensors file, but not a checkpoint of seqsal; as --weights of a package.module:factory it "
            "may be usable"
        )
    text = strings.get("format_version", "")
    version = int(text) if text.isdecimal() else None
    known = FORMAT_VERSION if version is None else min(version, FORMAT_VERSION)  # every earlier one is read too
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
    facts |= {key: training[key] for key in ("metrics", "inputs", "seed", "device", "torch_version") if key in training}
    if "training" in training:
        facts["training"] = training["training"]
    return facts


def describe_bigwig(path: Path) -> Described:
    """Say what a bigWig covers.

    Raises
    ------
    StoreError
        It is damaged.
    """
    try:
        with pyBigWig.open(str(path)) as track:
            header, chroms = track.header(), track.chroms()
    except RuntimeError as error:
        raise StoreError(f"{path}: damaged or truncated bigWig; export it again") from error
    return "bigWig track", {"n_chroms": len(chroms), "n_bases": int(header["nBasesCovered"])}
