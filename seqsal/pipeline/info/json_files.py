"""`run.json` and `audit.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from seqsal.errors import StoreError
from seqsal.pipeline.info.file_info import version_facts

__all__ = ["RUN_SCHEMA", "describe_json", "read_run_json"]

RUN_SCHEMA = 1
AUDIT_SCHEMA = 1  # of seqsal.auditing.result, which is above this level; a test compares them
Described = tuple[str, dict[str, Any]]


def describe_json(path: Path) -> Described | None:
    """Say what `run.json` or `audit.json` tells; None for other JSON.

    Raises
    ------
    StoreError
        It is not JSON.
    """
    content = _read(path)
    if "parameters" in content and "versions" in content:
        return "run.json of `seqsal run`", run_facts(content)
    if "verdict" in content and "seqsal_version" in content.get("provenance", {}):
        return "audit", _audit_facts(content)
    return None


def read_run_json(path: Path) -> dict[str, Any]:
    """Facts of a `run.json`, to be told of its folder."""
    return run_facts(_read(path))


def run_facts(content: dict[str, Any]) -> dict[str, Any]:
    """Tell what a `run.json` holds, what was made first."""
    facts = version_facts(content.get("seqsal_version"), content.get("schema", 0), RUN_SCHEMA)
    if "unreadable" in facts:
        return facts
    counts = ("n_regions", "n_controls", "n_peaks", "best_q", "n_patterns")
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
    provenance = dict(content["provenance"])
    facts = version_facts(provenance.pop("seqsal_version"), content.get("schema", 0), AUDIT_SCHEMA)
    if "unreadable" in facts:
        return facts
    facts["verdict"] = _verdict_facts(content["verdict"])
    facts |= {key: content[key] for key in ("warnings", "untested") if key in content}
    return facts | provenance | {"settings": content.get("settings", {})}


def _verdict_facts(verdict: dict[str, Any]) -> dict[str, Any]:
    return {key: verdict[key] for key in ("faithful", "plausible", "shortcuts", "text") if key in verdict}


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StoreError(f"{path}: damaged JSON ({error}); make it again") from error
    return content if isinstance(content, dict) else {}
