"""Foresee a run: prepare it as it would be, try its model on a few windows, and go no further."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

from seqsal.attribution import Trial, try_windows
from seqsal.errors import OutputError
from seqsal.io.folder import check_folder
from seqsal.pipeline.forecast.rates import machine_slowness
from seqsal.pipeline.forecast.result import Forecast
from seqsal.pipeline.forecast.stages import foresee_audit, foresee_stages
from seqsal.pipeline.info.file_info import size_text
from seqsal.pipeline.preparation import PreparedRun, prepare_run

__all__ = ["forecast_run"]

BIGWIG_BYTES = 7  # a base: float32 and position, compressed, with the zoom levels
REST_BYTES = 15_000_000  # at most: report, tables, motifs, browser bundle


def forecast_run(*, out: str | os.PathLike[str], **arguments: Any) -> Forecast:
    """Check everything that a run would check, try a few windows, and foresee time and sizes.

    Parameters
    ----------
    out
        Folder that the run would fill; it is not made.
    arguments
        The others of :func:`seqsal.pipeline.run.run`.

    Raises
    ------
    SeqsalError
        What the run would raise: input that cannot be used, a folder that cannot be written, too little space.
    """
    arguments = {name: value for name, value in arguments.items() if name not in ("resume", "progress")}
    start = time.perf_counter()
    with prepare_run(**arguments) as prepared:
        load_seconds = time.perf_counter() - start
        folder = check_folder(out)
        return _foresee(prepared, Path(out), shutil.disk_usage(folder).free, load_seconds)


def _foresee(prepared: PreparedRun, out: Path, free_bytes: int, load_seconds: float) -> Forecast:
    source = prepared.source
    trial = try_windows(prepared.model, source, prepared.settings, device=prepared.device)
    sizes = _sizes(prepared, trial)
    begun = [out / ".attributions.h5.partial", out / "attributions.h5"]
    _check_space(out, sum(sizes.values()), free_bytes + sum(path.stat().st_size for path in begun if path.exists()))
    audit = None if prepared.plan is None else foresee_audit(prepared, prepared.plan)
    named = prepared.parameters.get("motif_db")
    return Forecast(
        folder=out,
        n_regions=len(source),
        n_rejected=len(source.rejected),
        length=source.length,
        n_controls=trial.layout.n_controls,
        results=trial.results,
        n_passes=trial.n_passes,
        n_audited=None if audit is None else audit.n_sequences,
        device=str(prepared.device),
        n_tried=trial.n_windows,
        tried_seconds=trial.seconds,
        seconds=foresee_stages(prepared, trial, audit, load_seconds=load_seconds, slowness=machine_slowness()),
        file_bytes=sizes,
        free_bytes=free_bytes,
        begun=any(path.exists() for path in begun) and not (out / "run.json").exists(),
        named=None if named is None else str(named),
    )


def _sizes(prepared: PreparedRun, trial: Trial) -> dict[str, int]:
    return {
        "attributions.h5": trial.layout.n_bytes(),
        "attributions.bw": BIGWIG_BYTES * len(prepared.source) * prepared.source.length,
        "all else up to": REST_BYTES,
    }


def _check_space(out: Path, need: int, free: int) -> None:
    if need > free:
        raise OutputError(
            f"{out}: no space left on the device, about {size_text(need)} are needed, {size_text(free)} are free; free "
            "some, choose another place, or ask for fewer regions, methods or controls"
        )
