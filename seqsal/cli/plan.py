"""`seqsal plan`: cut an attribution into tasks for a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seqsal.cli.options import (
    attribution_options,
    common_options,
    input_options,
    models_options,
    path_type,
    tiling_options,
    verb,
)
from seqsal.errors import counted

__all__ = ["plan_command"]


@verb("plan", epilog="Example: seqsal plan --model M.safetensors --genome hg38.fa --regions peaks.bed --for slurm "
      "--out plan/; plan/slurm.sh --gres=gpu:1")  # fmt: skip
@models_options
@input_options
@tiling_options
@attribution_options
@click.option("--hypothetical", is_flag=True, help="Keep the scores of all four bases, not only of the one there.")
@click.option("--ensemble", is_flag=True, help="Take several models as one ensemble, not as one file each.")
@click.option("--units", type=click.IntRange(min=1), metavar="N",
              help="Tasks per model [default: as many as make each take about five minutes here].")  # fmt: skip
@click.option(
    "--for",
    "system",
    type=click.Choice(["slurm", "snakemake", "nextflow"]),
    help="Also write a script that runs and merges the tasks.",
)
@click.option("--merged", metavar="FILE", help="What that script merges into [default: DIR/A.h5, or DIR/merged/].")
@click.option("--out", type=path_type, required=True, metavar="DIR", help="Folder to write the plan to.")
@common_options
def plan_command(
    model: tuple[str, ...], ensemble: bool, units: int | None, system: str | None, merged: str | None, out: Path,
    quiet: bool, **arguments: Any,
) -> None:  # fmt: skip
    """Cut an attribution into tasks: `seqsal work DIR --task N` does one, `seqsal merge DIR` joins them.

    Takes the options of `attribute`. Several models give a file each, or with --ensemble one of them all. Tasks need
    the same files, and nothing from each other.
    """
    from seqsal.io.atomic import check_writable
    from seqsal.pipeline.units import SYSTEMS, plan_units

    models: list[Any] = [list(model)] if ensemble and len(model) > 1 else list(model)
    if merged is not None and len(models) == 1:
        check_writable(Path(merged))
    merged = merged or str(out / ("A.h5" if len(models) == 1 else "merged"))
    plan = plan_units(models, out, units=units, system=system, merged=merged, **arguments)
    if system is not None and not quiet:
        click.echo(f"{out / SYSTEMS[system][0]}: runs the tasks, and merges them into {merged}")
    if not quiet:
        n, last = len(plan.tasks), len(plan.tasks) - 1
        which = f"N` for N from 0 to {last}" if last else "0`"
        click.echo(f"{out}: {counted(n, 'task')}; run `seqsal work {out} --task {which}, then "
                   f"`seqsal merge {out} --out {'A.h5' if len(models) == 1 else 'DIR'}`")  # fmt: skip
