"""What `seqsal run` would do: everything checked, a few windows tried, nothing written into the folder."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqsal.errors import OutputError
from seqsal.info.file_info import size_text, table_text
from seqsal.io.folder import check_folder
from seqsal.preparation import PreparedRun, prepare_run

__all__ = ["Forecast", "forecast_run"]

BIGWIG_BYTES = 7  # a base: float32 and position, compressed, with the zoom levels
REST_BYTES = 15_000_000  # at most: report, tables, motifs, browser bundle


@dataclass(frozen=True)
class Forecast:
    """What a run would do.

    Attributes
    ----------
    folder
        What it would fill.
    n_regions, n_rejected, length, n_controls
        Windows that would be attributed, regions that cannot be, bases a window, shuffled controls.
    results
        Names of the results, the main one first.
    n_passes
        Sequences through the model for each window.
    device
        Where it would compute.
    n_tried, tried_seconds
        Windows that were tried, and what they took.
    attribution_seconds
        Expected of the attribution alone.
    file_bytes
        Expected sizes by file.
    free_bytes
        Free where the folder is to be.
    begun
        Whether an interrupted run of this folder could be gone on with.
    audited, named
        Whether there is an audit, and what motifs are named by.
    """

    folder: Path
    n_regions: int
    n_rejected: int
    length: int
    n_controls: int
    results: tuple[str, ...]
    n_passes: int
    device: str
    n_tried: int
    tried_seconds: float
    attribution_seconds: float
    file_bytes: dict[str, int]
    free_bytes: int
    begun: bool
    audited: bool
    named: str | None

    def summary(self) -> str:
        """Say it in two columns."""
        sizes = ", ".join(f"{name} {size_text(n_bytes)}" for name, n_bytes in self.file_bytes.items())
        motifs = f"motifs named by {self.named}" if self.named else "motifs"
        after = ["peaks", motifs, *["audit"] * self.audited, "report"]
        rows = [
            ("regions", f"{self.n_regions:,} usable of {self.length:,} bp, {self.n_rejected:,} unusable"),
            ("controls", f"{self.n_controls:,} shuffled"),
            ("results", ", ".join(self.results)),
            ("passes", f"{self.n_passes:,} a window through the model, on {self.device}"),
            ("time", self._time()),
            ("then", f"{', '.join(after)}: not timed, mostly seconds to a few minutes with a small model"),
            ("size", f"about {sizes}; {size_text(self.free_bytes)} are free"),
            ("folder", f"{self.folder}" + " (an interrupted run is there)" * self.begun),
            ("written", "nothing; leave --dry-run away to run it"),
        ]
        return table_text(rows)

    def _time(self) -> str:
        tried = f"{self.n_tried} windows took {self.tried_seconds:.2g} s"
        return f"about {_duration(self.attribution_seconds)} to attribute, within a factor of two ({tried})"


def forecast_run(*, out: str | os.PathLike[str], **arguments: Any) -> Forecast:
    """Check everything that a run would check, try a few windows, and foresee time and sizes.

    Parameters
    ----------
    out
        Folder that the run would fill; it is not made.
    arguments
        The others of :func:`seqsal.pipeline.run`.

    Raises
    ------
    SeqsalError
        What the run would raise: input that cannot be used, a folder that cannot be written, too little space.
    """
    arguments = {name: value for name, value in arguments.items() if name not in ("resume", "progress")}
    with prepare_run(**arguments) as prepared:
        folder = check_folder(out)
        return _foresee(prepared, Path(out), shutil.disk_usage(folder).free)


def _foresee(prepared: PreparedRun, out: Path, free_bytes: int) -> Forecast:
    from seqsal.attribution import try_windows

    source = prepared.source
    trial = try_windows(prepared.model, source, prepared.settings, device=prepared.device)
    sizes = {
        "attributions.h5": trial.layout.n_bytes(),
        "attributions.bw": BIGWIG_BYTES * len(source) * source.length,
        "all else up to": REST_BYTES,
    }
    begun = [out / ".attributions.h5.partial", out / "attributions.h5"]
    _check_space(out, sum(sizes.values()), free_bytes + sum(path.stat().st_size for path in begun if path.exists()))
    named = prepared.parameters.get("motif_db")
    return Forecast(
        folder=out,
        n_regions=len(source),
        n_rejected=len(source.rejected),
        length=source.length,
        n_controls=trial.layout.n_controls,
        results=trial.results,
        n_passes=trial.n_passes,
        device=str(prepared.device),
        n_tried=trial.n_windows,
        tried_seconds=trial.seconds,
        attribution_seconds=trial.expected_seconds,
        file_bytes=sizes,
        free_bytes=free_bytes,
        begun=any(path.exists() for path in begun) and not (out / "run.json").exists(),
        audited=prepared.plan is not None,
        named=None if named is None else str(named),
    )


def _check_space(out: Path, need: int, free: int) -> None:
    if need > free:
        raise OutputError(
            f"{out}: no space left on the device, about {size_text(need)} are needed, {size_text(free)} are free; free "
            "some, choose another place, or ask for fewer regions, methods or controls"
        )


def _duration(seconds: float) -> str:
    """Write a time that is only roughly known."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
