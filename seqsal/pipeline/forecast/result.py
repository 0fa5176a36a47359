"""What a run would do, how long it would take and how large it would become, and how that is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from seqsal.pipeline.info.file_info import size_text, table_text

__all__ = ["Forecast"]

STAGE_TEXTS = {
    "load": "read and check the input",
    "tracks": "scores, bigWig",
    "peaks": "peaks of both signs",
    "browser": "tracks for genome browsers",
    "report": "report.html",
}


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
    n_audited
        Sequences through the model for the audit, at most; None where there is none.
    device
        Where it would compute.
    n_tried, tried_seconds
        Windows that were tried, and what they took.
    seconds
        Expected by stage, as in `run.json`, with `scores` in `tracks`.
    file_bytes
        Expected sizes by file.
    free_bytes
        Free where the folder is to be.
    begun
        Whether an interrupted run of this folder could be gone on with.
    named
        What motifs are named by.
    """

    folder: Path
    n_regions: int
    n_rejected: int
    length: int
    n_controls: int
    results: tuple[str, ...]
    n_passes: int
    n_audited: int | None
    device: str
    n_tried: int
    tried_seconds: float
    seconds: dict[str, float]
    file_bytes: dict[str, int]
    free_bytes: int
    begun: bool
    named: str | None

    @property
    def audited(self) -> bool:
        """Whether there is an audit."""
        return self.n_audited is not None

    @property
    def attribution_seconds(self) -> float:
        """Expected of the attribution alone."""
        return self.seconds["attribute"]

    @property
    def total_seconds(self) -> float:
        """Expected of all stages."""
        return sum(self.seconds.values())

    def summary(self) -> str:
        """Say it in two columns, the stages by their names."""
        sizes = ", ".join(f"{name} {size_text(n_bytes)}" for name, n_bytes in self.file_bytes.items())
        rows = [
            ("regions", f"{self.n_regions:,} usable of {self.length:,} bp, {self.n_rejected:,} unusable"),
            ("controls", f"{self.n_controls:,} shuffled"),
            ("results", ", ".join(self.results)),
            ("passes", f"{self.n_passes:,} a window through the model, on {self.device}"),
            ("time", f"about {duration_text(self.total_seconds)} in all, within a factor of two or so:"),
            *((name, self._stage(name)) for name in self.seconds),
            ("size", f"about {sizes}; {size_text(self.free_bytes)} are free"),
            ("folder", f"{self.folder}" + " (an interrupted run is there)" * self.begun),
            ("written", "nothing; leave --dry-run away to run it"),
        ]
        return table_text(rows)

    def _stage(self, name: str) -> str:
        named = f", names by {self.named}" if self.named else ""
        texts = {
            **STAGE_TEXTS,
            "attribute": f"{self.n_tried} windows took {self.tried_seconds:.2g} s",
            "motifs": f"if there is about one peak a region{named}",
            "audit": f"up to {self.n_audited or 0:,} sequences through the model, more where artifacts are found",
        }
        return f"{duration_text(self.seconds[name]):>8}  {texts[name]}"


def duration_text(seconds: float) -> str:
    """Write a time that is only roughly known."""
    if seconds < 0.5:
        return "below 1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
