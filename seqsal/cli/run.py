"""`seqsal run`: the whole analysis into one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seqsal.cli.options import (
    attribution_options,
    common_options,
    input_options,
    model_options,
    motif_db_option,
    path_type,
    show_progress,
)

__all__ = ["run_command"]


@click.command(
    "run", epilog="Example: seqsal run --model M.safetensors --genome hg38.fa --regions peaks.bed --out results/"
)
@model_options
@input_options
@attribution_options
@click.option("--fdr", type=float, default=0.05, show_default=True, help="Largest q-value of a peak.")
@motif_db_option
@click.option("--out", type=path_type, required=True, help="Folder to write; made if it is not there.")
@common_options
def run_command(out: Path, quiet: bool, **arguments: Any) -> None:
    """Attribute, call peaks, find motifs, write tracks and the report; an interrupted run resumes."""
    from seqsal import pipeline

    result = pipeline.run(out=out, progress=show_progress(quiet), **arguments)
    if not quiet:
        click.echo(result.summary())
