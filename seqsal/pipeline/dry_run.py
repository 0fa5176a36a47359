"""`seqsal run --dry-run`: everything checked, the attribution timed on a few windows, nothing written."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from seqsal.attribution.engine import AttributionRun
from seqsal.attribution.passes import FirstWindows, run_pass
from seqsal.attribution.spans import WindowReader
from seqsal.errors import OutputError
from seqsal.io.atomic import check_folder
from seqsal.io.store_writer import MemorySink
from seqsal.models.seen import left_out_text
from seqsal.peaks import null_text
from seqsal.pipeline.file_info import size_text, table_text
from seqsal.pipeline.preparation import PreparedRun, prepare_run

__all__ = ["DryRun", "time_windows", "try_run"]

MOST_WINDOWS, FEWEST_WINDOWS = 32, 4
LONG_SECONDS, MOST_SECONDS = 4.0, 30.0
BIGWIG_BYTES = 7  # a base: float32 and position, compressed, with the zoom levels
REST_BYTES = 15_000_000  # at most: report, tables, motifs, browser bundle


@dataclass(frozen=True)
class DryRun:
    """What a run would do."""

    folder: Path  # that it would fill
    n_regions: int  # windows that would be attributed
    left_out: str  # how many others there are, and why they are not
    length: int  # bases in a window
    n_controls: int
    null: str
    results: tuple[str, ...]  # names, the main one first
    audited: bool
    device: str
    n_tried: int  # windows that were tried
    tried_seconds: float
    attribution_seconds: float  # expected for all windows and controls
    file_bytes: dict[str, int]  # expected, by file
    may_grow: bool  # whether more controls may be made where peaks need them
    free_bytes: int  # where the folder is to be
    begun: bool  # whether an interrupted run in the folder would be resumed

    def summary(self) -> str:
        """Say it in two columns."""
        sizes = ", ".join(f"{name} {size_text(n_bytes)}" for name, n_bytes in self.file_bytes.items())
        tried = f"{self.n_tried} windows took {self.tried_seconds:.2g} s on {self.device}"
        later = f"peaks, motifs{', audit' * self.audited}, browser tracks and report are not timed"
        more = ", and up to 8 times as many, or as many as regions, if peaks need them" * self.may_grow
        return table_text(
            [
                ("regions", f"{self.n_regions:,} usable of {self.length:,} bp, {self.left_out or '0 unusable'}"),
                ("controls", f"{null_text(vars(self))}{more}"),
                ("results", ", ".join(self.results)),
                ("time", f"attribution about {_duration(self.attribution_seconds)} ({tried}); {later}"),
                ("size", f"about {sizes}; {size_text(self.free_bytes)} are free"),
                ("folder", f"{self.folder}" + " (an interrupted run is there and will be resumed)" * self.begun),
                ("written", "nothing; remove --dry-run to run it"),
            ]
        )


def try_run(model: str | os.PathLike[str] | nn.Module, *, out: str | os.PathLike[str], **arguments: Any) -> DryRun:
    """Check everything that a run would check, attribute a few windows, and say what that tells about all.

    Raises what the run would: input that cannot be used, a folder that cannot be written, too little space.
    """
    arguments = {name: value for name, value in arguments.items() if name not in ("resume", "progress", "scheduler")}
    with prepare_run(model, out=out, **arguments) as prepared:
        return _try(prepared, Path(out), shutil.disk_usage(check_folder(out)).free)


def _try(prepared: PreparedRun, out: Path, free_bytes: int) -> DryRun:
    opened, source = prepared.opened, prepared.opened.source
    run = AttributionRun(opened.model, source, opened.request.options, opened.device)
    layout = run.plan_layout(source)
    sizes = {
        "attributions.h5": layout.n_bytes(),
        "attributions.bw": BIGWIG_BYTES * len(source) * opened.span.length,
        "all else up to": REST_BYTES,
    }
    begun = [path for path in (out / ".attributions.h5.partial", out / "attributions.h5") if path.exists()]
    need, free = sum(sizes.values()), free_bytes + sum(path.stat().st_size for path in begun)
    if need > free:
        raise OutputError(
            f"{out}: no space left on the device, about {size_text(need)} are needed, {size_text(free)} are free; free "
            "some, choose another place, or ask for fewer regions, methods or controls"
        )
    n_tried, seconds, slope = time_windows(run, opened.source)
    return DryRun(
        folder=out,
        n_regions=len(source),
        left_out=left_out_text(source.rejected),
        length=opened.span.length,
        n_controls=layout.n_controls,
        null=layout.null,
        results=tuple(result.name for result in run.results),
        audited=prepared.plan is not None,
        device=str(opened.device),
        n_tried=n_tried,
        tried_seconds=seconds,
        attribution_seconds=seconds + max(len(source) + layout.n_controls - n_tried, 0) * slope,
        file_bytes=sizes,
        may_grow=prepared.may_grow,
        free_bytes=free_bytes,
        begun=bool(begun) and not (out / "run.json").exists(),
    )


def time_windows(run: AttributionRun, source: WindowReader) -> tuple[int, float, float]:
    """Attribute some windows: how many those were, their seconds, and those of a further one.

    The first window warms up. The time of a further one is the difference of two trials, so that what a run does once
    is not counted for each; where few windows take longer than `LONG_SECONDS`, it is their mean.
    """

    def attribute(n_windows: int) -> tuple[int, float]:
        head = FirstWindows(source, n_windows)
        layout = run.plan_layout(head, n_controls=0)
        start = time.perf_counter()
        run_pass(run.model, head, run.options, run.planned, layout, MemorySink(layout), device=run.device)
        return len(head.windows), time.perf_counter() - start

    n, seconds = attribute(1)
    if seconds < MOST_SECONDS:
        n, seconds = attribute(2)
    if seconds >= LONG_SECONDS:
        return n, seconds, seconds / n
    n_larger = min(max(int(2 * LONG_SECONDS * n / seconds), FEWEST_WINDOWS), MOST_WINDOWS)
    n_smaller, smaller_seconds = attribute(n_larger // 4)
    n, seconds = attribute(n_larger)
    is_longer = n > n_smaller and seconds > smaller_seconds
    return n, seconds, (seconds - smaller_seconds) / (n - n_smaller) if is_longer else seconds / n


def _duration(seconds: float) -> str:
    """Write a time that is only roughly known."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 0.5 else "below 1 s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
