"""`seqsal work`: do one task of a plan."""

from __future__ import annotations

from pathlib import Path

import click

from seqsal.cli.options import config_option, path_type, show_progress, talk_options, verb

__all__ = ["work_command"]


@verb("work", epilog="Example: seqsal work plan/ --task $SLURM_ARRAY_TASK_ID")
@click.argument("plan", type=path_type)
@click.option("--task", type=int, required=True, metavar="N", help="Number of the task, from 0.")
@click.option("--device", metavar="auto|cpu|cuda[:i]", help="Where to compute [default: as planned].")
@config_option
@talk_options
def work_command(plan: Path, task: int, device: str | None, quiet: bool) -> None:
    """Do one task of a plan, unless that is done; an interrupted one goes on where it stopped."""
    from seqsal.pipeline.units import work_unit

    out = work_unit(plan, task, device=device, progress=show_progress(quiet))
    if not quiet:
        click.echo(f"{out}: task {task} is done")
