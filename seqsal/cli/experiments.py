"""What the verbs of experiments share: `insert`, `remove`, `swap`, `pair`, `space` and `scan`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from seqsal.cli.options import (
    common_options,
    ensemble_options,
    input_options,
    path_type,
    show_progress,
    stack,
    target_option,
    verb,
)

__all__ = ["MOTIF_HELP", "a_option", "experiment", "mismatches_option", "motifs_option"]

MOTIF_HELP = "bases such as GATTACA, a FASTA, a motif file, or jaspar:RELEASE:TAXGROUP"
motifs_option = click.option(
    "--motifs", required=True, multiple=True, metavar="WHAT", help=f"Elements: {MOTIF_HELP}; may be repeated."
)
a_option = click.option("--a", required=True, metavar="WHAT", help=f"The first element: {MOTIF_HELP}.")
mismatches_option = click.option(
    "--mismatches", type=click.IntRange(min=0), default=1, show_default=True, help="Most mismatches allowed in a copy."
)
_plot_option = click.option("--plot", type=path_type, help="Picture of the table: .svg, .png or .pdf.")
_shared = stack(
    ensemble_options,
    target_option,
    input_options,
    click.option(
        "--n-sequences", type=click.IntRange(min=2), default=100, show_default=True,
        help="Most neutral backgrounds (shuffles of the regions), or windows, to use.",
    ),
    click.option("--rc-average/--no-rc-average", default=True, show_default=True, help="Average over both strands."),
    click.option("--out", type=path_type, required=True, help="Table to write, ending in .tsv."),
    common_options,
)  # fmt: skip


def experiment(name: str, example: str, text: str, *own: Callable[..., Any], draw: str | None = None) -> click.Command:
    """Make the command of an experiment, its own options before the shared ones; `draw` names what plots its table."""

    def run(model: str, out: Path, quiet: bool, plot: Path | None = None, **arguments: Any) -> None:
        from seqsal import experiments
        from seqsal.cli.options import check_ending
        from seqsal.io.atomic import all_or_nothing, atomic_path, check_distinct, check_writable

        check_ending(out, ".tsv", name="a table's name")
        if plot is not None:
            check_writable(plot)
            check_distinct([out, plot], ())
        table = getattr(experiments, name)(model, progress=show_progress(quiet), **arguments)
        with all_or_nothing():
            with atomic_path(out) as temporary:
                table.to_csv(temporary, sep="\t", index=False, na_rep="NA", float_format="%.6g")
            if plot is not None:
                from seqsal import plot as pictures
                from seqsal.plot.style import own_style

                with own_style():
                    pictures.save_figure(getattr(pictures, str(draw))(table), plot)
        if not quiet:
            found = int((table["q_value"] <= 0.05).sum())
            click.echo(f"{out}: {len(table):,} rows, {found:,} with q ≤ 0.05")

    epilog = f"Example: seqsal {name} --model M.safetensors --genome hg38.fa --regions peaks.bed {example} --out E.tsv"
    own = own if draw is None else (*own, _plot_option)
    return verb(name, epilog=epilog, help=text)(stack(*own, _shared)(run))
