"""`seqsal run`: the whole analysis into one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seqsal.cli.options import (
    attribution_options,
    common_options,
    end_by_verdict,
    ensemble_options,
    evidence_options,
    input_options,
    motif_db_option,
    path_type,
    resume_option,
    scheduler_option,
    show_progress,
    statistic_option,
    tiling_options,
    verb,
)

__all__ = ["run_command"]


@verb(
    "run",
    epilog="Example: seqsal run --model M.safetensors --genome hg38.fa --regions peaks.bed --out results/",
)
@ensemble_options
@input_options
@tiling_options
@attribution_options
@click.option("--fdr", type=float, default=0.05, show_default=True, help="Largest q-value of a peak.")
@statistic_option
@motif_db_option
@click.option("--audit/--no-audit", default=True, show_default=True, help="Test whether the map can be believed.")
@evidence_options
@click.option("--genome-name", metavar="NAME", help="Assembly at UCSC, such as hg38 [default: recognised by sizes].")
@click.option("--url-base", metavar="URL", help="URL at which the folder will be served, for the browser bundle.")
@click.option("--out", type=path_type, required=True, help="Folder to write; made if it is not there.")
@click.option("--dry-run", is_flag=True, help="Check everything, time a few windows, write nothing.")
@scheduler_option
@resume_option
@common_options
@click.pass_context
def run_command(
    ctx: click.Context, out: Path, quiet: bool, dry_run: bool, fail_on: list[str], **arguments: Any
) -> None:
    """Attribute, call peaks, find motifs, audit, write tracks and the report; an interrupted run resumes.

    The folder gets a run.toml: `seqsal run --config run.toml --out OTHER` does the same again.
    """
    from seqsal.auditing.verdict import check_failures
    from seqsal.pipeline.dry_run import try_run
    from seqsal.pipeline.run import run

    if check_failures(fail_on) and not arguments["audit"]:
        raise click.UsageError("--fail-on needs the audit, and --no-audit leaves it out; give one of them.")
    if dry_run:
        click.echo(try_run(out=out, **arguments).summary())
        return
    result = run(out=out, progress=show_progress(quiet), **arguments)
    if not quiet:
        click.echo(result.summary())
    if result.audit is not None:
        end_by_verdict(ctx, result.audit, fail_on)
