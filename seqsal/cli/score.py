"""`seqsal score`: predictions for regions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seqsal.cli.options import (
    common_options,
    ensemble_options,
    input_options,
    path_type,
    scheduler_option,
    show_progress,
    target_option,
    tiling_options,
    verb,
)
from seqsal.errors import counted

__all__ = ["score_command"]


@verb(
    "score", epilog="Example: seqsal score --model M.safetensors --genome hg38.fa --regions peaks.bed --out scores.tsv"
)
@ensemble_options
@target_option
@input_options
@tiling_options
@click.option("--out", type=path_type, required=True, help="File to write: .tsv, .bed or .bedgraph.")
@scheduler_option
@common_options
def score_command(
    model: str | list[str], out: Path, quiet: bool, seed: int, scheduler: str | None, **arguments: Any
) -> None:
    """Predict each region and write a table, a BED with scores, or a bedGraph."""
    from seqsal.attribution.api import score
    from seqsal.errors import UsageError
    from seqsal.io.atomic import check_writable
    from seqsal.io.tracks import SCORE_FORMATS, write_scores

    if out.suffix.lower() not in SCORE_FORMATS:
        raise UsageError(f"{out}: unknown extension, expected one of {', '.join(SCORE_FORMATS)}")
    check_writable(out)
    if scheduler is None:
        table = score(model, progress=show_progress(quiet), **arguments)
    else:
        from seqsal.pipeline.schedulers import score_on

        table = score_on(scheduler, model, progress=show_progress(quiet), **arguments)
    write_scores(table, out)
    if not quiet:
        click.echo(f"{out}: {counted(len(table), 'region')} scored")
