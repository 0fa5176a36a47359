"""`seqsal retrain`: train a model without the shortcuts that its audit found, and compare the two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seqsal.cli.options import check_ending, common_options, motif_db_option, path_type, show_progress, verb

__all__ = ["retrain_command"]


@verb(
    "retrain",
    epilog="Example: seqsal retrain --model M.safetensors --audit audit.json --positives peaks.bed --negatives "
    "other.bed --genome hg38.fa --out M2.safetensors",
)
@click.option("--model", type=path_type, required=True, metavar="M", help="Checkpoint of `seqsal train`.")
@click.option("--audit", type=path_type, required=True, help="The audit.json that found the shortcuts.")
@click.option("--positives", type=path_type, required=True, help="BED or FASTA of the positives it was trained on.")
@click.option("--negatives", type=path_type, help="BED or FASTA of the negatives [default: sampled as they were].")
@click.option("--genome", type=path_type, help="Genome FASTA, for regions.")
@click.option(
    "--remedy",
    type=click.Choice(["auto", "randomise", "masks", "both"]),
    default="auto",
    show_default=True,
    help="randomise shows the artifacts in both classes alike, masks penalises attribution on them; auto tries these "
    "and their combination until one is good enough on validation data.",
)
@motif_db_option
@click.option("--out", type=path_type, required=True, help="Checkpoint to write (.safetensors).")
@common_options
def retrain_command(
    model: Path, audit: Path, positives: Path, negatives: Path | None, out: Path, quiet: bool, **arguments: Any
) -> None:
    """Train a model again without the shortcuts that an audit found, audit it again, and show before and after.

    Figures go to .retrain.json and a page to .retrain.html of the name of --out.
    """
    from seqsal.io.atomic import check_distinct
    from seqsal.pipeline.retrain import retrain, retrain_paths

    check_ending(out, ".safetensors", name="a checkpoint name")
    check_distinct([out, *retrain_paths(out)], [model, audit, positives, negatives, arguments["genome"]])
    result = retrain(model, audit, positives, negatives, out=out, progress=show_progress(quiet), **arguments)
    if not quiet:
        click.echo(f"{result.summary()}\n{out}, {', '.join(map(str, retrain_paths(out)))}")
