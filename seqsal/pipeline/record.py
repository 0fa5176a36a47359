"""What `run.json` records of a run: parameters, versions, input checksums, what came out, seconds per stage."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from seqsal.io import progress
from seqsal.io.atomic import atomic_path
from seqsal.io.attributions import Attributions
from seqsal.motifs import MotifResult
from seqsal.pipeline.info import RUN_SCHEMA
from seqsal.version import VERSION

if TYPE_CHECKING:
    from seqsal.auditing.result import AuditResult
    from seqsal.pipeline.preparation import PreparedRun

__all__ = ["Clock", "describe_run", "write_run_json"]

logger = logging.getLogger(__name__)
VERSIONS_OF = (
    "torch", "numpy", "pandas", "scipy", "h5py", "pybigtools", "bioframe", "logomaker", "matplotlib", "modisco-lite",
    "memelite", "pyjaspar",
)  # fmt: skip


class Clock:
    """Wall seconds, by stage, of every stage that ended, in their order."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what happens inside; a stage that fails is not recorded."""
        start = time.perf_counter()
        logger.info("%s …", name)
        progress.stage(name)
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)
        logger.info("%s took %.1f s", name, self.seconds[name])


def describe_run(
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
        "n_peaks": len(peaks),
        "best_q": peaks.attrs["best_q"],
        "rejected": attr.rejected[columns].to_dict("records") if len(attr.rejected) else [],
        "n_patterns": len(motifs),
        "seqlet_fdr": seqlet_fdr,
        "warnings": motifs.warnings,
        **({"verdict": audit.verdict.as_dict()} if audit else {}),
    }


def write_run_json(path: Path, info: Mapping[str, Any], seconds: Mapping[str, float]) -> None:
    """Write `run.json`: a description of :func:`describe_run`, and the wall seconds of each stage."""
    content = {**info, "seconds": seconds}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True, default=str) + "\n")
